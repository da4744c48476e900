"""`virnucpro cite`: what to cite in a paper that used this program; same as CITATION.cff."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

import typer

from virnucpro.cli.completion import words
from virnucpro.cli.console import say
from virnucpro.errors import SettingsError

REPOSITORY_TITLE = "virnucpro: find viral sequences in sequencing reads and contigs"


@dataclass(frozen=True)
class Reference:
    """An article.

    Attributes:
        key: BibTeX key.
        authors: family name and given names of each author, in order.
        title: title of the article.
        journal: name of the journal.
        year: year of publication.
        doi: DOI of the article.
        volume: volume of the journal; empty if unknown.
        number: number within the volume; empty if unknown.
        pages: first and last page; empty if unknown.
        use: the part of this program that is based on the article.
    """

    key: str
    authors: tuple[tuple[str, str], ...]
    title: str
    journal: str
    year: int
    doi: str
    volume: str
    number: str
    pages: str
    use: str


REFERENCES = (
    Reference(
        "li2025virnucpro",
        (
            ("Li", "Jing"), ("Mi", "Jia"), ("Lin", "Wei"), ("Tian", "Fengjuan"), ("Wan", "Jing"),
            ("Gao", "Jingyang"), ("Tong", "Yigang"),
        ),
        "VirNucPro: an identifier for the identification of viral short sequences using six-frame "
        "translation and large language models",
        "Briefings in Bioinformatics", 2025, "10.1093/bib/bbaf224", "26", "3", "",
        "the method",
    ),
    Reference(
        "lin2023esm2",
        (
            ("Lin", "Zeming"), ("Akin", "Halil"), ("Rao", "Roshan"), ("Hie", "Brian"),
            ("Zhu", "Zhongkai"), ("Lu", "Wenting"), ("Smetanin", "Nikita"), ("Verkuil", "Robert"),
            ("Kabeli", "Ori"), ("Shmueli", "Yaniv"), ("dos Santos Costa", "Allan"),
            ("Fazel-Zarandi", "Maryam"), ("Sercu", "Tom"), ("Candido", "Salvatore"),
            ("Rives", "Alexander"),
        ),
        "Evolutionary-scale prediction of atomic-level protein structure with a language model",
        "Science", 2023, "10.1126/science.ade2574", "379", "6637", "1123-1130",
        "ESM-2, the protein encoder of the published weights",
    ),
    Reference(
        "zhou2025dnaberts",
        (
            ("Zhou", "Zhihan"), ("Wu", "Weimin"), ("Ho", "Harrison"), ("Wang", "Jiayi"),
            ("Shi", "Lizhen"), ("Davuluri", "Ramana V."), ("Wang", "Zhong"), ("Liu", "Han"),
        ),
        "DNABERT-S: pioneering species differentiation with species-aware DNA embeddings",
        "Bioinformatics", 2025, "10.1093/bioinformatics/btaf188", "41", "", "i255-i264",
        "DNABERT-S, the DNA encoder of the published weights",
    ),
)  # fmt: skip


def as_text() -> str:
    """Return the references as text, one paragraph each."""
    program = f"The virnucpro developers. {REPOSITORY_TITLE}. Version {version('virnucpro')}."
    return "\n\n".join([f"This program:\n  {program}", *map(_paragraph, REFERENCES)]) + "\n"


def as_bibtex() -> str:
    """Return the references as BibTeX entries."""
    program = {
        "author": "{The virnucpro developers}",
        "title": f"{{{REPOSITORY_TITLE}}}",
        "version": version("virnucpro"),
    }
    entries = [_entry("software", "virnucpro", program)]
    for reference in REFERENCES:
        fields = {
            "author": " and ".join(f"{family}, {given}" for family, given in reference.authors),
            "title": f"{{{reference.title}}}",
            "journal": reference.journal,
            "year": str(reference.year),
            "volume": reference.volume,
            "number": reference.number,
            "pages": reference.pages.replace("-", "--"),
            "doi": reference.doi,
        }
        entries.append(_entry("article", reference.key, fields))
    return "\n".join(entries)


def _paragraph(reference: Reference) -> str:
    authors = ", ".join(f"{family} {given}" for family, given in reference.authors)
    issue = f"({reference.number})" if reference.number else ""
    place = ":".join(filter(None, (reference.volume + issue, reference.pages)))
    where = f"{reference.journal} {reference.year}{f'; {place}' if place else ''}"
    use = reference.use[0].upper() + reference.use[1:]
    return f"{use}:\n  {authors}. {reference.title}. {where}. doi:{reference.doi}"


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}\n"])


def cite(
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="Output format: text or bibtex.",
            autocompletion=words("text", "bibtex"),
        ),
    ] = "text",
) -> None:
    """Print what to cite in a paper that used this program."""
    if file_format not in ("text", "bibtex"):
        raise SettingsError(f"--format {file_format}: give text or bibtex")
    say(as_text() if file_format == "text" else as_bibtex(), end="")
