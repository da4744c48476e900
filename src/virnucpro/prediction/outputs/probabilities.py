"""What the scores of a whole run mean: probabilities, and the share of false viruses above each.

p_virus is printed with 6 decimals and a calibration has a few lines, so that a run of any size has
a limited number of different *kinds* of records: line and p_virus in millionths, as one number.
How often each kind occurs is all that is held.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from virnucpro.bundles.manifest import Calibration
from virnucpro.classify.probability import (
    Float64,
    Int64,
    at_prevalence,
    estimate_prevalence,
    false_discovery_rates,
    line_numbers,
    probabilities,
)
from virnucpro.prediction.outputs.record_scores import RecordAssembler, lines
from virnucpro.prediction.shard import decode_shard
from virnucpro.runs.shard_store import ShardStore

_DECIMALS = 6
_MILLION = 10**_DECIMALS
#: Different p_virus, from 0.000000 to 1.000000.
_SCORES = _MILLION + 1


@dataclass(frozen=True)
class Calibrating:
    """How the scores of a run become probabilities.

    Attributes:
        calibration: of the bundle.
        prevalence: share of viruses among the scored records; None to estimate it.
        max_fdr: a record is virus up to this false discovery rate; None to go by probability.
    """

    calibration: Calibration
    prevalence: float | None
    max_fdr: float | None = None


class Probabilities(NamedTuple):
    """What the scores of a run mean.

    Attributes:
        calibration: of the bundle.
        prevalence: share of viruses that the probabilities are for.
        is_estimated: whether it was estimated from the run.
        expected: viruses among the scored records, the sum of their probabilities.
        thresholds: for each line, the p_virus above which a record is virus.
        kinds: of records that there are, rising.
        probability: P(virus) of each kind.
        fdr: expected share of false viruses among the records of each kind and all with a higher
            probability, with 6 decimals.
    """

    calibration: Calibration
    prevalence: float
    is_estimated: bool
    expected: float
    thresholds: Float64
    kinds: Int64
    probability: Float64
    fdr: Float64

    @classmethod
    def of(cls, records: Int64, wanted: Calibrating, threshold: float) -> "Probabilities":
        """Turn the number of records of each kind into what their scores mean.

        Args:
            records: how many there are of each kind.
            wanted: how scores become probabilities.
            threshold: the probability above which a record is virus, where no `max_fdr` says it.
        """
        calibration, prevalence = wanted.calibration, wanted.prevalence
        kinds = np.flatnonzero(records)
        counts = records[kinds]
        line, millionths = np.divmod(kinds, _SCORES)
        fitted = probabilities(calibration, line, millionths / _MILLION)
        if prevalence is None:
            prevalence = estimate_prevalence(fitted, counts, calibration.prevalence)
        probability = at_prevalence(fitted, calibration.prevalence, prevalence)
        fdr = np.round(false_discovery_rates(probability, counts), _DECIMALS)
        called = probability > threshold if wanted.max_fdr is None else fdr <= wanted.max_fdr
        thresholds = np.full(len(calibration.lines), math.inf)
        np.minimum.at(thresholds, line[called], (millionths[called] - 0.5) / _MILLION)
        return cls(
            calibration,
            prevalence,
            wanted.prevalence is None,
            float(counts @ probability),
            thresholds,
            kinds,
            probability,
            fdr,
        )

    def columns(self, p_virus: Float64, chunks: Int64, bases: Int64) -> tuple[Float64, Float64]:
        """Return probability and false discovery rate of records; NaN where p_virus is.

        Args:
            p_virus: of each record.
            chunks: scored chunks of each record.
            bases: of a chunk of each record, the mean.
        """
        scored = np.flatnonzero(~np.isnan(p_virus))
        kinds = _kinds(self.calibration, p_virus[scored], chunks[scored], bases[scored])
        kind = np.searchsorted(self.kinds, kinds)
        columns = np.full((2, len(p_virus)), np.nan)
        columns[:, scored] = self.probability[kind], self.fdr[kind]
        return columns[0], columns[1]

    def threshold_of(self, chunks: Int64, bases: Int64) -> Float64:
        """Return the p_virus above which records are virus; arguments are as of `columns`."""
        return self.thresholds[line_numbers(self.calibration, chunks, bases)]


def count_kinds(store: ShardStore, shards: int, calibration: Calibration) -> Int64:
    """Return how many records of each kind there are, reading the first `shards` shards."""
    assembler = RecordAssembler(lambda *_: math.inf)  # no calls are asked for
    records = np.zeros(len(calibration.lines) * _SCORES, np.int64)
    for index in range(shards):
        shard = decode_shard(store.load(index))
        finished = assembler.add(shard, shard.chunk_scores(), lines(shard.ids))
        p_virus = finished.scores.p_virus
        scored = ~np.isnan(p_virus)
        chunks, bases = finished.scored_chunks[scored], finished.chunk_bases[scored]
        kinds = _kinds(calibration, p_virus[scored], chunks, bases)
        np.add.at(records, kinds, 1)
    return records


def _kinds(calibration: Calibration, p_virus: Float64, chunks: Int64, bases: Int64) -> Int64:
    """Return the kind of each scored record."""
    millionths: Int64 = np.rint(p_virus * _MILLION).astype(np.int64)
    kinds: Int64 = line_numbers(calibration, chunks, bases) * _SCORES + millionths
    return kinds
