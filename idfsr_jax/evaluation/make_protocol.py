"""Writes a protocol for a prepared data set: `python -m idfsr_jax.evaluation.make_protocol --dataset D --out FILE`."""

import sys
from pathlib import Path

import tyro

from idfsr_jax.data.index import load_index
from idfsr_jax.evaluation.protocol import DEGRADATIONS, make_protocol, write_protocol
from idfsr_jax.io.errors import BadConfig, InputError


def main(
    dataset: Path,
    out: Path,
    split: str = "val",
    name: str = "",
    counts: tuple[int, ...] = (1, 3, 5, 10),
    scales: tuple[int | float, ...] = (8, 16, 32),
    degradations: tuple[str, ...] = ("area", "classical"),
    reserve: int = 5,
    most_restored: int = 3,
    seed: int = 0,
) -> None:
    """Draws a protocol and writes it.

    Args:
      dataset: Folder that `idfsr prepare` wrote.
      out: The file to write.
      split: Of the data set.
      name: What reports call it; the file's own name by default.
      counts: Numbers of photographs to fit on.
      scales: Down-sampling factors, whole or not.
      degradations: Kinds of degradation; docs/evaluation.md lists them.
      reserve: Photographs of a person that are kept for fitting before a second one is restored.
      most_restored: Photographs of a person that are restored, at the most.
      seed: Of the draw.
    """
    unknown = sorted(set(degradations) - set(DEGRADATIONS))
    if unknown:
        raise BadConfig(f"--degradations {unknown[0]}: is none of {', '.join(DEGRADATIONS)}.")
    index = load_index(dataset, split)
    protocol = make_protocol(
        index,
        split,
        name=name or out.stem,
        counts=counts,
        scales=scales,
        degradations=degradations,
        reserve=reserve,
        most_restored=most_restored,
        seed=seed,
    )
    write_protocol(out, protocol)
    restored = sum(len(plan.restored) for plan in protocol.people)
    print(f"{out}: {len(protocol.people)} people, {restored} photographs to restore")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        print(f"make_protocol: {error}", file=sys.stderr)
        sys.exit(2)
