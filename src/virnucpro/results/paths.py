"""Every file of an output directory, in one place."""

from dataclasses import dataclass
from pathlib import Path

#: Attribute of `Outputs` -> (file name, what is in it). Order is the order of announcement.
_FILES = {
    "records": ("records.tsv", "one line a record: its call"),
    "chunks": ("chunks.tsv", "one line a chunk"),
    "frames": ("frames.tsv", "one line an open frame"),
    "viral": ("viral.fasta", "the records called virus"),
    "summary": ("summary.json", "counts, calls and speed"),
    "run": ("run.json", "what was run, with what"),
}
_LEGACY_FILES = {
    "legacy_frames": ("prediction_results.txt", "frames, as the original VirNucPro writes them"),
    "legacy_chunks": (
        "prediction_results_highestscore.csv",
        "chunks, as the original VirNucPro writes them",
    ),
}
#: Files that `--gzip` compresses.
_TABLES = ("records", "chunks", "frames", "viral")
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

    def path(self, name: str) -> Path:
        """Return where one file lies, by its short name."""
        file_name = (_FILES | _LEGACY_FILES)[name][0]
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
