"""The head, the consensus of chunks and records, and probabilities."""

from virnucpro.classify.classifier import ClassifierConfig, FrameClassifier, load_classifier
from virnucpro.classify.consensus import (
    CALL_NAMES,
    ROLLUP_NAMES,
    TIER_NAMES,
    ChunkScores,
    RecordScores,
    call_chunks,
    frame_calls,
    score_chunks,
    score_records,
)
from virnucpro.classify.head import Head

__all__ = [
    "CALL_NAMES",
    "ROLLUP_NAMES",
    "TIER_NAMES",
    "ChunkScores",
    "ClassifierConfig",
    "FrameClassifier",
    "Head",
    "RecordScores",
    "call_chunks",
    "frame_calls",
    "load_classifier",
    "score_chunks",
    "score_records",
]
