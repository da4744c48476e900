"""The pages of the documentation: their blocks, and the commands in them.

A block fenced as `bash` holds commands that a test runs, `python` a program that it runs, and
`text` after one of these their output. `console` holds commands after `$ ` that need other
machines, a network or data of the user; a test parses them.
"""

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from processes import ROOT

PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
_FENCED = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)
_OPERATORS = set("();<>|&")


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        kind: word on the first fence: `bash`, `console`, ...
        text: the lines.
    """

    kind: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(kind.strip(), text) for _, kind, text in _FENCED.findall(page.read_text())]


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def bash_commands(text: str) -> list[str]:
    """Return the commands of a `bash` block, one a line."""
    return [line for line in _joined(text) if line and not line.startswith("#")]


def console_commands(text: str) -> Iterator[str]:
    """Yield the commands of a `console` block, and the lines of files it writes with <<'END'."""
    lines = iter(_joined(text))
    for line in lines:
        if line.startswith("$ "):
            yield line[2:]
        if end := re.search(r"<<'(\w+)'$", line):
            yield from takewhile(end[1].__ne__, lines)


def arguments_in(command: str) -> Iterator[list[str]]:
    """Yield the arguments of each `virnucpro` in a line of shell, up to an operator."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    for place, word in enumerate(words):
        if word == "virnucpro":
            yield list(takewhile(lambda each: not set(each) <= _OPERATORS, words[place + 1 :]))


def _joined(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()
