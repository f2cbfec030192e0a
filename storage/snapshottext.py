"""Values of snapshots as text that fits into a page: of any kind, of any length, by anybody. Not escaped for HTML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from typing import Any, NamedTuple

from django.utils.formats import localize
from django.utils.text import Truncator
from django.utils.timezone import is_aware, localtime
from django.utils.translation import gettext

from footfall.storage.printable import printable, readable

#: How many characters of a value a list shows, and how many a page of one version.
BRIEF = 80
FULL = 64 * 1024
#: How many characters stand before the first one that differs, where two long values begin alike.
LEAD = 20


class Value:
    """A value as a page shows it: in one line, or all of it."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._start = 0

    @property
    def is_nothing(self) -> bool:
        """Whether it is None or an empty text, for which a word stands that a text may be as well."""
        return self._value is None or self._value == ""

    @cached_property
    def brief(self) -> str:
        """In one line, cut to `BRIEF` characters."""
        line = self._line[self._start : self._start + BRIEF * 4]
        return Truncator(printable(f"…{line}" if self._start else line)).chars(BRIEF)

    @cached_property
    def full(self) -> str:
        """As lines of text, cut after `FULL` characters, which it says."""
        shown = printable(self._lines[:FULL], keep="\n\t")
        if len(self._lines) <= FULL:
            return shown
        cut = gettext("[cut: %(shown)d of %(all)d characters are shown]")
        return f"{shown}\n{cut % {'shown': FULL, 'all': len(self._lines)}}"

    @property
    def is_long(self) -> bool:
        """Whether `full` is better read in a box of its own."""
        return "\n" in self.full or len(self.full) > BRIEF

    @cached_property
    def _lines(self) -> str:
        return _plain(self._value, 2)

    @cached_property
    def _line(self) -> str:
        return " ".join(_plain(self._value, None)[:FULL].split())


@dataclass(frozen=True)
class Change:
    """What one field was before, and is now."""

    name: str
    label: str
    old: Value
    new: Value

    @classmethod
    def between(cls, name: str, label: str, old: Any, new: Any) -> Change:
        """With both values; where these are long and begin alike, what is `brief` begins near where they differ."""
        change = cls(name, label, Value(old), Value(new))
        start = _alike(change.old._line, change.new._line) - LEAD
        if start > BRIEF // 2:
            change.old._start = change.new._start = start
        return change


class Choice(NamedTuple):
    """A value that a field may be set back to."""

    #: The key of the version that holds it, and its number.
    key: str
    number: Any
    value: Value
    is_chosen: bool


@dataclass(frozen=True)
class Revertible:
    """A field that chosen versions changed: what it is, and what it was before each of them."""

    name: str
    label: str
    current: Value
    choices: list[Choice]

    @property
    def is_left(self) -> bool:
        """Whether none is to be taken."""
        return not any(choice.is_chosen for choice in self.choices)


def _alike(one: str, other: str) -> int:
    """With how many same characters both begin."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if one[:middle] == other[:middle] else (least, middle - 1)
    return least


def _plain(value: Any, indent: int | None) -> str:
    match value:
        case None:
            return gettext("none")
        case "":
            return gettext("empty")
        case bool():
            return gettext("yes") if value else gettext("no")
        case datetime():
            return _moment(value)
        case date():
            return str(localize(value))
        case time():
            return value.isoformat()
        case bytes() | memoryview():
            return readable(bytes(value), FULL)
        case list() | tuple() | dict():
            return json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return str(value)


def _moment(value: datetime) -> str:
    """To the last digit, and with what tells one hour from another on the day when clocks are set back."""
    try:
        local = localtime(value) if is_aware(value) else value
    except OverflowError:  # at either end of the calendar, in a zone on the other side
        return value.isoformat()
    return f"{localize(local.date())}, {local.isoformat().partition('T')[2]}"
