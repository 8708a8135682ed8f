"""Plots of a report: no person is in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_plots(facts: Mapping[str, Any], out: Path) -> list[Path]:
    """Draws what there is to draw; returns the files."""
    return []
