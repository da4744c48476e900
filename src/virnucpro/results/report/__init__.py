"""report.html: what a finished run found, in one file for a browser."""

from virnucpro.results.report.page import page_of
from virnucpro.results.report.samples import Sample, read_sample

__all__ = ["Sample", "page_of", "read_sample"]
