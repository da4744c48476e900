"""The messages that docs/troubleshooting.md quotes are in the program."""

import ast
import re
from functools import cache

import pytest

from processes import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)


@cache
def texts() -> list[str]:
    """Return every string of the program except docstrings, with … for inserted values."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts = [x.value if isinstance(x, ast.Constant) else "…" for x in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [node.value] if node not in docstrings else []
    return found


def test_the_page_quotes_messages() -> None:
    assert len(QUOTED) > 50


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_of_the_program(quoted: str) -> None:
    pattern = re.compile(".*".join(re.escape(part.strip()) for part in quoted.split("…")))
    assert any(pattern.search(text) for text in texts())
