"""Workers on this machine, one for each device."""

from functools import partial

import torch

from virnucpro.runs.executors.connection import InProcess
from virnucpro.runs.executors.processes import Process
from virnucpro.runs.executors.slots import Place
from virnucpro.runs.task import Task


def places(names: list[str], task: Task, threads: int | None = None) -> list[Place]:
    """Return what starts a worker on each device.

    A single CPU computes in this process, which starts a second faster than one of its own.

    Args:
        names: of the devices.
        task: of the run.
        threads: that all CPU workers may use together; by default one for each core.
    """
    if names == ["cpu"]:
        return [Place("cpu", partial(InProcess, "cpu", task, threads))]
    cores = (threads or torch.get_num_threads()) // max(1, names.count("cpu"))
    share = {"cpu": max(1, cores)}
    return [Place(name, partial(Process, name, task, share.get(name))) for name in names]
