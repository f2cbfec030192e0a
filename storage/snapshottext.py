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


class Value:
    """A value as a page shows it: in one line, or all of it."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return self._lines == other._lines if isinstance(other, Value) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # values are compared, not collected

    @cached_property
    def brief(self) -> str:
        """In one line, cut after `BRIEF` characters."""
        return Truncator(printable(" ".join(_plain(self._value, None)[: BRIEF * 4].split()))).chars(BRIEF)

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


@dataclass(frozen=True)
class Change:
    """What one field was before, and is now."""

    name: str
    label: str
    old: Value
    new: Value


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


def _plain(value: Any, indent: int | None) -> str:
    match value:
        case None:
            return gettext("none")
        case "":
            return gettext("empty")
        case bool():
            return gettext("yes") if value else gettext("no")
        case datetime():
            return str(localize(localtime(value) if is_aware(value) else value))
        case date() | time():
            return str(localize(value))
        case bytes() | memoryview():
            return readable(bytes(value), FULL)
        case list() | tuple() | dict():
            return json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return str(value)
