"""Check what virnucpro can use on this machine: `virnucpro doctor`."""

from virnucpro.doctor.api import doctor
from virnucpro.doctor.findings import Report

__all__ = ["Report", "doctor"]
