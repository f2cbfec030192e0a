"""The mark that an event carries where one visitor is to count once in a window of time.

The worker decides: of all events with one token the earliest counts. A token is a keyed hash that is new for each
visitor, counter and window, so nobody can tell from it who it was, or that two counters saw the same visitor.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec
from django.utils import timezone
from django.utils.crypto import salted_hmac

from footfall.producers.messages import Once

SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=366)

#: From the midnight that begins this day windows are counted: what the clock on the site's wall shows.
FIRST_DAY = datetime(2000, 1, 1)

#: How long after its window a token is kept at least: a zone's shift and a clock ahead are less.
SLACK = timedelta(days=1)


def once(visitor: str, counter: Iterable[object], at: datetime, length: timedelta) -> Once:
    """The mark of ``visitor`` (see `visitor_of`) for ``counter`` in the window of ``length`` that ``at`` lies in.

    ``counter`` is whatever tells one counter from another, as values that JSON can hold.
    """
    number, end = window(at, length)
    said = msgspec.json.encode([visitor, *counter, length.total_seconds(), *number])
    token = salted_hmac("footfall.once", said, algorithm="sha256").digest()[:16]
    return Once(uuid.UUID(bytes=token), until=max(end, datetime.now(UTC)) + SLACK)


def check_length(length: timedelta) -> None:
    """Raises TypeError or ValueError where ``length`` is no window of time."""
    if not isinstance(length, timedelta):
        raise TypeError(f"once_per is a timedelta, not {length!r}.")
    if not SHORTEST <= length <= LONGEST:
        raise ValueError(f"once_per is between a second and 366 days, not {length}.")


def window(at: datetime, length: timedelta) -> tuple[tuple[int, int], datetime]:
    """Which window of ``length`` the moment ``at`` lies in, and when that ends.

    Windows stand still, they don't begin with a visit: they follow each other since `FIRST_DAY` on the clock of the
    site's time zone, so that one of a day is a calendar day, also of 23 or 25 hours. When the clock is put back,
    windows of up to an hour come twice, and longer ones last longer.
    """
    zone = timezone.get_default_timezone()
    local = timezone.localtime(at, zone)
    number = (local.replace(tzinfo=None) - FIRST_DAY) // length
    again = local.fold if length <= timedelta(hours=1) else 0
    end = (FIRST_DAY + (number + 1) * length).replace(tzinfo=zone)
    return (number, again), end.astimezone(UTC)
