"""Holds the visitors' log against the database: what was done, what the database holds, and whether they agree.

Needs Django set up with ``newsstand.settings``. From the command line: ``python check.py LOG`` with the environment
that the site has.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from visitlog import Bounds, Cell, Expected, Follow, LabelCell, Log, Mark, ReadMark, total

WAIT_SECONDS = 300.0
QUIET_SECONDS = 20.0
POLL_SECONDS = 0.5

KINDS = ("view", "increment", "action")
ENDS = ("applied", "filtered", "duplicate", "dead")

Key = TypeVar("Key", bound=Hashable)


class Row(NamedTuple):
    """One line of the table."""

    kind: str
    what: str
    done: str
    held: str
    agrees: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that was compared."""

    rows: tuple[Row, ...]

    @property
    def agrees(self) -> bool:
        """Whether every number does."""
        return all(row.agrees for row in self.rows)

    def __str__(self) -> str:
        lines = [("", "", "done", "in the database", "")]
        lines += [(row.kind, row.what, row.done, row.held, "ok" if row.agrees else "DIFFERS") for row in self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        text = [
            f"{kind:<{widths[0]}}  {what:<{widths[1]}}  {done:>{widths[2]}}  {held:>{widths[3]}}  {verdict}".rstrip()
            for kind, what, done, held, verdict in lines
        ]
        text.insert(1, "-" * max(map(len, text)))
        return "\n".join(text)


def wait_until_equal(
    log: Log,
    malformed: Mapping[str, int] | None = None,
    *,
    seconds: float = WAIT_SECONDS,
    quiet_seconds: float = QUIET_SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Compare until every number agrees and stays as it is; gives up after ``seconds``, or when nothing moves any more.

    ``malformed`` is the number of malformed messages sent, by the reason of their dead letters. ``progress`` is called
    with the number of events settled so far and the number expected at least. Blocks; reads the database only.
    """
    malformed = malformed or {}
    expected = expected_of(log)
    wanted = total([*expected.applied.values(), *expected.filtered.values()]).low
    deadline = time.monotonic() + seconds
    last: Table | None = None
    moved_at = time.monotonic()
    while True:
        table = compare(expected, malformed)
        now = time.monotonic()
        if last is None or table != last:
            moved_at = now
        elif table.agrees or now - moved_at >= quiet_seconds:
            return table
        if now >= deadline:
            return table
        last = table
        if progress is not None:
            progress(min(settled_events(), wanted), wanted)
        time.sleep(POLL_SECONDS)


def expected_of(log: Log) -> Expected:
    """What the database must hold after ``log``, by this site's spiders and time zone."""
    from django.utils import timezone

    return log.expected(filtered_as, timezone.get_default_timezone())


def filtered_as(user_agent: str) -> str | None:
    """The spider as which the worker leaves out a user agent; None for one that it keeps."""
    from footfall.spiders.matcher import which_spider

    return which_spider(user_agent) if user_agent else "(none)"


def settled_events() -> int:
    """How many of the visitors' events the worker is done with."""
    tallies = _tallies()
    return sum(tallies[kind, end] for kind in KINDS for end in ("applied", "filtered"))


def compare(expected: Expected, malformed: Mapping[str, int]) -> Table:
    """The table as it is now."""
    tallies = _tallies()
    rows = [
        *_view_rows(expected, tallies),
        *_increment_rows(expected, tallies),
        *_action_rows(expected, tallies),
        *_follow_rows(expected),
        *_spider_rows(expected),
        *_malformed_rows(malformed, tallies),
        *_balance_rows(tallies),
    ]
    return Table(tuple(rows))


def _tallies() -> Counter[tuple[str, str]]:
    from footfall.storage.models import Tally

    tallies: Counter[tuple[str, str]] = Counter()
    for kind, name, count in Tally.objects.values_list("kind", "name", "count"):
        tallies[kind, name] += count
    return tallies


def _view_rows(expected: Expected, tallies: Counter[tuple[str, str]]) -> list[Row]:
    read = _read()
    # Of a page that was lost nobody knows which actions it showed.
    possible = expected.read | {mark for mark in read if mark.user in expected.possibly_read}
    return [
        *_fate_rows("view", expected, tallies),
        _set_row("view", "marks of readers on articles", expected.marks, expected.possible_marks, _marks()),
        _set_row("view", "marks of readers on actions", expected.read, possible, read),
    ]


def _set_row(kind: str, what: str, wanted: Set[Key], possible: Set[Key], held: Set[Key]) -> Row:
    """What must be there, and what may."""
    missing, surplus = wanted - held, held - possible
    agrees = not missing and not surplus
    found = f"{len(held & wanted):,}" if agrees else f"{len(missing)} missing, {len(surplus)} too many"
    return Row(kind, what, f"{len(wanted):,}", found, agrees)


def _marks() -> set[Mark]:
    from articles.models import Article

    return {Mark(name, int(key) if key else None) for name, key in _marks_on(Article)}


def _read() -> set[ReadMark]:
    from footfall.storage.models import Action

    return {ReadMark(name, key) for name, key in _marks_on(Action)}


def _marks_on(model: Any) -> Iterable[tuple[str, str]]:
    from footfall.storage.models import ViewMark

    rows: Iterable[tuple[str, str]] = ViewMark.objects.filter(object_type=model._meta.label_lower).values_list(
        "user__username", "object_id"
    )
    return rows


def _increment_rows(expected: Expected, tallies: Counter[tuple[str, str]]) -> list[Row]:
    held = _counters()
    rows = _fate_rows("increment", expected, tallies)
    for dataset, field in (
        ("articledaily", "views"),
        ("articledaily", "comments"),
        ("articledaily", "readers"),
        ("articletotals", "views"),
        ("articletotals", "comments"),
        ("articletotals", "likes"),
    ):
        wanted = {cell: bounds for cell, bounds in expected.counters.items() if cell[:3:2] == (dataset, field)}
        found = {cell: count for cell, count in held.items() if cell[:3:2] == (dataset, field)}
        name = "per article and day" if dataset == "articledaily" else "per article"
        rows.append(_sum_row("increment", f"{field} {name}", wanted, found))
    return [*rows, _sum_row("increment", "hits of labels, per day", expected.labels, _labels())]


def _counters() -> dict[Cell, int]:
    from articles.models import ArticleDaily, ArticleTotals

    counters: dict[Cell, int] = {}
    for daily in ArticleDaily.objects.all():
        for field in daily.get_trackable_fields():
            cell = Cell("articledaily", int(daily.object_id), field, daily.collected_during)
            counters[cell] = getattr(daily, field)
    for totals in ArticleTotals.objects.all():
        for field in totals.get_trackable_fields():
            counters[Cell("articletotals", int(totals.object_id), field, None)] = getattr(totals, field)
    return counters


def _labels() -> dict[LabelCell, int]:
    from footfall.storage.models import Statistic

    rows = Statistic.objects.values_list("label", "category", "dom_id", "day", "counter")
    return {LabelCell(label, category, dom_id, day): count for label, category, dom_id, day, count in rows}


def _sum_row(kind: str, what: str, wanted: Mapping[Key, Bounds], found: Mapping[Key, int]) -> Row:
    """The sums for people to read; the verdict is on every single counter."""
    wrong = sum(found.get(key, 0) not in wanted.get(key, Bounds()) for key in wanted.keys() | found.keys())
    held = f"{sum(found.values()):,}" + (f", {wrong} counters wrong" if wrong else "")
    return Row(kind, f"{what} ({len(wanted):,})", str(total(wanted.values())), held, not wrong)


def _action_rows(expected: Expected, tallies: Counter[tuple[str, str]]) -> list[Row]:
    held = _deeds()
    rows = _fate_rows("action", expected, tallies)
    for verb in ("commented", "liked"):
        certain = {key: deed for key, deed in expected.deeds.items() if deed.verb == verb and deed.certain}
        found = Counter({key: count for key, count in held.items() if key[0] == verb})
        wanted = {(deed.verb, deed.user, deed.article, ticket): Bounds(1, 1) for ticket, deed in certain.items()}
        maybe = {
            (deed.verb, deed.user, deed.article, ticket): Bounds(0, 1)
            for ticket, deed in expected.deeds.items()
            if deed.verb == verb and not deed.certain
        }
        rows.append(_sum_row("action", f"{verb!r}, once per ticket", wanted | maybe, found))
    return [*rows, _targets_row()]


def _deeds() -> Counter[tuple[str, str, int, str]]:
    """How often each deed stands in the database, by verb, actor, target and ticket: an action may be several."""
    from footfall.storage.models import Action

    names = _names()
    rows = Action.objects.values_list("verb", "actor_id", "data")
    return Counter(
        (verb, names.get(actor, ""), article, ticket)
        for verb, actor, data in rows
        for ticket, article in data["tickets"].items()
    )


def _targets_row() -> Row:
    """Whether the targets of the actions are those that their tickets are about, each once."""
    from footfall.storage.models import Action, ActionObject

    rows = Action.objects.values_list("pk", "data")
    wanted = {(pk, str(article)): Bounds(1, 1) for pk, data in rows for article in data["tickets"].values()}
    targets = ActionObject.objects.filter(role=ActionObject.Role.TARGET)
    return _sum_row("action", "targets", wanted, Counter(targets.values_list("action_id", "object_id")))


def _names() -> dict[str, str]:
    from django.contrib.auth.models import User

    return {str(pk): name for pk, name in User.objects.values_list("pk", "username")}


def _follow_rows(expected: Expected) -> list[Row]:
    from footfall.storage.models import Tracker

    names = _names()
    rows = Tracker.objects.values_list("user_id", "tracked_type", "tracked_id")
    held = {Follow(names[str(user)], f"{label}:{key}") for user, label, key in rows}
    return [_set_row("follow", "trackers", expected.follows, expected.possible_follows, held)]


def _fate_rows(kind: str, expected: Expected, tallies: Counter[tuple[str, str]]) -> list[Row]:
    applied, filtered = expected.applied[kind], expected.filtered[kind]
    rows = [_count_row(kind, "events applied", applied, tallies[kind, "applied"])]
    if filtered.high:
        rows.append(_count_row(kind, "events filtered (spiders)", filtered, tallies[kind, "filtered"]))
    return rows


def _count_row(kind: str, what: str, wanted: Bounds, held: int) -> Row:
    return Row(kind, what, str(wanted), f"{held:,}", held in wanted)


def _spider_rows(expected: Expected) -> list[Row]:
    from footfall.storage.models import SpiderTally

    held: Counter[str] = Counter()
    for spider, count in SpiderTally.objects.values_list("spider", "count"):
        held[spider] += count
    return [_sum_row("spiders", "events, per spider", expected.spiders, held)]


def _malformed_rows(malformed: Mapping[str, int], tallies: Counter[tuple[str, str]]) -> list[Row]:
    from footfall.storage.models import DeadLetter

    reasons = DeadLetter.objects.filter(state=DeadLetter.State.OPEN).values_list("reason", flat=True)
    wanted = {reason: Bounds(count, count) for reason, count in malformed.items()}
    letters = _sum_row("malformed", "open dead letters, per reason", wanted, Counter(reasons))
    sent = sum(malformed.values())
    dead = sum(count for (_, name), count in tallies.items() if name == "dead")
    return [letters, _count_row("malformed", "events dead", Bounds(sent, sent), dead)]


def _balance_rows(tallies: Counter[tuple[str, str]]) -> list[Row]:
    """The worker's own books: what it received against what became of it."""
    rows = []
    for kind in sorted({kind for kind, _ in tallies}):
        received, ends = tallies[kind, "received"], [tallies[kind, end] for end in ENDS]
        parts = " + ".join(f"{count:,}" for count in ends)
        rows.append(Row("balance", f"{kind}: {' + '.join(ENDS)}", f"{received:,}", parts, received == sum(ends)))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare from the command line; exit code 0 only if every number agrees."""
    import django

    parser = argparse.ArgumentParser(description="Holds a visitors' log against the demo site's database.")
    parser.add_argument("log", type=Path, help="what visitors.py wrote")
    parser.add_argument("--seconds", type=float, default=WAIT_SECONDS, help="how long to wait for the workers")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "newsstand.settings")
    django.setup()
    table = wait_until_equal(Log.read(options.log), seconds=options.seconds)
    print(table)
    return 0 if table.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
