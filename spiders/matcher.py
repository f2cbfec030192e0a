"""Is this user agent a spider? The functions ask the `Spider` table, as one `SpiderMatcher` per process.

The table is read at the first question and again when it changed. A change made through a model's `save` or
`delete` in this process counts at once; any other within a minute, by the number of rows, of active rows, and
the latest `updated`. `QuerySet.update` of a pattern or a name leaves all three alone: set `updated` with it.

Where several patterns match, an operator's own spider names the visit before one of the package's, then the
longer pattern before the shorter, then the alphabet decides: the same answer in every process and database.
"""

import threading
import time
from collections.abc import Callable

from django.db import connections, router
from django.db.models import Count, Max, Q

from footfall.spiders.models import Spider
from footfall.spiders.search import SpiderMatcher

__all__ = ["SpiderMatcher", "SpiderTable", "forget_spiders", "is_spider", "which_spider"]

RECHECK_SECONDS = 60.0


def is_spider(user_agent: str) -> bool:
    """Tell whether `user_agent` is that of a known spider. As `which_spider`."""
    return which_spider(user_agent) is not None


def which_spider(user_agent: str) -> str | None:
    """Return the name of the spider behind `user_agent` (at most 100 characters), or None for anyone else.

    An empty string is no spider; what a missing header means is the caller's policy. With the table missing
    or empty, nothing is a spider. Never raises for what a user agent or a pattern holds.

    Takes microseconds, but for the first question and one a minute: that one makes a query on the calling
    thread, and other threads that ask meanwhile wait. It raises `django.db.DatabaseError` when the table
    can't be read, and the next question tries again. In a coroutine, ask through `sync_to_async`.
    """
    return _table.matcher().match(user_agent)


def forget_spiders() -> None:
    """Read the table again at the next question, for changes that send no signals. No query."""
    _table.forget()


class SpiderTable:
    """Keeps the `SpiderMatcher` of the `Spider` table up to date.

    `clock` returns monotonic seconds. Any thread may call any method.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._matcher = SpiderMatcher(())
        self._fingerprint: object = None
        # A new token says that the table changed here: a matcher read under an old one is stale.
        self._token = object()
        self._read_under: object = None
        self._good_until = 0.0

    def matcher(self) -> SpiderMatcher:
        """Return the matcher of the table as it is now, or was less than a minute ago."""
        if self._is_stale():
            with self._lock:
                if self._is_stale():
                    self._look_again()
        return self._matcher

    def forget(self) -> None:
        """Make the next `matcher()` read the table, whatever its fingerprint."""
        self._token = object()

    def _is_stale(self) -> bool:
        return self._read_under is not self._token or self._clock() >= self._good_until

    def _look_again(self) -> None:
        token = self._token
        told = self._read_under is not token
        known = self._fingerprint is not None and not told
        fingerprint = _fingerprint() if known or _table_exists() else None
        if told or fingerprint != self._fingerprint:
            self._matcher = SpiderMatcher(_spiders() if fingerprint else ())
        self._fingerprint = fingerprint
        self._good_until = self._clock() + RECHECK_SECONDS
        # Last, since other threads take it for the sign that the matcher is there.
        self._read_under = token


_table = SpiderTable()


def _table_exists() -> bool:
    # Asked beforehand: on PostgreSQL a query that fails spoils the transaction of whoever asks.
    connection = connections[router.db_for_read(Spider)]
    return Spider._meta.db_table in connection.introspection.table_names()


def _fingerprint() -> tuple[object, ...]:
    counted = Spider.objects.aggregate(
        rows=Count("pk"), active=Count("pk", filter=Q(active=True)), latest=Max("updated")
    )
    return tuple(counted.values())


def _spiders() -> list[tuple[str, str]]:
    rows = Spider.objects.filter(active=True).values_list("custom", "pattern", "name")
    ordered = sorted(rows, key=lambda row: (not row[0], -len(row[1]), row[1]))
    return [(name, pattern) for _, pattern, name in ordered]
