"""The chart: what it draws, and that it is one well-formed image whatever is counted and however it is called."""

from datetime import date, timedelta
from xml.etree import ElementTree as ET

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from footfall.storage.chart import DAYS, HEIGHT, WIDTH, bar_chart

DAY = date(2026, 6, 15)
NS = "{http://www.w3.org/2000/svg}"
DRAWN = {f"{NS}{name}" for name in ("svg", "title", "desc", "path", "rect", "text")}


def drawn(totals: list[tuple[date, int]], title: str = "Statistics") -> ET.Element:
    return ET.fromstring(bar_chart(totals, title))


def bars(svg: ET.Element) -> dict[str, float]:
    """The height of each day's bar, by what its tooltip says."""
    return {bar[0].text or "": float(bar.attrib["height"]) for bar in svg.iter(f"{NS}rect")}


def texts(svg: ET.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{NS}text")]


def described(svg: ET.Element) -> str:
    found = svg.find(f"{NS}desc")
    assert found is not None and found.text
    return found.text


def test_each_day_has_a_bar_as_high_as_its_sum() -> None:
    heights = bars(drawn([(DAY - timedelta(days=1), 50), (DAY, 100)]))

    assert list(heights) == ["June 14, 2026: 50", "June 15, 2026: 100"]
    assert heights["June 15, 2026: 100"] == pytest.approx(2 * heights["June 14, 2026: 50"], abs=0.2)
    assert heights["June 15, 2026: 100"] > HEIGHT / 2


def test_days_without_rows_are_zero_and_the_order_of_days_does_not_matter() -> None:
    totals = [(DAY, 3), (DAY - timedelta(days=3), 1)]

    assert list(bars(drawn(totals))) == ["June 12, 2026: 1", "June 13, 2026: 0", "June 14, 2026: 0", "June 15, 2026: 3"]
    assert bar_chart(totals, "") == bar_chart(totals[::-1], "")


def test_only_the_latest_days_are_drawn() -> None:
    totals = [(DAY - timedelta(days=n), n) for n in range(DAYS + 100)]

    heights = bars(drawn(totals))

    assert len(heights) == DAYS
    assert next(iter(heights)).endswith(f": {DAYS - 1}") and list(heights)[-1] == "June 15, 2026: 0"


def test_days_too_far_apart_are_not_drawn_between() -> None:
    assert len(bars(drawn([(date(1, 1, 1), 5), (date(9999, 12, 31), 5)]))) == DAYS


def test_without_rows_it_says_so() -> None:
    svg = drawn([])

    assert texts(svg) == ["Nothing was counted."] and described(svg) == "Nothing was counted."


def test_one_day_is_one_bar_of_a_decent_width() -> None:
    [bar] = drawn([(DAY, 7)]).iter(f"{NS}rect")

    assert float(bar.attrib["width"]) < WIDTH / 10


def test_sums_of_zero_stand_on_the_ground() -> None:
    svg = drawn([(DAY, 0)])

    assert bars(svg) == {"June 15, 2026: 0": 0.0}
    assert texts(svg)[:2] == ["0", "1"]


def test_negative_sums_hang_from_zero() -> None:
    svg = drawn([(DAY - timedelta(days=1), -30), (DAY, 60)])
    below, above = svg.iter(f"{NS}rect")

    assert float(below.attrib["y"]) == pytest.approx(float(above.attrib["y"]) + float(above.attrib["height"]), abs=0.2)
    assert float(above.attrib["height"]) == pytest.approx(2 * float(below.attrib["height"]), abs=0.2)
    assert {"-50", "0", "50"} <= set(texts(svg))


@pytest.mark.parametrize(
    ("most", "tick"),
    [(3, "3"), (10, "10"), (999, "1k"), (2_400_000, "3M"), (2**63 - 1, "10E")],
)
def test_ticks_are_round_and_few(most: int, tick: str) -> None:
    svg = drawn([(DAY, most)])
    ticks = texts(svg)[:-1]

    assert tick in ticks and len(ticks) <= 6


def test_the_description_tells_what_the_bars_show() -> None:
    """For those who don't see it: from when to when, how much in all, when most."""
    told = described(drawn([(DAY - timedelta(days=2), 1_000_000), (DAY, 234_567)]))

    assert told == "June 13, 2026 to June 15, 2026: 1,234,567 in all, at most 1,000,000 on June 13, 2026."


def test_dates_and_numbers_are_written_in_the_active_language() -> None:
    with translation.override("de"):
        assert list(bars(drawn([(DAY, 12_345)]))) == ["15. Juni 2026: 12.345"]


@pytest.mark.parametrize(
    "title",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "]]></title><script>alert(1)</script>",
        "<!ENTITY x SYSTEM 'file:///etc/passwd'>&x;",
        "\x00\x07\x1b[31m\ud800\ufffe",
        "evil\u202egnp.exe",
    ],
)
def test_nothing_in_a_title_acts(title: str) -> None:
    """It is text of one element, without characters that turn or hide others."""
    svg = drawn([(DAY, 1)], title)

    shown = svg.findtext(f"{NS}title")
    assert shown and shown.isprintable()
    assert {element.tag for element in svg.iter()} <= DRAWN
    assert not [name for element in svg.iter() for name in element.attrib if name.startswith("on")]


@given(
    totals=st.dictionaries(st.dates(), st.integers(-(10**30), 10**30), max_size=10).map(lambda days: [*days.items()]),
    title=st.text(),
)
def test_whatever_was_counted_is_drawn_inside_the_image(totals: list[tuple[date, int]], title: str) -> None:
    svg = drawn(totals, title)

    for bar in svg.iter(f"{NS}rect"):
        x, y, width, height = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= WIDTH and 0 <= y <= y + height <= HEIGHT and height >= 0
    assert len(bars(svg)) <= DAYS
