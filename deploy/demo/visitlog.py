"""The visitors' log: what they did, how the site answered, and what the database must therefore hold.

This file knows what each page publishes. It asks no database and no code of Footfall's, so that the two can be held
against each other.

A request that was answered with success is *certain*: all that its view publishes must be applied, once. One that was
refused (4xx) published nothing. Of any other (no answer, or a server error) nobody knows, and it widens the bounds.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

UTC = ZoneInfo("UTC")

#: How many actions the front page's feed shows at most.
FEED_SIZE = 5


class Doing(StrEnum):
    """What a request was for."""

    READ = "read"  # an article
    COMMENT = "comment"
    LIKE = "like"
    UNLIKE = "unlike"
    SEE_ALL = "see_all"  # "mark all as seen"
    CLICK = "click"  # the page's script tells of clicks
    FEED = "feed"  # the front page, on which readers see what those did whom they follow
    FOLLOW = "follow"
    UNFOLLOW = "unfollow"
    OTHER = "other"  # a page that publishes nothing


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. ``user_agent`` is "" where the header was left out, ``status`` 0 where there was no answer."""

    doing: Doing
    user: str | None
    user_agent: str
    sent: float
    answered: float
    status: int
    article: int | None = None
    came_from: str | None = None
    ticket: str | None = None
    labels: tuple[str, ...] = ()
    # The actions that a feed showed as unread; None where the page was lost on its way.
    fresh: tuple[str, ...] | None = ()
    followed: str | None = None

    @property
    def publishes(self) -> bool:
        """Whether its view publishes anything; a feed where it showed something new."""
        if self.doing is Doing.FEED:
            return self.user is not None and bool(self.fresh)
        return self.doing not in (Doing.OTHER, Doing.FOLLOW, Doing.UNFOLLOW)

    @property
    def is_certain(self) -> bool:
        """The view has returned, and what it published was accepted."""
        return 200 <= self.status < 400

    @property
    def is_refused(self) -> bool:
        """The site refused the request before it published anything."""
        return 400 <= self.status < 500


@dataclass(slots=True)
class Bounds:
    """A number that is known exactly, or known to lie between two others, both included."""

    low: int = 0
    high: int = 0

    def add(self, amount: int, *, certain: bool = True) -> None:
        """Add ``amount`` for sure, or perhaps."""
        if certain or amount < 0:
            self.low += amount
        if certain or amount > 0:
            self.high += amount

    def __contains__(self, number: int) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


def total(bounds: Iterable[Bounds]) -> Bounds:
    """The sum of some bounds."""
    result = Bounds()
    for one in bounds:
        result.low += one.low
        result.high += one.high
    return result


class Cell(NamedTuple):
    """One counter: a dataset, an article, a field, and a day where the dataset has days."""

    dataset: str
    article: int
    field: str
    day: date | None


class LabelCell(NamedTuple):
    """One label's statistic of one day."""

    label: str
    category: str
    dom_id: str
    day: date


class Mark(NamedTuple):
    """A user has seen an article, or (None) all of them."""

    user: str
    article: int | None


class ReadMark(NamedTuple):
    """A user has read an action."""

    user: str
    action: str


class Follow(NamedTuple):
    """A user follows an object (``app_label.model:id``)."""

    user: str
    followed: str


class Reader(NamedTuple):
    """Somebody has read an article on a day: a user, or whoever comes with a user agent (all have one address)."""

    user: str | None
    user_agent: str | None
    article: int
    day: date


class Deed(NamedTuple):
    """An action that must stand in the database, or (not ``certain``) may."""

    verb: str
    user: str
    article: int
    certain: bool


def _bounds() -> defaultdict[str, Bounds]:
    return defaultdict(Bounds)


@dataclass(slots=True)
class Expected:
    """What the database must hold. ``applied`` and ``filtered`` count events by kind, ``spiders`` by their spider."""

    applied: defaultdict[str, Bounds] = field(default_factory=_bounds)
    filtered: defaultdict[str, Bounds] = field(default_factory=_bounds)
    spiders: defaultdict[str, Bounds] = field(default_factory=_bounds)
    marks: set[Mark] = field(default_factory=set)
    possible_marks: set[Mark] = field(default_factory=set)
    read: set[ReadMark] = field(default_factory=set)
    possibly_read: set[str] = field(default_factory=set)
    follows: set[Follow] = field(default_factory=set)
    possible_follows: set[Follow] = field(default_factory=set)
    counters: defaultdict[Cell, Bounds] = field(default_factory=lambda: defaultdict(Bounds))
    labels: defaultdict[LabelCell, Bounds] = field(default_factory=lambda: defaultdict(Bounds))
    deeds: dict[str, Deed] = field(default_factory=dict)
    readers: set[Reader] = field(default_factory=set)
    possible_readers: set[Reader] = field(default_factory=set)


#: Says why the worker leaves out a user agent: the spider's name; None for one that it keeps.
FilteredAs = Callable[[str], str | None]


class Log:
    """Every request of some visitors. Threads may share it."""

    def __init__(self, visits: Iterable[Visit] = ()) -> None:
        self._visits = list(visits)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Visit]:
        return iter(list(self._visits))

    def __len__(self) -> int:
        return len(self._visits)

    def __add__(self, other: "Log") -> "Log":
        return Log([*self, *other])

    def add(self, visit: Visit) -> None:
        """Write one request down."""
        with self._lock:
            self._visits.append(visit)

    @property
    def answered(self) -> int:
        """How many requests were answered with success."""
        return sum(visit.is_certain for visit in self)

    @property
    def refused(self) -> int:
        """How many requests were refused: with visitors who behave, none."""
        return sum(visit.is_refused for visit in self)

    @property
    def unknown(self) -> int:
        """How many requests may or may not have published what they were to."""
        return len(self) - self.answered - self.refused

    def write(self, path: Path) -> None:
        """Save the log as JSON lines."""
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(visit)) + "\n" for visit in self)

    @classmethod
    def read(cls, path: Path) -> "Log":
        """Load what `write` saved."""
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return cls(Visit(**row | _typed(row)) for row in rows)

    def expected(self, filtered_as: FilteredAs, zone: tzinfo = UTC) -> Expected:
        """What the database must hold after this log, days being those of ``zone``."""
        expected = Expected()
        # A user's requests come one after the other, so that their order says which mark is the later one.
        for visit in sorted(self, key=lambda visit: visit.sent):
            if not visit.is_refused:
                _expect(visit, expected, filtered_as(visit.user_agent), _days(visit, zone))
        return expected


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """What JSON has no types for."""
    fresh = None if row["fresh"] is None else tuple(row["fresh"])
    return {"doing": Doing(row["doing"]), "labels": tuple(row["labels"]), "fresh": fresh}


def _days(visit: Visit, zone: tzinfo) -> list[date]:
    """The day of the visit, or both where midnight came while it was answered."""
    return sorted({datetime.fromtimestamp(moment, zone).date() for moment in (visit.sent, visit.answered)})


def _expect(visit: Visit, expected: Expected, spider: str | None, days: list[date]) -> None:
    match visit.doing:
        case Doing.READ:
            _expect_view(visit, expected, spider)
            _expect_count(visit, expected, spider, days, "views")
            _expect_reader(visit, expected, spider, days)
            if visit.came_from is not None:
                name, page = f"article-{visit.article}", visit.came_from
                _expect_labels(visit, expected, spider, days, (f"{name}:{page}:{name}", f"{page}:page:None"))
        case Doing.COMMENT:
            _expect_action(visit, expected, "commented")
            _expect_count(visit, expected, spider, days, "comments")
        case Doing.LIKE:
            _expect_action(visit, expected, "liked")
            _expect_likes(visit, expected, spider, 1)
        case Doing.UNLIKE:
            _expect_likes(visit, expected, spider, -1)
        case Doing.SEE_ALL:
            _expect_view(visit, expected, spider)
        case Doing.CLICK:
            _expect_labels(visit, expected, spider, days, visit.labels)
        case Doing.FEED:
            _expect_feed(visit, expected)
        case Doing.FOLLOW | Doing.UNFOLLOW:
            _expect_follow(visit, expected)


def _expect_view(visit: Visit, expected: Expected, spider: str | None) -> None:
    if visit.user is None or not _expect_event(visit, expected, spider, "view"):
        return
    mark = Mark(visit.user, visit.article)
    expected.possible_marks.add(mark)
    if mark.article is None:
        # A wider mark deletes the narrower ones before it. Those may still be there: nobody would notice.
        expected.marks -= {one for one in expected.marks if one.user == mark.user and one.article is not None}
    if visit.is_certain:
        expected.marks.add(mark)


def _expect_feed(visit: Visit, expected: Expected) -> None:
    """What a reader is shown as new, they have read then, whatever their browser says: each an event of its own."""
    if visit.user is None:
        return
    if visit.fresh is None or not visit.is_certain:
        expected.applied["view"].high += FEED_SIZE
        expected.possibly_read.add(visit.user)
        return
    for action in visit.fresh:
        _expect_event(visit, expected, None, "view")
        expected.read.add(ReadMark(visit.user, action))


def _expect_follow(visit: Visit, expected: Expected) -> None:
    assert visit.user is not None and visit.followed is not None
    follow = Follow(visit.user, visit.followed)
    begins = visit.doing is Doing.FOLLOW
    if begins:
        expected.possible_follows.add(follow)
    elif visit.is_certain:
        expected.possible_follows.discard(follow)
    if not begins:
        expected.follows.discard(follow)
    elif visit.is_certain:
        expected.follows.add(follow)


def _expect_count(visit: Visit, expected: Expected, spider: str | None, days: list[date], name: str) -> None:
    assert visit.article is not None
    if _expect_event(visit, expected, spider, "increment"):
        for day in days:
            cell = Cell("articledaily", visit.article, name, day)
            expected.counters[cell].add(1, certain=visit.is_certain and len(days) == 1)
    if _expect_event(visit, expected, spider, "increment"):
        expected.counters[Cell("articletotals", visit.article, name, None)].add(1, certain=visit.is_certain)


def _expect_reader(visit: Visit, expected: Expected, spider: str | None, days: list[date]) -> None:
    assert visit.article is not None
    if not _expect_event(visit, expected, spider, "increment"):
        return
    for day in days:
        reader = Reader(visit.user, None if visit.user else visit.user_agent, visit.article, day)
        counter = expected.counters[Cell("articledaily", visit.article, "readers", day)]
        if reader not in expected.possible_readers:
            expected.possible_readers.add(reader)
            counter.high += 1
        if reader not in expected.readers and visit.is_certain and len(days) == 1:
            expected.readers.add(reader)
            counter.low += 1


def _expect_likes(visit: Visit, expected: Expected, spider: str | None, by: int) -> None:
    assert visit.article is not None
    if _expect_event(visit, expected, spider, "increment"):
        expected.counters[Cell("articletotals", visit.article, "likes", None)].add(by, certain=visit.is_certain)


def _expect_labels(
    visit: Visit, expected: Expected, spider: str | None, days: list[date], labels: Iterable[str]
) -> None:
    """``labels`` with all their three parts."""
    for text in labels:
        label, category, dom_id = text.split(":")
        if _expect_event(visit, expected, spider, "increment"):
            for day in days:
                certain = visit.is_certain and len(days) == 1
                expected.labels[LabelCell(label, category, dom_id, day)].add(1, certain=certain)


def _expect_action(visit: Visit, expected: Expected, verb: str) -> None:
    assert visit.ticket is not None and visit.user is not None and visit.article is not None
    # The site publishes its actions without the request: whoever is signed in is taken for a person.
    _expect_event(visit, expected, None, "action")
    expected.deeds[visit.ticket] = Deed(verb, visit.user, visit.article, visit.is_certain)


def _expect_event(visit: Visit, expected: Expected, spider: str | None, kind: str) -> bool:
    """Count one event; True where it is applied, False where it is filtered."""
    fate = expected.applied if spider is None else expected.filtered
    fate[kind].add(1, certain=visit.is_certain)
    if spider is not None:
        expected.spiders[spider].add(1, certain=visit.is_certain)
    return spider is None
