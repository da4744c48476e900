"""The way to a terminal for whatever Rich draws: text is made printable and holds no markup."""

from typing import Any

from rich.console import Console
from rich.text import Text

from virnucpro.errors import printable_lines


class Terminal(Console):
    """A console on which text of files is text: no escape sequence, markup, link or emoji in it.

    Args:
        width: columns where no terminal says how many there are; by default as Rich has it.
        options: of a `Console`.
    """

    def __init__(self, width: int | None = None, **options: Any) -> None:  # noqa: ANN401 (Rich's)
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        if width is not None and not self.is_terminal:
            self.width = width

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 (Rich's)
        """Turn a string, be it printed or in a table, into what is drawn."""
        return super().render_str(printable_lines(text), **options)
