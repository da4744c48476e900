"""viral.fasta and similar files: the reads of the input, sorted by call."""

from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.prediction.shard import Shard, decode_shard
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.runs.shard_store import ShardStore
from virnucpro.runs.shard_text import lines_of


@dataclass
class _Read:
    """A record or mate, and the places of its letters: index of a shard and slice of its text."""

    header: str
    mate: int
    places: list[tuple[int, slice]] = field(default_factory=list)


class SortedReads:
    """A sink that writes the reads of the records with the wanted calls.

    Args:
        files: opens the files.
        outputs: which reads are wanted, and paths of the files.
        store: the shards, which are read again for records that go on over several.
    """

    def __init__(self, files: PartialFiles, outputs: Outputs, store: ShardStore) -> None:
        self._wanted, self._store = outputs.reads, store
        names = outputs.reads.described()
        self._files = {name: files.open(outputs.path(name)) for name in names}
        self._reads: list[_Read] = []  # of the current record

    def add(self, part: ScoredShard) -> None:
        """Write the records that end in a shard; FASTA gets unique names, for indexes."""
        shard = part.shard
        first_chunk, mate, size = shard.piece_P9[:, [3, 5, 8]].T.tolist()
        call_of, stop = iter(part.records.calls), 0
        headers = lines_of(shard.headers)
        if self._wanted.file_format == "fasta":
            headers = [*map(_renamed, headers, part.ids, part.names)]
        pieces = zip(headers, first_chunk, mate, size, shard.ends.tolist(), strict=True)
        for header, first, of_mate, letters, ends in pieces:
            if first == 0:
                self._reads.append(_Read(header, of_mate))
            self._reads[-1].places.append((part.index, slice(stop, stop + letters)))
            stop += letters
            if ends:
                self._write(next(call_of), part.index, shard)
                self._reads.clear()

    def finish(self) -> None:
        """Do nothing: all files are complete."""

    def _write(self, call: str, index: int, shard: Shard) -> None:
        """Write the current record, which ends in shard `index`, if its call is wanted."""
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
        """Write the letters or qualities of a read, one shard at a time."""
        for place, part in read.places:
            source = shard if place == index else decode_shard(self._store.load(place))
            file.write(getattr(source, what)[part].tobytes())


def _renamed(header: str, record: str, name: str) -> str:
    """Return a header that begins with the name of the record instead of its id."""
    word = header.split(maxsplit=1)[0] if record != name and header else ""
    if not word:
        return header
    place = header.index(word) + (len(record) if word.startswith(record) else len(word))
    return header[:place] + name.removeprefix(record) + header[place:]
