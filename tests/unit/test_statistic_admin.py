"""Label statistics in the admin: what is listed, drawn and exported, in how many queries, and that no label acts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date, timedelta
from html.parser import HTMLParser
from io import StringIO
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from footfall.storage import knownlabels, statisticadmin
from footfall.storage.knownlabels import OFFERED, offered
from footfall.storage.models import KnownLabel, Statistic
from footfall.storage.periodlist import Days
from footfall.storage.printable import printable
from footfall.storage.spreadsheet import safe_cell

pytestmark = pytest.mark.django_db

LIST = reverse("admin:footfall_storage_statistic_changelist")
CHART = reverse("admin:footfall_storage_statistic_chart")
EXPORT = reverse("admin:footfall_storage_statistic_export")

DAY = date(2026, 6, 15)
PAYLOADS = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "</title><svg onload=alert(1)>",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "{{ 7|add:7 }}{% debug %}",
    "javascript:alert(1)",
    "evil\u202egnp.exe",
    "bell\x07\x1b[31m\x85\u2028line",
]

Staff = Callable[..., Client]


@pytest.fixture
def staff() -> Staff:
    """A client signed in as a member of the staff with these permissions on statistics."""

    def staff(*codes: str) -> Client:
        user = User.objects.create(username="staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=[f"{code}_statistic" for code in codes]))
        client = Client()
        client.force_login(user)
        return client

    return staff


@pytest.fixture
def reader(staff: Staff) -> Client:
    """One who may see statistics."""
    return staff("view")


def counted(label: str, category: str = "None", dom_id: str = "None", day: date = DAY, counter: int = 1) -> Statistic:
    """A row as the worker leaves it."""
    KnownLabel.objects.get_or_create(label=label, category=category, dom_id=dom_id, defaults={"first_day": day})
    return Statistic.objects.create(label=label, category=category, dom_id=dom_id, day=day, counter=counter)


def listed(client: Client, query: str = "") -> list[str]:
    """The labels of the list's first page."""
    response = client.get(LIST + query)
    assert response.status_code == 200
    return [row.label for row in response.context["cl"].result_list]


def page(client: Client, query: str = "") -> str:
    return str(client.get(LIST + query).content.decode())


def table(response: Any) -> list[list[str]]:
    """The lines of a CSV file."""
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.reader(StringIO(text, newline="")))


class Tags(HTMLParser):
    """What a browser makes of a page: its text, its tags and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self, part: str) -> list[str]:
        """The addresses of links that have ``part`` in them."""
        links = (attrs.get("href") or "" for tag, attrs in self.tags if tag == "a")
        return [link for link in links if part in link]


# -- Who may what


@pytest.mark.parametrize("url", [LIST, CHART, EXPORT])
def test_only_staff_with_the_right_to_view_sees_anything(staff: Staff, url: str) -> None:
    counted("home")

    assert Client().get(url).status_code == 302
    assert staff().get(url).status_code == 403


def test_nobody_writes(admin_client: Client) -> None:
    """Not even a superuser adds, changes or deletes; a row's page and its history can be read."""
    row = counted("home")
    detail = reverse("admin:footfall_storage_statistic_change", args=[row.pk])

    assert admin_client.get(reverse("admin:footfall_storage_statistic_add")).status_code == 403
    assert admin_client.post(detail, {"counter": 5}).status_code == 403
    assert admin_client.post(reverse("admin:footfall_storage_statistic_delete", args=[row.pk])).status_code == 403
    assert admin_client.get(detail).status_code == 200
    assert admin_client.get(reverse("admin:footfall_storage_statistic_history", args=[row.pk])).status_code == 200
    assert "delete_selected" not in page(admin_client)


@pytest.mark.parametrize("url", [CHART, EXPORT])
def test_chart_and_file_are_only_read(reader: Client, url: str) -> None:
    assert reader.post(url).status_code == 405
    assert reader.head(url).status_code == 200


# -- The list


def test_the_latest_days_come_first_and_the_order_can_be_turned_round(reader: Client) -> None:
    counted("new")
    counted("old", day=DAY - timedelta(days=2))
    counted("newest")

    assert listed(reader) == ["newest", "new", "old"]
    assert listed(reader, "?o=4") == ["old", "new", "newest"]
    assert listed(reader, "?o=-4") == ["newest", "new", "old"]


@pytest.mark.parametrize("order", ["1", "-3", "99", "x", "", "1.4"])
def test_no_other_order_is_given_since_none_has_an_index(reader: Client, order: str) -> None:
    for label in ("b", "a", "c"):
        counted(label)

    assert listed(reader, f"?o={order}") == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        pytest.param("label=home", {"home"}, id="label"),
        pytest.param("category=nav", {"home", "imprint"}, id="category"),
        pytest.param("category=nav&label=imprint", {"imprint"}, id="both"),
        pytest.param("label=hom", set(), id="no part of a label"),
        pytest.param("day__gte=2026-06-15&day__lt=2026-06-16", {"home", "buy"}, id="day"),
        pytest.param("day=2026-05-01", {"imprint"}, id="one day"),
        pytest.param("day__year=2026", {"home", "buy", "imprint"}, id="year"),
        pytest.param("day__year=2026&day__month=5", {"imprint"}, id="month"),
        pytest.param("day__year=2026&day__month=6&day__day=15", {"home", "buy"}, id="day of the hierarchy"),
        pytest.param("day__year=2025", {"last year"}, id="another year"),
        pytest.param("q=IM+rin", {"imprint"}, id="search: each word, in any case"),
        pytest.param("q=e&category=nav", {"home"}, id="search in a category"),
        pytest.param("q=e&day__year=2025", {"last year"}, id="search in a year"),
        pytest.param("q=nothing", set(), id="search in vain"),
        pytest.param("q=+", {"home", "buy", "imprint", "last year"}, id="search for blanks"),
        pytest.param("q=%25", set(), id="no wildcard"),
    ],
)
def test_rows_are_chosen_by_filters_hierarchy_and_search(reader: Client, query: str, labels: set[str]) -> None:
    """And the file has the same ones."""
    counted("home", "nav")
    counted("buy", "shop")
    counted("imprint", "nav", day=date(2026, 5, 1))
    counted("last year", "misc", day=date(2025, 6, 15))

    assert set(listed(reader, f"?{query}")) == labels
    assert {row[0] for row in table(reader.get(f"{EXPORT}?{query}"))[1:]} == labels


@pytest.mark.parametrize(
    "query",
    [
        "counter__gte=5",
        "label__regex=(a%2B)%2B$",
        "dom_id=x",
        "nonsense=1",
        "label=a%00",
        "category=%00",
        "day=yesterday",
        "day__gte=x",
        "day__year=x",
        "day__year=0",
        "day__year=9999",
        "day__year=9999&day__month=12&day__day=31",
        "day__month=5",
        "day__day=5",
    ],
)
def test_what_no_index_answers_or_is_no_value_is_refused(reader: Client, query: str) -> None:
    """The list says so and shows everything; a chart or a file of something else than was asked for is none."""
    counted("home")

    response = reader.get(f"{LIST}?{query}", follow=True)

    assert response.redirect_chain == [(f"{LIST}?e=1", 302)] and response.status_code == 200
    assert reader.get(f"{CHART}?{query}").status_code == 400
    assert reader.get(f"{EXPORT}?{query}").status_code == 400


@pytest.mark.parametrize("url", [LIST, CHART, EXPORT])
def test_a_search_for_more_than_a_label_can_hold_finds_nothing(reader: Client, url: str) -> None:
    """However many words it has: a condition for each would be too many for a database."""
    counted("a")

    response = reader.get(f"{url}?q={'a+' * 2000}")

    assert response.status_code == 200
    if url == EXPORT:
        assert len(table(response)) == 1
    assert listed(reader, f"?q={'a+' * 2000}") == []
    assert listed(reader, f"?q={'a+' * 125}") == ["a"]


def test_a_search_with_a_nul_is_no_error_of_the_server(reader: Client) -> None:
    counted("home")

    assert listed(reader, "?q=%00") == ["home"]


def test_filters_offer_known_values_up_to_a_bound(reader: Client) -> None:
    for n in range(OFFERED + 10):
        KnownLabel.objects.create(label=f"label {n:03}", category=f"category {n % 3}", dom_id="x", first_day=DAY)

    tags = Tags(page(reader))

    assert len(tags.links("label=")) == OFFERED
    assert tags.links("category=") == [f"?category=category+{n}" for n in range(3)]


def test_any_value_can_be_chosen_and_is_then_offered(reader: Client) -> None:
    """Also one that is not known, or not among the first."""
    counted("home")

    tags = Tags(page(reader, "?label=far+away&category=elsewhere"))

    assert tags.links("label=far+away") and tags.links("category=elsewhere")
    assert "far away" in tags.text and "elsewhere" in tags.text


def test_a_search_offers_what_it_found(reader: Client) -> None:
    counted("home", "nav")
    counted("homework", "school")
    counted("buy", "shop")

    tags = Tags(page(reader, "?q=home"))

    assert len(tags.links("label=home")) == 2 and len(tags.links("category=")) == 2
    assert not tags.links("buy")


def test_a_search_that_finds_too_much_says_so(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the page, in the chart's title and in the last line of the file: nothing is left out silently."""
    monkeypatch.setattr(knownlabels, "MATCHED", 2)
    for label in ("a 1", "a 2", "a 3"):
        counted(label)
    note = "More labels match than a search takes"

    assert note in page(reader, "?q=a") and note in reader.get(CHART + "?q=a").content.decode()
    assert note in table(reader.get(EXPORT + "?q=a"))[-1][0]
    assert set(listed(reader, "?q=a")) == {"a 1", "a 2"}
    assert note not in page(reader, "?q=3") and note not in page(reader)


def test_known_values_are_found_in_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Each once, in order; and of an empty table none."""
    with django_assert_num_queries(1):
        assert offered("default") == knownlabels.Known([], [])
    for label, category, dom_id in (("b", "y", "1"), ("a", "x", "1"), ("a", "x", "2"), ("a", "y", "1"), ("", "x", "1")):
        KnownLabel.objects.create(label=label, category=category, dom_id=dom_id, first_day=DAY)

    with django_assert_num_queries(1):
        assert offered("default") == knownlabels.Known(["", "a", "b"], ["x", "y"])


# -- The hierarchy


def test_the_hierarchy_spans_the_days_that_there_are(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """From the first to the last, with those between that have no row; in one query for all that is asked."""
    counted("first", day=date(2024, 11, 29))
    counted("last", day=date(2025, 2, 2))
    days = Days(Statistic.objects.all())

    with django_assert_num_queries(1):
        assert days.aggregate() == {"first": date(2024, 11, 29), "last": date(2025, 2, 2)}
        assert days.dates("day", "year") == [date(2024, 1, 1), date(2025, 1, 1)]
        months = [date(2024, 11, 1), date(2024, 12, 1), date(2025, 1, 1), date(2025, 2, 1)]
        assert days.dates("day", "month") == months
        assert days.dates("day", "day")[:3] == [date(2024, 11, 29), date(2024, 11, 30), date(2024, 12, 1)]
        assert len(days.dates("day", "day")) == 66


def test_the_hierarchy_of_no_rows_is_empty() -> None:
    days = Days(Statistic.objects.all())

    assert days.aggregate() == {"first": None, "last": None}
    assert [days.dates("day", kind) for kind in ("year", "month", "day")] == [[], [], []]


def test_the_hierarchy_names_a_bounded_number_of_years() -> None:
    """A row that somebody dated wrongly doesn't make a page of thousands of links."""
    counted("wrong", day=date(1, 1, 1))
    counted("right")

    assert len(Days(Statistic.objects.all()).dates("day", "year")) == 50


@pytest.mark.parametrize(
    ("query", "parameter", "count"),
    [
        pytest.param("", "day__year=", 3, id="years"),
        pytest.param("?day__year=2026", "day__month=", 6, id="months of a year"),
        pytest.param("?day__year=2026&day__month=6", "day__day=", 15, id="days of a month"),
        pytest.param("?day__gte=2026-06-10&day__lt=2026-06-20", "day__day=", 4, id="days of a filter"),
        pytest.param("?label=home&category=none&q=x", "day__year=", 3, id="whatever label is chosen"),
    ],
)
def test_the_hierarchy_leads_on(reader: Client, query: str, parameter: str, count: int) -> None:
    counted("home", day=date(2024, 12, 31))
    for day in (date(2026, 1, 1), date(2026, 6, 1), date(2026, 6, 12), DAY):
        counted("home", day=day)

    assert len(Tags(page(reader, query)).links(parameter)) == count


# -- Queries


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?p=2",
        "?o=4",
        "?day__gte=2026-01-01&day__lt=2026-07-01",
        "?category=nav",
        "?label=label+7",
        "?category=nav&label=label+7",
        "?q=label",
        "?q=label&category=nav&label=label+7&day__year=2026",
        "?q=nothing",
        "?day__year=2026",
        "?day__year=2026&day__month=6",
        "?day__year=2026&day__month=6&day__day=15",
    ],
)
@pytest.mark.parametrize("count", [0, 1, 250])
def test_the_list_takes_at_most_eight_queries(
    reader: Client, django_assert_max_num_queries: DjangoAssertNumQueries, count: int, query: str
) -> None:
    """With the session, the user and both kinds of permissions, however many rows there are."""
    for n in range(count):
        counted(f"label {n % 50}", "nav", f"dom {n % 7}", DAY - timedelta(days=n))

    with django_assert_max_num_queries(8):
        reader.get(LIST + query)


def test_the_sums_of_the_chart_are_one_query(reader: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Beside the session, the user and both kinds of permissions; a search asks for the labels first."""
    for n in range(150):
        counted("home", day=DAY - timedelta(days=n))

    for query, queries in (("", 5), ("?category=None", 5), ("?label=home", 5), ("?q=home", 6)):
        with django_assert_num_queries(queries):
            reader.get(CHART + query)


# -- The chart


def chart(client: Client, query: str = "") -> ET.Element:
    response = client.get(CHART + query)
    assert response.status_code == 200
    return ET.fromstring(response.content)


def sums(client: Client, query: str = "") -> list[str]:
    """What the bars say."""
    return [bar[0].text or "" for bar in chart(client, query).iter("{http://www.w3.org/2000/svg}rect")]


def test_the_chart_sums_the_chosen_rows_by_day(reader: Client) -> None:
    """All of them, not only those of a page."""
    for n in range(120):
        counted(f"label {n}", "nav" if n % 2 else "foot", counter=10)
    counted("label 1", "nav", day=DAY - timedelta(days=2))

    assert sums(reader) == ["June 13, 2026: 1", "June 14, 2026: 0", "June 15, 2026: 1,200"]
    assert sums(reader, "?category=foot&p=2") == ["June 15, 2026: 600"]
    assert sums(reader, "?label=label+1") == ["June 13, 2026: 1", "June 14, 2026: 0", "June 15, 2026: 10"]
    assert sums(reader, "?q=label+1&day__year=2026&day__month=6&day__day=13") == ["June 13, 2026: 1"]
    assert sums(reader, "?q=nothing") == []


def test_the_chart_shows_the_latest_days_of_what_is_chosen(reader: Client) -> None:
    for n in range(0, 400, 2):
        counted("often", day=DAY - timedelta(days=n))
    counted("long ago", day=date(2020, 1, 1))

    assert len(sums(reader)) == 92 and sums(reader)[-1] == "June 15, 2026: 1"
    assert sums(reader, "?label=long+ago") == ["Jan. 1, 2020: 1"]


def test_sums_that_no_column_holds_are_drawn(reader: Client) -> None:
    for n in range(3):
        counted(f"label {n}", counter=2**63 - 1)

    [told] = sums(reader)
    assert told.startswith("June 15, 2026: 27,670,116,110,564,")


def test_the_chart_is_an_image_that_may_do_nothing(reader: Client) -> None:
    response = reader.get(CHART)

    assert response["Content-Type"] == "image/svg+xml"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'"
    assert {"private", "no-store"} <= set(response["Cache-Control"].split(", "))


def test_the_page_shows_the_chart_of_what_it_lists(reader: Client) -> None:
    tags = Tags(page(reader, "?category=a%26b&q=%22x%22&p=1"))

    [image] = [attrs for tag, attrs in tags.tags if tag == "img" and "chart" in (attrs["src"] or "")]
    assert image["src"] == f"{CHART}?category=a%26b&q=%22x%22" and image["alt"]


# -- The file


def test_the_file_has_the_chosen_rows(reader: Client) -> None:
    counted("home", "nav", "top", counter=3)
    counted("büro ☃", "nav", day=date(2025, 1, 1), counter=-2)
    response = reader.get(EXPORT)

    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="statistics.csv"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert table(response) == [
        ["label", "category", "dom_id", "day", "counter"],
        ["home", "nav", "top", "2026-06-15", "3"],
        ["büro ☃", "nav", "None", "2025-01-01", "-2"],
    ]


def test_spreadsheets_are_told_that_the_file_is_utf_8(reader: Client) -> None:
    assert b"".join(reader.get(EXPORT).streaming_content).startswith(b"\xef\xbb\xbflabel,")  # type: ignore[attr-defined] # a streaming response


def test_the_page_leads_to_the_file_of_what_it_lists(reader: Client) -> None:
    tags = Tags(page(reader, "?label=a+b&p=1"))

    assert (f"{EXPORT}?label=a+b") in [attrs.get("href") for tag, attrs in tags.tags if tag == "a"]


def test_ticked_rows_are_exported(reader: Client) -> None:
    rows = [counted(f"label {n}") for n in range(3)]
    ticked = [rows[0].pk, rows[2].pk]

    response = reader.post(LIST, {"action": "export_selected", "_selected_action": ticked, "index": 0})

    assert [row[0] for row in table(response)] == ["label", "label 2", "label 0"]


def test_a_file_that_was_cut_says_so(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(4):
        counted(f"label {n}")
    monkeypatch.setattr(statisticadmin, "EXPORTED", 4)
    assert [row[0] for row in table(reader.get(EXPORT))][1:] == ["label 3", "label 2", "label 1", "label 0"]

    monkeypatch.setattr(statisticadmin, "EXPORTED", 3)
    lines = table(reader.get(EXPORT))

    assert [row[0] for row in lines[1:4]] == ["label 3", "label 2", "label 1"]
    assert lines[4:] == [
        ["More than 3 rows are chosen, the rest is left out. Choose a shorter time, a category or a label."]
    ]


# -- Nothing stored acts


@pytest.fixture
def poisoned() -> list[Statistic]:
    """Rows that the door would have refused, written straight into the tables."""
    return [counted(payload, payload[:30], payload[:50], counter=n) for n, payload in enumerate(PAYLOADS)]


def assert_harmless(html: str) -> str:
    """The page's text, once nothing of the payloads is a tag, an attribute or a character that turns others."""
    tags = Tags(html)
    assert not [attrs for _tag, attrs in tags.tags for name in attrs if name.startswith("on")]
    assert not [attrs for _tag, attrs in tags.tags if (attrs.get("href") or "").startswith("javascript:")]
    assert "<script>alert" not in html
    assert not set(tags.text) & set("\u202e\x07\x1b\x85\u2028")
    return tags.text


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("query", ["", "?q=a", "?o=4"])
def test_labels_are_text_in_the_list_and_its_filters(reader: Client, query: str) -> None:
    text = assert_harmless(page(reader, query))

    for row in Statistic.objects.filter(label__icontains="a"):
        assert text.count(printable(row.label)) >= 2
        assert printable(row.category) in text and printable(row.dom_id) in text


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("payload", PAYLOADS)
def test_chosen_values_are_text_in_page_and_chart(reader: Client, payload: str) -> None:
    """Whether they come from the table or straight out of an address."""
    for name in ("label", "category", "q"):
        assert_harmless(reader.get(LIST, {name: payload}).content.decode())

        svg = ET.fromstring(reader.get(CHART, {name: payload}).content)
        title = svg.findtext("{http://www.w3.org/2000/svg}title")
        assert title and printable(payload.strip()) in title
        assert {element.tag.rpartition("}")[2] for element in svg.iter()} <= {
            *("svg", "title", "desc", "path", "rect", "text")
        }


def test_labels_are_text_on_their_own_pages(admin_client: Client, poisoned: list[Statistic]) -> None:
    for row in poisoned:
        for view in ("change", "history"):
            response = admin_client.get(reverse(f"admin:footfall_storage_statistic_{view}", args=[row.pk]))
            assert printable(row.label) in assert_harmless(response.content.decode())
        row.refresh_from_db()
        assert row.label in PAYLOADS


def test_labels_are_no_formulas_in_a_file(reader: Client, poisoned: list[Statistic]) -> None:
    """Neither in that of the link nor in that of the ticked rows; and each is a whole cell of its own row."""
    ticked = {"action": "export_selected", "_selected_action": [row.pk for row in poisoned], "index": 0}
    for response in (reader.get(EXPORT), reader.post(LIST, ticked)):
        lines = table(response)[1:]

        texts = [[row.label, row.category, row.dom_id] for row in reversed(poisoned)]
        assert [line[:3] for line in lines] == [[safe_cell(text) for text in row] for row in texts]
        assert not [cell for line in lines for cell in line[:3] if cell.startswith(("=", "+", "-", "@"))]


def test_a_row_that_was_saved_by_hand_is_found_as_well(reader: Client) -> None:
    """As one that was taken over from older statistics is."""
    for counter in (7, 8):
        Statistic.objects.update_or_create(label="taken over", day=DAY, defaults={"counter": counter})

    assert KnownLabel.objects.get().first_day == DAY
    assert listed(reader, "?q=taken") == ["taken over"]
