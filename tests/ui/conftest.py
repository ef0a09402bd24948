import pytest


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.set_default_timeout(60_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.close()
    assert problems == []
