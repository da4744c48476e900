"""Every file of an output directory, in one place."""

from dataclasses import dataclass
from pathlib import Path

#: Attribute of `Outputs` -> (file name, what is in it). Order is the order of announcement.
_FILES = {
    "records": ("records.tsv", "one line a record: its call"),
    "chunks": ("chunks.tsv", "one line a chunk"),
    "frames": ("frames.tsv", "one line an open frame"),
    "track": ("scores.bedgraph", "score along each record of several chunks"),
    "regions": ("regions.gff3", "viral regions inside records"),
    "regions_bed": ("regions.bed", "the same regions as BED"),
    "viral": ("viral.fasta", "the records called virus"),
    "multiqc_calls": ("virnucpro_calls_mqc.json", "calls of the run, for MultiQC"),
    "multiqc_stats": ("virnucpro_stats_mqc.json", "shares of the run, for MultiQC"),
    "summary": ("summary.json", "counts, calls and speed"),
    "run": ("run.json", "what was run, with what"),
    "methods": ("methods.txt", "a paragraph for a paper's methods"),
}
_LEGACY_FILES = {
    "legacy_frames": ("prediction_results.txt", "frames, as the original VirNucPro writes them"),
    "legacy_chunks": (
        "prediction_results_highestscore.csv",
        "chunks, as the original VirNucPro writes them",
    ),
}
#: The command line, with the values that were used; only commands write it, after all others.
CONFIG_FILE = "config.toml"
_COMMAND_FILES = {"config": (CONFIG_FILE, "the command line, with the values that were used")}
#: Files that `--gzip` compresses.
_TABLES = ("records", "chunks", "frames", "track", "viral")
#: The files of a sample sheet, beside a folder for each sample.
_SHEET_FILES = {
    "records": ("records.tsv", "records.tsv of all samples, after the sample's name"),
    "samples": ("samples.tsv", "one line a sample: counts, calls and speed"),
}


@dataclass(frozen=True)
class Outputs:
    """The files of one run.

    Attributes:
        directory: the output directory.
        legacy: whether the original's files are written too.
        compressed: whether tables and sequences are gzip-compressed.
    """

    directory: Path
    legacy: bool = False
    compressed: bool = False

    @property
    def sample(self) -> str:
        """What programs that read many runs call this one: the directory's name."""
        return self.directory.resolve().name

    def path(self, name: str) -> Path:
        """Return where one file lies, by its short name."""
        file_name = (_FILES | _LEGACY_FILES | _COMMAND_FILES)[name][0]
        suffix = ".gz" if self.compressed and name in _TABLES else ""
        return self.directory / (file_name + suffix)

    def described(self) -> list[tuple[Path, str]]:
        """Return every file of the run and what is in it."""
        files = _FILES | (_LEGACY_FILES if self.legacy else {})
        return [(self.path(name), text) for name, (_, text) in files.items()]

    def are_complete(self) -> bool:
        """Tell whether every file is there."""
        return all(path.is_file() for path, _ in self.described())


@dataclass(frozen=True)
class SheetOutputs:
    """The files that all samples of a sheet have together.

    Attributes:
        directory: the output directory.
        compressed: whether the table of records is gzip-compressed.
    """

    directory: Path
    compressed: bool = False

    def path(self, name: str) -> Path:
        """Return where one file lies, by its short name."""
        suffix = ".gz" if self.compressed and name in _TABLES else ""
        return self.directory / (_SHEET_FILES[name][0] + suffix)

    def described(self) -> list[tuple[Path, str]]:
        """Return every file and what is in it."""
        return [(self.path(name), text) for name, (_, text) in _SHEET_FILES.items()]

    def are_complete(self) -> bool:
        """Tell whether every file is there."""
        return all(path.is_file() for path, _ in self.described())
