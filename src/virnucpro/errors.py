"""The errors a user can meet. Each carries one line: what is wrong, where, and what to do."""


def one_line(text: str) -> str:
    """Return a message as one line, whatever it quotes: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class VirnucproError(Exception):
    """Base of every expected failure; the command line prints its text and exits with 1."""

    def __str__(self) -> str:
        """Return the message as one line."""
        return one_line(super().__str__())


class InputError(VirnucproError):
    """An input file cannot be read as FASTA, FASTQ or BAM of the kind that is asked for."""


class BundleError(VirnucproError):
    """A bundle is unknown, incomplete, damaged or of another format."""


class RunError(VirnucproError):
    """An output directory cannot be used for this run."""


class SettingsError(VirnucproError):
    """A setting has a value this machine or bundle does not support."""
