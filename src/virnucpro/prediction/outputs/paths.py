"""Every file of an output directory, in one place."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from virnucpro.files import as_text

#: Attribute of `Outputs` -> (file name, what is in it). Order is the order of announcement.
_TABLES = {
    "records": ("records.tsv", "one line a record: its call"),
    "chunks": ("chunks.tsv", "one line a chunk"),
    "frames": ("frames.tsv", "one line an open frame"),
}
_TRACK_FILES = {
    "track": ("scores.bedgraph", "score along each record of several chunks"),
    "regions": ("regions.gff3", "viral regions inside records"),
    "regions_bed": ("regions.bed", "the same regions as BED"),
}
_BAM_FILES = {"bam": ("reads.bam", "all reads of the input, with their call")}
_STATE_FILES = {
    "multiqc_calls": ("virnucpro_calls_mqc.json", "calls of the run, for MultiQC"),
    "multiqc_stats": ("virnucpro_stats_mqc.json", "shares of the run, for MultiQC"),
    "summary": ("summary.json", "counts, calls and speed"),
    "run": ("run.json", "what was run, with what"),
    "methods": ("methods.txt", "a paragraph for a paper's methods"),
}
_REPORT_FILES = {"report": ("report.html", "what was found, as a page for the browser")}
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
#: The files of a sample sheet, beside a folder for each sample.
_SHEET_FILES = {
    "records": ("records.tsv", "records.tsv of all samples, after the sample's name"),
    "samples": ("samples.tsv", "one line a sample: counts, calls and speed"),
}
_SHEET_REPORT = {"report": ("report.html", "all samples side by side, for the browser")}
#: Call -> how the files of its reads begin, and what is in them.
_READS = {
    "virus": ("viral", "the records called virus"),
    "other": ("other", "the records called other"),
    "unscored": ("unscored", "the records without a score"),
}
#: Calls whose reads can be written, in the order of the files.
READ_CALLS = tuple(_READS)
#: How reads are written.
ReadFormat = Literal["fasta", "fastq"]


@dataclass(frozen=True)
class ReadFiles:
    """Which reads are written, and into which files.

    Attributes:
        calls: of their records.
        file_format: of the files.
        has_singles: whether a file is there for what is no pair, or stays interleaved.
        has_pairs: whether two files are there for the mates of pairs.
    """

    calls: tuple[str, ...] = ("virus",)
    file_format: ReadFormat = "fasta"
    has_singles: bool = True
    has_pairs: bool = False

    def name_of(self, call: str, mate: int) -> str:
        """Return the short name of the file for a read; `mate` is 1 or 2 of a pair, else 0."""
        return f"{_READS[call][0]}{f'_{mate}' if mate and self.has_pairs else ''}"

    def described(self) -> dict[str, tuple[str, str]]:
        """Return file name and content of every file by its short name."""
        mates = [0] * self.has_singles + [1, 2] * self.has_pairs
        return {
            self.name_of(call, mate): (
                f"{self.name_of(call, mate)}.{self.file_format}",
                _READS[call][1] + (f", mates {mate}" if mate else ""),
            )
            for call in self.calls
            for mate in mates
        }


@dataclass(frozen=True)
class Outputs:
    """The files of one run.

    Attributes:
        directory: the output directory.
        legacy: whether the original's files are written too.
        compressed: whether tables and sequences are gzip-compressed.
        reads: which reads are written.
        bam: whether all reads are written as BAM too.
        report: whether the report is drawn too.
    """

    directory: Path
    legacy: bool = False
    compressed: bool = False
    reads: ReadFiles = field(default_factory=ReadFiles)
    bam: bool = False
    report: bool = False

    @property
    def sample(self) -> str:
        """What programs that read many runs call this one: the directory's name."""
        return as_text(self.directory.resolve().name)

    def path(self, name: str) -> Path:
        """Return where one file lies, by its short name."""
        reads = self.reads.described()
        files = _TABLES | _TRACK_FILES | reads | _BAM_FILES | _STATE_FILES | _LEGACY_FILES
        file_name = (files | _REPORT_FILES | _COMMAND_FILES)[name][0]
        is_packed = name in _TABLES | reads or name == "track"
        suffix = ".gz" if self.compressed and is_packed else ""
        return self.directory / (file_name + suffix)

    def described(self) -> list[tuple[Path, str]]:
        """Return every file of the run and what is in it."""
        files = self._results() | (_REPORT_FILES if self.report else {})
        return [(self.path(name), text) for name, (_, text) in files.items()]

    def are_complete(self) -> bool:
        """Tell whether every file is there, but the report, which is drawn from the others."""
        return all(self.path(name).is_file() for name in self._results())

    def _results(self) -> dict[str, tuple[str, str]]:
        files = _TABLES | _TRACK_FILES | self.reads.described()
        files |= _BAM_FILES if self.bam else {}
        return files | _STATE_FILES | (_LEGACY_FILES if self.legacy else {})


@dataclass(frozen=True)
class SheetOutputs:
    """The files that all samples of a sheet have together.

    Attributes:
        directory: the output directory.
        compressed: whether the table of records is gzip-compressed.
        report: whether a report compares the samples.
    """

    directory: Path
    compressed: bool = False
    report: bool = False

    def path(self, name: str) -> Path:
        """Return where one file lies, by its short name."""
        suffix = ".gz" if self.compressed and name in _TABLES else ""
        return self.directory / ((_SHEET_FILES | _SHEET_REPORT)[name][0] + suffix)

    def described(self) -> list[tuple[Path, str]]:
        """Return every file and what is in it."""
        files = _SHEET_FILES | (_SHEET_REPORT if self.report else {})
        return [(self.path(name), text) for name, (_, text) in files.items()]

    def are_complete(self) -> bool:
        """Tell whether every file is there."""
        return all(path.is_file() for path, _ in self.described())
