"""Actions for feed readers: Atom and JSON Feed over HTTP, page by page."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.test import Client, RequestFactory
from django.urls import path
from django.utils import timezone, translation
from newsroom.models import Article, Page
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from footfall.producers import publish_action
from footfall.storage.actions import track
from footfall.storage.feedviews import ActionFeed, AtomFeed, JSONFeed
from footfall.storage.models import Action, ViewMark

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

NS = {"a": "http://www.w3.org/2005/Atom"}


class ArticleAtom(AtomFeed):
    """What anybody may read about one article."""

    login_required = False

    def get_actions(self, request: HttpRequest, **kwargs: Any) -> Any:
        article: Any = get_object_or_404(Article, pk=kwargs["pk"])
        self.title = f"Activity on {article}"
        return article.actions.as_target()


urlpatterns = [
    path("atom/", AtomFeed.as_view()),
    path("json/", JSONFeed.as_view()),
    path("short/", JSONFeed.as_view(page_size=2, title="In short")),
    path("articles/<int:pk>/", ArticleAtom.as_view()),
]


@pytest.fixture(autouse=True)
def immediate(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": "immediate"}


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def bob(ada: User) -> User:
    """Ada has followed him for a day."""
    bob = User.objects.create(username="bob")
    track(ada, bob, last_updated=timezone.now() - timedelta(days=1))
    return bob


@pytest.fixture
def logged(bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> list[Action]:
    """Five actions of Bob's, the newest first."""
    start = timezone.now() - timedelta(hours=1)
    with django_capture_on_commit_callbacks(execute=True):
        for number in range(5):
            page = Page.objects.create(title=f"p{number}")
            publish_action(bob, "read", page, timestamp=start + timedelta(minutes=number))
    return list(Action.objects.all())


@pytest.fixture
def reader(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def atom(response: Any) -> ET.Element:
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/atom+xml; charset=utf-8"
    root = ET.fromstring(response.content)
    assert_is_valid_atom(root)
    return root


def assert_is_valid_atom(root: ET.Element) -> None:
    """What RFC 4287 asks of a feed and its entries."""
    assert root.tag == f"{{{NS['a']}}}feed"
    for whole in (root, *root.findall("a:entry", NS)):
        assert [len(whole.findall(f"a:{name}", NS)) for name in ("id", "title", "updated")] == [1, 1, 1]
        assert re.match(r"\w+:.", text(whole, "id"))
        assert datetime.fromisoformat(text(whole, "updated")).utcoffset() is not None
    assert len(root.findall("a:link[@rel='self']", NS)) == 1
    assert text(root.find("a:author", NS), "name")
    for entry in root.findall("a:entry", NS):
        assert len(entry.findall("a:link[@rel='alternate']", NS)) == 1
    ids = [text(entry, "id") for entry in root.findall("a:entry", NS)]
    assert len(set(ids)) == len(ids)


def text(parent: ET.Element | None, name: str) -> str:
    found = None if parent is None else parent.findtext(f"a:{name}", None, NS)
    assert found is not None, name
    return found


def titles(root: ET.Element) -> list[str]:
    return [text(entry, "title") for entry in root.findall("a:entry", NS)]


def feed(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/feed+json"
    told: dict[str, Any] = json.loads(response.content)
    assert_is_valid_json_feed(told)
    return told


def assert_is_valid_json_feed(told: dict[str, Any]) -> None:
    """What JSON Feed 1.1 asks of a feed and its items, and nothing that it does not know."""
    assert told["version"] == "https://jsonfeed.org/version/1.1"
    assert set(told) <= {"version", "title", "home_page_url", "feed_url", "next_url", "language", "items"}
    for name in ("title", "home_page_url", "feed_url"):
        assert isinstance(told[name], str) and told[name]
    for item in told["items"]:
        assert set(item) <= {"id", "url", "content_text", "date_published", "date_modified", "authors"}
        assert isinstance(item["id"], str) and isinstance(item["content_text"], str)
        for name in ("date_published", "date_modified"):
            assert datetime.fromisoformat(item[name]).utcoffset() == timedelta(0)
        assert all(isinstance(author["name"], str) for author in item.get("authors", []))


# -- What is told


def test_the_feed_of_the_user_as_atom(reader: Client, logged: list[Action]) -> None:
    root = atom(reader.get("/atom/"))

    assert text(root, "title") == "Activity"
    assert text(root, "id") == "http://testserver/atom/"
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "en-us"
    assert titles(root) == [f"bob read p{number}" for number in (4, 3, 2, 1, 0)]
    entries = root.findall("a:entry", NS)
    for entry, action in zip(entries, logged, strict=True):
        assert text(entry, "id") == f"urn:uuid:{action.pk}"
        assert text(entry, "published") == action.timestamp.isoformat()
        assert text(entry, "updated") == action.changed.isoformat()
        assert text(entry.find("a:author", NS), "name") == "bob"
    assert text(root, "updated") == max(action.changed for action in logged).isoformat()


def test_the_feed_of_the_user_as_json(reader: Client, logged: list[Action]) -> None:
    told = feed(reader.get("/json/"))

    assert told["title"] == "Activity"
    assert told["home_page_url"] == "http://testserver/"
    assert told["feed_url"] == "http://testserver/json/"
    assert "next_url" not in told
    assert told["items"] == [
        {
            "id": f"urn:uuid:{action.pk}",
            "content_text": f"bob read p{number}",
            "date_published": action.timestamp.isoformat(),
            "date_modified": action.changed.isoformat(),
            "authors": [{"name": "bob"}],
        }
        for number, action in zip((4, 3, 2, 1, 0), logged, strict=True)
    ]


def test_a_feed_in_which_nothing_happened(reader: Client) -> None:
    assert titles(atom(reader.get("/atom/"))) == []
    assert feed(reader.get("/json/"))["items"] == []


def test_an_entry_links_to_what_it_was_done_to(
    reader: Client, bob: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    monkeypatch.setattr(Page, "get_absolute_url", lambda self: f"/pages/ö/{self.title}", raising=False)
    with django_capture_on_commit_callbacks(execute=True):
        publish_action(bob, "read", [Article.objects.create(title="a"), Page.objects.create(title="p q")])
    url = "http://testserver/pages/%C3%B6/p%20q"
    assert feed(reader.get("/json/"))["items"][0]["url"] == url
    link = atom(reader.get("/atom/")).find("a:entry/a:link[@rel='alternate']", NS)
    assert link is not None and link.get("href") == url


def test_an_action_of_nobody_has_no_author_of_its_own(client: Client, django_capture_on_commit_callbacks: Any) -> None:
    article = Article.objects.create(title="p")
    with django_capture_on_commit_callbacks(execute=True):
        publish_action(None, "closed", article)
    root = atom(client.get(f"/articles/{article.pk}/"))
    assert titles(root) == ["p was closed"]
    assert root.find("a:entry/a:author", NS) is None


NASTY = "\x01<b>\x1b[0m</b>]]>&\ufffe\U0001f600\xa0"


def test_no_character_of_a_name_breaks_the_xml(
    reader: Client, bob: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        publish_action(bob, "read", Page.objects.create(title=NASTY))
    User.objects.filter(pk=bob.pk).update(username="b\x02ob\x0c")
    shown = "b\ufffdob\ufffd read \ufffd<b>\ufffd[0m</b>]]>&\ufffd\U0001f600\xa0"
    root = atom(reader.get("/atom/"))
    assert titles(root) == [shown]
    assert text(root.find("a:entry/a:author", NS), "name") == "b\ufffdob\ufffd"
    assert feed(reader.get("/json/"))["items"][0]["content_text"] == shown


def test_lone_surrogates_do_not_break_the_xml(rf: RequestFactory, ada: User) -> None:
    """They can't be stored; a name may be made of something else."""
    request = rf.get("/atom/")
    request.user = ada
    atom(AtomFeed.as_view(title="a\ud800b")(request))


def test_times_are_in_utc_where_the_site_has_no_time_zones(rf: RequestFactory, ada: User, settings: Any) -> None:
    """Its database keeps what the clock on its wall says, in Berlin."""
    settings.USE_TZ = False
    at = datetime(2024, 6, 15, 14, 0)
    action = Action.objects.create(id=uuid.uuid4(), verb="sang", timestamp=at, renewed=at, changed=at)

    class All(JSONFeed):
        def get_actions(self, request: HttpRequest, **kwargs: Any) -> Any:
            return Action.objects.filter(pk=action.pk)

    request = rf.get("/")
    request.user = ada
    item = feed(All.as_view()(request))["items"][0]
    assert item["date_published"] == item["date_modified"] == "2024-06-15T12:00:00+00:00"


def test_a_feed_is_told_in_the_readers_language(reader: Client, logged: list[Action]) -> None:
    with translation.override("de"):
        assert feed(reader.get("/json/"))["language"] == "de"
        assert atom(reader.get("/atom/")).get("{http://www.w3.org/XML/1998/namespace}lang") == "de"


# -- Pages


def pages(client: Client, url: str) -> Iterator[dict[str, Any]]:
    while url:
        told = feed(client.get(url))
        yield told
        url = told.get("next_url", "").removeprefix("http://testserver")


def test_the_pages_of_a_json_feed_follow_each_other(reader: Client, logged: list[Action]) -> None:
    """What the address asked for stays in it."""
    told = list(pages(reader, "/json/?size=2&for=%26"))
    assert [[item["content_text"] for item in page["items"]] for page in told] == [
        ["bob read p4", "bob read p3"],
        ["bob read p2", "bob read p1"],
        ["bob read p0"],
    ]
    assert "size=2&for=%26&after=" in told[0]["next_url"]
    assert told[0]["feed_url"] == told[1]["feed_url"]


def test_the_pages_of_an_atom_feed_follow_each_other(reader: Client, logged: list[Action]) -> None:
    first = atom(reader.get("/atom/?size=3"))
    link = first.find("a:link[@rel='next']", NS)
    assert link is not None
    second = atom(reader.get(link.get("href", "")))
    assert titles(first) + titles(second) == [f"bob read p{number}" for number in (4, 3, 2, 1, 0)]
    assert second.find("a:link[@rel='next']", NS) is None
    assert text(first, "id") == text(second, "id")


def test_a_page_has_20_entries_and_never_more_than_100(
    reader: Client, bob: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(101):
            publish_action(bob, "read", Page.objects.create(title="p"))
    assert len(feed(reader.get("/json/"))["items"]) == 20
    assert len(feed(reader.get("/json/?size=100000"))["items"]) == 100
    assert len(titles(atom(reader.get("/atom/?size=100")))) == 100


@pytest.mark.parametrize("query", ["after=nonsense", "after=%00", "size=0", "size=-1", "size=x", "size=", "size=1e3"])
@pytest.mark.parametrize("url", ["/atom/", "/json/"])
def test_a_page_that_can_not_be_is_a_400(reader: Client, logged: list[Action], url: str, query: str) -> None:
    response = reader.get(f"{url}?{query}")
    assert response.status_code == 400
    assert response["Content-Type"].startswith("text/plain")


def test_a_page_costs_a_bounded_number_of_queries(
    reader: Client, logged: list[Action], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """Session and user are two, the page six, and one for each of two types."""
    with django_assert_max_num_queries(10):
        feed(reader.get("/json/"))
    with django_assert_max_num_queries(10):
        atom(reader.get("/atom/"))


# -- HTTP


@pytest.mark.parametrize("url", ["/atom/", "/json/?size=3"])
def test_who_is_not_logged_in_is_sent_to_the_login_page(client: Client, rf: RequestFactory, url: str) -> None:
    response = client.get(url)
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/?next=/")
    request = rf.get(url)
    assert AtomFeed.as_view()(request).status_code == 302
    request.user = AnonymousUser()
    assert JSONFeed.as_view()(request).status_code == 302


@pytest.mark.parametrize("url", ["/atom/", "/json/"])
def test_a_feed_is_only_read(reader: Client, logged: list[Action], url: str) -> None:
    assert reader.post(url).status_code == 405
    assert reader.delete(url).status_code == 405
    head = reader.head(url)
    assert head.status_code == 200
    assert head.content == b""
    assert head["ETag"] == reader.get(url)["ETag"]


@pytest.mark.parametrize("url", ["/atom/", "/json/"])
def test_a_feed_is_kept_by_nobody_but_its_reader_who_may_ask_whether_it_changed(
    reader: Client, bob: User, logged: list[Action], url: str, django_capture_on_commit_callbacks: Any
) -> None:
    first = reader.get(url)
    assert "private" in first["Cache-Control"]
    assert "Cookie" in first["Vary"]

    same = reader.get(url, headers={"If-None-Match": first["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert same["ETag"] == first["ETag"]
    assert "private" in same["Cache-Control"]

    with django_capture_on_commit_callbacks(execute=True):
        publish_action(bob, "wrote", Page.objects.create(title="new"))
    assert reader.get(url, headers={"If-None-Match": first["ETag"]}).status_code == 200


def test_a_name_that_changes_changes_the_feed(reader: Client, logged: list[Action]) -> None:
    first = reader.get("/json/")
    Page.objects.filter(title="p0").update(title="renamed")
    assert reader.get("/json/", headers={"If-None-Match": first["ETag"]}).status_code == 200


@pytest.mark.parametrize("url", ["/atom/", "/json/"])
def test_what_a_feed_reader_fetches_nobody_has_read(
    reader: Client, ada: User, logged: list[Action], url: str, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        reader.get(url)
    assert not ViewMark.objects.exists()
    assert Action.unread_count(ada) == 5


# -- A site's own


def test_a_site_shows_the_stream_of_one_object_to_anybody(
    client: Client, bob: User, django_capture_on_commit_callbacks: Any
) -> None:
    article, other = Article.objects.create(title="p"), Article.objects.create(title="q")
    with django_capture_on_commit_callbacks(execute=True):
        publish_action(bob, "read", article)
        publish_action(bob, "read", other)
    root = atom(client.get(f"/articles/{article.pk}/"))
    assert text(root, "title") == "Activity on p"
    assert titles(root) == ["bob read p"]
    assert client.get("/articles/0/").status_code == 404


def test_a_site_sets_title_and_length_in_its_urls(reader: Client, logged: list[Action]) -> None:
    told = feed(reader.get("/short/"))
    assert told["title"] == "In short"
    assert len(told["items"]) == 2


def only_columns(viewer: Any, rows: Any) -> Any:
    return rows if rows.model is not Page else rows.none()


def test_a_feed_shows_what_its_reader_may_see(reader: Client, logged: list[Action], settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": only_columns}
    assert titles(atom(reader.get("/atom/"))) == ["bob read page"] * 5
    assert "url" not in feed(reader.get("/json/"))["items"][0]


def test_an_entry_that_can_not_be_made_takes_no_feed_down(
    reader: Client, logged: list[Action], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Page, "__str__", lambda self: self.author.name)
    assert titles(atom(reader.get("/atom/"))) == ["read"] * 5


def test_the_format_is_the_subclasses(rf: RequestFactory, ada: User) -> None:
    class Titles(ActionFeed):
        def feed(self, request: HttpRequest, entries: Any, next_url: str) -> HttpResponse:
            return HttpResponse(f"{len(entries)} {next_url!r}")

    request = rf.get("/")
    request.user = ada
    assert Titles.as_view()(request).content == b"0 ''"  # type: ignore[attr-defined]  # it is no stream


def test_ids_are_those_of_the_published_events(reader: Client, logged: list[Action]) -> None:
    keys = [uuid.UUID(item["id"]) for item in feed(reader.get("/json/"))["items"]]
    assert keys == [action.pk for action in logged]
