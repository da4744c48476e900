"""Comparison of this machine with the published networks: `virnucpro models verify`."""

from virnucpro.verification.api import verify

__all__ = ["verify"]
