r"""Record ids that every table, terminal and browser can show, each unlike all others.

What cannot be printed is escaped (`errors.printable`). So that an id that has the six letters
`\x1b5a` is not taken for one with an escape character, the backslash of such letters is `\x5c`.
"""

import re

from virnucpro.errors import printable

#: A backslash that begins what an escaped character looks like. `\x80` and up are what the reader
#: writes of bytes that are no UTF-8.
_LOOKS_ESCAPED = re.compile(r"\\(?=x[0-7][0-9a-f]|u[0-9a-f]{4}|U[0-9a-f]{8})")


def printable_id(word: str) -> str:
    """Return a header's word as an id."""
    if "\\" in word:
        word = _LOOKS_ESCAPED.sub(r"\\x5c", word)
    return printable(word)
