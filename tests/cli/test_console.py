"""Nothing that a file says steers the terminal: every way there makes text printable first."""

import ast
import io
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.table import Table
from typer.testing import CliRunner

from made_labels import write_table
from virnucpro.cli.app import app
from virnucpro.cli.console import note, say
from virnucpro.errors import one_line, printable
from virnucpro.runs.progress import Reporter
from virnucpro.sequences.records import printable_id
from virnucpro.system.terminal import Terminal

SOURCE = Path(__file__).parents[2] / "src" / "virnucpro"
#: Colour, a link, a title of the window, C1's beginning of an escape sequence, text that runs
#: backwards, a line that writes over itself, and what Rich takes for markup, links and emoji.
HOSTILE = (
    "\x1b[31mred\x1b[0m", "\x1b]8;;https://example.org\x07here", "\x1b]2;title\x07", "\x9b2J",
    "a\u202etxt.exe", "over\rwritten", "back\x08\x08", "[red]", "[/red]", "[link=http://x]y[/link]",
    ":smiley:",
)  # fmt: skip


def assert_harmless(written: str) -> None:
    assert all(letter.isprintable() or letter == "\n" for letter in written)
    for text in HOSTILE:
        assert printable(text) in written


def test_say_and_note(capsys: pytest.CaptureFixture[str]) -> None:
    for text in HOSTILE:
        say(text)
        note(text)
    said = capsys.readouterr()
    assert_harmless(said.out)
    assert_harmless(said.err)
    note("x" * 10**6)
    assert len(capsys.readouterr().err) < 1100


@pytest.mark.parametrize("is_terminal", [True, False])
def test_tables_titles_and_lines_of_rich(is_terminal: bool) -> None:  # noqa: FBT001 (a parameter)
    file = io.StringIO()
    console = Terminal(120, file=file, force_terminal=is_terminal, no_color=True)
    table = Table(title=HOSTILE[0], box=None)
    for text in HOSTILE:
        console.print(text)
        table.add_column(text)
    table.add_row(*HOSTILE)
    Terminal(400, file=file).print(table)
    assert_harmless(file.getvalue().replace("\x1b[0m", ""))


def test_what_a_run_says() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    for text in HOSTILE:
        reporter.noted(f"sheet.csv: columns ignored: {text}")
    assert_harmless(stream.getvalue())


def test_classes_of_labels_are_shown_as_they_are(tmp_path: Path) -> None:
    rows = [f"{i} {float(i % 3)}" for i in range(len(HOSTILE) + 1)]
    table = write_table(tmp_path / "p.tsv", "record p_virus", *rows)
    names = [name.replace("\r", "\x1b") for name in HOSTILE]
    labels = [f"{i} {int(i > 0)} {name}" for i, name in enumerate(["other", *names])]
    given = write_table(tmp_path / "l.tsv", "id is_virus class", *labels)
    out = tmp_path / "out"
    told = CliRunner().invoke(
        app, ["evaluate", str(table), str(given), "-o", str(out), "--bootstrap", "0"]
    )
    assert told.exit_code == 0, told.output
    assert all(letter.isprintable() or letter == "\n" for letter in told.output)
    rows = (out / "evaluation.tsv").read_text().splitlines()
    for name in names:
        assert printable(name) in told.output
        assert any(f"\tclass {printable(name)}\t" in row for row in rows)


def test_wrong_usage_is_printable() -> None:
    told = CliRunner().invoke(
        app, ["predict", "x", "-o", "y", "--prevalence", "\x1b[31m"], env={"NO_COLOR": "1"}
    )
    assert told.exit_code == 2
    assert "\\x1b[31m" in told.output
    assert "\x1b[31m" not in told.output


def test_there_is_no_other_way_to_the_terminal() -> None:
    """`training.recipe` is a script of its own, of which only its writer sees anything."""
    ways = ("echo", "print", "Console", "secho", "write")
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)
                of = ast.unparse(called.value) if isinstance(called, ast.Attribute) else ""
                is_console = of.endswith(("console", "progress"))
                is_stream = name == "write" and "std" in of
                if name in ways and not is_console and (name != "write" or is_stream):
                    found.add(path.relative_to(SOURCE).as_posix())
    assert found == {"cli/console.py", "training/recipe.py"}


words = st.text(st.sampled_from("\\xuU05bc8e\x1b\0\u200b\u009b\U000e0001é"), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(words, words)
@example("\x1b[0m", "\\x1b[0m")
@example("\\\x1b", "\\x5c\x1b")
@example("\u200b", "\\u200b")
def test_ids_are_printable_and_stay_apart(one: str, other: str) -> None:
    assert printable_id(one).isprintable()
    assert printable(printable_id(one)) == printable_id(one)
    assert (printable_id(one) == printable_id(other)) == (one == other)


def test_long_messages_lose_their_middle() -> None:
    assert one_line("a" * 5000 + "b").endswith("ab")
    assert len(one_line("a" * 10**6)) < 1010
