"""Commands about people: `fit` makes an identity of photographs, `identity show` says what is in one."""

import math
from pathlib import Path
from typing import Annotated, Literal

import tyro

from idfsr_jax.commands.options import (
    Boxes,
    Encoder,
    OptionalPath,
    Required,
    RequiredSeveral,
    complain,
    note_skipped,
    say,
)
from idfsr_jax.io.arguments import parse_boxes, photographs_of, require_identity, require_writable, required
from idfsr_jax.io.errors import InputError
from idfsr_jax.runtime.compile_cache import use_compile_cache


def fit(
    photos: RequiredSeveral = (),
    out: Required = None,
    keep_all: bool = False,
    box: Boxes = (),
    weights: OptionalPath = None,
    encoder: Encoder = None,
) -> int:
    """Fits an identity to 1 to 20 photographs of one person; the model itself stays as it is.

    Photographs without a usable face, and those that show somebody else, are named and left out; blurred ones count
    less. Of a photograph with several faces the one is taken that the other photographs show.

    Args:
      photos: Photographs of one person, or a folder of them.
      out: The identity file to write, some kilobytes (me.safetensors); of what is there already, only an identity is
        replaced.
      keep_all: Set no photograph aside as somebody else's.
      box: The face in one of the photographs, by its path or name and x,y,width,height in pixels; may be given several
        times.
      weights: Folder of a trained model; the one that ships with the package if not given.
      encoder: The face recognisers that the model was trained with, joined by +, if they lie elsewhere now.
    """
    skipped: list[str] = []
    pictures = photographs_of(photos, "photographs of the person", skipped.append)
    out = required(out, "--out", "the identity file to write, for example me.safetensors")
    if out.is_dir() or out.suffix != ".safetensors":
        raise InputError(f"{out}: give --out a file name that ends in .safetensors.")
    require_writable(out.parent)
    boxes = parse_boxes(box, pictures)
    from rich.console import Console
    from rich.progress import Progress

    from idfsr_jax.restore.identity import require_replaceable

    require_replaceable(out)
    from idfsr_jax.restore.restorer import Restorer

    use_compile_cache()
    restorer = Restorer.load(weights, encoder)
    note_skipped(skipped)
    gathered = restorer.gather(pictures, keep_all=keep_all, boxes=boxes)
    for line in gathered.lines():
        say(line)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fitting", total=restorer.config.fit.steps)
        person = restorer.fit(gathered, progress=lambda step, loss: bar.update(task, completed=step))
    person.save(out)
    for warning in gathered.warnings():
        complain(f"warning: {warning}")
    count = len(gathered.used)
    say(f"{out}: identity fitted to {count} photograph{'s' if count > 1 else ''}.")
    return 0


def identity(
    action: Annotated[Literal["show"], tyro.conf.Positional],
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
) -> int:
    """Says what an identity file holds: where it came from, how good it is, and what it belongs to.

    `idfsr identity FILE` does the same.

    Args:
      action: What to do with it; `show` is all there is.
      file: The file that `idfsr fit` wrote.
    """
    require_identity(file)
    from idfsr_jax.restore.identity import Identity
    from idfsr_jax.restore.likeness import AGREEING, TYPICAL_AGREEMENT, reliability

    person = Identity.load(file)
    known = not math.isnan(person.agreement)
    agreed = person.agreement if known else TYPICAL_AGREEMENT
    say(f"{file}: identity {person.digest}")
    say(f"photographs  {person.photographs}")
    for origin in person.origins:
        likeness = "" if math.isnan(origin.likeness) else f", like the others {origin.likeness:.2f}"
        say(f"  {origin.name}  (SHA-256 {origin.sha256}..., counts {origin.weight:.2f}{likeness})")
        if origin.face:
            say(f"    {origin.face}")
        if origin.copies:
            say(f"    counted once, though given {len(origin.copies) + 1} times: {', '.join(origin.copies)}")
    if not person.origins:
        say("  their names are not recorded")
    judged = ("they agree" if agreed >= AGREEING else "they disagree") if known else "not recorded, typical assumed"
    if person.seen is not None:
        say("  kept of each, so that it is not looked for again: where the face lies, its landmarks and unit vectors")
    if person.photographs == 1:
        say("agreement    one photograph, not known")
    else:
        say(f"agreement    {agreed:.2f} (mean cosine of all pairs; {judged})")
    if person.photographs:
        quality = reliability(person.photographs, agreed)
        say(f"quality      {quality:.2f} (expected cosine to what very many photographs would say; 1 is perfect)")
    say(f"model        {person.model}")
    say(f"recognisers  {person.encoder}")
    return 0
