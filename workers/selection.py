"""Which dead letters a command is about: the filters that its arguments name."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db import connections, models, router
from django.utils import timezone

from footfall.producers.messages import INT64_MAX, KINDS
from footfall.producers.reasons import DEADLY
from footfall.storage.clock import stored
from footfall.storage.models import DeadLetter
from footfall.workers.outcomes import UNKNOWN_KIND

_AGE = re.compile(r"(\d+)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Selection:
    """The filters of one call; those left out select everything."""

    reasons: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    since: datetime | None = None
    ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, options: dict[str, Any], now: datetime) -> Selection:
        """The selection in a command's options. Raises CommandError for a time that can't be read."""
        since = options["since"]
        return cls(
            tuple(map(str, options["reason"] or ())),
            tuple(options["kind"] or ()),
            None if since is None else parse_since(since, now),
            tuple(options["id"] or ()),
        )

    def __bool__(self) -> bool:
        return bool(self.reasons or self.kinds or self.since or self.ids)

    def among(self, letters: models.QuerySet[DeadLetter]) -> models.QuerySet[DeadLetter]:
        """The ones among ``letters`` that every filter selects."""
        if self.reasons:
            letters = letters.filter(reason__in=self.reasons)
        if self.kinds:
            letters = letters.filter(kind__in=self.kinds)
        if self.since is not None:
            letters = letters.filter(last_seen__gte=stored(self.since))
        if self.ids:
            letters = letters.filter(pk__in=self.ids)
        return letters


def add_filters(parser: ArgumentParser) -> None:
    """Add the arguments that `Selection.of` and `database_of` read."""
    filters = parser.add_argument_group("filters", "Letters that every one of them selects; repeat one to widen it.")
    filters.add_argument(
        "--reason",
        action="append",
        choices=[reason.value for reason in DEADLY],
        metavar="REASON",
        help="why they died, e.g. bad_event (repeatable; `dead_letters --count` lists those that are there)",
    )
    filters.add_argument(
        "--kind", action="append", choices=[*KINDS, UNKNOWN_KIND], help="the kind of their events (repeatable)"
    )
    filters.add_argument(
        "--since",
        metavar="WHEN",
        help="last seen at or after WHEN: an ISO date or time in the site's time zone (2026-05-01, 2026-05-01T14:30), "
        "or an age (90s, 30m, 2h, 3d, 1w)",
    )
    filters.add_argument("--id", action="append", type=letter_id, metavar="PK", help="the letter's number (repeatable)")
    parser.add_argument("--database", metavar="ALIAS", help="the database alias of the letters; default: the router's")


def letter_id(text: str) -> int:
    """A letter's number on the command line. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= INT64_MAX):
        raise ArgumentTypeError(f"{text!r} is not the number of a letter")
    return int(text)


def database_of(options: dict[str, Any]) -> str:
    """The alias of the letters. Raises CommandError for one that is not configured."""
    alias: str = options["database"] or router.db_for_write(DeadLetter)
    if alias not in connections:
        raise CommandError(f"There is no database {alias!r}; there is {', '.join(sorted(connections))}.")
    return alias


def at_least_one(limit: int | None) -> int | None:
    """A ``--limit``, checked. Raises CommandError."""
    if limit is not None and limit < 1:
        raise CommandError(f"--limit {limit}: at least 1.")
    return limit


def parse_since(text: str, now: datetime) -> datetime:
    """The moment that ``text`` names: an age before ``now``, or an ISO date or time. Raises CommandError."""
    try:
        if age := _AGE.fullmatch(text.strip()):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        moment = datetime.fromisoformat(text.strip())
        # To UTC here, where a time that no clock can show still has a name.
        return (timezone.make_aware(moment) if timezone.is_naive(moment) else moment).astimezone(now.tzinfo)
    except (ValueError, OverflowError):
        raise CommandError(
            f"--since {text!r} is neither an ISO date or time (2026-05-01, 2026-05-01T14:30) nor an age (2h, 3d)."
        ) from None
