"""What tests do with a page in a real Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

NEEDS_CHROMIUM = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="no chromium on the PATH (apt-get install chromium)"
)

WIDTHS = (375, 1440)
Scheme = Literal["light", "dark"]


@contextmanager
def opened(
    browser: Browser,
    report: Path,
    width: int = 1440,
    scheme: Scheme = "light",
    *,
    scripted: bool = True,
) -> Iterator[Page]:
    """Open a report; nothing but the file itself may be asked for, nothing may go wrong."""
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripted
    )
    wrong: list[str] = []

    def asked(request: Request) -> None:
        if request.url != report.as_uri():
            wrong.append(f"asked for {request.url}")

    def said(message: ConsoleMessage) -> None:
        wrong.append(f"console: {message.text}")

    page.on("request", asked)
    page.on("console", said)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.goto(report.as_uri())
    yield page
    page.close()
    assert wrong == []


def column(page: Page, name: str, table: str = "records") -> list[str]:
    """Return a column of the rows that are shown."""
    cells: list[str] = page.eval_on_selector_all(
        f"#{table} tbody tr:not([hidden]) [data-of={name}]",
        "cells => cells.map(cell => cell.dataset.value ?? cell.textContent.trim())",
    )
    return cells
