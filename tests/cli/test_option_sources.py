"""Options from the environment and from a file: which wins, what is refused, what a run keeps."""

import os
import tomllib
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from conftest import SIX_FRAMES_PRECISION
from processes import EXAMPLES, contents, run
from virnucpro.cli.app import app
from virnucpro.cli.models import models
from virnucpro.cli.option_sources import key
from virnucpro.errors import InputError, SettingsError
from virnucpro.sequences.inputs import checked_inputs

#: A value of each type, as text and as the option gives it.
VALUES: dict[Any, tuple[str, Any]] = {
    bool: ("1", True), int: ("7", 7), float: ("0.5", 0.5), str: ("word", "word"),
    Path: ("some/path", Path("some/path")), list: ("some words", ["some", "words"]),
}  # fmt: skip
#: Variables of virnucpro that are no option's.
OTHERS = {"VIRNUCPRO_HOME", "VIRNUCPRO_HEADS_URL", "VIRNUCPRO_KILL_ROUNDS"}


def leaves(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, TyperCommand]]:
    """Return every command with its name, as `models fetch`."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, f"{name} ")
        else:
            assert isinstance(command, TyperCommand)
            yield prefix + name, command


ROOT = typer.main.get_command(app)
assert isinstance(ROOT, TyperGroup)
COMMANDS = dict(leaves(ROOT))


def value_of(command: TyperCommand, option: TyperOption) -> tuple[str, Any]:
    """Return text for an option's variable, and what the option then is."""
    hint = get_type_hints(command.callback)[str(option.name)]
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    is_list = list in (get_origin(hint), *map(get_origin, kinds))
    return VALUES[list if is_list else kinds[0]]


def parsed(name: str, *arguments: str) -> dict[str, Any]:
    """Return what the function of a command is called with; what it does is left out."""
    given: dict[str, Any] = {}

    def noting(function: Callable[..., None]) -> Callable[..., None]:
        return wraps(function)(lambda **values: given.update(values))

    with pytest.MonkeyPatch.context() as patched:
        for info in (*app.registered_commands, *models.registered_commands):
            assert info.callback is not None
            patched.setattr(info, "callback", noting(info.callback))
        root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    command = dict(leaves(root))[name]
    command.invoke(command.make_context(name.rsplit(maxsplit=1)[-1], list(arguments)))
    return {key(p): given[str(p.name)] for p in command.params}


def positional(command: TyperCommand) -> list[str]:
    return ["x" for p in command.params if not isinstance(p, TyperOption) and p.required]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_answers_to_its_variable(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, expected = COMMANDS[name], {}
    for option in command.params:
        if not isinstance(option, TyperOption):
            continue
        variable = f"VIRNUCPRO_{name}_{key(option)}".upper().replace("-", "_").replace(" ", "_")
        assert variable not in OTHERS
        text, expected[key(option)] = value_of(command, option)
        if key(option) == "config":
            expected["config"] = tmp_path / "run.toml"
            expected["config"].write_text(f"[{name}]\n")
            text = str(expected["config"])
        monkeypatch.setenv(variable, text)
    found = parsed(name, *positional(command))
    assert {option: found[option] for option in expected} == expected


def test_all_but_what_is_nothing_but_its_answer_can_be_quiet() -> None:
    loud = {n for n, command in COMMANDS.items() if "quiet" not in map(key, command.params)}
    assert loud == {"cite", "models list", "models path", "schema"}


@pytest.mark.parametrize("name", ["predict", "embed", "train", "evaluate", "calibrate"])
def test_every_option_and_argument_answers_to_its_key(name: str, tmp_path: Path) -> None:
    lines, expected = [f"[{name}]"], {}
    command = COMMANDS[name]
    for parameter in command.params:
        if key(parameter) == "config":
            continue
        text, expected[key(parameter)] = value_of(command, parameter)  # type: ignore[arg-type]
        if isinstance(expected[key(parameter)], list):
            text, expected[key(parameter)] = '["a b", "c"]', ["a b", "c"]
            if Path in get_args(get_type_hints(command.callback)[str(parameter.name)]):
                expected[key(parameter)] = [Path("a b"), Path("c")]
        elif isinstance(expected[key(parameter)], str | Path):
            text = f'"{text}"'
        lines.append(f"{key(parameter)} = {'true' if text == '1' else text}")
    file = tmp_path / "run.toml"
    file.write_text("\n".join(lines))
    found = parsed(name, "--config", str(file))
    assert {option: found[option] for option in expected} == expected


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[predict]\ninputs = ["f"]\nout = "f"\nbundle = "f"\nprevalence = 0.25\n')
    monkeypatch.setenv("VIRNUCPRO_PREDICT_OUT", "e")
    monkeypatch.setenv("VIRNUCPRO_PREDICT_BUNDLE", "e")
    found = parsed("predict", "--config", str(file), "--bundle", "c")
    assert (found["bundle"], found["out"], found["inputs"]) == ("c", Path("e"), ["f"])
    assert found["prevalence"] == "0.25"
    assert found["device"] == "auto"
    assert parsed("predict", "c", "--config", str(file))["inputs"] == ["c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[predict]\nchunk_length = 3", "chunk_length in [predict]: no such option; give chunk-l"),
        ("[predict]\nconfig = 'x'", "config in [predict]: no such option"),
        (
            "[predict]\nchunk-length = '3'",
            "chunk-length in [predict]: '3' is given, but a whole number is needed",
        ),
        (
            "[predict]\nchunk-length = true",
            "chunk-length in [predict]: true is given, but a whole number is needed",
        ),
        ("[predict]\nlegacy = 1", "legacy in [predict]: 1 is given, but true or false is needed"),
        ("[predict]\ninputs = 'x'", "inputs in [predict]: 'x' is given, but a list is needed"),
        ("[predict]\ninputs = [true]", "inputs in [predict]: true is given, but text is needed"),
        ("[predict]\nout = {a = 1}", "out in [predict]: {'a': 1} is given, but text is needed"),
        ("[embed]\nout = 'x'", "has no table [predict]; put the options under that line"),
        ("predict = 3", "has no table [predict]"),
        ("[predict\n", "cannot be read (Expected ']'"),
        ("\x00", "cannot be read ("),
        ("n = " + "9" * 5000, "cannot be read (Exceeds the limit"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        parsed("predict", "x", "-o", "y", "--config", str(file))
    assert str(error.value).startswith(f"{file}: ")
    assert said in str(error.value)


def test_a_wrong_value_from_elsewhere_says_where_it_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[evaluate]\nbootstrap = -1\n")
    with pytest.raises(SettingsError, match=r"run.toml: bootstrap in \[evaluate\]: .*0"):
        parsed("evaluate", "x", "y", "--config", str(file))
    with pytest.raises(SettingsError, match=r"nowhere.toml: cannot be read .* give --config"):
        parsed("evaluate", "x", "y", "--config", str(tmp_path / "nowhere.toml"))
    monkeypatch.setenv("VIRNUCPRO_EVALUATE_SEED", "many")
    with pytest.raises(SettingsError, match="VIRNUCPRO_EVALUATE_SEED: "):
        parsed("evaluate", "x", "y")
    monkeypatch.setenv("VIRNUCPRO_PREDICT_DEVCE", "cpu")
    with pytest.raises(SettingsError, match="unset it, or give VIRNUCPRO_PREDICT_DEVICE"):
        parsed("predict", "x", "-o", "y")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("configured") / "out"
    done = run("predict", EXAMPLES[1], "-o", out, "--chunk-length", "400", "--legacy")
    assert done.returncode == 0, done.stderr
    return out


def test_a_finished_run_holds_every_option_as_it_was_used(finished: Path) -> None:
    found = tomllib.loads((finished / "config.toml").read_text())["predict"]
    none = {"head", "max-fdr", "reads-1", "reads-2", "samples", "write"}
    assert found.keys() == {key(p) for p in COMMANDS["predict"].params} - none - {"config"}
    assert found["inputs"] == [EXAMPLES[1]]
    assert found["out"] == str(finished)
    used = {key: found[key] for key in ("chunk-length", "frames", "precision", "legacy", "gzip")}
    precision = SIX_FRAMES_PRECISION
    assert used == {
        "chunk-length": 400, "frames": "all", "precision": precision, "legacy": True, "gzip": False,
    }  # fmt: skip
    assert found["device"] == "cpu"


def test_the_file_of_a_run_is_the_same_command(finished: Path, tmp_path: Path) -> None:
    config, before = finished / "config.toml", (finished / "config.toml").read_bytes()
    done = run("predict", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "already finished" in done.stderr
    assert config.read_bytes() == before
    done = run("predict", "--config", config, "-o", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "again") == contents(finished)


def test_a_run_that_failed_keeps_no_file(tmp_path: Path) -> None:
    (tmp_path / "bad.fasta").write_text("no sequences")
    out = tmp_path / "out"
    assert run("predict", tmp_path / "bad.fasta", "-o", out).returncode == 1
    assert not (out / "config.toml").exists()


def test_a_name_that_no_file_can_hold_is_one_line(tmp_path: Path) -> None:
    reads = tmp_path / os.fsdecode(b"\xff.fasta")
    reads.write_text(">read\n" + "ATGGCTGCA" * 40 + "\n")
    with pytest.raises(InputError, match=r"\\xff.fasta: its name is not UTF-8; rename it"):
        checked_inputs(reads, "dna")
    with pytest.raises(InputError, match=r"a\\x00b: cannot be read \(embedded null byte\)"):
        checked_inputs("a\0b", "dna")


def test_a_run_of_embed_is_repeated_from_its_file(tmp_path: Path) -> None:
    proteins = Path(EXAMPLES[0]).with_name("proteins.fasta")
    options = ["--model", "compact-pair:protein", "--format", "npz"]
    assert run("embed", proteins, "-o", tmp_path / "out", *options).returncode == 0
    config = tmp_path / "out" / "config.toml"
    found = tomllib.loads(config.read_text())["embed"]
    assert found.keys() == {key(p) for p in COMMANDS["embed"].params} - {"config"}
    assert found["layer"] >= 1
    assert (found["format"], found["precision"]) == ("npz", "fp32")
    assert "already finished" in run("embed", "--config", config).stderr
