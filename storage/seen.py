"""Whether a user has seen the rows of a table, as one SQL expression.

Of a user's marks on an object, on its model and on everything the latest decides: the object is seen when that mark
says *seen* and is not older than the object's change. In SQL, with W the later of the two wide marks (read once, since
it does not depend on the row)::

    unseen  <=>  there is an own mark that says "unseen" and is later than W
                 or neither W nor an own mark that says "seen" is as late as the change
"""

from __future__ import annotations

from typing import Any

from django.db import models, router
from django.db.models import Exists, F, OuterRef, Q, Subquery, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThanOrEqual

from footfall.storage.changetime import change_expression
from footfall.storage.keytext import key_text
from footfall.storage.marks import label_of
from footfall.storage.models import ViewMark


def unseen_condition(user: Any, queryset: models.QuerySet[Any], updated_field: str | None = None) -> Q:
    """The condition on rows of ``queryset`` that the user with the key ``user`` has not seen. Never NULL.

    Raises NoChangeTime, TypeError for a primary key that SQL can't write as text, ValueError where the marks are kept
    in another database than the rows.
    """
    refuse_another_database(queryset)
    model = queryset.model
    changed = change_expression(queryset, updated_field)
    own = ViewMark.objects.filter(user_id=user, object_type=label_of(model), object_id=_own_key(model)).order_by()
    wide = wide_mark(user, label_of(model))
    taken_back = own.filter(later_than(wide), seen=False)
    return Q(Exists(taken_back)) | (
        ~_covers(wide, changed) & ~_covers(Subquery(own.filter(seen=True).values("at")[:1]), changed)
    )


def wide_mark(user: Any, label: str) -> Subquery:
    """The time of the user's later mark on the model ``label`` or on everything; NULL without one."""
    marks = ViewMark.objects.filter(user_id=user, object_type__in=("", label), object_id="")
    return Subquery(marks.order_by("-at").values("at")[:1])


def later_than(mark: Subquery) -> Q:
    """The condition on rows of `ViewMark` that they are later than ``mark``, or that there is no such mark."""
    return ~_covers(mark, F("at"))


def _own_key(model: type[models.Model]) -> Combinable:
    try:
        return key_text(model, OuterRef("pk"))
    except TypeError as refused:
        raise TypeError(f"{refused} Load the objects and ask ViewTracker.flag().") from None


def _covers(mark: Subquery, changed: Combinable) -> Q:
    # A mark that isn't there covers nothing, and NULL must not spread.
    no = Value(False)  # noqa: FBT003 - an SQL literal
    return Q(Coalesce(GreaterThanOrEqual(mark, changed), no, output_field=models.BooleanField()))


def refuse_another_database(queryset: models.QuerySet[Any]) -> None:
    """Raise ValueError where the marks are kept in another database than these rows: no query can join them."""
    home = router.db_for_write(ViewMark)
    # Rows that are routed as the marks are may be read from any copy of that database.
    chosen: str | None = queryset._db  # type: ignore[attr-defined]  # the alias given to using(), if any
    routed = chosen is None and router.db_for_write(queryset.model) == home
    if not routed and queryset.db not in (home, router.db_for_read(ViewMark)):
        raise ValueError(
            f"The marks are kept in the database {home!r}, these rows of {queryset.model._meta.label} in "
            f"{queryset.db!r}: load them and ask ViewTracker.flag() (of actions: Action.bulk_is_unread_for)."
        )
