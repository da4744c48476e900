"""Label files: what is read from them, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from virnucpro.errors import InputError
from virnucpro.sequences.labels import label_paths, read_labels

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        Path(name).write_text(text)
        return Path(name)

    return write


@pytest.mark.parametrize(
    ("table", "virus", "other"),
    [
        ("record\tis_virus\na\tTrue\nb\tother\n", (None, None), (None, None)),
        ("id\tclass\tgenome\na\tvirus_x\tS\nb\tother_y\t\n", ("virus_x", "S"), ("other_y", None)),
        ("id\tclass\r\na\tvirus\r\n\r\nb\tother\r\na\tvirus\r\n", ("virus", None), ("other", None)),
        ("\ufeffid\tclass\na\tvirus\nb\tother\n", ("virus", None), ("other", None)),
        ("id\trecord\tclass\n1\ta\tvirus\n2\tb\tother\n", ("virus", None), ("other", None)),
        ('id\tclass\tnote\na\tvirus\t"x\nb\tother\t\n', ("virus", None), ("other", None)),
        ("id\tgenome\tsource\tis_virus\na\tG\tS\tyes\nb\tG\t\t0\n", (None, "S"), (None, None)),
        ("id\tclass\tis_virus\na\tsoil\t1\nb\tsoil\t0\n", ("soil", None), ("soil", None)),
    ],
)
def test_tables(
    write: Write, table: str, virus: tuple[str | None, ...], other: tuple[str | None, ...]
) -> None:
    found = read_labels([write("t", table)])
    assert found.table.rows() == [("a", True, *virus), ("b", False, *other)]
    assert found.with_sources["source"].to_list() == [virus[1] or "a", other[1] or "b"]
    assert not found.notes


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", "t, line 1: needs columns record or id, and is_virus or class; it has none"),
        ("id|is_virus\na|1\n", r"t, line 1: needs columns .*it has id\|is_virus"),
        ("id\tsource\na\tx\n", "t, line 1: needs .* it has id, source"),
        ("id\tis_virus\n", "t: has a header line only; add a line for each record"),
        ("id\tis_virus\na\t1\nb\n", "t, line 3: has 1 cells, but the header has 2; write"),
        ("id\tis_virus\na\t1\t2\n", "t, line 2: has 3 cells, but the header has 2; write"),
        ("id\tis_virus\n\t1\n", "t, line 2: record is empty; fix the line, or leave it out"),
        ("id\tis_virus\na\tmaybe\n", "t, line 2: is_virus is 'maybe'; give 1 or 0, true or f"),
        ("id\tis_virus\tclass\na\t\tvirus\n", "t, line 2: is_virus is empty; give 1 or 0"),
        ("id\tclass\na\tvirus\nb\tphage\n", "t, line 3: class is 'phage'; begin it with virus"),
        ("id\tclass\na\tvirus\nb\t\n", "t, line 3: class is empty; begin it with virus or"),
        ("id\tclass\tis_virus\na\tvirus\t0\n", "line 2: class is 'virus'; is_virus says the o"),
        (
            "id\tis_virus\na\t1\nb\t0\na\t0\n",
            "t, line 4: record 'a' is labelled both virus and other, before in t, line 2; remove",
        ),
    ],
)
def test_bad_tables(write: Write, table: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_labels([write("t", table)])


def test_a_table_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"id,is_virus\na,1\n")
    os.close(writing)
    assert read_labels([Path(f"/dev/fd/{reading}")]).table["record"].to_list() == ["a"]
    os.close(reading)


def test_several_files_of_both_kinds(write: Write, tmp_path: Path) -> None:
    table = write("t.csv", "id,class\nb,other\na,virus\n")
    files = [write("virus_x.y.fa", ">a first\nACGT\n"), table]
    found = read_labels(files)
    assert found.table.rows() == [("a", True, "virus_x", None), ("b", False, "other", None)]
    assert found.notes == [
        "1 labels give a record another class or source than an earlier label, which counts"
    ]
    with pytest.raises(InputError, match=r"^other.fa: record 'a' .* before in virus_x.y.fa; rem"):
        read_labels([*files, write("other.fa", ">a\nACGT\n")])
    assert [p.name for p in label_paths(tmp_path)] == ["other.fa", "virus_x.y.fa"]
