"""However a page is left, and whatever refuses to send: each click counts, once."""

import pytest
from browser.newsstand import Newsstand
from browser.person import Person

HEADLINE = "headline:front:article-3"
TO_POPULAR = "nav:main:nav-popular"

#: The page's links lead nowhere, so that one page can be clicked many times.
STAY = "document.addEventListener('click', event => event.preventDefault());"
CLICK_TIMES = "for (let i = 0; i < arguments[1]; i++) document.getElementById(arguments[0]).click();"

#: The last of the clicks are under way when the page is left.
CLICK_AND_LEAVE = (
    "const stay = event => event.preventDefault(); document.addEventListener('click', stay);"
    f"{CLICK_TIMES} document.removeEventListener('click', stay); location.href = '/activity/';"
)

#: Clicks for as long as there is a page to click on; the one that has opened it counts along, and stays.
CLICK_ON = STAY + (
    "const link = document.getElementById(arguments[0]);"
    "const clicking = setInterval(() => { link.click(); opener.clicked += 1; }, 0);"
    "addEventListener('pagehide', () => { clearInterval(clicking); opener.left += 1; });"
)

NO_BEACON = "navigator.sendBeacon = () => false;"
NO_FETCH = "window.fetch = () => Promise.reject(new TypeError('refused'));"
NOTHING_AT_ALL = "navigator.sendBeacon = undefined; window.fetch = undefined;"
THROWING = (
    "navigator.sendBeacon = () => { throw new TypeError('refused'); };"
    "window.fetch = () => { throw new TypeError('refused'); };"
)


def test_a_click_on_a_link_that_leaves_at_once_counts(newsstand: Newsstand, person: Person) -> None:
    for _ in range(3):
        person.open("/")
        person.follow("article-3")
    newsstand.await_clicks({HEADLINE: 3})


@pytest.mark.parametrize("clicks", [1, 19, 20, 21, 137])
def test_a_burst_of_clicks_counts_to_the_last(newsstand: Newsstand, person: Person, clicks: int) -> None:
    """A request holds twenty labels, and a burst doesn't end there."""
    person.open("/")
    person.run(CLICK_AND_LEAVE, "article-3", clicks)
    newsstand.await_clicks({HEADLINE: clicks})


def _begin_to_click(person: Person, dom_id: str) -> None:
    """Let the page click on and on; returns when it has begun."""
    before = person.run("return opener.clicked;")
    person.run(CLICK_ON, dom_id)
    person.wait().until(lambda _: person.run("return opener.clicked;") >= before + 5)


def _clicked(person: Person, rounds: int) -> int:
    """How often it was clicked in all rounds, once the last page is gone."""
    person.wait().until(lambda _: person.run("return window.left") == rounds)
    return int(person.run("return window.clicked;"))


def test_a_window_closed_in_the_middle_of_clicking_loses_none(newsstand: Newsstand, person: Person) -> None:
    """Five windows, each closed while its page clicks on and on."""
    person.open("/activity/")
    keeper = person.browser.current_window_handle
    person.run("window.clicked = window.left = 0;")
    for _ in range(5):
        person.open_beside("/")
        _begin_to_click(person, "article-3")
        person.browser.close()
        person.browser.switch_to.window(keeper)
    newsstand.await_clicks({HEADLINE: _clicked(person, rounds=5)})


def test_a_page_left_in_the_middle_of_clicking_loses_none(newsstand: Newsstand, person: Person) -> None:
    """Five rounds in one window, from page to page."""
    person.open("/activity/")
    person.run("window.clicked = window.left = 0;")
    person.open_beside("/")
    for destination in ("/popular/", "/", "/activity/", "/", "/articles/1/"):
        _begin_to_click(person, "nav-popular")
        person.open(destination)
    person.browser.close()
    person.browser.switch_to.window(person.browser.window_handles[0])
    newsstand.await_clicks({TO_POPULAR: _clicked(person, rounds=5)})


def test_what_is_under_way_when_the_page_is_left_counts_once(newsstand: Newsstand, person: Person) -> None:
    """The page that is left is told that it failed, and it arrives nevertheless."""
    person.open("/activity/")
    person.run("window.clicked = window.left = 0;")
    person.open_beside("/")
    with person.far_away():
        _begin_to_click(person, "article-3")
        person.open("/activity/")
    person.browser.close()
    person.browser.switch_to.window(person.browser.window_handles[0])
    newsstand.await_clicks({HEADLINE: _clicked(person, rounds=1)})


def test_a_page_that_the_history_brings_back_counts_on(newsstand: Newsstand, person: Person) -> None:
    """Bursts with requests still under way, from a page that the browser keeps alive, or makes anew."""
    person.open("/")
    for _ in range(4):
        person.run(CLICK_AND_LEAVE, "article-3", 45)
        person.wait().until(lambda _: person.run("return location.pathname") == "/activity/")
        person.browser.back()
        person.wait().until(lambda _: person.run("return location.pathname") == "/")
    person.follow("article-3")
    newsstand.await_clicks({HEADLINE: 4 * 45 + 1})


def test_clicks_without_a_network_come_when_it_is_back(newsstand: Newsstand, person: Person) -> None:
    person.open("/")
    with person.offline():
        person.run(STAY + CLICK_TIMES, "article-3", 30)
    person.open("/activity/")
    newsstand.await_clicks({HEADLINE: 30})


def test_a_refused_beacon_is_sent_by_fetch(newsstand: Newsstand, person: Person) -> None:
    person.before_each_page(NO_BEACON)
    person.open("/")
    person.follow("article-3")
    newsstand.await_clicks({HEADLINE: 1})


@pytest.mark.parametrize(
    "refusal", [NO_BEACON + NO_FETCH, NOTHING_AT_ALL, THROWING], ids=["refused", "missing", "throwing"]
)
def test_refused_clicks_come_with_the_next_page_of_the_tab(newsstand: Newsstand, person: Person, refusal: str) -> None:
    refused = person.before_each_page(refusal)
    person.open("/")
    person.follow("article-3")
    person.follow("nav-popular")
    newsstand.await_clicks({})
    person.no_longer(refused)
    person.open("/activity/")
    newsstand.await_clicks({HEADLINE: 1, TO_POPULAR: 1})


def test_nothing_breaks_where_both_are_refused(newsstand: Newsstand, person: Person) -> None:
    """The console stays empty, and the page's links lead where they lead."""
    person.before_each_page(NO_BEACON + NO_FETCH)
    person.open("/")
    person.follow("article-3")
    assert person.browser.current_url == f"{newsstand.url}/articles/3/?from=front"
    assert person.complaints() == []


def test_a_visitor_gets_no_cookie(newsstand: Newsstand, person: Person) -> None:
    person.open("/")
    person.follow("article-3")
    newsstand.await_clicks({HEADLINE: 1})
    assert person.browser.execute_cdp_cmd("Network.getAllCookies", {})["cookies"] == []


def test_what_a_page_tracks_while_it_goes_counts(newsstand: Newsstand, person: Person) -> None:
    """In a listener of the site's own, called after the script's; the window is closed by it."""
    person.open("/activity/")
    person.open_beside("/")
    person.run("addEventListener('pagehide', () => footfall.track('headline:front:article-3'));")
    person.browser.close()
    person.browser.switch_to.window(person.browser.window_handles[0])
    newsstand.await_clicks({HEADLINE: 1})
