"""Lists of actions: querysets that load what their actions are about together, and pages of them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.db.models.query import ModelIterable
from django.utils import timezone

from footfall.producers.settings import conf
from footfall.storage import loading
from footfall.storage.actionids import ActionIds, Position, continued, in_feed_order, is_untouched, later_in_feed
from footfall.storage.ranges import entries, of_object, of_rules

if TYPE_CHECKING:
    from footfall.storage.models import Action
    from footfall.storage.trackerrules import TrackerRules

#: The longest page.
MAX_PAGE = 1000

#: The fields of an action on which it depends whether it is unread.
ASKED_OF = ("level", "changed")


class ActionQuerySet(models.QuerySet["Action"]):
    """Actions, newest first. Those that are fetched together load what they are about together, when it is asked for.

    A feed (`footfall.storage.feeds`) has a viewer: sliced or as a page it comes with all that a template shows of it.
    """

    _viewer: Any = None

    def about(self, label: str, key: str, roles: Sequence[str] = ("a", "t", "r"), **filters: Any) -> ActionQuerySet:
        """Actions in which the object ``label``, ``key`` is actor, target or related, each once, whatever their level.

        ``key`` is "" for the model itself; ``filters`` are look-ups on `Action`. No query. Raises FieldError.
        """
        return self.found(tuple(of_object(entries(filters), label, key, role) for role in roles))

    def tracked_by(self, tracker: TrackerRules, **filters: Any) -> ActionQuerySet:
        """Actions that ``tracker`` (a stored one or a `TempTracker`) follows, also those from before it was made.

        ``filters`` are look-ups on `Action`; without a lower level (``level__gte``, …) those from READABLE_LEVEL on.
        No query. Raises FieldError.
        """
        return self.found(of_rules(entries(filters, readable=True), tracker))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete them, with their entries and everybody's marks on them, in one transaction.

        A worker that is just adding to one of them comes first, or finds it gone and tries again.
        """
        held = self.order_by("pk").select_for_update()
        with transaction.atomic(using=held.db):
            list(held.values_list("pk", flat=True))
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]  # as Django marks it for templates
    delete.queryset_only = True  # type: ignore[attr-defined]  # and for managers

    def page(self, size: int = 20, after: str = "") -> Page:
        """The first ``size`` actions, or those after the cursor ``after``, which is the ``next`` of another page.

        As fast for the last page as for the first, and what is stored in between moves nothing. One query, and for a
        feed those that load what its actions are about. Raises ValueError for a ``size`` outside of 1 to 1,000, for
        what is no cursor, and for a list that is sliced or in another order than newest first.
        """
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_PAGE:
            raise ValueError(f"A page has 1 to {MAX_PAGE} actions, not {size!r}.")
        if self.query.is_sliced or not in_feed_order(self.query) or not self._gives_actions:
            raise ValueError("Only a whole list of actions, newest first, has pages.")
        rows = self._after(_position(after)) if after else self.all()
        # Without the viewer: what the one action is about that only tells that there are more is not loaded.
        found = list(rows.for_viewer(None)[: size + 1])
        shown, more = found[:size], len(found) > size
        loading.attach(shown, self.db)
        if self._viewer is not None:
            load_for(self._viewer, shown)
        return Page(shown, _cursor(shown[-1]) if more else "")

    # -- For the modules that make lists

    def found(self, ranges: tuple[Any, ...]) -> Self:
        """Those of these actions that ``ranges`` (of `footfall.storage.actionids`) name."""
        return self.filter(pk__in=ActionIds(ranges))

    def for_viewer(self, viewer: Any) -> Self:
        """The same actions, loaded for ``viewer`` when a slice of them is fetched."""
        rows = self.all()
        rows._viewer = viewer
        return rows

    def _after(self, position: Position) -> Self:
        if not is_untouched(self.query):
            return self.filter(later_in_feed(position))
        rows = self.all()
        continued(rows.query, position)
        return rows

    # -- Fetching

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]  # which the stubs leave out
        clone._viewer = self._viewer
        return clone

    def _fetch_all(self) -> None:
        fresh = self._result_cache is None
        super()._fetch_all()
        fetched: list[Any] = self._result_cache or []
        if fresh and self._gives_actions:
            loading.attach(fetched, self.db)
            if self._viewer is not None and self.query.is_sliced:
                load_for(self._viewer, fetched)

    def _iterator(self, use_chunked_fetch: bool, chunk_size: int | None) -> Iterator[Any]:
        from footfall.storage.marks import in_chunks

        rows: Iterator[Any] = super()._iterator(use_chunked_fetch, chunk_size)  # type: ignore[misc]  # likewise
        if not self._gives_actions:
            yield from rows
            return
        for some in in_chunks(rows, chunk_size or MAX_PAGE):
            loading.attach(some, self.db)
            yield from some

    @property
    def _gives_actions(self) -> bool:
        return issubclass(self._iterable_class, ModelIterable)


def load_for(viewer: Any, actions: Sequence[Action]) -> None:
    """Load what ``actions`` are about, as ``viewer`` sees it, and whether they are unread for them.

    That not where what it depends on is deferred: it would be loaded for each of them.
    """
    from footfall.storage import unread

    if actions:
        loading.load(actions, viewer=viewer)
        if conf.TRACK_UNREAD and actions[0].get_deferred_fields().isdisjoint(ASKED_OF):
            unread.load_flags(viewer, actions)


@dataclass(frozen=True)
class Page:
    """Some actions, in order, and the cursor of what comes after them: "" where nothing does. Safe in a URL."""

    actions: list[Action]
    next: str = ""

    def __iter__(self) -> Iterator[Action]:
        return iter(self.actions)

    def __len__(self) -> int:
        return len(self.actions)


# -- Cursors: the microseconds since 1970, in eight bytes, and the sixteen bytes of the id

_MICROSECOND = timedelta(microseconds=1)


def _cursor(action: Action) -> str:
    since = (action.timestamp - _epoch()) // _MICROSECOND
    return urlsafe_b64encode(since.to_bytes(8, "big", signed=True) + action.id.bytes).decode("ascii")


def _position(cursor: str) -> Position:
    try:
        # Decoded as what it must be: other characters would be passed over.
        raw = urlsafe_b64decode(cursor.encode("ascii"))
        if len(raw) != 24 or urlsafe_b64encode(raw).decode("ascii") != cursor:
            raise ValueError
        since = int.from_bytes(raw[:8], "big", signed=True)
        return _epoch() + since * _MICROSECOND, UUID(bytes=raw[8:])
    except (AttributeError, OverflowError, ValueError):
        raise ValueError(f"{str(cursor)[:80]!r} is no cursor of a page.") from None


def _epoch() -> datetime:
    """1970 as the database's times are: by the site's clock, without a zone, where USE_TZ is off."""
    return datetime(1970, 1, 1, tzinfo=timezone.get_fixed_timezone(0) if settings.USE_TZ else None)
