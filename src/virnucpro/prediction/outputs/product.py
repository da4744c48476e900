"""The product of `predict`: what becomes of its shards."""

from dataclasses import dataclass, field

from virnucpro.files import write_whole
from virnucpro.prediction.outputs.counts import Counts
from virnucpro.prediction.outputs.merge import merge_shards
from virnucpro.prediction.outputs.methods import methods
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.probabilities import Calibrating
from virnucpro.prediction.outputs.reads_bam import TaggedReads
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.prediction.report.run_findings import Findings
from virnucpro.runs.binding import Binding
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.run import RunManifest
from virnucpro.runs.shard_store import ShardStore


@dataclass(frozen=True)
class PredictionFiles:
    """The `Product` of `predict`.

    Attributes:
        outputs: the files.
        threshold: a record is a virus if its p_virus is above this, or its probability if the
            bundle is calibrated.
        calibrating: how scores become probabilities, if the bundle is calibrated.
        tagged: what `reads.bam` is made from, if it is wanted.
        notes: what the user should know about the settings and the inputs.
        findings: what the report shows, once this process has merged the shards.
    """

    outputs: Outputs
    threshold: float
    calibrating: Calibrating | None = None
    tagged: TaggedReads | None = None
    notes: tuple[str, ...] = ()
    findings: Findings = field(default_factory=Findings)
    summary_type = Summary

    def merge(self, store: ShardStore, shards: int) -> Counts:
        """Write the files, and remove a report of earlier ones."""
        self.outputs.path("report").unlink(missing_ok=True)
        findings = self.findings if self.outputs.report else None
        return merge_shards(
            store, shards, self.outputs, self.threshold, self.calibrating, self.tagged, findings
        )

    def summary(
        self, found: Counts, progress: Progress, seconds: dict[str, float], binding: Binding
    ) -> Summary:
        """Combine counts and times."""
        return Summary.of(
            found, progress, seconds,
            bundle=binding.bundle, device=binding.device, precision=binding.precision,
            threshold=self.threshold, notes=self.notes,
        )  # fmt: skip

    def conclude(self, manifest: RunManifest, summary: Summary) -> None:
        """Write methods.txt."""
        write_whole(self.outputs.path("methods"), methods(manifest, summary).encode() + b"\n")
