"""Labelled input: all its forms, and the errors in it."""

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
from virnucpro.training.sources import Label, labels_by_record

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
    """Return the ids of the records of each class."""
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
    assert labelled.notes == ["virus.gb.gz: 1 records have no annotated coding sequence"]


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
        "labels.tsv.xz: 1 of 4 labelled records are not in the input: z",
        "labels.tsv.xz: 3 records have no label and are left out: c, d, f",
    ]


def test_classes_of_labels_are_named_as_those_of_files(write: Write) -> None:
    table = "id,is_virus,class,genome\na,1,phage,G\nb,1,virus_x,\nc,0,,H\nd,0,a|b,G\na,1,virus,K\n"
    notes: list[str] = []
    assert labels_by_record(write("t", table), notes) == {
        "a": Label("virus_phage", "G"),
        "b": Label("virus_x", ""),
        "c": Label("other", "H"),
        "d": Label("other_a_b", "G"),
    }
    assert notes == [
        "1 labels give a record another class or source than an earlier label, which counts"
    ]


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ([], "no input: give files named virus"),
        (["nothing"], "nothing: cannot be read .No such file"),
        (["virus=nothing"], "nothing: cannot be read .No such file"),
        (["virus=", "other=a.fa"], "an input is empty, such as CLASS= without a file; name a file"),
        ([""], "an input is empty, such as CLASS="),
        (["a.fa"], "a.fa: the name tells no class; rename it, write CLASS=a.fa, or give --labels"),
        (["-"], "-: the name tells no class"),
        (["phage=a.fa"], "phage=a.fa: 'phage' cannot be a class; a class's name begins with"),
        (["virus x=a.fa"], "'virus x' cannot be a class"),
        (["others"], "others: no file is named virus. or other.; a class's name"),
        (["empty"], "empty: the directory holds no file"),
        (["virus=a.fa"], "the input holds only virus; give sequences of a class other. as well"),
        (["other=a.fa", "other_b=b.fa"], "holds only other, other_b; .* a class virus. as well"),
        (
            ["virus=a.fa", "other=a.fa"],
            "every sequence has both labels; give each sequence one",
        ),
        (["virus=a.fa", "other=b.fa", "other=a.fa"], "of both labels there is only other; giv"),
        (["virus=a.fa", "virus=b.fa", "other=a.fa"], "of both labels there is only virus; giv"),
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
        "labels.tsv: labels no record of the input; are ids the same (labels: x, y and 1 more; "
        "input: a, b)?"
    )
    with pytest.raises(InputError, match=re.escape(problem)):
        read_classes([write("a.fa", fasta("ab"))], labels=labels)


def test_records_that_are_no_nucleotides_are_left_out(write: Write) -> None:
    virus = write("virus.fa", fasta("a") + ">empty\n\n>p\nMKVLEEQF\n" + fasta("b"))
    labelled = read_classes([virus, write("other.fa", fasta("c"))])
    assert held(labelled) == {"other": "c", "virus": "ab"}
    (note,) = labelled.notes
    assert note.startswith("virus.fa: 2 records without a sequence, or with letters that are not")
    assert note.endswith("(empty, p)")


def test_a_sequence_under_both_labels_is_named_and_left_out(write: Write) -> None:
    turned = f">t\n{reverse_complement(LETTERS['b']).lower()}\n"
    write("virus_x.fa", fasta("abc"))
    write("other.fa", fasta("ad") + turned)
    labelled = read_classes(["virus_x.fa", "other.fa"])
    assert held(labelled) == {"other": "d", "virus_x": "c"}
    (note,) = labelled.notes
    assert note.startswith("2 sequences have both labels, 4 records are left out: ")
    assert note.endswith(": other:a = virus_x:a, other:t = virus_x:b")


def test_a_sequence_that_repeats_is_kept_once(write: Write) -> None:
    turned = f">t\n{reverse_complement(LETTERS['b'])}\n"
    write("virus.fa", fasta("ab") + turned + fasta("a"))
    write("virus_more.fa", fasta("bc"))
    write("other.fa", fasta("d"))
    labelled = read_classes(["virus.fa", "virus_more.fa", "other.fa"])
    assert held(labelled) == {"other": "d", "virus": "ab", "virus_more": "c"}
    assert labelled.notes == ["3 records repeat a sequence of their label and are left out"]


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
