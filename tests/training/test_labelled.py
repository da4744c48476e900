"""Labelled input: every way to give it, and all that can be wrong with it."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sequence_files import COMPRESSIONS
from virnucpro.errors import InputError
from virnucpro.sequences import Nucleotides
from virnucpro.training.genbank import Exon
from virnucpro.training.labelled import Labelled, LabelledRecord, read_classes
from virnucpro.training.sources import Label, read_labels

RANDOM = np.random.default_rng(11)
LETTERS = {name: "".join(RANDOM.choice(list("ACGT"), 60)) for name in "abcdefgh"}
GENBANK = f"""LOCUS       G1                        60 bp    DNA     linear   VRL 01-JAN-2024
ACCESSION   G1
VERSION     G1.3
FEATURES             Location/Qualifiers
     CDS             4..>33
ORIGIN
        1 {LETTERS["g"].lower()}
//
"""


def fasta(names: str) -> str:
    return "".join(f">{name} some words\n{LETTERS[name]}\n" for name in names)


def reverse_complement(letters: str) -> str:
    return Nucleotides.join([letters]).reverse_text()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Return a function that writes a file below an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        compression = path.suffix[1:] if path.suffix[1:] in COMPRESSIONS else "plain"
        path.write_bytes(COMPRESSIONS[compression](text.encode()))
        return name

    return write


Write = Callable[[str, str], str]


def held(labelled: Labelled) -> dict[str, str]:
    """Return for each class the ids of its records."""
    return {
        name: "".join(r.id for r in labelled.records if r.class_name == name)
        for name in labelled.classes
    }


def test_a_directory_of_class_named_files(write: Write) -> None:
    write("data/virus_phage.part1.fa.xz", fasta("a"))
    write("data/virus_phage.part2.fq", f"@b\n{LETTERS['b']}\n+\n{'I' * 60}\n")
    write("data/other.fasta", fasta("cd").lower().replace(">C", ">c"))
    write("data/README.md", "words")
    write("data/.virus.fa.swp", "words")
    labelled = read_classes(["data"])
    assert held(labelled) == {"other": "cd", "virus_phage": "ab"}
    assert [r.letters for r in labelled.records] == [LETTERS[n] for n in "cdab"]
    assert [r.is_virus for r in labelled.records] == [False, False, True, True]
    assert labelled.notes == ["data: ignored, no class in the name: README.md"]


def test_files_by_name_and_by_class(write: Write) -> None:
    inputs = [
        write("virus_x.fa.gz", fasta("a")),
        "virus_x=" + write("more.zst", fasta("b")),
        "other_human=" + write("c.fa", fasta("c")),
        "other_soil=" + write("folder/d=1.fa", fasta("d")).split("/", maxsplit=1)[0],
    ]
    expected = {"other_human": "c", "other_soil": "d", "virus_x": "ab"}
    assert held(read_classes(inputs)) == expected
    assert held(read_classes([Path(name) for name in inputs])) == expected


def test_genbank_brings_its_exons(write: Write) -> None:
    inputs = [write("virus.gb.gz", GENBANK), write("other.fa", fasta("a"))]
    other, virus = read_classes(inputs).records
    assert virus == LabelledRecord(
        "G1.3", "virus", is_virus=True, genome="", letters=LETTERS["g"], exons=(Exon(3, 33, 1, 0),)
    )
    assert other.exons is None
    write("virus.gb.gz", GENBANK.replace("CDS ", "gene"))
    labelled = read_classes(inputs)
    assert labelled.records[1].exons == ()
    assert labelled.notes == ["virus.gb.gz: 1 records have no coding sequence annotated"]


def test_labels_name_the_class_of_each_record(write: Write) -> None:
    write("in/one.fa", fasta("abc"))
    write("in/two.fa", fasta("def"))
    rows = (
        "is_virus id class genome",
        "1 a virus_x G",
        "0 b other H",
        "0 e other H",
        "1 z virus G",
    )
    table = "".join(row.replace(" ", "\t") + "\n" for row in rows)
    labelled = read_classes(["in"], labels=write("labels.tsv.xz", table))
    assert [(r.id, r.class_name, r.is_virus, r.genome) for r in labelled.records] == [
        ("b", "other", False, "H"),
        ("e", "other", False, "H"),
        ("a", "virus_x", True, "G"),
    ]
    assert labelled.notes == [
        "labels.tsv.xz: 1 of 4 labels have no record: z",
        "labels.tsv.xz: 3 records have no label, left out: c, d, f",
    ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("record\tis_virus\na\tTrue\nb\tother\n", [("virus", ""), ("other", "")]),
        ("id\tclass\tsource\na\tvirus_x\tS\nb\tother_y\t\n", [("virus_x", "S"), ("other_y", "")]),
        ("id\tclass\r\na\tvirus\r\n\r\nb\tother\r\na\tvirus\r\n", [("virus", ""), ("other", "")]),
        ("\ufeffid\tclass\na\tvirus\nb\tother\n", [("virus", ""), ("other", "")]),
        ("id\trecord\tclass\n1\ta\tvirus\n2\tb\tother\n", [("virus", ""), ("other", "")]),
        ('id\tclass\tnote\na\tvirus\t"x\nb\tother\t\n', [("virus", ""), ("other", "")]),
    ],
)
def test_tables_of_labels(write: Write, table: str, expected: list[tuple[str, str]]) -> None:
    found = read_labels(write("t", table))
    assert list(found) == ["a", "b"]
    assert list(found.values()) == [Label(*label) for label in expected]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", "t, line 1: needs columns record or id, and is_virus or class; it has none"),
        ("id|is_virus\na|1\n", r"t, line 1: needs columns .*it has id\|is_virus"),
        ("id\tsource\na\tx\n", "t, line 1: needs .* it has id, source"),
        ("id\tis_virus\n", "t: the table has no lines below its header"),
        ("id\tis_virus\na\t1\nb\n", "t, line 3: has 1 cells and the header 2; write"),
        ("id\tis_virus\na\t1\t2\n", "t, line 2: has 3 cells and the header 2; write"),
        ("id\tis_virus\n\t1\n", "t, line 2: the id is empty"),
        ("id\tis_virus\na\tmaybe\n", "t, line 2: is_virus is 'maybe'; give 1 or 0, true or false"),
        ("id\tclass\na\tphage\n", "t, line 2: 'phage' cannot be a class; a class's name begins"),
        ("id\tclass\tis_virus\na\tvirus\t0\n", "line 2: is_virus says other and class says virus"),
        ("id\tis_virus\na\t1\na\t0\n", "t, line 3: a has another label above; leave one"),
    ],
)
def test_bad_tables_of_labels(write: Write, table: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_labels(write("t", table))


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ([], "no input: give files named virus"),
        (["nothing"], "nothing: cannot be read .No such file"),
        (["virus=nothing"], "nothing: cannot be read .No such file"),
        (["virus=", "other=a.fa"], "an input is empty, as CLASS= without a file; name a file"),
        ([""], "an input is empty, as CLASS="),
        (["a.fa"], "a.fa: the name tells no class; rename it, write CLASS=a.fa or give labels"),
        (["-"], "-: the name tells no class"),
        (["phage=a.fa"], "phage=a.fa: 'phage' cannot be a class; a class's name begins with"),
        (["virus x=a.fa"], "'virus x' cannot be a class"),
        (["others"], "others: no file is named virus. or other.; a class's name"),
        (["empty"], "empty: the directory holds no file"),
        (["virus=a.fa"], "the input holds only virus: give sequences of a class other. as well"),
        (["other=a.fa", "other_b=b.fa"], "holds only other, other_b: .* a class virus. as well"),
        (
            ["virus=a.fa", "other=a.fa"],
            "every sequence comes under both labels: give each under one",
        ),
        (["virus=a.fa", "other=b.fa", "other=a.fa"], "under both labels there are only other: giv"),
        (["virus=a.fa", "virus=b.fa", "other=a.fa"], "under both labels there are only virus: giv"),
        (["virus=protein.fa", "other=a.fa"], "protein.fa: record 1 .p., line 2: letters that"),
        (["virus=empty.fa", "other=empty.fa"], "the input holds no labelled nucleotide record"),
        (["virus=protein.gb", "other=a.fa"], "protein.gb: record 1 .G1.3.: .*is this protein"),
    ],
)
def test_bad_input(write: Write, inputs: list[str], problem: str) -> None:
    write("a.fa", fasta("a"))
    write("b.fa", fasta("b"))
    write("others/a.fa", fasta("a"))
    write("protein.fa", ">p\nMKVLEEQF\n")
    write("protein.gb", GENBANK.replace(LETTERS["g"].lower(), "mkvleeqfll" * 6))
    write("empty.fa", ">a\n>b\n")
    Path("empty").mkdir()
    with pytest.raises(InputError, match=problem):
        read_classes(inputs)


def test_labels_of_other_records_are_refused(write: Write) -> None:
    labels = write("labels.tsv", "id\tis_virus\nx\t1\ny\t0\nz\t0\n")
    problem = (
        r"labels.tsv: names no record of the input (it has x, y and 1 more; the input has a, b)"
    )
    with pytest.raises(InputError, match=re.escape(problem)):
        read_classes([write("a.fa", fasta("ab"))], labels=labels)


def test_records_that_are_no_nucleotides_are_left_out(write: Write) -> None:
    virus = write("virus.fa", fasta("a") + ">empty\n\n>p\nMKVLEEQF\n" + fasta("b"))
    labelled = read_classes([virus, write("other.fa", fasta("c"))])
    assert held(labelled) == {"other": "c", "virus": "ab"}
    (note,) = labelled.notes
    assert note.startswith("virus.fa: 2 records left out, without letters or with letters that are")
    assert note.endswith("(empty, p)")


def test_a_sequence_under_both_labels_is_named_and_left_out(write: Write) -> None:
    turned = f">t\n{reverse_complement(LETTERS['b']).lower()}\n"
    write("virus_x.fa", fasta("abc"))
    write("other.fa", fasta("ad") + turned)
    labelled = read_classes(["virus_x.fa", "other.fa"])
    assert held(labelled) == {"other": "d", "virus_x": "c"}
    (note,) = labelled.notes
    assert note.startswith("2 sequences come under both labels, 4 records left out: ")
    assert note.endswith(": other:a = virus_x:a, other:t = virus_x:b")


def test_a_sequence_that_repeats_is_kept_once(write: Write) -> None:
    turned = f">t\n{reverse_complement(LETTERS['b'])}\n"
    write("virus.fa", fasta("ab") + turned + fasta("a"))
    write("virus_more.fa", fasta("bc"))
    write("other.fa", fasta("d"))
    labelled = read_classes(["virus.fa", "virus_more.fa", "other.fa"])
    assert held(labelled) == {"other": "d", "virus": "ab", "virus_more": "c"}
    assert labelled.notes == ["3 records repeat a sequence of their label, each kept once"]


def test_of_repeats_the_annotated_one_is_kept(write: Write) -> None:
    inputs = [
        write("virus.gb", GENBANK),
        write("virus.fa", fasta("g")),
        write("other.fa", fasta("a")),
    ]
    assert read_classes(inputs).records[1].exons == (Exon(3, 33, 1, 0),)


def test_the_order_of_files_and_records_does_not_matter(write: Write) -> None:
    first = [write("1/virus.fa", fasta("abc")), write("1/other.fa", fasta("def"))]
    again = [
        write("2/other.2.fa", fasta("fe")),
        write("2/virus.fa", fasta("ca")),
        write("2/virus.b.fa", fasta("bb")),
        write("2/other.fa", fasta("d")),
    ]
    assert read_classes(first).records == read_classes(again).records
