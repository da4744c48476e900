"""Workers on this machine, one for each device."""

from functools import partial

import torch

from virnucpro.runs.executors.connection import InProcessConnection
from virnucpro.runs.executors.processes import ProcessConnection
from virnucpro.runs.executors.slots import Endpoint
from virnucpro.runs.task import Task


def endpoints(names: list[str], task: Task, threads: int | None = None) -> list[Endpoint]:
    """Return an endpoint for each device of this machine.

    A single CPU computes in this process, which starts a second faster than a new process.

    Args:
        names: names of the devices.
        task: task of the run.
        threads: number of threads that all CPU workers share (default: one per core).
    """
    if names == ["cpu"]:
        return [Endpoint("cpu", partial(InProcessConnection, "cpu", task, threads))]
    cores = (threads or torch.get_num_threads()) // max(1, names.count("cpu"))
    share = {"cpu": max(1, cores)}
    return [
        Endpoint(name, partial(ProcessConnection, name, task, share.get(name))) for name in names
    ]
