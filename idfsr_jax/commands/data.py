"""Commands that make data sets: `prepare` and `pack`."""

from typing import Literal

from idfsr_jax.arguments import require_between, require_writable, required
from idfsr_jax.commands.options import OptionalInt, OptionalPath, Required, say
from idfsr_jax.compile_cache import use_compile_cache
from idfsr_jax.errors import InputError


def prepare(
    photos: Required = None,
    out: Required = None,
    splits: OptionalPath = None,
    workers: OptionalInt = None,
    rule: Literal["only", "central"] = "central",
) -> int:
    """Makes a data set of a folder of identities, and reports which photographs were refused and why.

    A run that was killed goes on where it was when the same command is given again.

    Args:
      photos: Folder that holds one folder for each person (Name/*.jpg).
      out: Folder to write to.
      splits: Folder of train.txt, val.txt and test.txt with identity names, one a line. Without it all are in train.
      workers: Processes that read photographs; one for each core if not given, 0 for none but this one.
      rule: Which face counts where several are found: the central one, or none of them.
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

    prepare_photographs(photos, out, splits=splits, workers=workers, rule=rule).print()
    return 0


def pack(
    data: Required = None,
    out: Required = None,
    side: int = 128,
    quality: int = 80,
) -> int:
    """Packs a prepared data set small, for training on another machine (`python -m idfsr_jax.training.packed`).

    Args:
      data: Folder that `idfsr prepare` wrote.
      out: Folder to write to; about 38 MB for LFW at the default side and quality.
      side: Side of the packed crops, in pixels.
      quality: Quality of their compression (WebP), from 0 to 100.
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

        report = pack_dataset(data, out, side=side, quality=quality, progress=show)
    say(f"{out}: {report}")
    return 0
