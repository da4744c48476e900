"""GenBank files: exons compared to manual splicing, frames to a search; damaged files."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequence_files import COMPRESSIONS, Compress
from virnucpro.errors import InputError, SettingsError
from virnucpro.sequences.frames import codon_span
from virnucpro.training.genbank import (
    AnnotatedRecord,
    CodingIndex,
    Exon,
    is_genbank,
    read_genbank,
)

LETTERS = "".join(np.random.default_rng(5).choice(list("ACGT"), 300))
QUALIFIER = " " * 21
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def feature(location: str, *qualifiers: str, kind: str = "CDS") -> str:
    lines = [f"     {kind:<16}{location}", *(f"{QUALIFIER}/{text}" for text in qualifiers)]
    return "\n".join(lines) + "\n"


def genbank(*features: str, name: str = "NC_1.2", letters: str = LETTERS, end: str = "//\n") -> str:
    """Return one record in the format of GenBank flat files."""
    rows = (
        f"{i + 1:>9} "
        + " ".join(letters[j : j + 10] for j in range(i, min(i + 60, len(letters)), 10))
        for i in range(0, len(letters), 60)
    )
    accession, _, _ = name.partition(".")
    return (
        f"LOCUS       {accession:<16} {len(letters):>11} bp    DNA     linear   VRL "
        "01-JAN-2024\n"
        f"DEFINITION  A virus.\nACCESSION   {accession}\nVERSION     {name}\n"
        "FEATURES             Location/Qualifiers\n"
        + feature(f"1..{len(letters)}", 'organism="A virus"', kind="source")
        + "".join(features)
        + "ORIGIN\n"
        + "\n".join(rows).lower()
        + f"\n{end}"
    )


def read(path: Path, *texts: str) -> list[AnnotatedRecord]:
    path.write_text("".join(texts))
    return list(read_genbank(str(path)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.gb"


def exons(path: Path, *features: str) -> list[Exon]:
    (record,) = read(path, genbank(*features))
    return list(record.exons)


def test_records_have_their_accession_and_letters(path: Path) -> None:
    records = read(path, genbank(), genbank(name="AB12.1", letters="acgtn" * 20))
    assert [r.id for r in records] == ["NC_1.2", "AB12.1"]
    assert [r.sequence for r in records] == [LETTERS, "ACGTN" * 20]
    assert [r.exons for r in records] == [(), ()]


@pytest.mark.parametrize(
    ("location", "qualifiers", "expected"),
    [
        ("1..9", (), [(0, 9, 1, 0)]),
        ("complement(4..12)", (), [(3, 12, -1, 0)]),
        ("1..9", ("codon_start=2",), [(0, 9, 1, 1)]),
        ("complement(<1..9)", ("codon_start=3",), [(0, 9, -1, 2)]),
        ("<1..>9", (), [(0, 9, 1, 0)]),
        ("join(1..10,21..30)", (), [(0, 10, 1, 0), (20, 30, 1, 2)]),
        ("join(1..10,21..30)", ("codon_start=2",), [(0, 10, 1, 1), (20, 30, 1, 0)]),
        ("complement(join(1..10,21..31))", (), [(20, 31, -1, 0), (0, 10, -1, 1)]),
        ("join(complement(21..31),complement(1..10))", (), [(20, 31, -1, 0), (0, 10, -1, 1)]),
        ("join(complement(21..31),41..50)", (), [(20, 31, -1, 0), (40, 50, 1, 1)]),
        ("join(1..9,9..20)", (), [(0, 9, 1, 0), (8, 20, 1, 0)]),  # slippage by -1
        ("join(291..300,1..11)", (), [(290, 300, 1, 0), (0, 11, 1, 2)]),  # over the origin
        ("join(1..10,J00194.1:5..6,21..30)", (), [(0, 10, 1, 0), (20, 30, 1, 0)]),
        ("order(1..10,21..30)", (), []),
        ("1..9", ("pseudo",), []),
        ("1..9", ('pseudogene="unknown"',), []),
    ],
)
def test_exons(
    path: Path, location: str, qualifiers: tuple[str, ...], expected: list[tuple[int, ...]]
) -> None:
    assert exons(path, feature(location, *qualifiers)) == expected


def test_only_coding_sequences_count(path: Path) -> None:
    found = exons(
        path, feature("1..90", kind="gene"), feature("1..30"), feature("31..60", kind="tRNA")
    )
    assert found == [(0, 30, 1, 0)]


class Spliced(NamedTuple):
    """The place of each base of a spliced sequence, and the parts that it is joined from."""

    parts: list[tuple[int, int]]
    is_reverse: bool
    codon_start: int

    @property
    def location(self) -> str:
        text = "join(" + ",".join(f"{a + 1}..{b}" for a, b in self.parts) + ")"
        text = text if len(self.parts) > 1 else text[5:-1]
        return f"complement({text})" if self.is_reverse else text

    def codons(self) -> set[tuple[int, int]]:
        """Return the leftmost bases and the strands of the codons within one part."""
        places = [(p, n) for n, (a, b) in enumerate(self.parts) for p in range(a, b)]
        places = (places[::-1] if self.is_reverse else places)[self.codon_start - 1 :]
        codons = (places[i : i + 3] for i in range(0, len(places) - 2, 3))
        strand = -1 if self.is_reverse else 1
        return {(min(c)[0], strand) for c in codons if len({part for _, part in c}) == 1}


@st.composite
def spliced(draw: st.DrawFn) -> Spliced:
    borders = sorted(draw(st.sets(st.integers(0, 60), min_size=2, max_size=8)))
    parts = list(zip(borders[::2], borders[1::2], strict=False))
    return Spliced(parts, draw(st.booleans()), draw(st.integers(1, 3)))


def codons_of(exon: Exon) -> set[tuple[int, int]]:
    if exon.strand > 0:
        return {(p, 1) for p in range(exon.start + exon.phase, exon.end - 2, 3)}
    return {(p, -1) for p in range(exon.end - exon.phase - 3, exon.start - 1, -3)}


@settings(deadline=None, max_examples=200)
@given(spliced())
def test_exons_hold_the_codons_that_splicing_gives(
    tmp_path_factory: pytest.TempPathFactory, made: Spliced
) -> None:
    path = tmp_path_factory.getbasetemp() / "spliced.gb"
    text = genbank(feature(made.location, f"codon_start={made.codon_start}"))
    (record,) = read(path, text)
    assert set().union(*map(codons_of, record.exons)) == made.codons()


EXONS = st.builds(
    lambda a, b, strand, phase: Exon(min(a, b), max(a, b), strand, phase),
    st.integers(0, 40), st.integers(0, 40), st.sampled_from([1, -1]), st.integers(0, 2),
)  # fmt: skip
CHUNKS = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: tuple(sorted(ends)))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.none() | st.lists(EXONS, max_size=5), min_size=1, max_size=4), CHUNKS)
def test_frames_lie_in_coding_as_a_search_finds(
    annotated: list[list[Exon] | None], chunk: tuple[int, int]
) -> None:
    start, end = chunk
    index = CodingIndex(annotated, [40] * len(annotated))
    queries = [(r, f) for r in range(len(annotated)) for f in range(6)]
    record, frame = np.array(queries).T
    spans = codon_span(
        frame, np.zeros_like(frame), np.maximum(end - start - frame % 3, 0) // 3,
        np.full(len(record), start), np.full(len(record), end),
    )  # fmt: skip
    found = index.lies_in_coding(record, *spans, frame.astype(np.uint8))
    for (r, f), inside in zip(queries, found.tolist(), strict=True):
        places = range(start, end) if f < 3 else range(end - 1, start - 1, -1)
        skipped = list(places)[f % 3 :]
        codons = {
            (min(skipped[i : i + 3]), 1 if f < 3 else -1) for i in range(0, len(skipped) - 2, 3)
        }
        known = annotated[r]
        expected = bool(codons) and (known is None or any(codons <= codons_of(e) for e in known))
        assert inside == expected


def test_part_of_a_frame_may_be_asked_for() -> None:
    """Of 30 bases, the codons from the third on lie in the exon, or only two of them."""
    index = CodingIndex([[Exon(6, 12, 1, 0), Exon(18, 24, -1, 0)]], [30])
    zero, frame = np.zeros(4, dtype=np.int64), np.array([0, 0, 3, 3])
    first, codons = np.array([2, 2, 2, 1]), np.array([2, 3, 2, 2])
    spans = codon_span(frame, first, codons, zero, np.full(4, 30))
    found = index.lies_in_coding(zero, *spans, frame)
    assert found.tolist() == [True, False, True, False]


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_genbank_is_known_by_its_content(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "named.gz"  # whatever it is
    preamble = "GBVRL1.SEQ          Genetic Sequence Data Bank\n\n   1 loci\n\n"
    for text in (genbank(), "\n" + genbank(), preamble + genbank()):
        path.write_bytes(compress(text.encode()))
        assert is_genbank(str(path))
        assert [r.sequence for r in read_genbank(str(path))] == [LETTERS]
    for text in (">LOCUS \nACGT\n", ">a\nACGT\nLOCUS \n", "@LOCUS \nACGT\n+\nIIII\n", "", "LOCUS"):
        path.write_bytes(compress(text.encode()))
        assert not is_genbank(str(path))


def test_what_cannot_be_looked_into_is_no_genbank(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(COMPRESSIONS["gz"](genbank().encode())[:14])
    for name in (tmp_path, tmp_path / "missing", tmp_path / "a.gz", "-"):
        assert not is_genbank(str(name))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (genbank(feature("1..9", "codon_start=9")), r"codon_start is '9', not 1, 2 or 3"),
        (genbank(feature("290..310")), "does not lie on the record's 300 bases"),
        (genbank(feature("nonsense(1..9)")), "location of a CDS cannot be read"),
        (genbank(feature("join(1..9")), "Problem with 'CDS' feature"),
        (genbank(feature("1..9"), end=""), "Premature end"),
        (genbank()[:-200], "Premature end"),
        (genbank()[:-100] + "\n//\n", "Expected sequence length 300, found 2"),
        (
            genbank().split("ORIGIN")[0] + "ORIGIN\n//\n",
            "it has no letters: fetch the file with sequences",
        ),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
def test_damage_is_named_with_file_and_record(
    path: Path, text: str, problem: str, before: int
) -> None:
    with pytest.raises(InputError, match=rf"some\.gb: record {before + 1}.*{problem}") as caught:
        read(path, genbank() * before, text)
    assert "\n" not in str(caught.value)


def test_protein_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match=r"record 1 .NC_1\.2.: .*letters that are not nucl.*DNA"):
        read(path, genbank(letters="MKVLEEQF" * 20))


def test_a_file_that_ends_early_is_named(path: Path) -> None:
    path.write_bytes(COMPRESSIONS["gz"](genbank().encode() * 9)[:-30])
    with pytest.raises(InputError, match=r"some\.gb: record \d"):
        list(read_genbank(str(path)))
    with pytest.raises(InputError, match=r"missing\.gb: cannot be read at record 1 \(No such"):
        list(read_genbank(str(path.with_name("missing.gb"))))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 1200), st.integers(0, 400), st.binary(max_size=30))
def test_hostile_bytes_give_records_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, at: int, cut: int, junk: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.gb"
    text = genbank(feature("join(1..10,21..31)", "codon_start=2", 'product="x"')).encode()
    path.write_bytes(text[:at] + junk + text[at + cut :])
    try:
        found = list(read_genbank(str(path)))
    except InputError as error:
        refusal = str(error)
        found = []
    else:
        refusal = "hostile.gb: "
    assert "hostile.gb: " in refusal
    assert len(refusal.splitlines()) == 1
    assert all(0 <= e.start <= e.end <= len(r.sequence) for r in found for e in r.exons)


def test_without_biopython_it_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "Bio", None)
    with pytest.raises(SettingsError, match=r"needs Biopython; pip install 'virnucpro\[train\]'"):
        read(path, genbank())
