"""Label statistics in Django's admin: listed, filtered, searched, drawn and exported, ten million rows or more.

Nothing here counts, sorts or reads the whole table. What can be chosen comes from the small table of known labels, the
list comes in orders that an index gives, and the date hierarchy from the first and the last day. Labels come from
strangers: they are made printable and then escaped, and a cell of a file is no formula.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import F, FloatField, QuerySet, Sum
from django.db.models.functions import Cast, Coalesce
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from footfall.storage.chart import DAYS, bar_chart
from footfall.storage.knownlabels import Known, matching, offered
from footfall.storage.models import Statistic
from footfall.storage.periodlist import PeriodList
from footfall.storage.printable import printable
from footfall.storage.readonlyadmin import ReadOnlyAdmin
from footfall.storage.spreadsheet import safe_cell

#: How many rows a file takes at most. Where there are more, its last line says so.
EXPORTED = 1_000_000

COLUMNS = ("label", "category", "dom_id", "day", "counter")


# -- What can be chosen


class _KnownFilter(admin.SimpleListFilter):
    """By one value. Some known values are offered; any other may stand in the address, and is then shown with them."""

    parameter_name: str
    offered_as: str  # the attribute of `Known` that has the values

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return []  # the list knows them, once it has searched

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if "\0" in value:
            raise IncorrectLookupParameters
        return queryset.filter(**{self.parameter_name: value})

    def choices(self, changelist: Any) -> Iterator[Any]:
        """All, the chosen value, and what is offered."""
        values = dict.fromkeys([*filter(None, [self.value()]), *getattr(changelist.known, self.offered_as)])
        self.lookup_choices = [(value, printable(value)) for value in values]
        return super().choices(changelist)


class CategoryFilter(_KnownFilter):
    """By a category."""

    title = _("category")
    parameter_name = "category"
    offered_as = "categories"


class LabelFilter(_KnownFilter):
    """By a label."""

    title = _("label")
    parameter_name = "label"
    offered_as = "labels"


# -- The rows


class StatisticList(PeriodList):
    """The list: by day, the latest first unless it is turned round, in an order that no database sorts much for."""

    @cached_property
    def known(self) -> Known:
        """The labels that a search found, or else those to choose from. One query."""
        using = self.root_queryset.db
        if not self._words:
            return offered(using)
        return matching(self._words, self.params.get("category"), using)

    @property
    def search_note(self) -> str:
        """What people are to know of the search: that more labels match than it takes, where it is so."""
        if not (self._words and self.known.is_cut):
            return ""
        return gettext("More labels match than a search takes. Name more of the label, or choose a category.")

    @property
    def _words(self) -> str:
        return self.query.strip()

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """The rows chosen by filters and search."""
        rows = super().get_queryset(request, exclude_parameters)
        return rows.filter(label__in=self.known.labels) if self._words else rows

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """By day, then by id, both up or both down."""
        is_up = super().get_ordering(request, queryset)[0] == "day"
        return [term.asc() if is_up else term.desc() for term in (self.day, self._tie)]

    @property
    def day(self) -> F | Coalesce:
        """The day; of chosen labels as a term that no index is ordered by.

        Labels are found by the index on them and then sorted. Left to itself, a database may rather walk back from
        today until it has met enough of them: through the whole table, for labels of the year before last.
        """
        return Coalesce("day", "day") if self._words or "label" in self.params else F("day")

    @property
    def _tie(self) -> F | Coalesce:
        # For the same reason: a category has its own index by day, and only one day of it is to be sorted.
        return Coalesce("id", "id") if "category" in self.params else F("id")

    def get_results(self, request: HttpRequest) -> None:
        """A page of rows, as a page may show them."""
        super().get_results(request)
        self.result_list = [_shown(row) for row in self.result_list]


class ChosenRows(StatisticList):
    """What a chart or a file is made of: the rows of all the list's pages, uncounted."""

    def get_results(self, request: HttpRequest) -> None:
        """Nothing: no page is shown."""

    def totals(self) -> list[tuple[date, int]]:
        """The sums of the latest `DAYS` days that there are rows of. One query. Exact up to 2 ** 53."""
        # Sums of integers may be too large for SQLite.
        total = Sum(Cast("counter", FloatField()))
        sums = self.queryset.order_by().values(on=self.day).annotate(total=total).order_by("-on")
        return [(row["on"], round(row["total"])) for row in sums[:DAYS]]

    def named(self) -> str:
        """What was chosen, in words."""
        chosen = [
            (gettext("label"), self.params.get("label")),
            (gettext("category"), self.params.get("category")),
            (gettext("search"), self._words),
        ]
        words = ", ".join([gettext("Statistics by day"), *(f"{name}: {value}" for name, value in chosen if value)])
        return f"{words}. {self.search_note}" if self.search_note else words


def _shown(row: Statistic) -> Statistic:
    """The row with its texts made printable; it is not to be saved."""
    for name in ("label", "category", "dom_id"):
        setattr(row, name, printable(getattr(row, name)))
    return row


# -- The pages


@admin.register(Statistic)
class StatisticAdmin(ReadOnlyAdmin):
    """How often labels were hit, by day: a list with a chart, and CSV files of what is chosen."""

    actions = ("export_selected",)
    list_display = ("label", "category", "counter", "day", "dom_id")
    list_filter = (("day", admin.DateFieldListFilter), CategoryFilter, LabelFilter)
    ordering = ("-day", "-id")
    sortable_by = ("day",)
    date_hierarchy = "day"
    search_fields = ("label",)
    search_help_text = _("Words of a label. Of very many labels the filter offers the first; search finds the others.")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that searches by known labels; without counts and pages where all of its rows are taken."""
        match = request.resolver_match
        return ChosenRows if match is not None and match.url_name in _OF_ALL_ROWS else StatisticList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """All: the list itself searches, by the labels that it offers."""
        return queryset, False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Statistic | None:
        """The row, as a page may show it."""
        row = super().get_object(request, object_id, from_field)
        return None if row is None else _shown(row)

    def get_urls(self) -> list[URLPattern]:
        """The admin's own pages, the chart and the file."""
        views = (("chart.svg", self.chart, _CHART), ("export.csv", self.export, _EXPORT))
        ours = [path(at, self.admin_site.admin_view(require_safe(view)), name=name) for at, view, name in views]
        return [*ours, *super().get_urls()]

    def chart(self, request: HttpRequest) -> HttpResponse:
        """The sums by day of the rows that the address chooses, as the list does, as an SVG image."""
        chosen = self._chosen(request)
        return HttpResponse(
            bar_chart(chosen.totals(), chosen.named()),
            content_type="image/svg+xml",
            headers={
                "Content-Security-Policy": "default-src 'none'",
                "X-Content-Type-Options": "nosniff",
            },
        )

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The rows that the address chooses, as the list does, as a CSV file: streamed, at most `EXPORTED` of them."""
        chosen = self._chosen(request)
        return _csv_file(chosen.queryset, chosen.search_note)

    @admin.action(permissions=["view"], description=_("Export selected statistics as CSV"))
    def export_selected(self, request: HttpRequest, rows: QuerySet[Statistic]) -> HttpResponseBase:
        """The ticked rows as a CSV file."""
        return _csv_file(rows)

    def _chosen(self, request: HttpRequest) -> ChosenRows:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            chosen = self.get_changelist_instance(request)
        except IncorrectLookupParameters as error:
            raise BadRequest("No such filter, or no such value.") from error
        assert isinstance(chosen, ChosenRows)
        return chosen


_CHART = "footfall_storage_statistic_chart"
_EXPORT = "footfall_storage_statistic_export"
_OF_ALL_ROWS = (_CHART, _EXPORT)


# -- The file


class _Line:
    """What the csv module writes to: it hands each line back."""

    def write(self, line: str) -> str:
        return line


def _csv_file(rows: QuerySet[Statistic], note: str = "") -> StreamingHttpResponse:
    cut = gettext("More than %d rows are chosen, the rest is left out. Choose a shorter time, a category or a label.")
    values = rows.values_list(*COLUMNS)[: EXPORTED + 1].iterator(chunk_size=2000)
    return StreamingHttpResponse(
        _lines(values, cut % EXPORTED, note),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": 'attachment; filename="statistics.csv"',
            "X-Content-Type-Options": "nosniff",
        },
    )


def _lines(rows: Iterable[tuple[Any, ...]], cut: str, note: str) -> Iterator[str]:
    """A byte order mark, without which Excel doesn't take the file for UTF-8, a head, the rows, what is left out."""
    write = csv.writer(_Line()).writerow
    yield "\ufeff" + write(COLUMNS)
    for n, row in enumerate(rows):
        if n == EXPORTED:
            yield write([cut])
            break
        yield write([safe_cell(value) for value in row])
    if note:
        yield write([note])
