"""Command lines made from the program's own tables of options, with hostile values.

python benchmarks/robustness/cli.py --cases 500 --seed 1

Each runs as a process in a directory with small inputs of every kind. It must end in time with a
status that is documented, an error is one line without a traceback, nothing that a terminal would
obey is printed, and no file changes that is not under what `-o`, `--out` or `--json` names, or in
the store of bundles.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from harness import Case, Fuzzer, HangError, LostError, main
from virnucpro.cli.app import app
from virnucpro.cli.option_sources import key
from virnucpro.errors import VirnucproError

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

from processes import Forked  # noqa: E402 (of the tests)

EXAMPLES = ROOT / "examples"
#: Seconds that a command may take; most of them start PyTorch, and a training takes some.
SECONDS = 60.0
STATUSES = (0, 1, 2, 3, 130, 143)
INPUTS = (
    "tiny.fa", "tiny.fq", "1.fq", "2.fq", "proteins.fa", "empty", "text.txt", "labels.tsv",
    "sheet.csv", "binary", "folder", "run", "missing.fa", "link.fa", "virus.fa", "other.fa",
    "/dev/null",
)  # fmt: skip
HOSTILE = (
    "", " ", "-", "--", ".", "..", "/", "~", "*", "$(id)", "`id`", "a\nb", "a\tb", "\x1b[31mred",
    "[/red]", "[red]",
    "é", "\u202e", "\udcff", "a" * 300, "a" * 5000, "../../x", "-o", "--help", "%s%n", "{0}",
    "\\", "'", '"', "NUL", "con:",
    "/dev/full", "/dev/stdin", "/proc/self/mem", "/proc/1/environ", "a/../b", "a//b",
    "=", ",", ";", "auto,auto",
)  # fmt: skip
NUMBERS = (
    "0", "-1", "1", "2", "7", "3", "500", "1000000000000", "9" * 30, "1e3", "1.5", "nan", "-inf",
    "1e400", "0.5", "5e-324", "0x10",
    "1_0", "٣", " 7", "+5", "-0", "-0.0",
)  # fmt: skip
#: Options of which a large number is work that somebody asked for.
PATIENT = {"steps", "bootstrap", "seconds"}
#: A command line of each kind that works, to which something is done.
WORKING = """
predict tiny.fa -o out --device cpu --no-report
predict -1 1.fq -2 2.fq -o out --device cpu --no-report
predict --samples sheet.csv -o out --device cpu --no-report
predict tiny.fq tiny.fa -o out --device cpu
embed proteins.fa -o out --model compact-pair:protein --device cpu
train virus.fa other.fa -o out --group record --device cpu
evaluate run labels.tsv --bootstrap 5 -o out
calibrate run labels.tsv -o out
report run -o page.html
schema tables
cite
doctor
models list
models path compact
models add mine binary
models verify compact
models fetch virnucpro-300
bench --seconds 0.01 --sizes compact --device cpu --json out.json
""".strip().splitlines()
_WHAT_A_TERMINAL_OBEYS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST_LINE = 1200
_OUT = ("-o", "--out", "--json")
_NOWHERE = "http://127.0.0.1:9"


class _RefusedError(VirnucproError):
    """The command line was refused as it should be."""


def leaves(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, TyperCommand]]:
    """Return every command with its name, as `models fetch`."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, f"{name} ")
        elif isinstance(command, TyperCommand):
            yield prefix + name, command


@cache
def commands() -> dict[str, TyperCommand]:
    """Return all commands by name."""
    root: Any = typer.main.get_command(app)
    return dict(leaves(root))


def draw(chance: random.Random) -> Case:
    """Return a command line and an environment: one that works with changes, or any options."""
    arguments = chance.choice(WORKING).split()
    name = next(name for name in commands() if " ".join(arguments).startswith(name))
    command = commands()[name]
    kind, environment = "changed", dict[str, str]()
    if chance.random() < 0.3:
        kind, arguments = "any", name.split()
        for parameter in command.params:
            if not isinstance(parameter, TyperOption):
                count = chance.randint(0, 2)
                arguments += [_value(chance, command, parameter) for _ in range(count)]
            elif parameter.name == "out":
                arguments += ["-o", "out"]
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        _change(chance, command, arguments, environment)
    if any("ray" in value for value in (*arguments, *environment.values())):
        return draw(chance)  # would leave a cluster running
    if name == "bench":  # by default it measures a network of 12 GB for minutes
        arguments += ["--sizes", "compact", "--seconds", "0.01"]
    if "--end-to-end" in arguments and "--steps" not in arguments:
        arguments += ["--steps", "1"]
    said = {"arguments": arguments, "environment": environment}
    return Case(f"{name}, {kind}", json.dumps(said).encode())


def _change(
    chance: random.Random,
    command: TyperCommand,
    arguments: list[str],
    environment: dict[str, str],
) -> None:
    """Add an option or a variable, or put in, take away or replace an argument."""
    what, place = chance.random(), chance.randint(1, max(1, len(arguments)))
    option = chance.choice([p for p in command.params if isinstance(p, TyperOption)] or [None])
    if what < 0.7 and option is not None:
        value = _value(chance, command, option)
        if what < 0.1:
            environment[str(option.envvar)] = value
        else:
            spelled = chance.choice(option.opts)
            arguments += [spelled] if option.is_flag else [spelled, value]
    elif what < 0.8:
        arguments.insert(place, chance.choice(HOSTILE))
    elif what < 0.9:
        del arguments[place - 1 : place]
    else:
        arguments[place - 1 : place] = [chance.choice((*HOSTILE, *INPUTS, *NUMBERS))]


def _value(chance: random.Random, command: TyperCommand, parameter: Any) -> str:  # noqa: ANN401
    """Return a value for an option or an argument: fitting, of another type, or hostile."""
    hint = get_type_hints(command.callback)[str(parameter.name)]
    kinds = {hint, *get_args(hint)}
    pools: list[tuple[str, ...]] = [HOSTILE, INPUTS, INPUTS]
    if kinds & {int, float}:
        pools = [NUMBERS[:7] if key(parameter) in PATIENT else NUMBERS] * 4 + [HOSTILE]
    elif complete := getattr(parameter, "autocompletion", None) or _completion(parameter):
        pools += [tuple(complete("")) or INPUTS] * 3
    if kinds & {str} and key(parameter) in ("prevalence", "max-fdr"):
        pools = [NUMBERS, HOSTILE]
    return chance.choice(chance.choice(pools)).replace("\0", "")


def _completion(parameter: Any) -> Any:  # noqa: ANN401
    complete = getattr(parameter, "_custom_shell_complete", None)
    if complete is None:
        return None
    return lambda text: [getattr(x, "value", x) for x in complete(None, parameter, text)]


def prepare(folder: Path) -> Path:
    """Write inputs of every kind into the directory that commands run in, once."""
    here = folder / "up" / "here"
    if here.exists():
        return here
    here.mkdir(parents=True)
    reads = ["ACGTTGCAACGGATCCGATT" * 10, "ATGGCTGCAGGTCCGGACGA" * 12]
    fastq = "".join(f"@r{i}{{0}}\n{read}\n+\n{'I' * len(read)}\n" for i, read in enumerate(reads))
    fasta = "".join(f">r{i}\n{read}\n" for i, read in enumerate(reads))
    codons = {"virus.fa": ("GCC", "GGC"), "other.fa": ("CGG", "CTC")}
    for name, pair in codons.items():
        genes = ["".join(random.Random(i).choices(pair, k=100)) for i in range(8)]  # noqa: S311
        (here / name).write_text("".join(f">{name}{i}\n{g}\n" for i, g in enumerate(genes)))
    contents = {
        "tiny.fa": fasta, "tiny.fq": fastq.format(""), "1.fq": fastq.format("/1"),
        "2.fq": fastq.format("/2"), "proteins.fa": ">p\nMKVLAAGG\n", "empty": "",
        "text.txt": "hello\n", "labels.tsv": "record\tis_virus\nr0\t1\nr1\t0\n",
        "sheet.csv": "sample,files\ns,tiny.fa\nt,tiny.fq\n",
    }  # fmt: skip
    for name, content in contents.items():
        (here / name).write_text(content)
    (here / "binary").write_bytes(random.Random(1).randbytes(3000))  # noqa: S311
    (here / "folder").mkdir()
    (here / "folder" / "mine.txt").write_text("mine\n")
    (here / "link.fa").symlink_to("tiny.fa")
    ended = run(here, ["predict", "tiny.fa", "-o", "run", "--device", "cpu", "--no-report"], {})
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return here


def run(
    here: Path, arguments: list[str], environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, in a directory and without a network.

    Raises:
        HangError: when it takes too long.
    """
    quiet = {"VIRNUCPRO_HOME": str(here.parent / "home"), "HOME": str(here.parent / "user")}
    network = {"HF_ENDPOINT": _NOWHERE, "VIRNUCPRO_HEADS_URL": _NOWHERE}
    before = (
        f"import os; os.environ.update({quiet | network | environment!r}); os.chdir({str(here)!r})"
    )
    process = Forked(arguments, before)
    try:
        said = process.communicate(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise HangError(f"more than {SECONDS:g} s") from None
    return subprocess.CompletedProcess(arguments, process.wait(), *said)


def snapshot(folder: Path) -> dict[Path, str]:
    """Return a digest of every file, and where links lead."""
    found = {}
    for place, _, names in os.walk(folder):
        for path in (Path(place) / name for name in names):
            is_file = path.is_file() and not path.is_symlink()
            content = path.read_bytes() if is_file else os.fsencode(os.path.realpath(path))
            found[path] = sha256(content).hexdigest()
    return found


def attempt(case: Case, folder: Path) -> None:
    """Run a command line, and look at what it says and does."""
    here = prepare(folder)
    before = snapshot(folder)
    said = json.loads(case.data)
    try:
        ended = run(here, said["arguments"], said["environment"])
    finally:
        after = snapshot(folder)
        changed = [path for path in after | before if after.get(path) != before.get(path)]
        allowed = [here.parent / name for name in ("home", "user")] + _outputs(here, said)
        for path in allowed:
            if path.is_relative_to(here) and path != here:
                with suppress(OSError):  # no name of a file
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        astray = [path for path in changed if not any(path.is_relative_to(a) for a in allowed)]
        if any(path in before for path in changed) or astray:
            shutil.rmtree(here.parent)  # made again for the next case
    touched = [path for path in changed if path in before]
    if astray or touched:
        names = [str(path.relative_to(folder)) for path in (*astray, *touched)]
        raise LostError(f"wrote or removed {', '.join(names[:5])}")
    judge(ended)


def _outputs(here: Path, said: dict[str, Any]) -> list[Path]:
    """Return the places that a command line names for its outputs."""
    arguments = said["arguments"]
    found = [b for a, b in pairwise(arguments) if a in _OUT]
    found += [a.partition("=")[2] for a in arguments if a.startswith(("--out=", "--json="))]
    found += [a[2:] for a in arguments if a.startswith("-o") and len(a) > 2]
    found += [v for k, v in said["environment"].items() if k.endswith(("_OUT", "_JSON"))]
    return [Path(os.path.normpath(here / name)) for name in found]


def judge(ended: "subprocess.CompletedProcess[str]") -> None:
    """Look at how a command ended and at what it said.

    Raises:
        LostError: when that is not as documented.
    """
    status, said = ended.returncode, ended.stderr
    problems = [line for line in said.splitlines() if line.startswith("virnucpro: error: ")]
    if status not in STATUSES:
        raise LostError(f"status {status}: {said[-300:]}")
    if "Traceback" in said or "a bug in virnucpro" in said:
        raise LostError(f"a fault: {said[-500:]}")
    if "too little memory" in said:
        raise MemoryError
    if (
        status == 1
        and len(problems) != 1
        and "doctor" not in ended.args
        and "verify" not in ended.args
    ):
        raise LostError(f"status 1 with {len(problems)} lines of error: {said[-300:]}")
    if status in (0, 3) and problems:
        raise LostError(f"status {status} with an error: {problems[0]}")
    if status == 2 and "Error" not in said and "Usage" not in ended.stdout:
        raise LostError(f"status 2 without a word: {said[-300:]}")
    obeyed = _WHAT_A_TERMINAL_OBEYS.search(ended.stdout + said)
    if obeyed:
        raise LostError(
            f"prints {obeyed[0]!r}: {(ended.stdout + said)[obeyed.start() - 80 :][:160]!r}"
        )
    if any(len(line) > _LONGEST_LINE for line in said.splitlines()):
        raise LostError("prints a line of more than 1,200 letters")
    if status in (1, 2):
        raise _RefusedError("as it should be")


FUZZER = Fuzzer("cli", draw, attempt, is_apart=False)

if __name__ == "__main__":
    main(FUZZER)
