"""A browser for the tests of the page, which are left out where there is none."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.harness.page_visit import Visits, visits

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")  # an open browser keeps an event loop; others want their own
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium here")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Visits]:
    """Opens the page: see Visits."""
    with visits(browser) as made:
        yield made
