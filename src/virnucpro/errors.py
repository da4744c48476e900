"""The errors a user can meet. Each carries one line: what is wrong, where, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

#: Letters of a message that are shown; a longer one loses its middle.
_LONGEST = 1000


def one_line(text: str) -> str:
    """Return a message as one short line, whatever it quotes.

    What cannot be printed is escaped, and a message of more than 1,000 letters loses its middle.
    """
    return printable(shortened(text, _LONGEST))


def shortened(text: str, most: int) -> str:
    """Return a text without its middle, where it has more letters than `most`."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def printable(text: str) -> str:
    r"""Return a text with every character escaped that cannot be printed.

    Those of ASCII are written as `\x1b`, others as `\u2028` or `\U000e0001`, and bytes of a path
    that are no UTF-8 as `\xe9`. What is escaped already stays as it is.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """Return `printable` of each line of a text."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter.isprintable():
        return letter
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:  # the latter stand for bytes that are no UTF-8
        return repr(letter)[1:-1] if code < 0x80 else f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class VirnucproError(Exception):
    """Base of every expected failure; the command line prints its text and exits with 1."""

    def __str__(self) -> str:
        """Return the message as one line."""
        return one_line(super().__str__())


class InputError(VirnucproError):
    """An input file cannot be read as FASTA, FASTQ or BAM of the kind that is asked for."""


class DamagedError(InputError):
    """The content of an input is damaged or ends early, be the file what it should be."""


class BundleError(VirnucproError):
    """A bundle is unknown, incomplete, damaged or of another format."""


class RunError(VirnucproError):
    """An output directory cannot be used for this run."""


class SettingsError(VirnucproError):
    """A setting has a value this machine or bundle does not support."""


@contextmanager
def reading(name: object, to_do: str, kind: type[VirnucproError] = InputError) -> Iterator[None]:
    """Turn whatever a reader of somebody's file raises into one line.

    Libraries that parse files raise errors of every type on damaged or hostile content. This is
    the only place that catches all of them.

    Args:
        name: the file, for the message.
        to_do: what the user should do.
        kind: of the error that is raised instead.

    Raises:
        VirnucproError: of that kind. Errors that are one already pass through.
    """
    try:
        yield
    except (VirnucproError, MemoryError):
        raise
    except Exception as error:
        said = getattr(error, "strerror", None) or str(error).strip()
        reason = said.split("\n", 1)[0] or type(error).__name__
        raise kind(f"{name}: cannot be read ({reason}); {to_do}") from error


def require(what: str, to_do: str, *modules: str) -> None:
    """Load now what is needed at the end, so that nothing is computed in vain.

    Args:
        what: needs them, for the message.
        to_do: what the user should do.
        modules: to load.

    Raises:
        SettingsError: when one cannot be loaded, whatever it raises.
    """
    for module in modules:
        try:
            import_module(module)
        except MemoryError:
            raise
        except Exception as error:
            raise SettingsError(f"{what} needs {module} ({error}); {to_do}") from error
