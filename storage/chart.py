"""A bar chart of sums by day, made on the server: one SVG document that needs neither script nor style.

It is shown as an image, so it can't take its colours from the page: those here can be read on light and on dark.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from xml.etree.ElementTree import Element, SubElement, tostring

from django.utils.formats import date_format, number_format
from django.utils.translation import gettext

from footfall.storage.printable import printable

#: How many days a chart shows at most: the latest.
DAYS = 92

WIDTH, HEIGHT = 960, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 10, 12, 28
_BAR, _TEXT, _LINE = "#4a90b8", "#777777", "#888888"
_WIDEST_BAR = 60
_TICKS = 4
_DATES = 6
_UNITS = ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def bar_chart(totals: Iterable[tuple[date, int]], title: str) -> str:
    """An SVG document with a bar for each day from the first to the last of ``totals``, at most the last `DAYS` days.

    A day that ``totals`` leaves out is zero; of a day named twice the later sum holds. Dates and numbers are written
    in the active language. Whatever stands in ``title`` is shown as text.
    """
    days = _filled(dict(totals))
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    svg.set("aria-labelledby", "title desc")
    svg.set("font-family", "system-ui, sans-serif")
    svg.set("font-size", "14")
    SubElement(svg, "title", id="title").text = printable(title)
    SubElement(svg, "desc", id="desc").text = _described(days)
    if days:
        scale = _Scale([total for _, total in days])
        _draw_ticks(svg, scale)
        _draw_bars(svg, days, scale)
        _draw_dates(svg, days)
    else:
        _write(svg, WIDTH / 2, HEIGHT / 2, gettext("Nothing was counted."), "middle")
    return tostring(svg, encoding="unicode")


def _filled(totals: dict[date, int]) -> list[tuple[date, int]]:
    """Every day of the chart in order, with zero for those that are missing."""
    if not totals:
        return []
    last = max(totals)
    length = min((last - min(totals)).days + 1, DAYS)
    days = (last - timedelta(days=length - 1 - n) for n in range(length))
    return [(day, totals.get(day, 0)) for day in days]


def _described(days: list[tuple[date, int]]) -> str:
    if not days:
        return gettext("Nothing was counted.")
    most_on, most = max(days, key=lambda pair: pair[1])
    return gettext("%(first)s to %(last)s: %(sum)s in all, at most %(most)s on %(day)s.") % {
        "first": _long(days[0][0]),
        "last": _long(days[-1][0]),
        "sum": _exact(sum(total for _, total in days)),
        "most": _exact(most),
        "day": _long(most_on),
    }


class _Scale:
    """Where a sum stands on the chart: from the lowest tick, which is zero or less, to the highest."""

    def __init__(self, totals: list[int]) -> None:
        low, high = min(0, *totals), max(0, *totals)
        self.step = _round_step(high - low)
        self.low = low // self.step * self.step
        self.high = max(-(-high // self.step) * self.step, self.low + self.step)

    def __call__(self, total: int) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * ((self.high - total) / (self.high - self.low))

    def ticks(self) -> range:
        return range(self.low, self.high + 1, self.step)


def _round_step(span: int) -> int:
    """The least of 1, 2, 5, 10, 20, 50, … that takes at most `_TICKS` steps over ``span``."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step * _TICKS >= span:
                return step
        power *= 10


def _draw_ticks(svg: Element, scale: _Scale) -> None:
    for tick in scale.ticks():
        y = scale(tick)
        SubElement(svg, "path", d=f"M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}", stroke=_LINE, opacity="0.35")
        _write(svg, _LEFT - 8, y + 4, _short(tick), "end")


def _draw_bars(svg: Element, days: list[tuple[date, int]], scale: _Scale) -> None:
    slot = _slot(days)
    width = min(slot * 0.8, _WIDEST_BAR)
    for n, (day, total) in enumerate(days):
        top, bottom = sorted((scale(total), scale(0)))
        bar = SubElement(
            svg,
            "rect",
            x=f"{_LEFT + slot * n + (slot - width) / 2:.1f}",
            y=f"{top:.1f}",
            width=f"{width:.1f}",
            height=f"{bottom - top:.1f}",
            fill=_BAR,
        )
        SubElement(bar, "title").text = f"{_long(day)}: {_exact(total)}"


def _draw_dates(svg: Element, days: list[tuple[date, int]]) -> None:
    """A few dates under the bars, the last day's always among them."""
    slot = _slot(days)
    every = -(-len(days) // _DATES)
    for n in range(len(days) - 1, -1, -every):
        x = min(max(_LEFT + slot * (n + 0.5), _LEFT + 30), WIDTH - 46)
        _write(svg, x, HEIGHT - 8, date_format(days[n][0], "SHORT_DATE_FORMAT"), "middle")


def _slot(days: list[tuple[date, int]]) -> float:
    return (WIDTH - _LEFT - _RIGHT) / len(days)


def _write(svg: Element, x: float, y: float, text: str, anchor: str) -> None:
    words = SubElement(svg, "text", x=f"{x:.1f}", y=f"{y:.1f}", fill=_TEXT)
    words.set("text-anchor", anchor)
    words.text = text


def _long(day: date) -> str:
    return date_format(day, "DATE_FORMAT")


def _exact(number: int) -> str:
    return number_format(number, force_grouping=True)


def _short(number: int) -> str:
    """A tick's number in a few characters: 25, 2.5k, 40M."""
    for size, unit in _UNITS:
        if abs(number) >= size:
            return f"{number / size:g}{unit}"
    return str(number)
