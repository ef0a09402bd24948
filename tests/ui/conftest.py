import shutil

import pytest


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, the machine's own where Playwright has none installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    installed = shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as started:
        try:
            launched = started.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"needs Chromium: {error}")
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.set_default_timeout(60_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.close()
    assert problems == []
