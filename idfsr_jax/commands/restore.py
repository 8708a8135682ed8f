"""The command `restore`: small faces of a person, in crops, photographs or whole albums."""

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from idfsr_jax.commands.album import Outcome, album_of, summary_rows, summary_size, sums_of, write_summary
from idfsr_jax.commands.options import (
    Encoder,
    OptionalFloat,
    OptionalInt,
    OptionalPath,
    Required,
    RequiredForEach,
    SeveralForEach,
    complain,
    note,
    note_skipped,
    say,
)
from idfsr_jax.io.arguments import (
    MAX_SEED,
    MAX_STEPS,
    MAX_VARIANTS,
    output_paths,
    overview_paths,
    parse_box,
    parse_eyes,
    photographs_of,
    pictures_of,
    require_between,
    require_distinct,
    require_folder,
    require_identity,
    require_writable,
    required,
    variant_paths,
)
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import reserved
from idfsr_jax.io.names import printable
from idfsr_jax.runtime.compile_cache import use_compile_cache

_MAX_ENLARGE = 32.0


def restore(
    inputs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT ...", help_behavior_hint="(required)")
    ] = (),
    identity: RequiredForEach = (),
    photos: SeveralForEach = (),
    out: Required = None,
    box: Annotated[str | None, tyro.conf.arg(metavar="X,Y,WIDTH,HEIGHT", help_behavior_hint="")] = None,
    eyes: Annotated[str | None, tyro.conf.arg(metavar="X1,Y1,X2,Y2", help_behavior_hint="")] = None,
    face: OptionalInt = None,
    anyone: bool = False,
    scale: OptionalInt = None,
    enlarge: OptionalFloat = None,
    steps: OptionalInt = None,
    seed: int = 0,
    variants: int = 1,
    consistency: OptionalFloat = None,
    reveal: OptionalFloat = None,
    label: bool = False,
    keep_place: bool = False,
    sheet: OptionalPath = None,
    weights: OptionalPath = None,
    encoder: Encoder = None,
) -> int:
    """Restores small faces of a person whose identity was fitted.

    Of several inputs one that cannot be used is named and does not stop the rest; the exit code is then 2. A folder's
    results, subfolders included, go into the folder --out with a summary.json; what is there already and was made of
    the same input with the same options is skipped, so that the same command goes on after an interruption.

    Args:
      inputs: Aligned low-resolution crops (square, 4 to 64 pixels), or photographs with a small face in them, or
        folders of either.
      identity: The file that `idfsr fit` wrote; of several people in one photograph, once for each.
      photos: Photographs of the person, or a folder of them, as style references; without any the identity alone
        says who it is. Of several people, once for each, in the same order.
      out: The picture to write; for several inputs a folder.
      box: The face's x,y,width,height in the photograph, in pixels; found by itself if not given.
      eyes: The two eyes' centres in the photograph, in pixels, instead of a box.
      face: Which of several faces of the photograph, counted from the left; the one most like the person if not given.
      anyone: Also restore a face that is unlike the person, in folders, among several inputs and among several faces,
        and one of several faces that are too small to tell, if it stands out; such faces are left alone if not given.
      scale: Enlargement of the face, from 2 to 32; from the size of the input if not given.
      enlarge: Enlargement of the whole photograph; if not given so large that the face keeps all of its pixels, but
        with no side above 8192 px.
      steps: Sampling steps; as the model was trained for if not given.
      seed: Seed of the noise; the same seed gives the same picture.
      variants: How many restorations to draw of each input; of several, their mean and a map of how much they differ
        are written too.
      consistency: From 0 (the paper) to 1 (the result, reduced again, is the input but for clipping); if not given, as
        the model was made for, and less where the input is blurred, noisy or compressed.
      reveal: How much of the small face the model is shown, from 0 (nothing, as in the paper) to 1 (all there is); as
        was best on validation if not given.
      label: Print a small visible mark into every picture with a synthesised face.
      keep_place: Keep where a photograph was taken (GPS) in its result; dates, maker, artist, copyright and dots an
        inch are kept in any case.
      sheet: Also write a comparison sheet here; for several inputs a folder.
      weights: Folder of a trained model; the one that ships with the package if not given.
      encoder: The face recognisers that the model was trained with, joined by +, if they lie elsewhere now.
    """
    if not inputs:
        raise InputError("the picture to restore is missing; give a low-resolution face or a photograph with one.")
    pictures = [path for given in inputs for path in ([] if given.is_dir() else pictures_of(given))]
    if not identity:
        raise InputError("--identity is missing; `idfsr fit --photos DIR --out me.safetensors` makes one.")
    for file in identity:
        require_identity(file)
    skipped: list[str] = []
    references = _references_of(identity, photos, skipped)
    used = [path for file, own in zip(identity, references, strict=True) for path in (file, *own)]
    out = required(out, "--out", "the picture to write, or for several inputs a folder")
    require_between(1, MAX_STEPS, steps=steps)
    require_between(1, MAX_VARIANTS, variants=variants)
    require_between(2, 256, scale=scale)
    require_between(0, MAX_SEED, seed=seed)
    require_between(1, 999, face=face)
    if consistency is not None and not 0.0 <= consistency <= 1.0:
        raise InputError(f"--consistency {consistency}: give a number from 0 to 1.")
    if reveal is not None and not 0.0 <= reveal <= 1.0:
        raise InputError(f"--reveal {reveal}: give a number from 0 to 1.")
    if enlarge is not None and not 0.0 < enlarge <= _MAX_ENLARGE:
        raise InputError(f"--enlarge {enlarge}: give a number above 0, {_MAX_ENLARGE:g} at the most.")
    where = _where(box, eyes, face)
    is_album = any(given.is_dir() for given in inputs)
    passed: list[Outcome] = []
    if is_album:
        require_folder(out)
        pairs, passed = album_of(inputs, out, variants)
        skipped += [each.why for each in passed]
        pictures, outputs = [source for source, _ in pairs], [result for _, result in pairs]
    else:
        outputs = output_paths(pictures, out, variants)
    if len(identity) > 1 and (where or anyone):
        raise InputError(f"--{next(iter([*where, 'anyone']))} belongs to one person; give one --identity with it.")
    if where and len(pictures) > 1:
        raise InputError(f"--{next(iter(where))} belongs to one photograph; restore one input at a time with it.")
    sheets = _sheet_paths(sheet, pictures, outputs, out if is_album else None)
    summary = [out / "summary.json"] if is_album else []
    written = [*outputs, *variant_paths(outputs, variants), *(path for path in sheets if path), *summary]
    require_distinct([*pictures, *used], written)
    overviews = overview_paths(outputs, [*pictures, *used, *written])
    for folder in {path.parent for path in [*outputs, *sheets] if path}:
        require_writable(folder)

    from idfsr_jax.commands.restoring import Job, Person, Request, restore_all
    from idfsr_jax.restore.identity import Identity
    from idfsr_jax.restore.restorer import Restorer

    use_compile_cache()
    restorer, people = Restorer.load(weights, encoder), []
    if steps is None:  # Else the sampler is another.
        threading.Thread(target=restorer.read_ahead).start()
    note_skipped(skipped)
    for file, own in zip(identity, references, strict=True):
        person = Identity.load(file)
        restorer.check_identity(person, file)
        crops, notes = restorer.references(own, person) if own else ([], [])
        for sentence in notes:
            note(sentence)
        people.append(Person(file, person, crops))
    finding: dict[str, Any] = {"scale": scale, "reveal": reveal}
    if len(people) == 1:
        # The only face of a picture that was given by itself is meant; of many pictures, any may show somebody else.
        finding |= where | {"anyone": anyone or (False if is_album or len(pictures) > 1 else None)}
    sampling = {"steps": steps, "seed": seed, "variants": variants, "consistency": consistency}
    sums = sums_of([*used, _model_file(weights)]) if is_album else None
    request = Request(finding, sampling, enlarge, label, sums, keep_place)
    jobs = [Job(*each) for each in zip(pictures, outputs, sheets, overviews, strict=True)]
    # Where the disk fills, there still is room for the summary.
    with reserved(out, summary_size(len(jobs) + len(passed))) if is_album else contextlib.nullcontext():
        outcomes = restore_all(restorer, people, jobs, request)
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    if is_album:
        outcomes += passed
        write_summary(summary[0], outcomes)
        _print_table(outcomes)
        say(f"{summary[0]}: what came of every picture")
    elif failed and len(pictures) > 1:
        complain(f"{failed} of {len(pictures)} inputs could not be restored.")
    return 2 if failed else 0


def _references_of(identity: Sequence[Path], photos: Sequence[Sequence[Path]], skipped: list[str]) -> list[list[Path]]:
    """The photographs of each person; of one person all that were given, none if there are none."""
    what = "photographs of the person, for the style references"
    if len(identity) == 1:
        given = [path for several in photos for path in several]
        return [photographs_of(given, what, skipped.append) if given else []]
    if len(photos) != len(identity):
        raise InputError(
            f"--identity is given {len(identity)} times and --photos {len(photos)} times; give each person's "
            "--identity and --photos, or the person is not told from the others."
        )
    return [photographs_of(several, what, skipped.append) for several in photos]


def _where(box: str | None, eyes: str | None, face: int | None) -> dict[str, Any]:
    """The one option that says which face is meant, if one does."""
    where: dict[str, Any] = {}
    if box is not None:
        where["box"] = parse_box(box)
    if eyes is not None:
        where["eyes"] = parse_eyes(eyes)
    if face is not None:
        where["face"] = face
    if len(where) > 1:
        raise InputError(f"--{' and --'.join(where)} both say which face is meant; give one of them.")
    return where


def _sheet_paths(
    sheet: Path | None, pictures: Sequence[Path], outputs: Sequence[Path], folder: Path | None
) -> list[Path | None]:
    if sheet is None:
        return [None] * len(pictures)
    if folder is None:
        return [*output_paths(pictures, sheet)]
    require_folder(sheet)
    return [sheet / path.relative_to(folder) for path in outputs]


def _model_file(weights: Path | None) -> Path:
    from idfsr_jax.method.model import shipped_model

    return (shipped_model() if weights is None else weights) / "model.json"


def _print_table(outcomes: Sequence[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("pictures", "came out", "why")
    for row in summary_rows(outcomes):
        table.add_row(*(Text(printable(cell)) for cell in row))  # As text: names may hold brackets and colons.
    Console().print(table)
