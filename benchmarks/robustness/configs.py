"""Files for `--config`: hostile TOML; each is taken or refused with one line.

python benchmarks/robustness/configs.py --cases 20000 --seed 1

Some files hold values that fit, and must reach the function of `predict` as they are written.
Others have values of other types, keys that nobody knows, nests, or damage at a random place.
"""

import random
import tomllib
from functools import cache, wraps
from pathlib import Path
from typing import Any

import tomli_w
import typer

import virnucpro.cli.config_file  # noqa: F401 (as the child would, which takes seconds)
from cli import HOSTILE
from harness import Case, Fuzzer, LostError, main
from virnucpro.cli.app import app
from virnucpro.cli.option_sources import key
from virnucpro.cli.predict import predict as real_predict
from virnucpro.errors import SettingsError

#: Values of each option that fit.
FITTING: dict[str, tuple[Any, ...]] = {
    "inputs": (["a.fa"], ["a.fa", "b c.fq"], ["é"], []), "bundle": ("compact", "x", "\x1b[31m"),
    "chunk-length": (300, 3, -7), "frames": ("open",), "prevalence": ("auto", "0.5"),
    "max-fdr": (0.05, 1e300), "legacy": (True, False), "write": (["virus", "other"],),
    "block-chunks": (1, 2048), "report": (True, False), "device": ("cpu", "cpu,cpu"),
    "quiet": (True,), "reads-1": (["1.fq"],), "reads-2": (["2.fq"],),
}  # fmt: skip
#: Values that hardly any option takes.
OTHERS: tuple[Any, ...] = (
    *(value for value in HOSTILE if value.isprintable()), 0, -1, 10**30, 0.0, float("nan"),
    float("inf"), True, [], [[]], [1, "a"], {}, {"a": {"b": []}}, ["a" * 10_000], "\n", "\x00",
)  # fmt: skip
KEYS = (*FITTING, "config", "_config", "help", "version", "", "a.b", "chunk_length", "--device")
#: What stands for a whole file.
WHOLE_FILES = (
    b"", b"[predict]", b"predict = 3", b"[[predict]]\na = 1", b"[embed]\nout = 'x'",
    b"[predict]\n[predict]", b"a = " + b"[" * 5000, b"a = {a = " * 2000, b"\xef\xbb\xbf[predict]\n",
    "[predict]\nout = 'x'\n".encode("utf-16"), b"[predict]\nout = " + b'"' + b"x" * 2**20 + b'"',
    b"[predict]\nchunk-length = " + b"9" * 5000, b"predict." * 5000 + b"a = 1",
    b"[predict]\nd = 1979-05-27",
)  # fmt: skip
FITS = "fits"


def draw(chance: random.Random) -> Case:
    """Return a file; one of the kind `fits` must be taken as it is."""
    what = chance.random()
    if what < 0.05:
        return Case("whole", chance.choice(WHOLE_FILES))
    names = chance.sample(list(FITTING), chance.randint(0, 6))
    values = {name: chance.choice(FITTING[name]) for name in names}
    if what < 0.4:
        return Case(FITS, tomli_w.dumps({"predict": values}).encode())
    for _ in range(chance.randint(1, 3)):
        values[chance.choice(KEYS)] = chance.choice(OTHERS)
    content = tomli_w.dumps({"predict": values}).encode("utf-8", "surrogateescape")
    if what < 0.7:
        return Case("other values", content)
    place, damage = chance.randrange(len(content)), chance.randbytes(chance.randint(0, 4))
    return Case("damaged", content[:place] + damage + content[place + chance.randint(0, 4) :])


@cache
def predict() -> tuple[Any, dict[str, Any]]:
    """Return the command `predict`, and what its function gets, which does nothing else."""
    given: dict[str, Any] = {}
    info = next(i for i in app.registered_commands if i.callback is real_predict)
    info.callback = wraps(real_predict)(lambda **values: given.update(values))
    root: Any = typer.main.get_command(app)
    info.callback = real_predict
    return root.commands["predict"], given


def attempt(case: Case, folder: Path) -> None:
    """Parse a command line with a file; a value that fits reaches the function."""
    path = folder / "run.toml"
    path.write_bytes(case.data)
    command, given = predict()
    try:
        arguments = ["x.fa", "-o", str(folder / "out"), "--config", str(path)]
        command.invoke(command.make_context("predict", arguments))
    except typer.BadParameter as error:
        raise SettingsError(error.message) from error
    if case.kind != FITS:
        return
    names = {key(parameter): str(parameter.name) for parameter in command.params}
    written = tomllib.loads(case.data.decode())["predict"] | {"inputs": ["x.fa"]}
    wrong = [name for name, value in written.items() if given[names[name]] != value]
    if [name for name in wrong if written[name] != []]:
        raise LostError(f"other values than written: {', '.join(wrong)}")


FUZZER = Fuzzer("configs", draw, attempt)

if __name__ == "__main__":
    main(FUZZER)
