"""Lists in the admin that are leafed through by time, of any length: what an index does not answer is not asked."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable
from copy import copy
from datetime import date, datetime
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import build_q_object_from_lookup_parameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property

#: How many years the date hierarchy names at most: the latest.
YEARS = 50

_PERIODS = ("", "__gte", "__lt", "__year", "__month", "__day")


class Days:
    """What Django's date hierarchy asks of a queryset, told from the first and the last day: each day, month and year
    between them is offered, whether or not there is a row of it."""

    def __init__(self, rows: QuerySet[Any], field: str = "day") -> None:
        self._rows = rows
        self._field = field

    @cached_property
    def _ends(self) -> tuple[Any, Any]:
        # SQLite takes a single MIN or MAX from an index, but reads all of it for both at once.
        first = self._rows.order_by(self._field, "pk").values(self._field)[:1]
        latest = self._rows.order_by(f"-{self._field}", "-pk")
        return latest.values_list(Subquery(first), self._field).first() or (None, None)

    def aggregate(self, **_asked: object) -> dict[str, Any]:
        """The first and the last day or moment, None for both where there's no row.

        One query, which `dates` doesn't repeat.
        """
        return dict(zip(("first", "last"), self._ends, strict=True))

    def dates(self, field_name: str, kind: str) -> list[date]:
        """The days, or the first days of the months or years, from the first day to the last."""
        first, last = map(_day, self._ends)
        if first is None or last is None:
            return []
        if kind == "day":
            return [date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1)]
        if kind == "month":
            months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
            return [date(n // 12, n % 12 + 1, 1) for n in months]
        return [date(year, 1, 1) for year in range(max(first.year, last.year - YEARS + 1), last.year + 1)]

    datetimes = dates


def _day(end: date | None) -> date | None:
    """A day, or a moment's day in the site's time zone."""
    if isinstance(end, datetime):
        return (timezone.localtime(end) if timezone.is_aware(end) else end).date()
    return end


class PeriodList(ChangeList):
    """A list with a date hierarchy, in which nothing can be asked for but a period and what its filters ask."""

    @property
    def in_period(self) -> Q:
        """The period that was chosen, once `get_filters` has run."""
        q: Q = build_q_object_from_lookup_parameters(self._period)
        return q

    def among_latest(self, rows: QuerySet[Any], count: int) -> QuerySet[Any]:
        """Those of ``rows`` that are among the latest ``count`` of the period, whatever is chosen beside it.

        One query now, for since when that is: told the time itself, a database knows how few rows are left.
        """
        latest = self.root_queryset.filter(self.in_period).order_by(f"-{self._field}", "-pk")
        edge = latest.values_list(self._field, flat=True)[count - 1 : count]
        return rows.filter(**{f"{self._field}__gte": at for at in edge})

    @property
    def hierarchy(self) -> PeriodList:
        """The list as the date hierarchy is to see it: its days depend on the period alone, so that an index tells
        them."""
        seen = copy(self)
        seen.queryset = Days(self.root_queryset.filter(self.in_period), self._field)  # all that it asks of it
        return seen

    def get_filters(self, request: HttpRequest) -> Any:
        """As ever, for what an index answers; the rest is refused."""
        asked = self.get_filters_params().keys()
        known = {self._field + lookup for lookup in _PERIODS} | self._filtered
        if not asked <= known or (asked & {f"{self._field}__month", f"{self._field}__day"} and self._year not in asked):
            raise IncorrectLookupParameters
        try:
            found = super().get_filters(request)
            specs, _has_filters, remaining, *_rest = found
            chosen: ChainMap[str, Any] = ChainMap(remaining, *(spec.used_parameters for spec in specs))
            self._period = {name: value for name, value in chosen.items() if name.partition("__")[0] == self._field}
            # Also as SQL: a database may have no words for a time at the edge of the calendar.
            self.root_queryset.filter(self.in_period).query.sql_with_params()
        except (ValueError, OverflowError, ValidationError) as error:  # the year 9999 has none after it
            raise IncorrectLookupParameters from error
        return found

    @property
    def _field(self) -> str:
        return str(self.date_hierarchy)

    @property
    def _year(self) -> str:
        return f"{self._field}__year"

    @property
    def _filtered(self) -> set[str]:
        """What the filters take from the address, those by time excepted."""
        filters: Iterable[Any] = self.list_filter
        return {one.parameter_name for one in filters if hasattr(one, "parameter_name")}
