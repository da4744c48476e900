"""One of several processes of the same run, started by torchrun, accelerate launch or srun.

Ranks communicate only through the directory of the run (claims.py). No rank waits for another to
appear, so a rank may die, be slow, or start late.
"""

import os
from dataclasses import dataclass

import torch

from virnucpro.errors import SettingsError
from virnucpro.runs.executors import local
from virnucpro.runs.executors.slots import Endpoint
from virnucpro.runs.task import Task

#: Environment variables that identify the process: those of torchrun and accelerate, then Slurm.
_RANK = ("RANK", "SLURM_PROCID")
_LOCAL_RANK = ("LOCAL_RANK", "SLURM_LOCALID")
_SIZE = ("WORLD_SIZE", "SLURM_NTASKS")
_LOCAL_SIZE = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")


@dataclass(frozen=True)
class Rank:
    """The position of this process among the launched ones.

    Attributes:
        index: number of the process in all, from 0.
        local_index: number of the process on this machine, from 0.
        local_size: number of processes on this machine, 1 if the launcher does not say.
    """

    index: int
    local_index: int
    local_size: int

    @classmethod
    def here(cls) -> "Rank":
        """Read the rank from the environment.

        Raises:
            SettingsError: this process was not started by a launcher.
        """
        index, local_index = (_first_of(names) for names in (_RANK, _LOCAL_RANK))
        if index is None or local_index is None:
            raise SettingsError(
                "--executor launched: RANK and LOCAL_RANK are not set; start the command with "
                "torchrun, accelerate launch or srun"
            )
        return cls(index, local_index, _first_of(_LOCAL_SIZE) or 1)

    def device(self, names: list[str]) -> str:
        """Return the device of this rank among those of its machine."""
        return names[self.local_index % len(names)]


def _first_of(names: tuple[str, ...]) -> int | None:
    found = [os.environ[name] for name in names if os.environ.get(name, "").isdecimal()]
    return int(found[0]) if found else None


def order(runs: int) -> list[int]:
    """Return the order in which this rank takes the runs, as indices.

    Each rank starts at another run, so that ranks divide short runs among them. Ranks that reach
    an unfinished run work on it together.
    """
    rank = Rank.here()
    size = max(_first_of(_SIZE) or 1, rank.index + 1)
    first = rank.index * runs // size
    return [*range(first, runs), *range(first)]


def endpoints(names: list[str], task: Task) -> list[Endpoint]:
    """Return the endpoint of this rank."""
    rank = Rank.here()
    threads = max(1, torch.get_num_threads() // rank.local_size)
    return local.endpoints([rank.device(names)], task, threads)
