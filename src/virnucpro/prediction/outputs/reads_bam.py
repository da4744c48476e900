"""reads.bam: every read of the input, with the call of its record in tags.

The input is read a second time, in step with the records of the run, to keep everything that a BAM
file says about a read.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import BinaryIO

import pysam

from virnucpro.classify import CALL_NAMES, TIER_NAMES
from virnucpro.classify.consensus import UNSCORED
from virnucpro.errors import InputError, printable
from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.sequences.bam import is_extra, mate_number, name_of, set_qualities
from virnucpro.sequences.fragments import FragmentReader, Mate, ReadOptions, Source, paths_of
from virnucpro.sequences.mates import pair_name
from virnucpro.sequences.reader import SequenceFile

#: Tags for call, score and tier of the record; lower-case tags are reserved for local use.
CALL, SCORE, TIER = "vc", "vp", "vt"
#: Flags of an unaligned read: not a mate, mate 1, mate 2.
_FLAGS = (0x4, 0x4D, 0x8D)
#: Bytes to write after a failure, so that the system gives the reason.
_PROBE = 1 << 16
_NEW_HEADER = "@HD\tVN:1.6\tSO:unsorted\tGO:query"

#: Id of a record and its lines, including secondary and supplementary alignments.
_Lines = tuple[str, list[pysam.AlignedSegment]]


@dataclass(frozen=True)
class TaggedReads:
    """What `reads.bam` is made from.

    Attributes:
        sources: the inputs of the run: one BAM file, or files of other formats.
        options: how they are read.
        weights: name and version of the weights, for the header.
    """

    sources: tuple[Source, ...]
    options: ReadOptions
    weights: str


class BamWriter:
    """A sink that writes `reads.bam`.

    Args:
        file: the file; it must have a file descriptor.
        wanted: what the file is made from.
    """

    def __init__(self, file: BinaryIO, wanted: TaggedReads) -> None:
        self._sources, self._file = wanted.sources, file
        self._open = ExitStack()
        self._open.callback(pysam.set_verbosity, pysam.set_verbosity(0))  # errors are raised
        first = self._open.enter_context(SequenceFile(paths_of(wanted.sources)[0]))
        is_bam = first.format == "bam"
        text = first.bam_header if is_bam else _NEW_HEADER
        header = pysam.AlignmentHeader.from_text(_with_program(text, wanted.weights))
        self._out = self._open.enter_context(pysam.AlignmentFile(file, "wb", header=header))
        self._records = _kept(first) if is_bam else _made(wanted, header)

    def add(self, part: ScoredShard) -> None:
        """Write the reads of the records that end in a shard, which come next in the input."""
        finished, scores = part.records, part.records.scores
        tiers = [TIER_NAMES[tier] for tier in scores.tier.tolist()]
        columns = (finished.ids.to_list(), finished.calls, scores.p_virus.tolist(), tiers)
        for name, call, p_virus, tier in zip(*columns, strict=True):
            found, alignments = next(self._records, ("", []))
            if found != name:
                raise self._changed()
            is_scored = call != CALL_NAMES[UNSCORED]
            for alignment in alignments:
                if not is_extra(alignment):
                    alignment.set_tag(CALL, call, "Z")
                    alignment.set_tag(SCORE, round(p_virus, 6) if is_scored else None, "f")
                    alignment.set_tag(TIER, tier if is_scored else None, "Z")
                self._write(alignment)

    def _write(self, alignment: pysam.AlignedSegment) -> None:
        with self._saying_why():
            self._out.write(alignment)

    @contextmanager
    def _saying_why(self) -> Iterator[None]:
        """Let the system give the reason for a failed write, which htslib does not pass on."""
        try:
            yield
        except OSError:
            self._file.write(bytes(_PROBE))
            self._file.flush()
            raise

    def abandon(self) -> None:
        """Close the file, complete or not."""
        with suppress(OSError):
            self._open.close()

    def finish(self) -> None:
        """Write the lines after the last record, and close the file."""
        for name, alignments in self._records:
            if name:
                raise self._changed()
            for alignment in alignments:
                self._write(alignment)
        with self._saying_why():
            self._open.close()

    def _changed(self) -> InputError:
        paths = ", ".join(paths_of(self._sources))
        return InputError(f"{paths}: changed during the run; give a new output directory")


def bam_writer(files: PartialFiles, outputs: Outputs, wanted: TaggedReads) -> BamWriter:
    """Return the sink of a run; whatever happens, it is closed before the other files."""
    writer = BamWriter(files.open(outputs.path("bam")), wanted)
    files.at_end(writer.abandon)
    return writer


def _with_program(header: str, weights: str) -> str:
    """Return a header with a line for the program that wrote the file."""
    lines = [line for line in header.split("\n") if line]
    programs = [line.split("\t") for line in lines if line.startswith("@PG\t")]
    names = [part[3:] for fields in programs for part in fields if part.startswith("ID:")]
    name, number = "virnucpro", 0
    while name in names:
        number += 1
        name = f"virnucpro.{number}"
    before = [f"PP:{names[-1]}"] if names else []
    program = f"VN:{version('virnucpro')}\tDS:{printable(' '.join(weights.split()))}"
    own = ["@PG", f"ID:{name}", "PN:virnucpro", *before, program]
    return "\n".join([*lines, "\t".join(own)]) + "\n"


def _kept(file: SequenceFile) -> Iterator[_Lines]:
    """Yield the lines of each record of a BAM file, and at the end, without an id, the rest."""
    lines: list[pysam.AlignedSegment] = []
    names: dict[int, str] = {}
    for alignment in file.alignments():
        lines.append(alignment)
        if is_extra(alignment):
            continue
        mate = mate_number(alignment)
        names[mate] = name_of(alignment)
        if mate == 0 or len(names) == 2:
            yield names[0] if mate == 0 else pair_name(names[1], names[2]), lines
            lines, names = [], {}
    yield "", lines


def _made(wanted: TaggedReads, header: pysam.AlignmentHeader) -> Iterator[_Lines]:
    """Yield unaligned lines for each record of files of other formats."""
    for fragment in FragmentReader(wanted.sources, "dna", wanted.options):
        yield fragment[0].id, [_unaligned(mate, header) for mate in fragment]


def _unaligned(mate: Mate, header: pysam.AlignmentHeader) -> pysam.AlignedSegment:
    alignment = pysam.AlignedSegment(header)
    alignment.query_name, alignment.flag = mate.id, _FLAGS[mate.mate]
    alignment.query_sequence = mate.record.sequence.encode("ascii", "replace").decode()
    if mate.read.qualities:
        set_qualities(alignment, mate.read.qualities)
    return alignment
