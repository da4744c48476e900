"""What to cite: in words, as BibTeX, and in CITATION.cff, which say the same."""

import re
from importlib.metadata import version

import yaml

from processes import ROOT, run
from virnucpro.cli.cite import REFERENCES


def test_the_file_in_the_root_says_the_same() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert found["cff-version"] == "1.2.0"
    assert found["version"] == version("virnucpro")
    assert len(found["references"]) == len(REFERENCES)
    for entry, reference in zip(found["references"], REFERENCES, strict=True):
        authors = tuple((a["family-names"], a["given-names"]) for a in entry["authors"])
        assert authors == reference.authors
        names = ("title", "journal", "year", "doi")
        assert [entry[name] for name in names] == [getattr(reference, name) for name in names]
        assert str(entry.get("volume", "")) == reference.volume
        pages = "-".join(str(entry[name]) for name in ("start", "end") if name in entry)
        assert pages == reference.pages


def test_text_and_bibtex_name_every_work() -> None:
    text, bibtex = run("cite"), run("cite", "--format", "bibtex")
    assert (text.returncode, bibtex.returncode) == (0, 0)
    for reference in REFERENCES:
        for said in (text.stdout, bibtex.stdout):
            assert reference.title in said
            assert reference.doi in said
    assert re.findall(r"^@(\w+)\{", bibtex.stdout, re.MULTILINE) == ["software", *["article"] * 3]
    assert bibtex.stdout.count("{") == bibtex.stdout.count("}")
    refused = run("cite", "--format", "ris")
    assert (refused.returncode, refused.stderr) == (
        1,
        "virnucpro: error: --format ris: give text or bibtex\n",
    )
