"""The view that counts an object and sends the visitor on: all its ways out, and nothing counted when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import DisallowedRedirect, ImproperlyConfigured
from django.db import connection, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, path
from newsroom.models import Article, ArticleByDevice, ArticleDaily, ArticleTotals, Column, Page, Topic

from footfall.producers.counting import send_decrement_message
from footfall.producers.messages import Increment
from footfall.producers.testing import Captured, captured_messages
from footfall.producers.views import track_object
from footfall.workers.testing import drain

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

AJAX = {"X-Requested-With": "XMLHttpRequest"}
FIREFOX = {"User-Agent": "Firefox"}


def elsewhere(obj: Article, options: dict[str, Any]) -> str:
    """Where to go, as a site would say it; what it does to the options is its own."""
    return f"/read/{obj.pk}/{options.pop('value', 'once')}/"


def track(url: str, queryset: QuerySet[Any], field: str, **options: Any) -> URLPattern:
    """A line of the URLconf."""
    return path(url, track_object, {"queryset": queryset, "message_op": field, **options})


articles, columns = Article.objects.all(), Column.objects.all()
urlpatterns = [
    track("column/<object_id>/", columns, "views"),
    track("five/<object_id>/", columns, "views", value=5),
    track("less/<int:object_id>/", columns, "score", message_func=send_decrement_message),
    track("titled/<slug>/", columns, "views", slug_field="title"),
    track("topic/<slug>/", Topic.objects.all(), "views"),
    track("page/<object_id>/", Page.objects.all(), "views", url_field="title"),
    track("field/<object_id>/", articles, "views", url_field="title"),
    track("func/<object_id>/", columns, "views", redirect_func=elsewhere, url_field="title", value=3),
    track("daily/<object_id>/", columns, "clicks", trackable_cls=ArticleDaily),
    track("by/<device>/<object_id>/", columns, "views", trackable_cls=ArticleByDevice),
    track("nowhere/<object_id>/", articles, "views"),
    track("misspelt/<object_id>/", columns, "view"),
    track("keyless/", articles, "views"),
]


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="/elsewhere/")


@pytest.fixture
def client() -> Client:
    return Client(headers=FIREFOX)


@pytest.fixture
def sent() -> Iterator[list[Captured]]:
    with captured_messages() as captured:
        yield captured


def counted(sent: list[Captured]) -> list[tuple[str | None, str | None, str, int]]:
    events = [one.event for one in sent if isinstance(one.event, Increment)]
    return [(event.object.id if event.object else None, event.field, event.op, event.value) for event in events]


# -- Which object


def test_tb_20_an_object_is_found_by_its_key(client: Client, article: Article, sent: list[Captured]) -> None:
    """Counted once, in the first dataset, with the request's user agent; and sent on to its own page."""
    answer = client.get(f"/column/{article.pk}/")

    assert (answer.status_code, answer["Location"]) == (302, f"/columns/{article.pk}/")
    assert counted(sent) == [(str(article.pk), "views", "incr", 1)]
    (event,) = (one.event for one in sent)
    assert isinstance(event, Increment)
    assert (event.dataset, event.user_agent, event.options) == ("newsroom.articletotals", "Firefox", {})


def test_tb_20_the_first_is_found_by_its_slug(client: Client, article: Article, sent: list[Captured]) -> None:
    """Several have it."""
    first, _ = (Article.objects.create(title="twice") for _ in range(2))

    assert client.get("/titled/twice/")["Location"] == f"/columns/{first.pk}/"
    assert counted(sent) == [(str(first.pk), "views", "incr", 1)]


def test_tb_20_the_field_slug_is_the_default(client: Client, sent: list[Captured]) -> None:
    """A key of text is no other."""
    Topic.objects.create(slug="django")

    assert client.get("/topic/django/", headers=AJAX).content == b"true"
    assert counted(sent) == [("django", "views", "incr", 1)]


@pytest.mark.parametrize(
    "url",
    [
        "/column/0/",
        "/column/-1/",
        "/column/abc/",
        "/column/1.5/",
        f"/column/{2**70}/",
        "/column/%00/",
        "/column/%ED%A0%80/",
        "/page/1/",
        "/page/6f3c1d5e-0000-4000-8000-000000000000/",
        "/titled/none/",
        "/titled/a%00b/",
        "/titled/%FF/",
        "/topic/none/",
    ],
)
@pytest.mark.parametrize("headers", [{}, AJAX], ids=["redirect", "AJAX"])
def test_tb_20_an_object_that_is_not_there_is_not_found(
    client: Client, sent: list[Captured], url: str, headers: dict[str, str]
) -> None:
    """404 for any key that is none, too, and nothing counted; the transaction around it goes on."""
    with transaction.atomic():
        assert client.get(url, headers=headers).status_code == 404
        assert Article.objects.count() == 0
    assert sent == []


@pytest.mark.parametrize("key", ["a\ud800b", "a\0b", 2**70, "x" * 10_000], ids=["surrogate", "NUL", "2**70", "long"])
def test_keys_that_no_url_can_carry_are_not_found_either(rf: RequestFactory, sent: list[Captured], key: Any) -> None:
    """Whoever calls the view."""
    for found_by in ({"object_id": key}, {"slug": str(key), "slug_field": "title"}):
        with pytest.raises(Http404):
            track_object(rf.get("/"), Column.objects.all(), "views", **found_by)
    assert sent == []


def test_neither_key_nor_slug_is_a_mistake_of_the_urlconf(client: Client, sent: list[Captured]) -> None:
    """And says so."""
    with pytest.raises(ImproperlyConfigured, match="needs an object_id or a slug"):
        client.get("/keyless/")
    assert sent == []


# -- What is counted


def test_tb_20_what_the_urlconf_adds_are_options(client: Client, article: Article, sent: list[Captured]) -> None:
    """``value=5`` counts 5; others are for the dataset's own rule."""
    client.get(f"/five/{article.pk}/")
    client.get(f"/less/{article.pk}/")
    client.get(f"/daily/{article.pk}/")
    client.get(f"/by/phone/{article.pk}/")

    key = str(article.pk)
    assert counted(sent) == [
        (key, "views", "incr", 5),
        (key, "score", "decr", 1),
        (key, "clicks", "incr", 1),
        (key, "views", "incr", 1),
    ]
    events = [one.event for one in sent if isinstance(one.event, Increment)]
    assert [event.dataset for event in events[2:]] == ["newsroom.articledaily", "newsroom.articlebydevice"]
    assert events[3].options == {"device": "phone"}


def test_one_query_finds_the_object(client: Client, article: Article, sent: list[Captured]) -> None:
    """To count it takes none."""
    with CaptureQueriesContext(connection) as asked:
        client.get(f"/column/{article.pk}/")

    assert len(asked) == 1 and len(sent) == 1


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
@pytest.mark.parametrize("headers", [{}, AJAX], ids=["redirect", "AJAX"])
def test_a_request_that_only_asks_counts_nothing(
    client: Client, article: Article, sent: list[Captured], headers: dict[str, str], method: str
) -> None:
    """It gets the same answer."""
    asked = client.generic(method, f"/column/{article.pk}/", headers=headers)
    get = client.get(f"/column/{article.pk}/", headers=headers)

    assert (asked.status_code, asked.get("Location")) == (get.status_code, get.get("Location"))
    assert len(sent) == 1


# -- Where to


def test_tb_20_a_script_is_told_true(client: Client, article: Article, sent: list[Captured]) -> None:
    """Also for an object that has no address."""
    answer = client.get(f"/nowhere/{article.pk}/", headers=AJAX)

    assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, b"true", "application/javascript")
    assert len(sent) == 1


def test_tb_20_a_field_may_hold_the_address(client: Client, article: Article, sent: list[Captured]) -> None:
    """As it stands."""
    assert client.get(f"/field/{article.pk}/")["Location"] == "/elsewhere/"
    assert len(sent) == 1


def test_tb_20_a_function_may_say_the_address(client: Client, article: Article, sent: list[Captured]) -> None:
    """It goes before the field, knows the options, and what it does to them changes nothing."""
    assert client.get(f"/func/{article.pk}/")["Location"] == f"/read/{article.pk}/3/"
    assert counted(sent) == [(str(article.pk), "views", "incr", 3)]


def test_no_cache_may_answer_instead(client: Client, article: Article) -> None:
    """What it answers is not counted."""
    for headers in ({}, AJAX):
        answer = client.get(f"/column/{article.pk}/", headers=headers)
        assert "no-store" in answer["Cache-Control"]


# -- What fails counts nothing


def test_tb_21_without_an_address_nothing_is_counted(client: Client, article: Article, sent: list[Captured]) -> None:
    """No function, no field, no page of its own; or a field that is empty."""
    empty = Article.objects.create(title="")

    for url in (f"/nowhere/{article.pk}/", f"/field/{empty.pk}/"):
        with pytest.raises(ImproperlyConfigured, match="no address to redirect to"):
            client.get(url)
    assert sent == []


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "vbscript:x"])
def test_tb_21_an_address_that_django_refuses_is_not_counted(
    client: Client, rf: RequestFactory, sent: list[Captured], address: str
) -> None:
    """A bad request to the visitor."""
    article = Article.objects.create(title=address)

    assert client.get(f"/field/{article.pk}/").status_code == 400
    with pytest.raises(DisallowedRedirect):
        track_object(rf.get("/"), Article.objects.all(), "views", url_field="title", object_id=article.pk)
    assert sent == []


def test_tb_21_a_function_or_a_field_that_fails_is_not_counted(
    rf: RequestFactory, article: Article, sent: list[Captured]
) -> None:
    """Its error is the caller's to see."""

    def fail(obj: Article, options: dict[str, Any]) -> str:
        raise LookupError("no such page")

    with pytest.raises(LookupError, match="no such page"):
        track_object(rf.get("/"), Article.objects.all(), "views", redirect_func=fail, object_id=article.pk)
    with pytest.raises(AttributeError, match="address"):
        track_object(rf.get("/"), Article.objects.all(), "views", url_field="address", object_id=article.pk)
    assert sent == []


def test_tb_18_an_unknown_counter_is_an_error(client: Client, article: Article, sent: list[Captured]) -> None:
    """Not a redirect that counted nothing."""
    with pytest.raises(ValueError, match="Did you mean 'views'"):
        client.get(f"/misspelt/{article.pk}/")
    assert sent == []


def test_a_function_of_ones_own_may_send(rf: RequestFactory, article: Article) -> None:
    """It gets what `send_increment_message` gets."""
    calls: list[tuple[Any, ...]] = []

    def send(request: HttpRequest, obj: Any, field: str, data_cls: Any, options: Any) -> None:
        calls.append((obj, field, data_cls, options))

    track_object(rf.get("/"), Column.objects.all(), "clicks", send, ArticleDaily, object_id=article.pk, colour="red")

    assert calls == [(Column.objects.get(), "clicks", ArticleDaily, {"colour": "red"})]


# -- Through the pipeline


@pytest.mark.django_db(transaction=True)
def test_tb_20_what_is_rolled_back_is_not_counted(client: Client, article: Article) -> None:
    """Three clicks, of which one in a transaction that comes to nothing, and one that failed."""
    client.get(f"/column/{article.pk}/")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        client.get(f"/five/{article.pk}/")
        raise ZeroDivisionError
    with pytest.raises(ImproperlyConfigured):
        client.get(f"/nowhere/{article.pk}/")
    client.get(f"/func/{article.pk}/", headers=AJAX)
    drain()

    assert ArticleTotals.total(article, "views") == 4
