"""Pairs from two files, from one file in turn and from BAM; what is wrong with them in a line."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from read_files import (
    Fastq,
    Line,
    bam_lines,
    fragments_of,
    in_turn,
    made_pairs,
    made_reads,
    needs_samtools,
    paired_lines,
    samtools,
    write_bam,
    write_fastq,
)
from virnucpro.errors import InputError
from virnucpro.sequences import SequenceFile
from virnucpro.sequences.fragments import FragmentReader, ReadOptions, Source

INTERLEAVED = ReadOptions(interleaved=True)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Return the two files of 30 pairs."""
    first, second = made_pairs(30, 100)
    return write_fastq(tmp_path / "a_1.fq", first), write_fastq(tmp_path / "a_2.fq", second)


def failure_of(source: Source, options: ReadOptions = INTERLEAVED) -> str:
    """Return the one line that reading fails with."""
    with pytest.raises(InputError) as caught:
        list(FragmentReader([source], "dna", options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pairs_are_the_same_from_two_files_one_file_and_bam(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    reads = made_pairs(30, 100)
    expected = [
        [f"f{i} {mate} {read.letters} {read.qualities}" for mate, read in enumerate(both, start=1)]
        for i, both in enumerate(zip(*reads, strict=True))
    ]
    assert fragments_of(pair) == expected
    assert fragments_of(write_fastq(tmp_path / "i.fq", in_turn(*reads)), INTERLEAVED) == expected
    lines = paired_lines(*reads)
    assert fragments_of(write_bam(tmp_path / "a.bam", lines)) == expected
    turned = [line for i in range(0, 60, 2) for line in (lines[i + 1], lines[i])]
    assert fragments_of(write_bam(tmp_path / "b.bam", turned)) == expected


def test_reads_alone_keep_their_whole_id(tmp_path: Path) -> None:
    path = write_fastq(tmp_path / "a.fq", [Fastq("r/1 x", "ACGT", "IIII")])
    assert fragments_of(path) == [["r/1 0 ACGT IIII"]]


def test_both_mates_are_in_the_bytes_read(pair: tuple[str, str]) -> None:
    reader = FragmentReader([pair])
    positions = [reader.bytes_read for _ in reader]
    assert positions == sorted(positions)
    assert reader.bytes_read == sum(Path(path).stat().st_size for path in pair)


def test_names_that_differ(tmp_path: Path, pair: tuple[str, str]) -> None:
    reads = made_pairs(30, 100)[1]
    other = write_fastq(tmp_path / "other.fq", reads[:5] + reads[6:])
    expected = f"{pair[0]}: record 6 (f5), line 21: its mate should be {other}: record 6 (f6), line"
    assert failure_of((pair[0], other)).startswith(expected)
    assert "record 1 (f0), line 1: its mate should be" in failure_of((pair[1], pair[0]))


def test_a_file_that_ends_early(tmp_path: Path, pair: tuple[str, str]) -> None:
    short = write_fastq(tmp_path / "short.fq", made_pairs(30, 100)[1][:4])
    message = f"{pair[0]}: record 5 (f4), line 17: has no mate, since {short} ends after record 4;"
    assert failure_of((pair[0], short)).startswith(message)
    short = write_fastq(tmp_path / "short.fq", made_pairs(30, 100)[0][:4])
    message = f"{pair[1]}: record 5 (f4), line 17: has no mate, since {short} ends after record 4;"
    assert failure_of((short, pair[1])).startswith(message)


def test_an_odd_number_in_turn(tmp_path: Path) -> None:
    path = write_fastq(tmp_path / "a.fq", in_turn(*made_pairs(4, 50))[:-1])
    assert failure_of(path).startswith(f"{path}: record 7 (f3), line 25: has no mate; an interl")


def test_bam_with_mates_apart_or_alone(tmp_path: Path) -> None:
    lines = paired_lines(*made_pairs(3, 50))
    path = write_bam(tmp_path / "a.bam", [lines[0], *lines[2:]])
    assert failure_of(path).startswith(
        f"{path}: record 1 (f0): is flagged as a mate of a pair, but"
    )
    path = write_bam(tmp_path / "b.bam", lines[:-1])
    assert failure_of(path).startswith(
        f"{path}: record 5 (f2): is flagged as a mate of a pair, but"
    )
    path = write_bam(tmp_path / "c.bam", [lines[0], lines[0]])
    assert "the other mate does not follow; group mates with samtools collate" in (failure_of(path))
    path = write_bam(tmp_path / "d.bam", [Line("x", 1 + 4, "ACGT", "IIII")])
    assert "x: flag 5 marks a mate, but not as first or second" in failure_of(path)
    assert f"{path}: BAM holds both mates" in failure_of((path, path))


def test_what_cannot_be_written_as_asked(tmp_path: Path) -> None:
    fasta = tmp_path / "a.fa"
    fasta.write_text(">a\nACGT\n")
    options = ReadOptions(fastq=True)
    expected = f"{fasta}: record 1 (a), line 1: has no qualities, which --reads fastq needs"
    assert failure_of(str(fasta), options) == expected
    bare = write_bam(tmp_path / "a.bam", [Line("r", 4, "AC", "II"), Line("s", 4, "AC", "")])
    assert "record 2 (s): has no qualities" in failure_of(bare, options)
    for name in ("a@b", "é", "x" * 255):
        path = write_fastq(tmp_path / "n.fq", [Fastq(name, "ACGT", "IIII")])
        assert "BAM takes names of up to 254" in failure_of(path, ReadOptions(bam=True))


@pytest.mark.parametrize("mode", ["wb", "wb0", "wbu"])
@pytest.mark.parametrize("name", ["a.bam", "a.fastq"])
def test_bam_is_known_by_its_content(tmp_path: Path, mode: str, name: str) -> None:
    lines = [Line(f"r{i}", 4, "ACGTN", "IIII#") for i in range(3000)]
    path = write_bam(tmp_path / name, lines, mode)
    with SequenceFile(path) as file:
        assert [tuple(record) for record in file] == [(line.name, line.letters) for line in lines]
        assert file.format == "bam"
        assert file.position() == Path(path).stat().st_size


def test_further_alignments_are_passed_over_and_reads_are_turned_back(tmp_path: Path) -> None:
    lines = [
        Line("a", 0x10, "AACGTRYN", "ABCDEFGH"),
        Line("a", 0x10 | 0x800, "CGT", "BCD"),
        Line("b", 0x41, "AACC", "ABCD"),
        Line("b", 0x141, "AACC", "ABCD"),
        Line("b", 0x91, "GGTT", "ABCD"),
        Line("b", 0x191, "GGTT", "ABCD"),
    ]
    reader = FragmentReader([write_bam(tmp_path / "a.bam", lines)])
    found = [[(m.mate, m.record.sequence, m.read.qualities) for m in f] for f in reader]
    expected = [[(0, "NRYACGTT", "HGFEDCBA")], [(1, "AACC", "ABCD"), (2, "AACC", "DCBA")]]
    assert found == expected
    assert reader.skipped == 3


def test_bam_that_is_damaged_or_incomplete(tmp_path: Path) -> None:
    lines = [Line(f"r{i}", 4, read.letters, "") for i, read in enumerate(made_reads(2000, 99, ""))]
    whole = Path(write_bam(tmp_path / "whole.bam", lines)).read_bytes()
    path = tmp_path / "a.bam"

    def failure(content: bytes) -> str:
        path.write_bytes(content)
        message = failure_of(str(path))
        assert message.startswith(f"{path}: ")
        return message

    assert "the compressed data ends early, after record " in failure(whole[: len(whole) // 2])
    told = failure(whole[:-28])
    assert "the last block of a bgzip or BAM file is missing, after record 2000; is the" in told
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    assert ": after record 0: cannot be read (" in failure(flipped)
    assert fragments_of(write_bam(tmp_path / "none.bam", [])) == []
    plain = Path(write_bam(tmp_path / "plain.bam", lines, "wbu")).read_bytes()
    path = tmp_path / "b.bam"
    assert "b.bam: " in failure(plain[:40])
    assert ": after record 14: cannot be read (" in failure(gzip.decompress(whole)[:3000])


@pytest.fixture(scope="module")
def raw_bam(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the content of a BAM file with two pairs."""
    path = tmp_path_factory.mktemp("raw") / "a.bam"
    return gzip.decompress(Path(write_bam(path, paired_lines(*made_pairs(2, 40)))).read_bytes())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), keep=st.floats(0, 1))
def test_any_damage_is_told_in_a_line(
    tmp_path: Path, raw_bam: bytes, place: float, value: int, keep: float
) -> None:
    content = bytearray(raw_bam)
    content[int(place * len(content))] = value
    path = tmp_path / "a.bam"
    path.write_bytes(b"BAM\x01" + content[4 : 4 + int(keep * len(content))])
    found, told = 0, ""
    try:
        found = len(fragments_of(str(path)))
    except InputError as error:
        told = str(error).removeprefix(f"{path}: ")
    assert found <= 4
    assert not told or told.isprintable()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"CRAM\x03\x00rest", "CRAM is not supported; convert it to BAM: samtools view -b"),
        (
            b"@HD\tVN:1.6\nr\t4\t*\t0\t0\t*\t*\t0\t0\tAC\tII\n",
            "SAM text is not supported; convert it to BAM",
        ),
        (b"@SQ\tSN:chr1\tLN:9\n", "SAM text is not supported; convert it to BAM"),
    ],
)
def test_what_is_like_bam_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert failure_of(str(path)).startswith(f"{path}: {told}")


def test_a_name_that_would_break_lines_is_refused(tmp_path: Path) -> None:
    content = gzip.decompress(
        Path(write_bam(tmp_path / "a.bam", [Line("r_s", 4, "ACGT", "ABCD")])).read_bytes()
    )
    path = tmp_path / "b.bam"
    for name in (b"r\ns", b"r\xe9s"):
        path.write_bytes(content.replace(b"r_s\0", name + b"\0"))
        found = failure_of(str(path))
        assert found.startswith(f"{path}: record 1: a name cannot be printed: ")
    for quality in (94, 233, 254):
        path.write_bytes(content.replace(b"\x20\x21\x22\x23", bytes([2, quality, 2, 2])))
        assert "record 1: r_s: has qualities above 93" in failure_of(str(path))


@needs_samtools
def test_bam_that_samtools_makes_of_fastq(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = tmp_path / "pairs.bam"
    samtools("import", "-1", pair[0], "-2", pair[1], "-o", path)
    assert fragments_of(str(path)) == fragments_of(pair)
    samtools("import", "-0", pair[0], "-o", path)
    alone = [[text.replace(" 1 ", " 0 ") for text in found[:1]] for found in fragments_of(pair)]
    assert fragments_of(str(path)) == alone


@needs_samtools
def test_aligned_bam_that_samtools_sorted(tmp_path: Path) -> None:
    first, second = made_pairs(20, 60)
    lines = [line._replace(flag=flag) for line, flag in
             zip(paired_lines(first, second), (0x61, 0x91) * 20, strict=True)]  # fmt: skip
    path = write_bam(tmp_path / "a.bam", lines)
    by_place, by_name = tmp_path / "place.bam", tmp_path / "name.bam"
    samtools("sort", "-o", by_place, path)
    samtools("sort", "-n", "-o", by_name, by_place)
    names = [line.split("\t")[0] for line in bam_lines(by_name)]
    found = {text[0].split()[0]: text for text in fragments_of(str(by_name))}
    assert list(found) == names[::2]
    expected = {text[0].split()[0]: text for text in fragments_of(path)}
    assert found == expected
    samtools("fastq", "-1", tmp_path / "1.fq", "-2", tmp_path / "2.fq", "-n", by_name)
    again = fragments_of((str(tmp_path / "1.fq"), str(tmp_path / "2.fq")))
    assert again == list(found.values())
