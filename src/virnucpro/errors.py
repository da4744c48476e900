"""The errors a user can meet. Each carries one line: what is wrong, where, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

#: Longest message in letters; a longer one loses its middle.
_LONGEST = 1000


def one_line(text: str) -> str:
    """Return a message as one short line, whatever text it quotes.

    Characters that cannot be printed are escaped. A message of more than 1,000 letters loses its
    middle.
    """
    return printable(shortened(text, _LONGEST))


def shortened(text: str, most: int) -> str:
    """Return a text without its middle if it has more than `most` letters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def printable(text: str) -> str:
    r"""Return a text in which every unprintable character is escaped.

    ASCII characters become `\x1b`, others `\u2028` or `\U000e0001`, and bytes of a path that are
    not UTF-8 become `\xe9`. Existing escapes stay.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """Return `printable` of each line of a text."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter.isprintable():
        return letter
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:  # the latter stand for bytes that are not UTF-8
        return repr(letter)[1:-1] if code < 0x80 else f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class VirnucproError(Exception):
    """Base of all expected failures; the command line prints the text and exits with status 1."""

    def __str__(self) -> str:
        """Return the message as one line."""
        return one_line(super().__str__())


class InputError(VirnucproError):
    """An input file cannot be read as FASTA, FASTQ or BAM of the required kind."""


class DamagedError(InputError):
    """An input file of the right kind is damaged or ends early."""


class BundleError(VirnucproError):
    """A bundle is unknown, incomplete, damaged or of another format."""


class RunError(VirnucproError):
    """An output directory cannot be used for this run."""


class SettingsError(VirnucproError):
    """A setting has a value that this machine or bundle does not support."""


@contextmanager
def reading(name: object, to_do: str, kind: type[VirnucproError] = InputError) -> Iterator[None]:
    """Turn any exception that a reader of a foreign file raises into a one-line error.

    Libraries that parse files raise exceptions of all types on damaged or hostile content. This is
    the only place that catches all of them.

    Args:
        name: the file, for the message.
        to_do: what the user should do.
        kind: type of the error to raise.

    Raises:
        VirnucproError: an error of that type. A `VirnucproError` of the body passes through.
    """
    try:
        yield
    except (VirnucproError, MemoryError):
        raise
    except Exception as error:
        text = getattr(error, "strerror", None) or str(error).strip()
        reason = text.split("\n", 1)[0] or type(error).__name__
        raise kind(f"{name}: cannot be read ({reason}); {to_do}") from error


def require(what: str, to_do: str, *modules: str) -> None:
    """Import modules before a long computation whose last step needs them.

    Args:
        what: the feature that needs them, for the message.
        to_do: what the user should do.
        modules: names of the modules.

    Raises:
        SettingsError: a module cannot be imported, for whatever reason.
    """
    for module in modules:
        try:
            import_module(module)
        except MemoryError:
            raise
        except Exception as error:
            raise SettingsError(f"{what} needs {module} ({error}); {to_do}") from error
