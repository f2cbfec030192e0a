"""The end-point `stats/`, which staff and the heat map read."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from footfall.storage import heatmap
from footfall.storage.models import Statistic

URL = "/footfall/stats/"
TODAY = date(2026, 11, 20)


@pytest.fixture(autouse=True)
def _at_noon() -> Any:
    with time_machine.travel("2026-11-20 12:00 +0100", tick=False):
        yield


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create(username="editor", is_staff=True))
    return client


def hits(dom_id: str, counter: int, label: str = "read", category: str = "links", days_ago: int = 0) -> None:
    day = TODAY - timedelta(days=days_ago)
    Statistic.objects.create(label=label, category=category, dom_id=dom_id, day=day, counter=counter)


def asked(client: Client, **fields: str) -> Any:
    response = client.get(URL, fields)
    assert response.status_code == 200, response.content
    return response.json()


# -- What it answers


def test_tr_11_staff_gets_id_counter_and_label_the_largest_first(staff: Client) -> None:
    """As JSON that no cache keeps."""
    hits("dom1", 1, "l1")
    hits("dom2", 5, "l2")
    hits("dom3", 3, "l3")
    hits("elsewhere", 9)

    response = staff.get(URL, {"dom_ids": "dom1|dom2|dom3"})

    assert response.json() == [["dom2", 5, "l2"], ["dom3", 3, "l3"], ["dom1", 1, "l1"]]
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"


def test_tr_11_a_trailing_bar_is_harmless(staff: Client) -> None:
    """And so are the others that may be too many."""
    hits("dom1", 1)

    assert asked(staff, dom_ids="dom1|") == asked(staff, dom_ids="|dom1||dom1") == [["dom1", 1, "read"]]


@pytest.mark.parametrize("ids", [None, "", "|", "unknown", "DOM1", "dom", "dom1'--", "%", "*"])
def test_tr_11_none_and_unknown_ids_are_an_empty_list(ids: str | None, staff: Client) -> None:
    """Ids are compared as they are."""
    hits("dom1", 1)

    assert asked(staff, **({} if ids is None else {"dom_ids": ids})) == []


def test_tr_12_elements_without_an_id_are_called_none(staff: Client) -> None:
    """And can be asked for by that name; the same holds for the category."""
    hits("None", 4, "a", category="None")
    hits("None", 2, "b", category="links")

    assert asked(staff, dom_ids="None") == [["None", 4, "a"], ["None", 2, "b"]]
    assert asked(staff, dom_ids="None", category="None") == [["None", 4, "a"]]


def test_categories_and_days_are_summed_unless_one_is_chosen(staff: Client) -> None:
    """One row an id and label."""
    hits("dom1", 1, category="links")
    hits("dom1", 10, category="menu")
    hits("dom1", 100, category="links", days_ago=1)
    hits("dom1", 1000, "other", category="links", days_ago=1)

    assert asked(staff, dom_ids="dom1") == [["dom1", 11, "read"]]
    assert asked(staff, dom_ids="dom1", category="links") == [["dom1", 1, "read"]]
    assert asked(staff, dom_ids="dom1", category="nothing") == []
    assert asked(staff, dom_ids="dom1", days="2") == [["dom1", 1000, "other"], ["dom1", 111, "read"]]
    assert asked(staff, dom_ids="dom1", days="2", category="links") == [["dom1", 1000, "other"], ["dom1", 101, "read"]]


@pytest.mark.parametrize(
    ("fields", "total"),
    [
        ({}, 1),
        ({"day": "2026-11-20"}, 1),
        ({"day": "2026-11-19"}, 10),
        ({"day": "2025-01-01"}, 0),
        ({"days": "1"}, 1),
        ({"days": "7"}, 11),
        ({"days": "8"}, 111),
        ({"since": "2026-11-19"}, 11),
        ({"until": "2026-11-19"}, 1110),
        ({"since": "2026-11-13", "until": "2026-11-19"}, 110),
        ({"since": "2026-11-13", "until": "2026-11-13"}, 100),
        ({"since": "2020-01-01"}, 1111),
        ({"since": "2026-11-21", "until": "2026-12-31"}, 0),
    ],
)
def test_days_are_chosen_by_date_range_or_number(fields: dict[str, str], total: int, staff: Client) -> None:
    """Both ends are part of it; nothing said is today."""
    for counter, days_ago in ((1, 0), (10, 1), (100, 7), (1000, 30)):
        hits("dom1", counter, days_ago=days_ago)

    assert asked(staff, dom_ids="dom1", **fields) == ([["dom1", total, "read"]] if total else [])


@pytest.mark.parametrize(("now", "use_tz"), [("2026-11-19 23:30 +0000", True), ("2026-11-20 22:30 +0000", False)])
def test_today_is_the_sites_day(now: str, use_tz: bool, staff: Client, settings: Any) -> None:
    """In Berlin it is the 20th already, and still."""
    settings.USE_TZ = use_tz
    hits("dom1", 1)

    with time_machine.travel(now, tick=False):
        assert asked(staff, dom_ids="dom1") == [["dom1", 1, "read"]]


def test_a_sum_that_no_column_holds_is_answered(staff: Client) -> None:
    """On every database, where a foreign program counted so much."""
    for days_ago in range(3):
        hits("dom1", 2**63 - 1, days_ago=days_ago)

    [[_dom_id, total, _label]] = asked(staff, dom_ids="dom1", days="3")

    assert isinstance(total, int) and total == pytest.approx(3 * 2**63)


# -- What it refuses


@pytest.mark.parametrize(
    "fields",
    [
        {"day": ""},
        {"day": "yesterday"},
        {"day": "2026-02-30"},
        {"day": "20.11.2026"},
        {"day": "9" * 5000},
        {"since": "x"},
        {"until": "\0"},
        {"since": "2026-11-20", "until": "2026-11-19"},
        {"since": "2026-11-21"},
        {"days": ""},
        {"days": "0"},
        {"days": "-1"},
        {"days": "1.5"},
        {"days": "3661"},
        {"days": "9" * 5000},
        {"days": "²"},
        {"dom_ids": "x" * 51},
        {"dom_ids": "a\0b"},
        {"dom_ids": "|".join(map(str, range(1001)))},
        {"category": "x" * 31},
        {"category": "\0"},
    ],
    ids=lambda fields: "&".join(f"{name}={value[:12]}" for name, value in fields.items()),
)
def test_what_can_not_be_is_a_400(fields: dict[str, str], staff: Client) -> None:
    """With a reason, in plain text."""
    response = staff.get(URL, {"dom_ids": "a"} | fields)

    assert response.status_code == 400
    assert response.headers["Content-Type"].startswith("text/plain") and response.content


def test_a_thousand_ids_are_few_enough(staff: Client) -> None:
    """In one query."""
    hits("id999", 7)

    assert asked(staff, dom_ids="|".join(f"id{n}" for n in range(1000))) == [["id999", 7, "read"]]


def test_the_answer_is_bounded(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers may have counted any number of labels without an id; the largest are answered."""
    monkeypatch.setattr(heatmap, "MAX_ROWS", 3)
    for n in range(10):
        hits("None", n + 1, f"flood {n}")

    assert [row[1] for row in asked(staff, dom_ids="None")] == [10, 9, 8]


@pytest.mark.parametrize("name", [None, "reader", "former"])
def test_tr_11_others_than_active_staff_are_refused(name: str | None, db: None) -> None:
    """With a 403, not with a page to log in: it is a script that asks."""
    client = Client()
    if name == "reader":
        client.force_login(User.objects.create(username=name))
    if name == "former":
        client.force_login(User.objects.create(username=name, is_staff=True, is_active=False))
    hits("dom1", 1)

    response = client.get(URL, {"dom_ids": "dom1"})

    assert response.status_code == 403
    assert response.headers["Content-Type"].startswith("text/plain") and b"dom1" not in response.content


def test_tr_11_a_superuser_is_no_staff_by_that_alone(db: None) -> None:
    """As in Django's admin."""
    client = Client()
    client.force_login(User.objects.create(username="root", is_superuser=True))

    assert client.get(URL).status_code == 403


def test_without_authentication_nobody_is_staff(settings: Any) -> None:
    """A host without the middleware refuses all."""
    settings.MIDDLEWARE = []

    assert Client().get(URL, {"dom_ids": "a"}).status_code == 403


class Member:
    """A user of a site's own kind, which knows of no staff."""

    is_active = is_authenticated = True


def as_a_member(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The middleware that takes everybody for one."""

    def respond(request: HttpRequest) -> HttpResponse:
        request.user = Member()  # type: ignore[assignment]  # a site may have users of any kind
        return get_response(request)

    return respond


def test_users_of_a_kind_without_staff_are_none(settings: Any) -> None:
    """A user model of a site's own need not be Django's."""
    settings.MIDDLEWARE = [f"{__name__}.as_a_member"]

    assert Client().get(URL, {"dom_ids": "a"}).status_code == 403


def test_where_every_page_needs_a_login_it_still_answers_itself(db: None, settings: Any) -> None:
    """With the 403: a script can't do anything with a page to log in."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]

    assert Client().get(URL, {"dom_ids": "a"}).status_code == 403


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_it_is_only_read(method: str, staff: Client) -> None:
    """405 with what is allowed."""
    response = staff.generic(method, URL)

    assert response.status_code == 405 and response.headers["Allow"] == "GET"


def test_one_query_beside_those_for_the_user(staff: Client, django_assert_num_queries: Callable[..., Any]) -> None:
    """The session, the user, the statistics; without ids not even that."""
    hits("dom1", 1)

    with django_assert_num_queries(3):
        asked(staff, dom_ids="dom1|dom2", days="30")
    with django_assert_num_queries(2):
        asked(staff)


rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "None"]),
        st.sampled_from(["l1", "l2"]),
        st.sampled_from(["c1", "c2"]),
        st.integers(0, 5),
        st.integers(1, 9),
    ),
    unique_by=lambda row: row[:4],
    max_size=30,
)


class Sums(TestCase):
    """On any rows."""

    @settings(deadline=None, database=None)
    @given(rows, st.sampled_from([None, "c1", "c2"]), st.integers(1, 6), st.sets(st.sampled_from(["a", "b", "None"])))
    def test_what_is_answered_is_the_sum_of_what_is_stored(
        self, stored: list[tuple[str, str, str, int, int]], category: str | None, days: int, ids: set[str]
    ) -> None:
        """Over the chosen ids, days and category, and nothing twice."""
        sums: dict[tuple[str, str], int] = {}
        for dom_id, label, stored_category, days_ago, counter in stored:
            hits(dom_id, counter, label, stored_category, days_ago)
            if dom_id in ids and days_ago < days and category in (None, stored_category):
                sums[dom_id, label] = sums.get((dom_id, label), 0) + counter
        client = Client()
        client.force_login(User.objects.get_or_create(username="editor", is_staff=True)[0])

        fields = {"dom_ids": "|".join(sorted(ids)), "days": str(days)} | ({"category": category} if category else {})
        answer = client.get(f"{URL}?{urlencode(fields)}").json()

        assert {(dom_id, label): counter for dom_id, counter, label in answer} == sums
        assert len(answer) == len(sums)
        assert [row[1] for row in answer] == sorted((row[1] for row in answer), reverse=True)
