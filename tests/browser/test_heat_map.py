"""The heat map shows, on the page itself, exactly how often each of its elements was clicked."""

from datetime import UTC, datetime, timedelta

from browser.newsstand import EDITOR, READER, Newsstand
from browser.person import Box, Person

HOSTILE = "<img src=x onerror=\"document.title='taken over'\">"

PLACES = """
return Object.fromEntries(Array.from(document.querySelectorAll('[data-track]'), element => {
  const {left, top, width, height} = element.getBoundingClientRect();
  return [footfall.keyOf(element).join(':'), [left, top, width, height]];
}));
"""


def test_the_heat_map_shows_exactly_the_clicks(newsstand: Newsstand, person: Person) -> None:
    """Somebody clicks known links known times, each of which leaves the page; the staff then see them all."""
    clicks = {
        "headline:front:article-1": 3,
        "headline:front:article-2": 1,
        "headline:front:article-7": 2,
        "nav:main:nav-popular": 2,
        "nav:main:nav-activity": 1,
    }
    for label, count in clicks.items():
        for _ in range(count):
            person.open("/")
            person.follow(label.rpartition(":")[2])
    newsstand.await_clicks(clicks)

    person.sign_in(EDITOR)
    boxes = person.show_heat_map()
    person.picture("heat-map")

    shown = {box.label: int(box.text) for box in boxes}
    assert {label: count for label, count in shown.items() if count} == clicks
    assert shown.keys() == person.run(PLACES).keys()
    assert len(boxes) == len(shown) == 12 + 4


def test_each_box_lies_on_its_element(newsstand: Newsstand, person: Person) -> None:
    """Also when the page is scrolled, and the window is another one."""
    person.sign_in(EDITOR)
    person.show_heat_map()
    for width, scrolled in ((1280, 0), (1280, 300), (500, 0)):
        person.browser.set_window_size(width, 700)
        person.run("scrollTo(0, arguments[0]);", scrolled)
        person.wait().until(lambda _: _lie_on_their_elements(person))


def _lie_on_their_elements(person: Person) -> bool:
    places = person.run(PLACES)
    boxes = person.heat_map()
    return bool(boxes) and all(_is_near(box, places[box.label]) for box in boxes)


def _is_near(box: Box, place: list[float]) -> bool:
    return all(abs(is_at - ought) < 1 for is_at, ought in zip(box[2:], place, strict=True))


def test_the_heat_map_turns_off_again(newsstand: Newsstand, person: Person) -> None:
    person.sign_in(EDITOR)
    assert person.show_heat_map()
    person.find("//button[normalize-space()='Heat map']").click()
    assert person.heat_map() == []


def test_a_link_under_the_heat_map_can_be_clicked(newsstand: Newsstand, person: Person) -> None:
    person.sign_in(EDITOR)
    person.show_heat_map()
    person.follow("article-3")
    newsstand.await_clicks({"headline:front:article-3": 1})


def test_earlier_days_are_shown_when_they_are_chosen(newsstand: Newsstand, person: Person) -> None:
    today = datetime.now(UTC).date()
    for days, count in ((0, 5), (3, 20), (20, 100)):
        newsstand.add_clicks("headline", "front", "article-4", today - timedelta(days=days), count)
    person.sign_in(EDITOR)
    person.show_heat_map()
    for choice, count in (("today", 5), ("7 days", 25), ("30 days", 125)):
        person.find(f"//option[normalize-space()='{choice}']").click()
        _await_count(person, "headline:front:article-4", count)
    person.picture("thirty-days")


def _await_count(person: Person, label: str, count: int) -> None:
    person.wait().until(lambda _: [box.text for box in person.heat_map() if box.label == label] == [str(count)])


def test_an_element_in_a_shadow_tree_is_counted_and_shown(newsstand: Newsstand, person: Person) -> None:
    person.sign_in(EDITOR)
    person.run(
        "const root = document.querySelector('main').attachShadow({mode: 'open'});"
        "root.innerHTML = '<slot></slot><button id=inner data-track=\"nav:main\"><b>Inside</b></button>';"
        "root.querySelector('b').click();"
    )
    newsstand.await_clicks({"nav:main:inner": 1})
    assert ("nav:main:inner", "1") in {(box.label, box.text) for box in person.show_heat_map()}


def test_a_page_that_a_script_put_back_from_a_copy_has_a_heat_map(newsstand: Newsstand, person: Person) -> None:
    """As scripts do that exchange the body: the copy has the panel and the overlay, but nothing listens there."""
    person.sign_in(EDITOR)
    before = person.show_heat_map()
    person.run(
        "document.body.replaceWith(document.body.cloneNode(true));"
        "const script = document.createElement('script'), old = document.querySelector('script[src*=heatmap]');"
        "script.dataset.url = old.dataset.url; script.onload = () => { window.isBack = true; };"
        "script.src = old.src; document.body.append(script);"
    )
    person.wait().until(lambda _: person.run("return window.isBack === true"))
    assert person.heat_map() == []
    assert person.show_heat_map() == before
    assert person.run("return document.querySelectorAll('.footfall-heatmap').length") == 1


def test_a_link_over_several_lines_is_one_box_with_a_colour_on_each(newsstand: Newsstand, person: Person) -> None:
    person.sign_in(EDITOR)
    person.run(
        "const link = document.getElementById('article-3');"
        "link.textContent = 'many words '.repeat(20); link.style.display = 'inline';"
        "link.parentNode.style.display = 'block'; link.parentNode.style.width = '200px';"
    )
    boxes = [box for box in person.show_heat_map() if box.label == "headline:front:article-3"]
    lines, coloured = person.run(
        "return [document.getElementById('article-3').getClientRects().length,"
        " document.querySelectorAll('[data-footfall-label=\"headline:front:article-3\"] > div').length];"
    )
    assert len(boxes) == 1
    assert lines == coloured > 5


def test_the_panel_keeps_its_own_look(newsstand: Newsstand, person: Person) -> None:
    """Whatever the site's buttons look like."""
    person.sign_in(EDITOR)
    person.run(
        "const sheet = new CSSStyleSheet();"
        "sheet.replaceSync('button, select { background: black; color: black; padding: 50px; width: 100% }');"
        "document.adoptedStyleSheets = [sheet];"
    )
    look = (
        "const style = getComputedStyle(arguments[0]); return [style.color, style.backgroundColor, style.paddingTop];"
    )
    for control in ("button", "select"):
        element = person.find(f"//*[@class='footfall-heatmap']/{control}")
        assert person.run(look, element) == ["rgb(17, 17, 17)", "rgb(238, 238, 238)", "2px"]


def test_readers_and_strangers_get_no_heat_map(newsstand: Newsstand, person: Person) -> None:
    person.open("/")
    assert "heatmap.js" not in person.browser.page_source
    assert person.run("return fetch('/footfall/stats/?dom_ids=article-1').then(answer => answer.status)") == 403
    person.sign_in(READER)
    assert "heatmap.js" not in person.browser.page_source
    assert person.run("return fetch('/footfall/stats/?dom_ids=article-1').then(answer => answer.status)") == 403


def test_a_hostile_label_stays_text(newsstand: Newsstand, person: Person) -> None:
    """Even one that stands in the statistics already, and that the page's own element carries."""
    newsstand.add_clicks(HOSTILE, "front", "None", datetime.now(UTC).date(), 3)
    person.sign_in(EDITOR)
    person.run(
        "const link = document.getElementById('article-3');"
        "link.setAttribute('data-track', arguments[0] + ':front'); link.id = arguments[0];",
        HOSTILE,
    )
    boxes = person.show_heat_map()
    # The label has colons of its own: what matters is that its box is there, and is text.
    assert any("onerror" in box.label for box in boxes)
    assert person.run("return document.querySelectorAll('.footfall-heatmap-layer img, img[src=x]').length") == 0
    assert person.browser.title != "taken over"
    assert person.complaints() == []


def test_nothing_offends_a_strict_content_security_policy(newsstand: Newsstand, person: Person) -> None:
    """No inline script or style, nothing from elsewhere: the demo sends the policy with each page."""
    person.sign_in(EDITOR)
    assert "script-src 'self'; style-src 'self';" in person.run(
        "return fetch('/').then(answer => answer.headers.get('Content-Security-Policy'))"
    )
    person.show_heat_map()
    for path in ("/popular/", "/unseen/", "/articles/1/", "/activity/"):
        person.open(path)
    assert person.complaints() == []
