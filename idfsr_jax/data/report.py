"""What `prepare` did: counts, refusals by reason, and the file that keeps them."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from idfsr_jax.data.extract import Refusal
from idfsr_jax.io.files import write_atomically
from idfsr_jax.io.names import printable

_NAMES_SHOWN = 5


@dataclass(frozen=True)
class SplitCount:
    """Size of one split of a prepared data set."""

    people: int
    people_with_two: int
    """People with two photographs or more, who can lend a reference of themselves."""
    photographs: int


@dataclass(frozen=True)
class Report:
    """Outcome of `prepare`."""

    dataset: str
    """Folder that TFDS reads, below the one that the report lies in."""
    fingerprint: str
    """SHA-256 over what the data set follows from: files, settings and splits."""
    encoder: str
    photographs: int
    kept: int
    splits: dict[str, SplitCount]
    refusals: tuple[Refusal, ...]
    stray: tuple[str, ...]
    """Files and folders that were not where photographs are looked for."""
    people_left_out: int
    """People in the folder whom no split names."""
    people_missing: tuple[str, ...]
    """People whom a split names and the folder lacks."""
    seconds: float
    """Duration of the run that finished the data set."""
    photographs_per_second: float
    """Rate at which that run read photographs; those that an earlier, broken run had done are not counted."""
    people_lost: tuple[str, ...] = ()
    """People all of whose photographs were refused."""

    def by_reason(self) -> dict[str, list[str]]:
        """Names of the refused photographs under each reason, the most frequent reason first."""
        reasons: dict[str, list[str]] = {}
        for refusal in self.refusals:
            reasons.setdefault(refusal.reason, []).append(refusal.photo)
        return dict(sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])))

    def table(self) -> Table:
        """Counts and refusals for a terminal."""
        table = Table(title=f"{self.kept} of {self.photographs} photographs kept", title_justify="left")
        table.add_column("")
        table.add_column("photographs", justify="right")
        table.add_column("people", justify="right")
        table.add_column("which", overflow="fold")
        for name, count in self.splits.items():
            several = f"{count.people_with_two} people with two photographs or more"
            table.add_row(name, str(count.photographs), str(count.people), several)
        table.add_section()
        for reason, photos in self.by_reason().items():
            people = len({photo.split("/")[0] for photo in photos})
            table.add_row(f"refused: {reason}", str(len(photos)), str(people), _some(photos))
        if self.people_lost:
            lost = str(len(self.people_lost))
            table.add_row("lost: all photographs refused", "", lost, _some(self.people_lost))
        if self.stray:
            table.add_row("not in a person's folder", str(len(self.stray)), "", _some(self.stray))
        if self.people_left_out:
            table.add_row("in no split", "", str(self.people_left_out), "")
        if self.people_missing:
            table.add_row("in a split, without a folder", "", str(len(self.people_missing)), _some(self.people_missing))
        return table

    def print(self, console: Console | None = None) -> None:
        """Prints the table and the speed."""
        console = console or Console()
        console.print(self.table())
        console.print(f"{self.seconds:.0f} s, {self.photographs_per_second:.1f} photographs a second.")


def _some(names: list[str] | tuple[str, ...]) -> Text:
    """The first few names, as they are: what a terminal would take for markup too."""
    more = len(names) - _NAMES_SHOWN
    return Text(", ".join(map(printable, names[:_NAMES_SHOWN])) + (f", and {more} more" if more > 0 else ""))


def write_report(path: Path, report: Report) -> None:
    """Writes a report as JSON, whole or not at all."""
    text = json.dumps(dataclasses.asdict(report), indent=2, ensure_ascii=False)
    # Names of files need not be valid Unicode on every system.
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "surrogateescape")))


def read_report(path: Path) -> Report | None:
    """Reads what `write_report` wrote; None if it is missing or not a report."""
    try:
        values = json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
        values["splits"] = {name: SplitCount(**count) for name, count in values["splits"].items()}
        values["refusals"] = tuple(Refusal(**refusal) for refusal in values["refusals"])
        for name in ("stray", "people_missing", "people_lost"):
            values[name] = tuple(values.get(name, ()))
        return Report(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
