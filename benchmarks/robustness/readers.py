"""Sequence files: every format and container, whole, cut, flipped, and with odd letters.

python benchmarks/robustness/readers.py --cases 1000000 --seed 1

Each file is made of records that are known. A whole one must give them, with their qualities; a
packed one that is cut or flipped must give them or be refused with one line that names it; odd
bytes in one record must leave the others as they are.
"""

import bz2
import gzip
import json
import lzma
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from harness import Case, Fuzzer, LostError, main
from virnucpro.errors import VirnucproError
from virnucpro.sequences import SequenceFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
MAGICS = (b">", b"@", b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"BZh9", b"\xfd7zXZ\0",
          b"\x28\xb5\x2f\xfd", b"BAM\1", b"CRAM", b"\xef\xbb\xbf", b"\xff\xfe", b"")  # fmt: skip
STARTS = (b"", b"\n", b"\r\n \t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n")

#: Header, letters and qualities.
Known = tuple[str, str, str]


def bgzf(data: bytes) -> bytes:
    """Return one block of BGZF."""
    packed = gzip.compress(data, mtime=0)
    extra = b"\x06\0BC\x02\0" + (len(packed) + 7).to_bytes(2, "little")
    return packed[:3] + b"\4" + packed[4:10] + extra + packed[10:]


def zst(data: bytes) -> bytes:
    """Return a frame with a checksum, as the zstd program writes."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bgzip": bgzf,
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zst": zst,
}


def fasta(records: list[Known], chance: random.Random) -> bytes:
    """Write FASTA in one of the ways that people do."""
    width, end = chance.choice((1, 7, 60, 1000)), chance.choice(("\n", "\r\n"))
    lines = []
    for header, letters, _ in records:
        lines.append(f">{header}")
        lines += [letters[i : i + width] for i in range(0, len(letters), width)]
        lines += [""] * (chance.random() < 0.05)
    return (end.join(lines) + end * chance.randint(0, 2)).encode()


def fastq(records: list[Known], chance: random.Random) -> bytes:
    """Write FASTQ in one of the ways that people do."""
    end, repeats = chance.choice(("\n", "\r\n")), chance.random() < 0.2
    lines = []
    for header, letters, qualities in records:
        lines += [f"@{header}", letters, f"+{header}" if repeats else "+", qualities]
        lines += [""] * (chance.random() < 0.05)
    return (end.join(lines) + end * chance.randint(1, 2)).encode()


def bam(records: list[Known], _: random.Random) -> bytes:
    """Write the content of a BAM file without references."""
    parts = [b"BAM\1", struct.pack("<ii", 0, 0)]
    for header, letters, qualities in records:
        name = header.split()[0].encode() + b"\0"
        codes = ["=ACMGRSVTWYHKDBN".index(letter) for letter in letters]
        codes += [0] * (len(codes) % 2)
        packed = bytes(a << 4 | b for a, b in zip(codes[::2], codes[1::2], strict=True))
        numbers = bytes(ord(q) - 33 for q in qualities)
        fixed = struct.pack(
            "<iiBBHHHiiii", -1, -1, len(name), 0, 4680, 0, 4, len(letters), -1, -1, 0
        )
        body = fixed + name + packed + numbers
        parts += [struct.pack("<i", len(body)), body]
    return b"".join(parts)


FORMATS = {"fasta": fasta, "fastq": fastq, "bam": bam}


def drawn_records(chance: random.Random, fmt: str) -> list[Known]:
    """Return records, most of them short."""
    records = []
    for i in range(chance.choice((0, 1, 1, 2, 3, 8, 30))):
        length = chance.choice((0, 1, 1, 2, 2, 3, 10, 60, 151))
        letters = "".join(chance.choices("ACGTN", k=length))
        qualities = "".join(chr(chance.randint(33, 126)) for _ in letters)
        header = f"r{i}" if fmt == "bam" else f"r{i} x\u00e9"[: chance.randint(2, 6)].rstrip()
        records.append((header, letters, "" if fmt == "fasta" else qualities))
    return records


def packed_members(content: bytes, container: str, chance: random.Random) -> tuple[bytes, set[int]]:
    """Return the content in one or more members, and the sizes at which a cut leaves it whole."""
    size = max(1, len(content) // chance.choice((1, 1, 2, 3, 7)) + 1)
    pieces = [content[i : i + size] for i in range(0, len(content), size)] or [b""]
    members = [CONTAINERS[container](piece) for piece in pieces]
    members += [BGZF_END] * (container == "bgzip")
    borders = {sum(map(len, members[: i + 1])) for i in range(len(members))} | {0}
    return b"".join(members), {0} if container == "bgzip" else borders


def draw(chance: random.Random) -> Case:
    """Return a file, and before it what it was made of and what reading it must give.

    That is `all` records, those of the `others` that are not odd, `all or refuse`, `refuse`, or
    `anything` that is no fault.
    """
    fmt, container = chance.choice(list(FORMATS)), chance.choice(list(CONTAINERS))
    records = drawn_records(chance, fmt)
    text = FORMATS[fmt](records, chance)
    if not records and fmt != "bam":
        text = chance.choice((b"", b"\n", b" \n\r\n"))
    damage = chance.choice(("whole", "cut", "cut", "flip", "flip", "letters", "start", "noise"))
    must = "all"
    if damage == "letters" and fmt != "bam":
        text, must = odd_letters(text, fmt, chance), "others"
    elif damage == "start" and fmt != "bam":
        text = chance.choice(STARTS) + text
    content, borders = packed_members(text, container, chance)
    if damage == "cut":
        size = chance.randrange(len(content) + 1)
        must = "all" if size == len(content) else "anything" if container == "plain" else "refuse"
        must = "anything" if size in borders and size < len(content) else must
        content = content[:size]
    elif damage == "flip" and content:
        place = chance.randrange(len(content))
        content = (
            content[:place]
            + bytes([content[place] ^ 1 << chance.randrange(8)])
            + content[place + 1 :]
        )
        must = "anything" if container == "plain" or place < 6 else "all or refuse"
    elif damage == "noise":
        content, must = chance.choice(MAGICS) + chance.randbytes(chance.randint(0, 300)), "anything"
    told = json.dumps([records, must]).encode()
    return Case(f"{fmt} {container} {damage}", told + b"\n" + content)


def odd_letters(text: bytes, fmt: str, chance: random.Random) -> bytes:
    """Put a record of odd bytes before the others."""
    odd = chance.randbytes(chance.randint(1, 20)).translate(None, b"\r\n")
    if fmt == "fasta":
        return b">x\n" + odd.replace(b">", b"") + b"\n" + text
    return b"@x\n" + odd + b"\n+\n" + odd[::-1] + b"\n" + text


def attempt(case: Case, folder: Path) -> None:
    """Read a file and compare with what it was made of."""
    told, _, content = case.data.partition(b"\n")
    known, must = json.loads(told)
    path = folder / "reads"
    path.write_bytes(content)
    found = []
    try:
        with SequenceFile(str(path)) as file:
            found = [[*read.record, read.qualities] for read in file.reads()]
    except VirnucproError as error:
        if not str(error).startswith(f"{path}: ") or not str(error).isprintable():
            raise LostError(f"does not name the file: {str(error)[:200]}") from error
        if must in ("all", "others") and "is this protein?" not in str(error):
            raise LostError(f"refused what is whole: {str(error)[:200]}") from error
        raise
    if must == "refuse":
        raise LostError(f"{len(found)} of {len(known)} records of a file that is cut")
    if must == "others":
        found = [record for record in found if record[0] != "x"]
    if must != "anything" and found != known:
        raise LostError(f"{len(found)} records that are not the {len(known)} of the file")


FUZZER = Fuzzer("readers", draw, attempt)

if __name__ == "__main__":
    main(FUZZER)
