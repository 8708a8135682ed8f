"""The command `export`: a model for those who do not have this package."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from idfsr_jax.commands.options import (
    Encoder,
    OptionalInt,
    OptionalPath,
    OptionalSeveral,
    Required,
    note,
    note_skipped,
    say,
)
from idfsr_jax.io.arguments import MAX_STEPS, folder_to_write, photographs_of, require_between, require_identity
from idfsr_jax.io.errors import InputError


def export(
    out: Required = None,
    weights: OptionalPath = None,
    formats: tuple[Literal["jax", "onnx"], ...] = ("jax",),
    batch: OptionalInt = None,
    steps: OptionalInt = None,
    identity: OptionalPath = None,
    photos: OptionalSeveral = (),
    encoder: Encoder = None,
) -> int:
    """Exports the sampler for CPU, CUDA and TPU, to be run with JAX alone, and the denoiser as ONNX.

    docs/deploying.md says how both are used.

    Args:
      out: Folder to write to; of an earlier export of the same model and settings the other format stays.
      weights: Folder of a trained model; the one that ships with the package if not given.
      formats: What to write: jax, onnx (needs jax2onnx), or both.
      batch: Faces at once; any number for JAX and one for ONNX if not given.
      steps: Sampling steps, if not the model's own choice.
      identity: Identity file of `idfsr fit`; with --photos, person.safetensors is written too, for run.py. It holds
        these photographs' faces.
      photos: With --identity: photographs of the person, or a folder of them.
      encoder: With --identity: where the face recogniser lies that an ArcFace model was trained with, if not where it
        lay then.
    """
    out = folder_to_write(out, "the folder to write the exported model to")
    if not formats:
        raise InputError("--formats is empty; give jax, onnx, or both.")
    require_between(1, 1024, batch=batch)
    require_between(1, MAX_STEPS, steps=steps)
    if (identity is None) != (not photos):
        raise InputError("--identity and --photos belong together; give both, or neither.")
    if identity is not None:
        require_identity(identity)
    skipped: list[str] = []
    pictures: list[Path] = photographs_of(photos, "photographs of the person", skipped.append) if photos else []
    note_skipped(skipped)
    from idfsr_jax.export.folder import write_export, write_person
    from idfsr_jax.method.guidance import make_guide
    from idfsr_jax.restore.restorer import Restorer

    restorer = Restorer.load(weights, encoder)
    if restorer.config.model.autoencoder:
        raise InputError(f"{weights}: works on latents, and only models that work on pixels can be exported.")
    if identity is not None:
        from idfsr_jax.restore.identity import Identity

        person = Identity.load(identity)
        restorer.check_identity(person, identity)
        crops, notes = restorer.references(pictures, person)
        for sentence in notes:
            note(sentence)
    config = restorer.config
    if steps is not None:
        config = replace(config, sample=replace(config.sample, steps=steps))
    guide = make_guide(restorer.recognisers, restorer.model.center)
    write_export(out, restorer.model, guide, config, restorer.sizes, formats, batch, say)
    if identity is not None:
        write_person(out / "person.safetensors", restorer.model, person, crops, restorer.units(crops))
        say(f"{out / 'person.safetensors'}: {len(crops)} references; it holds the person's face")
    return 0
