"""The end-points behind the buttons: who may follow what, where they lead afterwards, and what is never said."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from newsroom.models import Article, Column, Page, Topic
from storedactions import at, follow, store

from footfall.storage.models import Action, ActionStamp, DeletedItem, Statistic, Tracker, ViewMark

pytestmark = pytest.mark.django_db

JSON = {"Accept": "application/json"}
READ = reverse("footfall:mark_all_read")


@pytest.fixture
def reader() -> User:
    return User.objects.create(username="reader")


@pytest.fixture
def client(reader: User) -> Client:
    """The reader's."""
    client = Client()
    client.force_login(reader)
    return client


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="a")


def url(obj: Any, name: str = "follow") -> str:
    return reverse(f"footfall:{name}", args=[obj._meta.label_lower, quote(str(obj.pk))])


def followed() -> set[tuple[str, str]]:
    return set(Tracker.objects.values_list("tracked_type", "tracked_id"))


def only_titled(user: Any, rows: QuerySet[Any]) -> QuerySet[Any]:
    """What may be seen: articles that aren't secret."""
    return rows.exclude(title="secret") if rows.model is Article else rows


# -- Following


def test_the_button_follows_and_unfollows(client: Client, reader: User, article: Article) -> None:
    response = client.post(url(article), {"next": "/articles/?page=2"})

    assert (response.status_code, response.headers["Location"]) == (302, "/articles/?page=2")
    tracker = Tracker.objects.get()
    assert (tracker.user, tracker.tracked, tracker.verbs, tracker.actor_only) == (reader, article, [], True)

    response = client.post(url(article, "unfollow"), {"next": "/"})
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    assert not Tracker.objects.exists()


def test_an_object_of_any_key_is_followed(client: Client) -> None:
    """An integer, a UUID, a text with all that an address gives a meaning to; a proxy counts as its base."""
    awkward = Topic.objects.create(slug='a/b?c=d&e#f_2F "g"\n%é')
    objects = [Article.objects.create(title="a"), Page.objects.create(title="p"), awkward]

    for obj in objects:
        assert client.post(url(obj)).status_code == 302
    assert followed() == {(obj._meta.label_lower, str(obj.pk)) for obj in objects}

    column = Column.objects.get()
    assert client.post(url(column)).status_code == 302
    assert Tracker.objects.count() == 3
    for obj in (column, *objects[1:]):
        client.post(url(obj, "unfollow"))
    assert followed() == set()


def test_whoever_follows_already_goes_on_as_before(client: Client, reader: User, article: Article) -> None:
    """The verbs stay, and what was unread stays unread."""
    follow(reader, article, "wrote", actor_only=False)

    client.post(url(article))
    client.post(url(article))

    tracker = Tracker.objects.get()
    assert (tracker.verbs, tracker.actor_only, tracker.last_updated) == (["wrote"], False, at(-60))


def test_a_user_follows_a_bounded_number_by_button(client: Client, article: Article, settings: Any) -> None:
    """What is followed already, and what is left, is not too many."""
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_TRACKERS": 1}
    other = Article.objects.create(title="b")

    statuses = [client.post(url(one)).status_code for one in (article, other, article)]
    client.post(url(article, "unfollow"))

    assert statuses == [302, 409, 302]
    assert client.post(url(other)).status_code == 302


@pytest.mark.parametrize(
    ("sent", "actor_only"), [({}, True), ({"actor_only": "0"}, False), ({"actor_only": "x"}, True)]
)
def test_a_button_may_follow_all_that_is_done_to_it(
    client: Client, article: Article, sent: dict[str, str], actor_only: bool
) -> None:
    client.post(url(article), sent)

    assert Tracker.objects.get().actor_only is actor_only


def test_nobody_follows_for_another(client: Client, article: Article) -> None:
    other = User.objects.create(username="other")
    follow(other, article)

    client.post(url(article), {"user": str(other.pk)})
    client.post(url(article, "unfollow"), {"user": str(other.pk)})

    assert [tracker.user for tracker in Tracker.objects.all()] == [other]


# -- What is not there


@pytest.mark.parametrize("name", ["follow", "unfollow"])
@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("newsroom.nothing", "1"),
        ("nonsense", "1"),
        ("footfall_storage.statistic", "1"),
        ("sessions.session", "1"),
        ("newsroom.article", "x"),
        ("newsroom.article", "1" * 30),
        ("newsroom.page", "1"),
        ("newsroom.topic", "x" * 300),
        ("newsroom.topic", "_00"),
        ("newsroom.topic", "\ud800"),
    ],
)
def test_what_can_not_be_followed_is_a_404(client: Client, name: str, model: str, key: str) -> None:
    """No such model, one that isn't connected, and what is no key of it."""
    Statistic.objects.create(pk=1, label="x", day=date(2026, 6, 15))
    path = f"/footfall/{name}/{model}/{key.encode('utf-8', 'surrogatepass').decode('latin-1')}/"

    assert client.post(path).status_code in ({404} if name == "follow" else {302, 404})
    assert not Tracker.objects.exists()


def test_what_is_gone_can_not_be_followed_but_left(client: Client, reader: User, article: Article) -> None:
    """Whether or not something is left of it."""
    client.post(url(article))
    there, gone = url(article), url(article, "unfollow")
    article.delete()
    assert DeletedItem.objects.exists()

    assert client.post(there.replace(f"/{article.pk}/", "/")).status_code == 404
    assert client.post(there).status_code == 404
    assert client.post(gone).status_code == 302
    assert not Tracker.objects.exists()


def test_what_may_not_be_seen_is_not_there(client: Client, reader: User, article: Article, settings: Any) -> None:
    """The answer is that for an object that does not exist, to the letter."""
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": only_titled}
    secret = Article.objects.create(title="secret")
    missing = url(article).replace(f"/{article.pk}/", "/999999/")

    hidden, nothing = client.post(url(secret)), client.post(missing)
    assert (hidden.status_code, hidden.content) == (nothing.status_code, nothing.content)
    assert hidden.status_code == 404
    assert client.post(url(article)).status_code == 302
    assert followed() == {("newsroom.article", str(article.pk))}

    hidden, nothing = client.post(url(secret, "unfollow")), client.post(missing.replace("follow/news", "unfollow/news"))
    assert (hidden.status_code, hidden.headers["Location"]) == (nothing.status_code, nothing.headers["Location"])


# -- Who asks, and how


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch", "options"])
def test_anything_but_post_is_a_405(client: Client, article: Article, method: str) -> None:
    for path in (url(article), url(article, "unfollow"), READ):
        response = getattr(client, method)(path)
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert not Tracker.objects.exists() and not ViewMark.objects.exists()


def test_a_post_without_a_token_is_refused(reader: User, article: Article) -> None:
    """Also on a site without the middleware that all others rely on, as this one is."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(reader)

    for path in (url(article), url(article, "unfollow"), READ):
        assert client.post(path).status_code == 403
    assert not Tracker.objects.exists() and not ViewMark.objects.exists()


def test_a_stranger_is_led_to_the_login_and_back_to_the_page(article: Article, settings: Any) -> None:
    """Not to the end-point, which answers no GET; and no further than this host."""
    settings.LOGIN_URL = "/login/"
    for path in (url(article), url(article, "unfollow"), READ):
        response = Client().post(path, {"next": "/articles/1/"})
        assert (response.status_code, response.headers["Location"]) == (302, "/login/?next=/articles/1/")
        away = Client().post(path, {"next": "https://evil.example/"})
        assert away.headers["Location"] == "/login/?next=/"
    assert not Tracker.objects.exists()


def test_a_stranger_learns_nothing_of_what_there_is(article: Article) -> None:
    missing = url(article).replace(f"/{article.pk}/", "/999999/")
    answers = [Client().post(path, headers=JSON) for path in (url(article), missing)]

    assert answers[0].status_code == answers[1].status_code == 401
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "http:///evil.example",
        "\\\\evil.example",
        "/\\evil.example",
        "http://testserver@evil.example/",
        "http://testserver:8000/",
        "javascript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "/ok\r\nSet-Cookie: x=1",
        "\x00",
        "http://[::1",
        "",
    ],
)
def test_next_leads_nowhere_else(client: Client, article: Article, wanted: str) -> None:
    """To the page that the request came from, else to the front page."""
    for path in (url(article), url(article, "unfollow"), READ):
        response = client.post(path, {"next": wanted})
        assert response.status_code == 302 and not response.cookies
        assert response.headers["Location"] in ("/", "/ok%0D%0ASet-Cookie:%20x=1")
        back = client.post(path, {"next": wanted}, headers={"Referer": "http://testserver/from/"})
        assert back.headers["Location"] in ("http://testserver/from/", "/ok%0D%0ASet-Cookie:%20x=1")


def test_a_script_is_told_what_holds_now(client: Client, article: Article) -> None:
    """Where it prefers JSON; what prefers nothing is led on like a form."""
    assert client.post(url(article), headers=JSON).json() == {"following": True}
    assert client.post(url(article), headers=JSON).json() == {"following": True}
    assert client.post(url(article, "unfollow"), headers=JSON).json() == {"following": False}
    assert client.post(READ, headers=JSON).json() == {"read": True}
    assert client.post(url(article), headers={"Accept": "*/*"}).status_code == 302
    assert client.post(url(article), headers={"Accept": "text/html,application/json;q=0.9"}).status_code == 302
    assert client.post("/footfall/follow/newsroom.nothing/1/", headers=JSON).status_code == 404


def test_no_answer_is_kept_by_a_cache(client: Client, article: Article) -> None:
    for path in (url(article), url(article, "unfollow"), READ):
        assert "no-store" in client.post(path).headers["Cache-Control"]


# -- Mark all as read


@pytest.fixture
def author(reader: User) -> User:
    """Whom the reader follows."""
    author = User.objects.create(username="author")
    follow(reader, author)
    return author


@pytest.fixture
def actions(author: User) -> list[Action]:
    """Three of theirs, the latest first."""
    return [stamped(author, seconds) for seconds in (3, 2, 1)]


def stamped(author: User, seconds: float) -> Action:
    """An action as the worker leaves it: the stamp is not behind it."""
    action = store(author, seconds=seconds)
    if not ActionStamp.objects.filter(at__gte=action.changed).exists():
        ActionStamp.objects.update_or_create(id=1, defaults={"at": action.changed})
    return action


def unread(reader: User) -> int:
    return Action.unread_count(reader)


def test_the_button_marks_all_as_read(client: Client, reader: User, actions: list[Action]) -> None:
    assert unread(reader) == 3

    response = client.post(READ, {"next": "/feed/"})

    assert (response.status_code, response.headers["Location"]) == (302, "/feed/")
    assert unread(reader) == 0


def test_what_came_after_the_page_was_made_stays_unread(client: Client, reader: User, actions: list[Action]) -> None:
    client.post(READ, {"up_to": actions[1].changed.isoformat()})

    assert unread(reader) == 1
    assert Action.bulk_is_unread_for(reader, actions) == [True, False, False]


def test_a_time_ahead_marks_nothing_that_is_yet_to_come(
    client: Client, reader: User, author: User, actions: list[Action]
) -> None:
    client.post(READ, {"up_to": "2999-01-01T00:00:00+00:00"})
    assert unread(reader) == 0

    stamped(author, 4)

    assert unread(reader) == 1


@pytest.mark.parametrize(
    "up_to", ["x", "2024-06-15", "2024-13-15T00:00:00Z", "2024-06-15T00:00:00", "\x00", "9" * 5000]
)
def test_what_is_no_time_is_a_400(client: Client, up_to: str) -> None:
    """A time without a zone is none either: nobody knows when it was."""
    assert client.post(READ, {"up_to": up_to}).status_code == 400
    assert not ViewMark.objects.exists()


def test_a_time_at_the_edge_of_the_calendar_is_an_answer(client: Client, author: User) -> None:
    """Also where there is something to be read."""
    stamped(author, 4)
    for up_to in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        response: HttpResponse = client.post(READ, {"up_to": up_to})
        assert response.status_code in (302, 400)
