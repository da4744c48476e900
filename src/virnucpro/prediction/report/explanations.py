"""What a run found and what it means, in words for readers who are not programmers."""

from collections.abc import Sequence

from markupsafe import Markup

from virnucpro.prediction.outputs.counts import NO_OPEN_FRAME, NOT_PROCESSED
from virnucpro.prediction.report.finished_runs import Sample
from virnucpro.prediction.report.run_findings import SHORT

#: Reason why a record has no score -> explanation.
REASONS = {
    NO_OPEN_FRAME: "no open frame: each of the six translations is broken by stop codons, and the "
    "method cannot read such a sequence",
    NOT_PROCESSED: "not processed: empty, or with letters that are not nucleotides",
}
_LIKENESS = (
    "The sequence looks more like the viral sequences in the training data of the model than like "
    "the others. The call names no species and says nothing about infection, illness or the amount "
    "of virus."
)
_FALSE = (
    "Genes of bacteria, of people or of other hosts can look viral. The fewer viruses a sample "
    "holds, the larger the share of false calls among all calls. Confirm what matters by another "
    "method."
)
_MISSED = (
    "A virus unlike those in the training data, or with few or short sequences in the sample, can "
    "be missed."
)
_NOT_CALIBRATED = (
    "The bundle is not calibrated: a score of 0.9 does not mean that 9 in 10 such records are "
    "viral. Scores only rank records."
)
_ASSUMED = Markup(
    "You gave that share. If you expect another one, run predict again into a new directory with "
    "<code>--prevalence SHARE</code>, or without the option to estimate it: probabilities and the "
    "expected number of false calls depend on it."
)
_ESTIMATED = Markup(
    "With few viruses the estimate is rough. If you know the share, run predict again into a new "
    "directory and give it: <code>--prevalence SHARE</code>."
)
#: Setting -> its name on the page.
_SETTINGS = {
    "chunk_length": "bases in a chunk",
    "frames": "frames",
    "block_chunks": "chunks in a block",
    "legacy": "files of the original VirNucPro",
    "compressed": "compressed tables",
    "prevalence": "prevalence",
    "max_fdr": "most false viruses (FDR)",
}
#: Settings that do not change scores.
_HARMLESS = ("block_chunks", "legacy", "compressed", "write", "reads", "bam")


def share(part: float, whole: float) -> str:
    """Return a share in per cent, on one line, in which a few are never shown as none."""
    if not whole:
        return "0\u00a0%"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "less than 0.1\u00a0%"
    if 99.9 < percent < 100:
        return "more than 99.9\u00a0%"
    return f"{percent:.1f}\u00a0%"


def verdict(samples: Sequence[Sample]) -> str:
    """Return what was found, in one sentence."""
    return _verdict_of_one(samples[0]) if len(samples) == 1 else _verdict_of_several(samples)


def _verdict_of_one(sample: Sample) -> str:
    calls, records = sample.summary.calls, sample.summary.records
    if not records:
        return "The input holds no records"
    found = f"{calls['virus']:,} of {records:,} records ({share(calls['virus'], records)}) "
    found += "looks viral" if calls["virus"] == 1 else "look viral"
    return found + _inside(sample.found.region_count or 0)


def doubt(samples: Sequence[Sample], damaged: Sequence[str] = ()) -> str:
    """Return how far to trust the verdict, and what is left out, in one or two sentences."""
    unscored = sum(s.summary.calls["unscored"] for s in samples)
    found = f"Left out, because their files are damaged: {', '.join(damaged)}. " if damaged else ""
    found += f"{unscored:,} could not be scored. " if unscored else ""
    if all(s.summary.calibrated for s in samples):
        return found + "Some calls are false; how many to expect is said below."
    return found + "Scores are not calibrated, and some calls are false: they are leads to confirm."


def _verdict_of_several(samples: Sequence[Sample]) -> str:
    shares = [s.summary.calls["virus"] / max(1, s.summary.records) for s in samples]
    low, high = min(shares), max(shares)
    names = [samples[shares.index(value)].name for value in (low, high)]
    return (
        f"{len(samples)} samples: from {share(low, 1)} ({names[0]}) to {share(high, 1)} "
        f"({names[1]}) of the records look viral"
        + _inside(sum(sample.found.region_count or 0 for sample in samples))
    )


def _inside(regions: int) -> str:
    """Return the number of viral regions inside records, as the end of a sentence."""
    if not regions:
        return ""
    return f"; {regions:,} viral region{'s lie' if regions > 1 else ' lies'} inside records"


def meanings(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """Return what the results mean and do not mean, as headlines and paragraphs."""
    title, meaning = _of_scores(samples)
    return [
        ("“Virus” is a likeness, not a diagnosis", _LIKENESS),
        (title, meaning),
        ("Some calls are false", _FALSE),
        ("“Other” does not rule a virus out", _MISSED + _of_short(samples)),
        ("For research", "virnucpro has not been validated as a diagnostic method."),
    ]


def _of_scores(samples: Sequence[Sample]) -> tuple[str, str]:
    calibrated = [s for s in samples if s.summary.calibrated]
    if not calibrated:
        return "A score is not a probability", _NOT_CALIBRATED
    parts = ["The column probability is the chance that a record is viral."]
    for sample in calibrated:
        summary, of = sample.summary, f"{sample.name}: " if len(samples) > 1 else ""
        known = " (estimated from the run)" if summary.prevalence_estimated else ""
        if summary.prevalence is None:
            parts.append(f"{of}No record has a score.")
            continue
        viral = share(summary.prevalence, 1)
        parts.append(f"{of}It holds if {viral} of the scored records are viral{known}.")
        false = sample.found.false_share
        if false is not None and summary.calls["virus"]:
            parts.append(f"About {share(false, 1)} of those called virus are expected to be false.")
    shares = [s.summary.prevalence_estimated for s in calibrated if s.summary.prevalence]
    if shares:
        parts.append(_ESTIMATED if all(shares) else _ASSUMED)
    if len(calibrated) < len(samples):
        parts.append("Samples without a calibration have only scores, which are not probabilities.")
    return "Probabilities are calibrated", Markup(" ").join(parts)


def _of_short(samples: Sequence[Sample]) -> str:
    short = sum(s.found.short for s in samples)
    if not short:
        return ""
    return (
        f" {short:,} record{'s are' if short > 1 else ' is'} shorter than {SHORT} bases: "
        "their scores say little."
    )


def settings(sample: Sample) -> list[tuple[str, str]]:
    """Return the settings of a run, by name."""
    told = sample.manifest.binding.settings
    return [(_SETTINGS.get(name, name.replace("_", " ")), _said(told[name])) for name in told]


def _said(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def differing(samples: Sequence[Sample]) -> list[str]:
    """Return the names of settings that change scores and differ between runs."""
    bindings = [s.manifest.binding for s in samples]
    found = [
        name.removesuffix(" sha256")
        for name in ("version", "bundle sha256", "precision", "device")
        if len({getattr(binding, name.replace(" ", "_")) for binding in bindings}) > 1
    ]
    names = dict.fromkeys(name for b in bindings for name in b.settings if name not in _HARMLESS)
    return found + [
        _SETTINGS.get(name, name)
        for name in names
        if len({str(b.settings.get(name)) for b in bindings}) > 1
    ]
