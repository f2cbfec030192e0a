"""The statistics in the admin, under the site's strict Content-Security-Policy."""

from datetime import UTC, datetime, timedelta

import pytest
from browser.newsstand import EDITOR, Newsstand
from browser.person import Person
from selenium.webdriver.common.by import By

STATISTICS = "/admin/footfall_storage/statistic/"
HOSTILE = "<img src=x onerror=\"document.title='taken over'\">"
FORMULA = "=HYPERLINK(0)"

CHART = "return document.querySelector('img[src*=chart]')"


@pytest.fixture
def editor(newsstand: Newsstand, person: Person) -> Person:
    """Somebody who may look at statistics, of which there are some of the last weeks."""
    today = datetime.now(UTC).date()
    for ago in range(0, 40, 2):
        newsstand.add_clicks("headline", "front", "article-1", today - timedelta(days=ago), 40 - ago)
        newsstand.add_clicks("nav", "main", "nav-popular", today - timedelta(days=ago), 5)
    person.sign_in(EDITOR)
    return person


def _labels(person: Person) -> set[str]:
    return {cell.text for cell in person.browser.find_elements(By.CSS_SELECTOR, "#result_list .field-label")}


def _await_chart(person: Person) -> None:
    person.wait().until(lambda _: person.run(f"{CHART}.complete"))
    assert person.run(f"{CHART}.naturalWidth") > 0


def test_the_list_opens_with_its_chart(editor: Person) -> None:
    editor.open(STATISTICS)
    _await_chart(editor)
    editor.picture("statistics")
    assert _labels(editor) == {"headline", "nav"}
    assert len(editor.browser.find_elements(By.CSS_SELECTOR, "#result_list tbody tr")) == 40
    assert editor.complaints() == []


@pytest.mark.parametrize(("choice", "rows"), [("Today", 2), ("main", 20), ("headline", 20)])
def test_a_filter_chooses_rows_and_chart(editor: Person, choice: str, rows: int) -> None:
    editor.open(STATISTICS)
    editor.find(f"//*[@id='changelist-filter']//a[normalize-space()='{choice}']").click()
    editor.wait().until(lambda _: "?" in editor.browser.current_url)
    _await_chart(editor)
    assert len(editor.browser.find_elements(By.CSS_SELECTOR, "#result_list tbody tr")) == rows
    assert "?" in editor.run(f"{CHART}.src")


def test_a_search_finds_a_label(editor: Person) -> None:
    editor.open(STATISTICS)
    editor.find("//input[@id='searchbar']").send_keys("headl")
    editor.press("Search")
    assert _labels(editor) == {"headline"}


def test_a_hostile_label_stays_text(newsstand: Newsstand, editor: Person) -> None:
    """In the list, in its filters, on its own page and in the chart of it alone."""
    newsstand.add_clicks(HOSTILE, HOSTILE[:30], HOSTILE, datetime.now(UTC).date(), 7)
    editor.open(STATISTICS)
    assert HOSTILE in _labels(editor)
    editor.find("//*[@id='changelist-filter']//a[contains(., 'onerror')]").click()
    editor.wait().until(lambda _: "?" in editor.browser.current_url)
    _await_chart(editor)
    assert _labels(editor) == {HOSTILE}
    editor.browser.find_element(By.CSS_SELECTOR, "#result_list .field-label a").click()
    editor.find("//*[contains(@class, 'field-label')]//*[contains(., 'onerror')]")
    assert editor.run("return document.querySelectorAll('img[src=x]').length") == 0
    assert editor.browser.title != "taken over"
    assert editor.complaints() == []


def test_a_formula_stays_text_in_the_file(newsstand: Newsstand, editor: Person) -> None:
    newsstand.add_clicks(FORMULA, "None", "None", datetime.now(UTC).date(), 7)
    editor.open(STATISTICS)
    text = editor.run(
        "return fetch(document.querySelector('a[href*=\"export.csv\"]').href).then(answer => answer.text());"
    )
    lines = text.splitlines()
    assert len(lines) == 1 + 40 + 1
    assert any(FORMULA in line for line in lines)
    assert not any(line.startswith(("=", '"=')) for line in lines)


def test_the_rest_of_the_admin_keeps_to_the_policy(editor: Person) -> None:
    """A page of Django's own forms, and the lists of what workers write."""
    lists = [f"/admin/footfall_storage/{name}/" for name in ("deadletter", "action", "tracker", "deleteditem")]
    for path in ("/admin/", "/admin/articles/article/1/change/", *lists):
        editor.open(path)
        assert editor.complaints() == []
