"""Every file of an output directory, in one place."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from virnucpro.files import as_text

#: Short name -> (file name, content). The order is that of the announcement.
_TABLES = {
    "records": ("records.tsv", "one line per record, with its call"),
    "chunks": ("chunks.tsv", "one line per chunk"),
    "frames": ("frames.tsv", "one line per open frame"),
}
_TRACK_FILES = {
    "track": ("scores.bedgraph", "score along each record with several chunks"),
    "regions": ("regions.gff3", "viral regions inside records"),
    "regions_bed": ("regions.bed", "the same regions in BED format"),
}
_BAM_FILES = {"bam": ("reads.bam", "all reads of the input, with their calls")}
_STATE_FILES = {
    "multiqc_calls": ("virnucpro_calls_mqc.json", "calls of the run, for MultiQC"),
    "multiqc_stats": ("virnucpro_stats_mqc.json", "shares of the run, for MultiQC"),
    "summary": ("summary.json", "counts, calls and speed"),
    "run": ("run.json", "inputs, settings and software of the run"),
    "methods": ("methods.txt", "a paragraph for the methods section of a paper"),
}
_REPORT_FILES = {"report": ("report.html", "the findings, as a page for the browser")}
_LEGACY_FILES = {
    "legacy_frames": ("prediction_results.txt", "frames, in the format of the original VirNucPro"),
    "legacy_chunks": (
        "prediction_results_highestscore.csv",
        "chunks, in the format of the original VirNucPro",
    ),
}
#: Only commands write this file, after all others.
CONFIG_FILE = "config.toml"
_COMMAND_FILES = {"config": (CONFIG_FILE, "the command line, with the values that were used")}
#: The files of a sample sheet; each sample also has a folder.
_SHEET_FILES = {
    "records": ("records.tsv", "records.tsv of all samples, with the sample in the first column"),
    "samples": ("samples.tsv", "one line per sample: counts, calls and speed"),
}
_SHEET_REPORT = {"report": ("report.html", "all samples side by side, for the browser")}
#: Call -> beginning of the file names of its reads, and their content.
_READS = {
    "virus": ("viral", "the records called virus"),
    "other": ("other", "the records called other"),
    "unscored": ("unscored", "the records without a score"),
}
#: Calls with files of reads, in the order of the files.
READ_CALLS = tuple(_READS)
#: Format of the files of reads.
ReadFormat = Literal["fasta", "fastq"]


@dataclass(frozen=True)
class ReadFiles:
    """The reads that are written, and their files.

    Attributes:
        calls: calls of the records whose reads are written.
        file_format: format of the files.
        has_singles: whether there is a file for reads that are single or stay interleaved.
        has_pairs: whether there are two files for the mates of pairs.
    """

    calls: tuple[str, ...] = ("virus",)
    file_format: ReadFormat = "fasta"
    has_singles: bool = True
    has_pairs: bool = False

    def name_of(self, call: str, mate: int) -> str:
        """Return the short name of the file for a read; `mate` is 0 for a single read."""
        return f"{_READS[call][0]}{f'_{mate}' if mate and self.has_pairs else ''}"

    def described(self) -> dict[str, tuple[str, str]]:
        """Return short name -> (file name, content) of every file."""
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
        legacy: whether the files of the original VirNucPro are written.
        compressed: whether tables and sequences are gzip-compressed.
        reads: the reads that are written.
        bam: whether all reads are also written as BAM.
        report: whether the report is drawn.
    """

    directory: Path
    legacy: bool = False
    compressed: bool = False
    reads: ReadFiles = field(default_factory=ReadFiles)
    bam: bool = False
    report: bool = False

    @property
    def sample(self) -> str:
        """Name of the run in programs that read many runs: the name of its directory."""
        return as_text(self.directory.resolve().name)

    def path(self, name: str) -> Path:
        """Return the path of one file, by its short name."""
        reads = self.reads.described()
        files = _TABLES | _TRACK_FILES | reads | _BAM_FILES | _STATE_FILES | _LEGACY_FILES
        file_name = (files | _REPORT_FILES | _COMMAND_FILES)[name][0]
        is_packed = name in _TABLES | reads or name == "track"
        suffix = ".gz" if self.compressed and is_packed else ""
        return self.directory / (file_name + suffix)

    def described(self) -> list[tuple[Path, str]]:
        """Return every file of the run and its content."""
        files = self._results() | (_REPORT_FILES if self.report else {})
        return [(self.path(name), text) for name, (_, text) in files.items()]

    def are_complete(self) -> bool:
        """Return whether every file exists, except the report, which needs only the others."""
        return all(self.path(name).is_file() for name in self._results())

    def _results(self) -> dict[str, tuple[str, str]]:
        files = _TABLES | _TRACK_FILES | self.reads.described()
        files |= _BAM_FILES if self.bam else {}
        return files | _STATE_FILES | (_LEGACY_FILES if self.legacy else {})


@dataclass(frozen=True)
class SheetOutputs:
    """The files for all samples of a sheet together.

    Attributes:
        directory: the output directory.
        compressed: whether the table of records is gzip-compressed.
        report: whether a report compares the samples.
    """

    directory: Path
    compressed: bool = False
    report: bool = False

    def path(self, name: str) -> Path:
        """Return the path of one file, by its short name."""
        suffix = ".gz" if self.compressed and name in _TABLES else ""
        return self.directory / ((_SHEET_FILES | _SHEET_REPORT)[name][0] + suffix)

    def described(self) -> list[tuple[Path, str]]:
        """Return every file and its content."""
        files = _SHEET_FILES | (_SHEET_REPORT if self.report else {})
        return [(self.path(name), text) for name, (_, text) in files.items()]

    def are_complete(self) -> bool:
        """Return whether every file exists."""
        return all(path.is_file() for path, _ in self.described())
