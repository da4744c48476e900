"""The input's reads once more: sorted by call into viral.fasta and its like, or tagged."""

from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.record_scores import lines
from virnucpro.prediction.shard import Shard, decode_shard
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.runs.shard_store import ShardStore
from virnucpro.sequences.fragments import ReadOptions, Source


@dataclass(frozen=True)
class TaggedReads:
    """What `reads.bam` is made of.

    Attributes:
        sources: the inputs of the run: one BAM file, or others.
        options: how they are read.
        weights: name and version, for the header.
    """

    sources: tuple[Source, ...]
    options: ReadOptions
    weights: str


@dataclass
class _Read:
    """A record or mate, and where its letters lie: shard and place in it."""

    header: str
    mate: int
    places: list[tuple[int, slice]] = field(default_factory=list)


class ReadWriter:
    """Writes the reads of the records whose calls are wanted.

    Args:
        files: where files are opened.
        outputs: which, and where they lie.
        store: the shards, which are read again for records that go on over several.
    """

    def __init__(self, files: PartialFiles, outputs: Outputs, store: ShardStore) -> None:
        self._wanted, self._store = outputs.reads, store
        names = outputs.reads.described()
        self._files = {name: files.open(outputs.path(name)) for name in names}
        self._reads: list[_Read] = []  # of the record at hand

    def add(self, index: int, shard: Shard, calls: list[str], names: list[str]) -> None:
        """Write the records that end in shard `index`.

        Args:
            index: of the shard.
            shard: comes next.
            calls: of the records that end in it.
            names: of its pieces, which differ where records do; FASTA is indexed by them.
        """
        first_chunk, mate, size = shard.piece_P9[:, [3, 5, 8]].T.tolist()
        call_of, stop = iter(calls), 0
        headers = lines(shard.headers)
        if self._wanted.file_format == "fasta":
            headers = [*map(_renamed, headers, lines(shard.ids), names)]
        pieces = zip(headers, first_chunk, mate, size, shard.ends.tolist(), strict=True)
        for header, first, of_mate, letters, ends in pieces:
            if first == 0:
                self._reads.append(_Read(header, of_mate))
            self._reads[-1].places.append((index, slice(stop, stop + letters)))
            stop += letters
            if ends:
                self._write(next(call_of), index, shard)
                self._reads.clear()

    def _write(self, call: str, index: int, shard: Shard) -> None:
        """Write the record at hand, which ends in shard `index`, where its call is wanted."""
        if call not in self._wanted.calls:
            return
        is_fastq = self._wanted.file_format == "fastq"
        for read in self._reads:
            file = self._files[self._wanted.name_of(call, read.mate)]
            file.write(f"{'@' if is_fastq else '>'}{read.header}\n".encode())
            self._copy("letters", read, file, index, shard)
            if is_fastq:
                file.write(b"\n+\n")
                self._copy("qualities", read, file, index, shard)
            file.write(b"\n")

    def _copy(
        self,
        what: Literal["letters", "qualities"],
        read: _Read,
        file: BinaryIO,
        index: int,
        shard: Shard,
    ) -> None:
        """Write a read's letters or qualities, one shard at a time."""
        for place, part in read.places:
            source = shard if place == index else decode_shard(self._store.load(place))
            file.write(getattr(source, what)[part].tobytes())


def _renamed(header: str, record: str, name: str) -> str:
    """Return a header that begins with the record's name, where that is not its id."""
    word = header.split(maxsplit=1)[0] if record != name and header else ""
    if not word:
        return header
    place = header.index(word) + (len(record) if word.startswith(record) else len(word))
    return header[:place] + name.removeprefix(record) + header[place:]
