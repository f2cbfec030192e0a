"""The demo site and a browser for all tests of this directory; each test begins as somebody whom nobody knows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.chromium import forget_everything, open_chromium
from browser.newsstand import Newsstand
from browser.person import Person
from selenium.webdriver import Chrome


@pytest.fixture(scope="session")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newsstand]:
    """The demo site with its worker."""
    with Newsstand(tmp_path_factory.mktemp("newsstand")) as site:
        site.prepare()
        site.start()
        yield site


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """The browser."""
    browser = open_chromium(tmp_path_factory.mktemp("chromium"))
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture
def newsstand(running_site: Newsstand) -> Newsstand:
    """The demo site, with nothing clicked yet."""
    running_site.forget_clicks()
    return running_site


@pytest.fixture
def person(newsstand: Newsstand, chromium: Chrome, tmp_path: Path) -> Person:
    """Somebody at the browser, in a new tab, who is not signed in."""
    forget_everything(chromium)
    return Person(chromium, newsstand.url, tmp_path)
