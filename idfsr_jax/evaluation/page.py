"""The report as Markdown and HTML."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from idfsr_jax.evaluation.columns import Column


def write_pages(facts: Mapping[str, Any], columns: Sequence[Column], plots: Sequence[Path], out: Path) -> None:
    """Writes `report.md` and `report.html`."""
