"""The commands of `idfsr`, a function each: its signature is its command line.

JAX and all that needs it is imported inside the commands, so that help and complaints about arguments come at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from idfsr_jax.arguments import (
    MAX_SEED,
    MAX_STEPS,
    MAX_VARIANTS,
    output_paths,
    parse_box,
    photographs_of,
    pictures_of,
    require_between,
    require_distinct,
    require_writable,
    required,
    variant_paths,
)
from idfsr_jax.compile_cache import use_compile_cache
from idfsr_jax.config import Config
from idfsr_jax.config_checks import check_config, read_config
from idfsr_jax.errors import InputError

# A missing one is ours to complain about, in a sentence that says what to do.
Required = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(required)")]
RequiredSeveral = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...", help_behavior_hint="(required)")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
Distributed = Annotated[str, tyro.conf.arg(metavar="WHERE", help_behavior_hint="")]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]


def prepare(
    photos: Required = None,
    out: Required = None,
    splits: OptionalPath = None,
    workers: OptionalInt = None,
    rule: Literal["only", "central"] = "central",
    encoder: str = "dlib",
) -> int:
    """Makes a data set of a folder of identities, and reports which photographs were refused and why.

    A run that was killed goes on where it was when the same command is given again.

    Args:
      photos: Folder that holds one folder for each person (Name/*.jpg).
      out: Folder to write to.
      splits: Folder of train.txt, val.txt and test.txt with identity names, one a line. Without it all are in train.
      workers: Processes that read photographs; one for each core if not given, 0 for none but this one.
      rule: Which face counts where several are found: the central one, or none of them.
      encoder: The face recogniser whose descriptors are stored: dlib, or arcface:PATH (see docs/encoders.md). Models
        are trained with the same one.
    """
    photos = required(photos, "--photos", "the folder that holds one folder for each person")
    out = required(out, "--out", "the folder to write the data set to")
    for folder in (photos, splits):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: no such folder.")
    require_between(0, 1024, workers=workers)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder to write to.")
    require_writable(out)
    from idfsr_jax.data.prepare import prepare as prepare_photographs

    prepare_photographs(photos, out, splits=splits, workers=workers, rule=rule, encoder=encoder).print()
    return 0


def pack(
    data: Required = None,
    out: Required = None,
    side: int = 128,
    quality: int = 80,
    encoder: str = "dlib",
) -> int:
    """Packs a prepared data set small, for training on another machine (`python -m idfsr_jax.training.packed`).

    Args:
      data: Folder that `idfsr prepare` wrote.
      out: Folder to write to; about 38 MB for LFW at the default side and quality.
      side: Side of the packed crops, in pixels.
      quality: Quality of their compression (WebP), from 0 to 100.
      encoder: The face recogniser that the data set was prepared with: dlib, or arcface:PATH.
    """
    data = required(data, "--data", "the folder that `idfsr prepare` wrote")
    out = required(out, "--out", "the folder to write the pack to")
    require_between(32, 512, side=side)
    require_between(0, 100, quality=quality)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder to write to.")
    require_writable(out)
    from rich.console import Console
    from rich.progress import Progress

    from idfsr_jax.data.pack import pack as pack_dataset

    use_compile_cache()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("packing", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        report = pack_dataset(data, out, side=side, quality=quality, encoder=encoder, progress=show)
    _say(f"{out}: {report}")
    return 0


def fit(
    photos: RequiredSeveral = (),
    out: Required = None,
    weights: OptionalPath = None,
    encoder: Annotated[str | None, tyro.conf.arg(metavar="arcface:PATH", help_behavior_hint="")] = None,
) -> int:
    """Fits an identity to 1 to 20 photographs of one person; the model itself stays as it is.

    Args:
      photos: Photographs of one person, or a folder of them.
      out: The identity file to write, a few kilobytes (me.safetensors).
      weights: Folder of a trained model; the one that ships with the package if not given.
      encoder: Where the face recogniser lies that an ArcFace model was trained with, if not where it lay then.
    """
    pictures = photographs_of(photos, "photographs of the person")
    out = required(out, "--out", "the identity file to write, for example me.safetensors")
    if out.is_dir() or out.suffix != ".safetensors":
        raise InputError(f"{out}: give --out a file name that ends in .safetensors.")
    require_writable(out.parent)
    from rich.console import Console
    from rich.progress import Progress

    from idfsr_jax.restorer import Restorer

    use_compile_cache()
    restorer = Restorer.load(weights, encoder)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fitting", total=restorer.config.fit.steps)
        person = restorer.fit(pictures, progress=lambda step, loss: bar.update(task, completed=step))
    person.save(out)
    _say(f"{out}: identity fitted to {len(pictures)} photograph{'s' if len(pictures) > 1 else ''}.")
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
    consistency: OptionalFloat = None,
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
      consistency: From 0 (the paper) to 1 (the result, reduced again, is the input but for clipping); as the model
        was made for if not given.
      sheet: Also write a comparison sheet here; for several inputs a folder.
      weights: Folder of a trained model; the one that ships with the package if not given.
    """
    if not inputs:
        raise InputError("the picture to restore is missing; give a low-resolution face or a photograph with one.")
    pictures = [path for given in inputs for path in pictures_of(given)]
    if identity is None:
        raise InputError("--identity is missing; `idfsr fit --photos DIR --out me.safetensors` makes one.")
    if not identity.is_file():
        raise InputError(f"{identity}: no such identity file; `idfsr fit --photos DIR --out {identity}` makes one.")
    references = photographs_of(photos, "photographs of the person, for the style reference")
    out = required(out, "--out", "the picture to write, or for several inputs a folder")
    require_between(1, MAX_STEPS, steps=steps)
    require_between(1, MAX_VARIANTS, variants=variants)
    require_between(2, 64, scale=scale)
    require_between(0, MAX_SEED, seed=seed)
    if consistency is not None and not 0.0 <= consistency <= 1.0:
        raise InputError(f"--consistency {consistency}: give a number from 0 to 1.")
    face_box = None if box is None else parse_box(box)
    if face_box is not None and len(pictures) > 1:
        raise InputError("--box belongs to one photograph; restore one input at a time with it.")
    outputs = output_paths(pictures, out)
    sheets = output_paths(pictures, sheet) if sheet is not None else None
    written = [*outputs, *variant_paths(outputs, variants), *(sheets or [])]
    require_distinct([*pictures, *references, identity], written)
    for folder in {path.parent for path in [*outputs, *(sheets or [])]}:
        require_writable(folder)

    from idfsr_jax.face import write_image
    from idfsr_jax.identity import Identity
    from idfsr_jax.restorer import Restorer, read_crops

    use_compile_cache()
    restorer, person = Restorer.load(weights), Identity.load(identity)
    restorer.check_identity(person, identity)
    crops = read_crops(references)
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
            complain(error)
            failed += 1
        else:
            _say(f"{picture} -> {path}")
    if failed and len(pictures) > 1:
        print(f"idfsr: {failed} of {len(pictures)} inputs could not be restored.", file=sys.stderr)
    return 2 if failed else 0


def convert(weights: Required = None, out: Required = None) -> int:
    """Makes a safetensors file of a PyTorch checkpoint of an ArcFace recogniser, which then can be an encoder.

    The checkpoint is opened by PyTorch, which must be installed, and only if it holds nothing but tensors.

    Args:
      weights: The checkpoint (.pth), with the layers' names of insightface's arcface_torch.
      out: Folder to write to.
    """
    weights = required(weights, "--weights", "a PyTorch checkpoint of an ArcFace recogniser, for example backbone.pth")
    out = required(out, "--out", "the folder to write the safetensors file to")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder to write to.")
    require_writable(out)
    from idfsr_jax.interop.torch_weights import convert_checkpoint

    path, digest = convert_checkpoint(weights, out)
    _say(f"{path}: SHA-256 {digest}; use it as --encoder arcface:{path}")
    return 0


def train(config: tyro.conf.Positional[Path], distributed: Distributed = "") -> int:
    """Trains the denoiser; the same command goes on with a run that was stopped.

    SIGTERM and Ctrl-C end the run after the current step: it is saved, and the exit code is 128 + the signal's number
    (143 for SIGTERM, 130 for Ctrl-C). Killed otherwise, it goes on from its newest checkpoint.

    Args:
      config: A config file such as configs/lfw64.py. `idfsr train CONFIG --help` lists what can be overridden.
      distributed: Where this process finds the others of its run: auto, slurm, mpi, or HOST:PORT,INDEX,COUNT.
    """
    return run_training(read_config(config), distributed)


def evaluate(config: tyro.conf.Positional[Path]) -> int:
    """Measures a trained model on people it has never seen.

    Args:
      config: The config file that it was trained with. `idfsr evaluate CONFIG --help` lists what can be overridden.
    """
    return run_evaluation(read_config(config))


def run_training(config: Config, distributed: str = "") -> int:
    """Trains as configured; returns the exit code, 128 + the number of the signal that stopped it, or 0.

    Args:
      config: the run.
      distributed: where the other processes of it are; see `idfsr_jax.training.distributed.start_processes`.
    """
    check_config(config)
    require_writable(Path(config.train.out))
    use_compile_cache()
    from idfsr_jax.training.distributed import start_processes

    # Before anything touches a device.
    start_processes(distributed)
    from idfsr_jax.training.run import train as train_denoiser

    number = train_denoiser(config)
    return 128 + number if number else 0


def run_evaluation(config: Config) -> int:
    """Evaluates as configured; returns the exit code, 0."""
    check_config(config)
    require_writable(Path(config.train.out))
    use_compile_cache()
    from idfsr_jax.evaluation.run import evaluate as evaluate_model

    evaluate_model(config)
    return 0


def complain(error: InputError | str) -> None:
    """Says on standard error what is wrong."""
    print(f"idfsr: {error}", file=sys.stderr)


def _say(text: str) -> None:
    """Prints; a file name that standard output has no letters for is spelled out, as standard error does."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
