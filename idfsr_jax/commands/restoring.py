"""The work of `idfsr restore`: one picture after another, each with its own complaint, and what came of them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idfsr_jax import album
from idfsr_jax.album import Outcome
from idfsr_jax.arguments import variant_paths
from idfsr_jax.commands.options import complain, say
from idfsr_jax.errors import InputError
from idfsr_jax.face import write_image
from idfsr_jax.overview import overview
from idfsr_jax.places import UndecidedFaces

OVERVIEW = {
    "Software": "idfsr-jax",
    "Description": "An overview of the faces that idfsr-jax found in a photograph; nothing in it is synthesised.",
}


@dataclass(frozen=True)
class Request:
    """What is asked for, of every input alike.

    Attributes:
      options: of `Restorer.restore`.
      enlarge: of the photograph.
      label: whether to print a visible mark.
      sums: SHA-256 of all else that decides (model, identity, photographs); None where nothing is to be skipped.
    """

    options: dict[str, Any]
    enlarge: float | None
    label: bool
    sums: list[str] | None

    @property
    def is_album(self) -> bool:
        """Whether what is there already is skipped, and no failure whatever stops the rest."""
        return self.sums is not None

    def digest(self, source: Path) -> str:
        """Names all that decides what becomes of an input."""
        return album.request_digest(
            source, {**self.options, "enlarge": self.enlarge, "label": self.label, "sums": self.sums}
        )


def restore_all(
    restorer: Any,
    person: Any,
    references: Sequence[Any],
    jobs: Sequence[tuple[Path, Path, Path | None]],
    request: Request,
) -> list[Outcome]:
    """Restores pictures; says of each what came of it.

    Args:
      restorer: a `Restorer`.
      person: the `Identity`.
      references: crops of the person's photographs.
      jobs: input, result and comparison sheet of each.
      request: what is asked for.
    """
    outcomes = []
    for source, result, sheet in jobs:
        try:
            outcome = _restore_one(restorer, person, references, source, result, sheet, request)
        except InputError as error:
            complain(error)
            outcome = Outcome(source, "failed", why=str(error))
        except Exception as error:
            # In an album of thousands one picture that meets a fault of ours shall not cost the night.
            if not request.is_album or isinstance(error, OSError):
                raise
            outcome = Outcome(source, "failed", why=f"{source}: unexpected {type(error).__name__}: {error}")
            complain(outcome.why)
        outcomes.append(outcome)
    return outcomes


def _restore_one(
    restorer: Any,
    person: Any,
    references: Sequence[Any],
    source: Path,
    result: Path,
    sheet: Path | None,
    request: Request,
) -> Outcome:
    metadata = {}
    if request.is_album:
        metadata[album.REQUEST] = request.digest(source)
        written = [result, *variant_paths([result], request.options["variants"]), *([sheet] if sheet else [])]
        if album.is_done(written, metadata[album.REQUEST]):
            return Outcome(source, "skipped", result, "there already, from the same input and options")
    try:
        restoration = restorer.restore(source, person, references, **request.options)
    except UndecidedFaces as error:
        place = result.with_name(f"{result.stem}-faces.png")
        write_image(place, overview(error.image, error.choice), OVERVIEW)
        raise InputError(f"{str(error).removesuffix('.')} (they are numbered in {place}).") from error
    options = {"enlarge": request.enlarge, "label": request.label, "metadata": metadata}
    if request.options["variants"] > 1:
        restoration.save_spread(result, **options)
    if sheet is not None:
        restoration.save_sheet(sheet, label=request.label, metadata=metadata)
    restoration.save(result, **options)
    say(f"{source} -> {result}")
    notes = tuple(restoration.notes())
    for note in notes:
        complain(f"note: {source}: {note}")
    return Outcome(source, "restored", result, notes=notes)
