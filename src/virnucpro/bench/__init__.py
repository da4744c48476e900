"""How fast this machine is, with random weights: `virnucpro bench`."""

from virnucpro.bench.api import bench

__all__ = ["bench"]
