"""The commands of `idfsr`, a function each: its signature is its command line.

JAX and all that needs it is imported inside the commands, so that help and complaints about arguments come at once.
"""

from idfsr_jax.commands.app import app
from idfsr_jax.commands.data import convert, prepare
from idfsr_jax.commands.export import export
from idfsr_jax.commands.identity import fit, identity
from idfsr_jax.commands.options import Distributed, complain
from idfsr_jax.commands.plan import PlanOptions, plan, run_plan
from idfsr_jax.commands.restore import restore
from idfsr_jax.commands.training import changes_for_evaluation, evaluate, run_evaluation, run_training, train

__all__ = [
    "Distributed",
    "PlanOptions",
    "app",
    "changes_for_evaluation",
    "complain",
    "convert",
    "evaluate",
    "export",
    "fit",
    "identity",
    "plan",
    "prepare",
    "restore",
    "run_evaluation",
    "run_plan",
    "run_training",
    "train",
]
