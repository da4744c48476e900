"""The outputs of the extraction of features: arrays on disk, merged from shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from virnucpro.errors import RunError
from virnucpro.runs.binding import Binding
from virnucpro.runs.block_loop import Progress
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.runs.run import RunManifest
from virnucpro.runs.shard_store import ShardStore
from virnucpro.training.worker import FeatureShard

_FILES = {
    "features": ("features.npy", "input of the head, one row per frame, fp32"),
    "frames": ("frames.npy", "record, chunk, start, end, frame and residues of each row"),
    "summary": ("summary.json", "counts and speed"),
    "run": ("run.json", "input, settings and versions of the run"),
}


class FeatureSet(NamedTuple):
    """Features of all frames, mapped into memory.

    Attributes:
        frame_S6: place of each frame, as in `FeatureShard`.
        features_SF: features of each frame, fp32.
    """

    frame_S6: NDArray[np.int64]
    features_SF: NDArray[np.float32]

    @classmethod
    def open(cls, directory: Path) -> "FeatureSet":
        """Map the files that a run of the task `Features` wrote.

        Raises:
            RunError: a file is incomplete.
        """
        paths = (directory / _FILES[name][0] for name in ("frames", "features"))
        try:
            return cls(*(np.load(path, mmap_mode="r") for path in paths))
        except (ValueError, EOFError) as error:
            raise RunError(
                f"{directory}: the features are damaged; remove it, then rerun to extract them"
            ) from error


class FeatureSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `summary.json` of an extraction."""

    frames: int
    width: int
    seconds: dict[str, float]
    tokens_per_second: float

    @property
    def problems(self) -> list[str]:
        """No problems: the extraction refuses records that cannot be processed."""
        return []

    @property
    def notes(self) -> list[str]:
        """No notes."""
        return []


@dataclass(frozen=True)
class FeatureOutputs:
    """The files of an extraction.

    Attributes:
        directory: the output directory.
    """

    directory: Path

    def path(self, name: str) -> Path:
        """Return the path of a file by its key in `_FILES`."""
        return self.directory / _FILES[name][0]

    def described(self) -> list[tuple[Path, str]]:
        """Return the path and a description of every file."""
        return [(self.path(name), text) for name, (_, text) in _FILES.items()]

    def are_complete(self) -> bool:
        """Tell whether every file is there."""
        return all(path.is_file() for path, _ in self.described())


@dataclass(frozen=True)
class FeatureFiles:
    """The `Product` of an extraction.

    Attributes:
        outputs: paths of the files.
        width: number of features of a frame.
    """

    outputs: FeatureOutputs
    width: int
    summary_type: ClassVar[type[FeatureSummary]] = FeatureSummary

    def merge(self, store: ShardStore, shards: int) -> int:
        """Write the arrays, one shard at a time; return the number of frames."""
        total = 0
        with PartialFiles() as files:
            features, frames = (files.open(self.outputs.path(n)) for n in ("features", "frames"))
            self._write_headers(features, frames, total)
            for index in range(shards):
                shard = FeatureShard.decode(store.load(index))
                features.write(np.ascontiguousarray(shard.features_SF).data)
                frames.write(np.ascontiguousarray(shard.frame_S6).data)
                total += len(shard.frame_S6)
            self._write_headers(features, frames, total)
        return total

    def _write_headers(self, features: BinaryIO, frames: BinaryIO, rows: int) -> None:
        """Write the headers of both files; their length does not depend on the number of rows."""
        for file, width, descr in ((features, self.width, "<f4"), (frames, 6, "<i8")):
            file.seek(0)
            layout = {"descr": descr, "fortran_order": False, "shape": (rows, width)}
            npy.write_array_header_1_0(file, layout)

    def summary(
        self, found: int, progress: Progress, seconds: dict[str, float], _binding: Binding
    ) -> FeatureSummary:
        """Return the summary of counts and times."""
        scoring = max(seconds["scoring"], 1e-9)
        rounded = {stage: round(time, 3) for stage, time in seconds.items()}
        rate = round(progress.work.tokens / scoring, 1)
        return FeatureSummary(found, self.width, rounded, rate)

    def conclude(self, _manifest: RunManifest, _summary: FeatureSummary) -> None:
        """Write nothing more."""
