"""One run at a time in a folder: a second one would mix its checkpoints and log with those of the first."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import try_lock
from idfsr_jax.training.distributed import all_agree, is_main, wait_for_all

_IN_USE = "{}: another run is at work in this folder; wait until it has ended, or choose another train.out."


class FolderInUse(InputError):
    """Another run is at work in the folder."""


@contextmanager
def sole_use(out: Path) -> Iterator[None]:
    """Keeps other runs out of a folder for as long as the block lasts, by a lock on its file `lock`.

    The file stays, and means nothing once the process has ended. Of several processes one asks for all. Where there are
    no locks (`io.files.try_lock`), nobody is kept out.

    Args:
      out: the run's folder; made if it is missing.

    Raises:
      FolderInUse: another run has the lock.
      InputError: nothing can be written there.
    """
    # First, as processes come here after work of unequal length, for which an exchange does not wait.
    wait_for_all("the folder is asked for")
    with ExitStack() as held:
        refused: InputError | None = None
        if is_main():
            try:
                out.mkdir(parents=True, exist_ok=True)
                file = held.enter_context((out / "lock").open("ab"))
            except OSError as error:
                refused = InputError(f"{out}: cannot be written to ({error.strerror}); choose another train.out.")
            else:
                if try_lock(file) is False:
                    refused = FolderInUse(_IN_USE.format(out))
        if not all_agree(refused is None):
            raise refused or FolderInUse(_IN_USE.format(out))
        yield
