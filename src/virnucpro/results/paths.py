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
_REPORT_FILES = {"report": ("report.html", "what was found, as a page for the browser")}
_LEGACY_FILES = {
    "legacy_frames": ("prediction_results.txt", "frames, as the original VirNucPro writes them"),
    "legacy_chunks": (
        "prediction_results_highestscore.csv",
        "chunks, as the original VirNucPro writes them",
    ),
}
#: Files that `--gzip` compresses.
_TABLES = ("records", "chunks", "frames", "viral")


@dataclass(frozen=True)
class Outputs:
    """The files of one run.

    Attributes:
        directory: the output directory.
        legacy: whether the original's files are written too.
        compressed: whether tables and sequences are gzip-compressed.
        report: whether the report is drawn too.
    """

    directory: Path
    legacy: bool = False
    compressed: bool = False
    report: bool = False

    def path(self, name: str) -> Path:
        """Return where one file lies, by its short name."""
        file_name = (_FILES | _LEGACY_FILES | _REPORT_FILES)[name][0]
        suffix = ".gz" if self.compressed and name in _TABLES else ""
        return self.directory / (file_name + suffix)

    def described(self) -> list[tuple[Path, str]]:
        """Return every file of the run and what is in it."""
        files = self._results() | (_REPORT_FILES if self.report else {})
        return [(self.path(name), text) for name, (_, text) in files.items()]

    def are_complete(self) -> bool:
        """Tell whether every file is there, but the report, which is drawn from the others."""
        return all(self.path(name).is_file() for name in self._results())

    def _results(self) -> dict[str, tuple[str, str]]:
        return _FILES | (_LEGACY_FILES if self.legacy else {})
