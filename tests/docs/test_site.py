"""The site builds without warnings, has no broken link, and loads nothing from other hosts."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import virnucpro
from processes import ROOT

#: Attributes with a target that a browser fetches by itself.
FETCHED = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("img", "src"), ("img", "srcset"),
    ("object", "data"), ("script", "src"), ("source", "src"), ("video", "src"),
}  # fmt: skip
NOT_FETCHED = {"canonical", "next", "prev", "author", "license"}


class Page(HTMLParser):
    """The anchors and links of a page, and what a browser fetches for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        self.fetched += [found[name] for kind, name in FETCHED if kind == tag and name in found]
        if tag == "link" and found.get("rel") not in NOT_FETCHED:
            self.fetched.append(found["href"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the site and the output of its build."""
    site = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT, capture_output=True, check=False, text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return site, done.stdout + done.stderr


@pytest.fixture(scope="module")
def pages(build: tuple[Path, str]) -> dict[Path, Page]:
    return {path: Page(path) for path in build[0].rglob("*.html")}


def test_no_warning(build: tuple[Path, str]) -> None:
    assert "WARNING" not in build[1]
    assert "not included in the" not in build[1]


def test_every_page_is_there(pages: dict[Path, Page], build: tuple[Path, str]) -> None:
    written = {path.relative_to(build[0]).as_posix() for path in pages}
    assert {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")} <= written
    assert "src/virnucpro/bundles/compact/index.html" in written


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    broken = [
        (path.name, link)
        for path, page in pages.items()
        if path.name != "404.html"  # shown at any address, so its links start at the root
        for link in page.links + page.fetched
        if not _leads_somewhere(path, link, pages)
    ]
    assert broken == []


def _leads_somewhere(path: Path, link: str, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target not in pages or not parts.fragment:
        return target.is_file()
    return parts.fragment in pages[target].ids


def test_nothing_is_fetched_from_elsewhere(
    build: tuple[Path, str], pages: dict[Path, Page]
) -> None:
    for path, page in pages.items():
        assert not [link for link in page.fetched if urlsplit(link).netloc], path
        assert 'class="mermaid"' not in path.read_text(), "its script would come from elsewhere"
    for style in build[0].rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(https?:)?//|@import", style.read_text()), style


def test_python_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert set(re.findall(r"^::: virnucpro\.(\w+)$", page, re.MULTILINE)) == {
        *virnucpro.__all__, "errors",
    }  # fmt: skip
