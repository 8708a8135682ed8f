"""The command `idfsr`: prepare, train, fit, restore, evaluate.

JAX and all that needs it is imported inside the commands, so that help and complaints about arguments come at once.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from idfsr_jax.config import Config, load_config
from idfsr_jax.errors import InputError

# A missing one is ours to complain about, in a sentence that says what to do.
Required = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(required)")]
RequiredSeveral = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...", help_behavior_hint="(required)")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
Box = tuple[int, int, int, int]

_PHOTO_ENDINGS = frozenset({".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_WRITTEN_ENDINGS = frozenset({".jpeg", ".jpg", ".png"})
_DESCRIPTION = "Personalised face super-resolution. `idfsr COMMAND --help` says more about each command."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      arguments: the command line after the program's name; of this process if None.

    Returns:
      The exit code: 0, 2 after a user's mistake (said in one sentence on standard error), 130 after Ctrl-C.
    """
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        _complain(error)
        return 2
    except KeyboardInterrupt:
        print("idfsr: interrupted", file=sys.stderr)
        return 130


def prepare(
    photos: Required = None,
    out: Required = None,
    splits: OptionalPath = None,
    workers: OptionalInt = None,
    rule: Literal["only", "central"] = "central",
) -> int:
    """Makes a data set of a folder of identities, and reports which photographs were refused and why.

    A run that was killed goes on where it was when the same command is given again.

    Args:
      photos: Folder that holds one folder for each person (Name/*.jpg).
      out: Folder to write to.
      splits: Folder of train.txt, val.txt and test.txt with identity names, one a line. Without it all are in train.
      workers: Processes that read photographs; one for each core if not given, 0 for none but this one.
      rule: Which face counts where several are found: the central one, or none of them.
    """
    photos = _required(photos, "--photos", "the folder that holds one folder for each person")
    out = _required(out, "--out", "the folder to write the data set to")
    for folder in (photos, splits):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: no such folder.")
    if workers is not None and workers < 0:
        raise InputError(f"--workers {workers}: give 0 or more.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder to write to.")
    _require_writable(out)
    from idfsr_jax.data.prepare import prepare as prepare_photographs

    prepare_photographs(photos, out, splits=splits, workers=workers, rule=rule).print()
    return 0


def fit(
    photos: RequiredSeveral = (),
    out: Required = None,
    weights: OptionalPath = None,
) -> int:
    """Fits an identity to 1 to 20 photographs of one person; the model itself stays as it is.

    Args:
      photos: Photographs of one person, or a folder of them.
      out: The identity file to write, a few kilobytes (me.safetensors).
      weights: Folder of a trained model; the one that ships with the package if not given.
    """
    pictures = _photographs(photos, "photographs of the person")
    out = _required(out, "--out", "the identity file to write, for example me.safetensors")
    if out.is_dir() or out.suffix != ".safetensors":
        raise InputError(f"{out}: give --out a file name that ends in .safetensors.")
    _require_writable(out.parent)
    from rich.console import Console
    from rich.progress import Progress

    from idfsr_jax.restorer import Restorer

    restorer = Restorer.load(weights)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fitting", total=restorer.config.fit.steps)
        person = restorer.fit(pictures, progress=lambda step, loss: bar.update(task, completed=step))
    person.save(out)
    print(f"{out}: identity fitted to {len(pictures)} photograph{'s' if len(pictures) > 1 else ''}.")
    return 0


def restore(
    inputs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT ...", help_behavior_hint="(required)")
    ] = (),
    identity: Required = None,
    photos: RequiredSeveral = (),
    out: Required = None,
    box: Annotated[str | None, tyro.conf.arg(metavar="X,Y,WIDTH,HEIGHT", help_behavior_hint="")] = None,
    scale: OptionalInt = None,
    steps: OptionalInt = None,
    seed: int = 0,
    variants: int = 1,
    consistency: float = 0.0,
    sheet: OptionalPath = None,
    weights: OptionalPath = None,
) -> int:
    """Restores small faces of a person whose identity was fitted.

    Of several inputs one that cannot be used is named and does not stop the rest; the exit code is then 2.

    Args:
      inputs: Aligned low-resolution crops (square, 4 to 64 pixels), or photographs with a small face in them, or
        folders of either.
      identity: The file that `idfsr fit` wrote.
      photos: Photographs of the person, or a folder of them, for the style reference.
      out: The picture to write; for several inputs a folder.
      box: The face's x,y,width,height in the photograph, in pixels; found by itself if not given.
      scale: Enlargement of the face (4, 8, 16 or 32); from the size of the input if not given.
      steps: Sampling steps; as the model was trained for if not given.
      seed: Seed of the noise; the same seed gives the same picture.
      variants: How many restorations to draw of each input.
      consistency: From 0 (the paper) to 1 (the result, reduced again, is the input but for clipping).
      sheet: Also write a comparison sheet here; for several inputs a folder.
      weights: Folder of a trained model; the one that ships with the package if not given.
    """
    if not inputs:
        raise InputError("the picture to restore is missing; give a low-resolution face or a photograph with one.")
    pictures = [path for given in inputs for path in (_in_folder(given) if given.is_dir() else [given])]
    if identity is None:
        raise InputError("--identity is missing; `idfsr fit --photos DIR --out me.safetensors` makes one.")
    if not identity.is_file():
        raise InputError(f"{identity}: no such identity file; `idfsr fit --photos DIR --out {identity}` makes one.")
    references = _photographs(photos, "photographs of the person, for the style reference")
    out = _required(out, "--out", "the picture to write, or for several inputs a folder")
    _require_at_least(1, steps=steps, variants=variants)
    _require_at_least(2, scale=scale)
    _require_at_least(0, seed=seed)
    if not 0.0 <= consistency <= 1.0:
        raise InputError(f"--consistency {consistency}: give a number from 0 to 1.")
    face_box = None if box is None else parse_box(box)
    if face_box is not None and len(pictures) > 1:
        raise InputError("--box belongs to one photograph; restore one input at a time with it.")
    outputs = output_paths(pictures, out)
    sheets = output_paths(pictures, sheet) if sheet is not None else None
    # `Restoration.save` puts further variants beside the first.
    variant_paths = [path.with_stem(f"{path.stem}-{number}") for path in outputs for number in range(2, variants + 1)]
    _require_distinct([*pictures, *references, identity], [*outputs, *variant_paths, *(sheets or [])])
    for folder in {path.parent for path in [*outputs, *(sheets or [])]}:
        _require_writable(folder)

    from idfsr_jax.face import write_image
    from idfsr_jax.identity import Identity
    from idfsr_jax.restorer import Restorer, read_crops

    restorer, person, crops = Restorer.load(weights), Identity.load(identity), read_crops(references)
    failed = 0
    for index, (picture, path) in enumerate(zip(pictures, outputs, strict=True)):
        try:
            restoration = restorer.restore(
                picture,
                person,
                crops,
                box=face_box,
                scale=scale,
                steps=steps,
                seed=seed,
                variants=variants,
                consistency=consistency,
            )
            restoration.save(path)
            if sheets is not None:
                write_image(sheets[index], restoration.sheet(), dict(restoration.metadata))
        except InputError as error:
            _complain(error)
            failed += 1
        else:
            print(f"{picture} -> {path}")
    if failed and len(pictures) > 1:
        print(f"idfsr: {failed} of {len(pictures)} inputs could not be restored.", file=sys.stderr)
    return 2 if failed else 0


def train(config: tyro.conf.Positional[Path]) -> int:
    """Trains the denoiser; the same command goes on with a run that was stopped.

    Args:
      config: A config file such as configs/lfw64.py. `idfsr train CONFIG --help` lists what can be overridden.
    """
    return _train(load_config(config))


def evaluate(config: tyro.conf.Positional[Path]) -> int:
    """Measures a trained model on people it has never seen.

    Args:
      config: The config file that it was trained with. `idfsr evaluate CONFIG --help` lists what can be overridden.
    """
    return _evaluate(load_config(config))


def parse_box(text: str) -> Box:
    """Reads `x,y,width,height`.

    Raises:
      InputError: the text is not four whole numbers, or width or height is not positive.
    """
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--box {text}: give four whole numbers x,y,width,height, in pixels.") from error
    if width < 1 or height < 1:
        raise InputError(f"--box {text}: width and height must be positive.")
    return x, y, width, height


def output_paths(inputs: Sequence[Path], out: Path) -> list[Path]:
    """Where the result of each input goes.

    Args:
      inputs: at least one.
      out: a picture's name, for one input; or a folder, in which each result is named after its input.

    Raises:
      InputError: a folder is needed and `out` is a file, or the name has no picture's ending.
    """
    if len(inputs) == 1 and not out.is_dir():
        if out.suffix.lower() not in _WRITTEN_ENDINGS:
            raise InputError(f"{out}: give a name that ends in .png or .jpg, or a folder that exists.")
        return [out]
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the results of several inputs.")
    paths: list[Path] = []
    for source in inputs:
        path, number = out / f"{source.stem}.png", 1
        while path in paths:
            number += 1
            path = out / f"{source.stem}.{number}.png"
        paths.append(path)
    return paths


def _dispatch(arguments: list[str]) -> int:
    configured: dict[str, Callable[[Config], int]] = {"train": _train, "evaluate": _evaluate}
    # The config file sets the defaults that the options after it override, so it is read before the options are.
    if len(arguments) > 2 and arguments[0] in configured and not arguments[1].startswith("-"):
        name, path, *options = arguments
        config = tyro.cli(Config, default=load_config(path), args=options, prog=f"idfsr {name} {path}")
        return configured[name](config)
    commands: dict[str, Callable[..., int]] = {
        "prepare": prepare,
        "train": train,
        "fit": fit,
        "restore": restore,
        "evaluate": evaluate,
    }
    return tyro.extras.subcommand_cli_from_dict(commands, prog="idfsr", description=_DESCRIPTION, args=arguments)


def _train(config: Config) -> int:
    from idfsr_jax.training.run import train as run_training

    run_training(config)
    return 0


def _evaluate(config: Config) -> int:
    from idfsr_jax.evaluation.run import evaluate as run_evaluation

    run_evaluation(config)
    return 0


def _complain(error: InputError) -> None:
    print(f"idfsr: {error}", file=sys.stderr)


def _required(value: Path | None, option: str, what: str) -> Path:
    if value is None:
        raise InputError(f"{option} is missing; give {what}.")
    return value


def _require_at_least(least: int, **options: int | None) -> None:
    for name, value in options.items():
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: give a whole number of at least {least}.")


def _photographs(given: Sequence[Path], what: str) -> list[Path]:
    """The files among what `--photos` was given, and those in its folders."""
    if not given:
        raise InputError(f"--photos is missing; give {what}.")
    photographs: list[Path] = []
    for path in given:
        if path.is_dir():
            photographs.extend(_in_folder(path))
        elif path.exists():
            photographs.append(path)
        else:
            raise InputError(f"{path}: no such photograph or folder.")
    return photographs


def _in_folder(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, by their endings."""
    entries = sorted(folder.iterdir())
    pictures = [path for path in entries if path.suffix.lower() in _PHOTO_ENDINGS and path.is_file()]
    pictures = [path for path in pictures if not path.name.startswith(".")]
    if not pictures:
        people = any(path.is_dir() for path in entries)
        hint = "only folders; give the folder of one person" if people else "no photographs; give one that does"
        raise InputError(f"{folder}: holds {hint}.")
    return pictures


def _require_distinct(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise InputError(f"{path}: would be overwritten or written twice; choose another name or folder.")
        taken.add(path.resolve())


def _require_writable(folder: Path) -> None:
    """Tries it out, before work that would be lost: permission bits tell little about mounts and quotas."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{folder}: cannot be written to ({reason}); choose another folder.") from error


if __name__ == "__main__":
    sys.exit(main())
