"""A process that torchrun, accelerate launch or srun started, one of several in the same run.

Ranks talk to each other through the run's directory alone (claims.py): none waits for another to
appear, so that one may die, be slow, or come late.
"""

import os
from dataclasses import dataclass

import torch

from virnucpro.errors import SettingsError
from virnucpro.runs.executors import local
from virnucpro.runs.executors.slots import Place
from virnucpro.runs.task import Task

#: Variables that say which process this is: torchrun's and accelerate's, then Slurm's.
_RANK = ("RANK", "SLURM_PROCID")
_LOCAL_RANK = ("LOCAL_RANK", "SLURM_LOCALID")
_SIZE = ("WORLD_SIZE", "SLURM_NTASKS")
_LOCAL_SIZE = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")


@dataclass(frozen=True)
class Rank:
    """Which of the launched processes this is.

    Attributes:
        index: in all, from 0.
        local_index: on this machine, from 0.
        local_size: processes on this machine, as far as the launcher says.
    """

    index: int
    local_index: int
    local_size: int

    @classmethod
    def here(cls) -> "Rank":
        """Read what the launcher says.

        Raises:
            SettingsError: when this process was not launched.
        """
        index, local_index = (_first_of(names) for names in (_RANK, _LOCAL_RANK))
        if index is None or local_index is None:
            raise SettingsError(
                "--executor launched: no RANK and LOCAL_RANK here; start it with torchrun, "
                "accelerate launch or srun"
            )
        return cls(index, local_index, _first_of(_LOCAL_SIZE) or 1)

    def device(self, names: list[str]) -> str:
        """Return this rank's of the devices of its machine."""
        return names[self.local_index % len(names)]


def _first_of(names: tuple[str, ...]) -> int | None:
    found = [os.environ[name] for name in names if os.environ.get(name, "").isdecimal()]
    return int(found[0]) if found else None


def order(runs: int) -> list[int]:
    """Return the order in which this rank takes runs, by their index.

    Each rank begins elsewhere, so that ranks share out runs of few blocks, which one rank could
    claim alone; those that others are in the middle of are done together.
    """
    rank = Rank.here()
    size = max(_first_of(_SIZE) or 1, rank.index + 1)
    first = rank.index * runs // size
    return [*range(first, runs), *range(first)]


def places(names: list[str], task: Task) -> list[Place]:
    """Return what starts this rank's worker."""
    rank = Rank.here()
    threads = max(1, torch.get_num_threads() // rank.local_size)
    return local.places([rank.device(names)], task, threads)
