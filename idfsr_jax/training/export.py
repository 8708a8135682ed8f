"""Copies a run's model folder in another precision: `python -m idfsr_jax.training.export MODEL OUT`."""

from pathlib import Path
from typing import Literal

import tyro

from idfsr_jax.method.model import load_model, read_description, save_model


def export(model: Path, out: Path, dtype: Literal["float32", "bfloat16"] = "bfloat16") -> None:
    """Rewrites a model folder, for shipping.

    Args:
      model: Folder that training wrote.
      out: Folder to write to.
      dtype: Precision of the matrices on disk; they are read as float32 again.
    """
    loaded = load_model(model)
    facts = read_description(model).get("facts", {})
    save_model(
        out,
        loaded.config,
        loaded.denoiser,
        loaded.landmark_net,
        loaded.center,
        loaded.steps,
        dtype=dtype,
        facts=facts,
        encoder=loaded.encoder,
        autoencoder=loaded.autoencoder,
        finish=loaded.finish,
    )


if __name__ == "__main__":
    tyro.cli(export)
