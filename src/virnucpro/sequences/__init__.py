"""Reads files and cuts records into chunks and reading frames (numpy, no torch)."""

from virnucpro.sequences.chunking import Chunks, chunk_count, chunk_records, chunk_starts
from virnucpro.sequences.frames import (
    DRAWN_NAMES,
    FRAME_NAMES,
    OPEN_FRAMES,
    FrameRule,
    Frames,
    find_frames,
)
from virnucpro.sequences.nucleotides import BASE_NUMBERS, OTHER_BASE, Nucleotides
from virnucpro.sequences.reader import SequenceFile
from virnucpro.sequences.records import Record

__all__ = [
    "BASE_NUMBERS",
    "DRAWN_NAMES",
    "FRAME_NAMES",
    "OPEN_FRAMES",
    "OTHER_BASE",
    "Chunks",
    "FrameRule",
    "Frames",
    "Nucleotides",
    "Record",
    "SequenceFile",
    "chunk_count",
    "chunk_records",
    "chunk_starts",
    "find_frames",
]
