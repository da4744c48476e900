"""Add pages from outside docs/ to the site, and adapt links to them (called by MkDocs).

Links in the pages are paths in the repository, so they work on a forge. On the site, links to pages
lead to these pages; links to other files of the repository become plain text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
#: Patterns of pages outside docs/, from the root of the repository.
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/**/*.md",
    "integrations/**/*.md",
    "src/virnucpro/**/*.md",
)
#: Label, target and anchor of a link or a picture.
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, each under its path from the root."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    """Turn paths in the repository into links of the site."""
    source = Path(str(page.file.abs_src_path)).relative_to(ROOT)
    here = posixpath.dirname(page.file.src_uri)

    def lead(link: re.Match[str]) -> str:
        label, target, anchor = link.groups(default="")
        place = posixpath.normpath(posixpath.join(source.parent.as_posix(), target))
        found = files.get_file_from_path(place.removeprefix("docs/"))
        if found is not None:
            return f"[{label}]({posixpath.relpath(found.src_uri, here or '.')}{anchor})"
        return label if (ROOT / place).exists() else link[0]

    return _LINK.sub(lead, markdown)
