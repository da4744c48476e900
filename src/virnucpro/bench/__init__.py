"""Measure the speed of this machine with random weights: `virnucpro bench`."""

from virnucpro.bench.api import bench

__all__ = ["bench"]
