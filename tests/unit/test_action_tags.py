"""Feeds, counts and buttons in templates: what is shown, to whom, in how many queries, and that no name acts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from typing import Any

import pytest
import storedactions
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template import Context, Template, TemplateSyntaxError
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, reverse
from django.utils.functional import SimpleLazyObject
from newsroom.models import Article, ArticleTotals, Page, Topic
from pytest_django import DjangoAssertNumQueries
from storedactions import store

from footfall.producers.messages import View
from footfall.producers.testing import Captured, captured_messages
from footfall.storage import followed
from footfall.storage.models import Action, ActionStamp

pytestmark = pytest.mark.django_db

XSS = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>'"

Render = Callable[..., str]


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

    def named(self, tag: str) -> list[dict[str, Any]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def sent(self) -> dict[str, Any]:
        """What the page's forms send beside the token."""
        fields = {attrs["name"]: attrs["value"] for attrs in self.named("input")}
        return {name: value for name, value in fields.items() if name != "csrfmiddlewaretoken"}


@pytest.fixture
def reader() -> User:
    return User.objects.create(username="reader")


@pytest.fixture
def author() -> User:
    return User.objects.create(username="author")


@pytest.fixture
def render(reader: User) -> Render:
    """A template, rendered for a request of the reader."""

    def render(text: str, path: str = "/news/", user: Any = reader, **context: Any) -> str:
        return rendered(text, requested(path, user), **context)

    return render


def requested(path: str, user: Any) -> HttpRequest:
    request = RequestFactory().get(path)
    request.user = user
    return request


def rendered(text: str, request: HttpRequest | None, **context: Any) -> str:
    known = {"request": request, "user": request.user} if request is not None else {}
    return Template("{% load footfall %}" + text).render(Context(known | context))


def acted(actor: Any, verb: str = "wrote", *targets: Any, minutes: float = 1, level: int = 30) -> Action:
    """An action, stored some minutes before now, which is START."""
    action = store(actor, verb, targets, seconds=-60 * minutes, level=level)
    if not ActionStamp.objects.filter(at__gte=action.changed).exists():
        ActionStamp.objects.update_or_create(id=1, defaults={"at": action.changed})
    return action


def follow(user: User, obj: Any) -> None:
    """Since an hour ago."""
    storedactions.follow(user, obj, seconds=-3600)


def marked(sent: list[Captured]) -> list[tuple[str, str | None, datetime]]:
    """Who is told to have read what, as it was when."""
    views = [one.event for one in sent if isinstance(one.event, View) and one.event.object is not None]
    return [(view.user, view.object.id, view.at) for view in views if view.object is not None]


# -- The feed

FEED = "{% activity_feed user %}"


def test_a_feed_shows_what_those_did_whom_the_user_follows(render: Render, reader: User, author: User) -> None:
    """The latest first; what is unread is marked."""
    follow(reader, author)
    article = Article.objects.create(title="Rain")
    old = acted(author, "wrote", article, minutes=90)
    new = acted(author, "amended", article, minutes=5)
    acted(User.objects.create(username="stranger"), "shouted")

    page = Tags(render(FEED))

    items = [(item["id"], "footfall-new" in item["class"]) for item in page.named("li")]
    assert items == [(f"action-{new.pk}", True), (f"action-{old.pk}", False)]
    assert "author amended Rain" in page.text and "author wrote Rain" in page.text
    assert "shouted" not in page.text


def test_an_empty_feed_says_so(render: Render) -> None:
    page = Tags(render(FEED))

    assert "Nothing has happened yet." in page.text
    assert page.named("form") == [] and page.named("li") == []


@pytest.mark.parametrize("nobody", [AnonymousUser(), None, ""])
def test_a_stranger_has_an_empty_feed(django_assert_num_queries: DjangoAssertNumQueries, nobody: Any) -> None:
    """Without a query, and without a request, too."""
    with django_assert_num_queries(0):
        for request in (None, requested("/?after=x", AnonymousUser())):
            assert "Nothing has happened yet." in rendered("{% activity_feed who %}", request, who=nobody)


def test_what_is_shown_is_read(render: Render, reader: User, author: User) -> None:
    """That is published, once for each that was unread, and nothing is written."""
    follow(reader, author)
    acted(author, minutes=90)
    new = acted(author)

    with captured_messages() as sent:
        render(FEED)

    assert marked(sent) == [(str(reader.pk), str(new.pk), new.changed)]
    assert Action.unread_count(reader) == 1


def test_size_own_actions_and_filters_are_chosen(render: Render, reader: User, author: User) -> None:
    follow(reader, author)
    for minutes in (1, 2, 3):
        acted(author, minutes=minutes)
    acted(author, "shouted", minutes=4)
    acted(author, "whispered", minutes=5, level=10)
    acted(reader, "yawned", minutes=6)

    def shown(tag: str) -> int:
        return len(Tags(render(tag)).named("li"))

    assert shown(FEED) == 4
    assert shown("{% activity_feed user size=2 %}") == 2
    assert shown("{% activity_feed user include_own=True %}") == 5
    assert shown('{% activity_feed user verb="shouted" %}') == 1
    assert shown("{% activity_feed user level__gte=0 %}") == 5


def test_older_actions_are_a_link_away(render: Render, reader: User, author: User) -> None:
    """It keeps what else the address says, and the last page has none."""
    follow(reader, author)
    actions = [acted(author, minutes=minutes) for minutes in range(1, 6)]
    tag = "{% activity_feed user size=2 %}"
    path, seen = "/news/?tab=%3Cfeed%3E", list[str]()

    for _ in range(3):
        page = Tags(render(tag, path))
        seen += [item["id"] for item in page.named("li")]
        links = [link["href"] for link in page.named("a") if link.get("rel") == "next"]
        if links:
            assert "tab=%3Cfeed%3E" in links[0] and links[0].count("after=") == 1
            path = f"/news/{links[0]}"

    assert seen == [f"action-{action.pk}" for action in actions]
    assert links == []


@pytest.mark.parametrize("cursor", ["x", "%00", "AAAA", "\ud800", "9" * 3000, "%3Cscript%3E"])
def test_a_cursor_that_is_none_begins_at_the_top(render: Render, reader: User, author: User, cursor: str) -> None:
    follow(reader, author)
    acted(author)

    page = render(FEED, f"/news/?after={cursor.encode('utf-8', 'surrogatepass').decode('latin-1')}")

    assert len(Tags(page).named("li")) == 1 and "<script" not in page


def test_the_button_marks_what_the_page_knows_as_read(render: Render, reader: User, author: User) -> None:
    """Up to the newest change on it, and back to the page; there is none where nothing is unread."""
    follow(reader, author)
    acted(author, minutes=10)
    newest = acted(author, minutes=5)

    page = Tags(render(FEED, "/news/?page=2"))
    (form,) = page.named("form")
    assert (form["method"], form["action"]) == ("post", reverse("footfall:mark_all_read"))
    assert page.sent() == {"next": "/news/?page=2", "up_to": newest.changed.isoformat()}

    client = Client()
    client.force_login(reader)
    assert client.post(form["action"], page.sent()).headers["Location"] == "/news/?page=2"
    assert Action.unread_count(reader) == 0
    assert Tags(render(FEED)).named("form") == []


def test_the_button_is_there_while_anything_is_unread(render: Render, reader: User, author: User) -> None:
    """Also where this page shows none of it; and a later page leads back to the newest."""
    follow(reader, author)
    old, new = acted(author, minutes=10), acted(author, minutes=5)
    new.mark_read_for(reader)
    first = Tags(render("{% activity_feed user size=1 %}", "/news/?page=2"))
    assert "new" not in first.text
    assert len(first.named("form")) == 1
    (older,) = first.named("a")

    second = Tags(render("{% activity_feed user size=1 %}", "/news/" + older["href"]))

    assert [one["id"] for one in second.named("li")] == [f"action-{old.pk}"]
    assert [one["href"] for one in second.named("a")] == ["?page=2"]


def test_the_feed_of_another_is_read_by_who_looks_at_it(render: Render, reader: User, author: User) -> None:
    """It marks nothing for its owner, and has no button."""
    follow(reader, author)
    acted(author)
    visitor = User.objects.create(username="visitor")

    with captured_messages() as sent:
        page = Tags(render("{% activity_feed whose %}", user=visitor, whose=reader))

    assert len(page.named("li")) == 1
    assert page.named("form") == [] and not sent


def test_without_a_request_a_feed_has_neither_button_nor_links(reader: User, author: User) -> None:
    """As in a mail: it is that user's."""
    follow(reader, author)
    for minutes in (1, 2):
        acted(author, minutes=minutes)

    page = Tags(rendered("{% activity_feed who size=1 %}", None, who=reader))

    assert len(page.named("li")) == 1
    assert page.named("form") == [] and [link for link in page.named("a") if "after" in link["href"]] == []


@pytest.mark.parametrize("count", [1, 20, 60])
def test_a_feed_is_a_bounded_number_of_queries(
    render: Render, reader: User, author: User, django_assert_max_num_queries: Any, count: int
) -> None:
    """Six, and one for each type of object on the page; none of them is a write."""
    for number in range(count):
        other = User.objects.create(username=f"author-{number}")
        follow(reader, other)
        objects = (Article.objects.create(title="a"), Page.objects.create(title="p"), Topic.objects.create(slug=number))
        acted(other, "wrote", *objects, minutes=number + 1)

    with django_assert_max_num_queries(6 + 4) as captured:
        page = render(FEED)

    assert len(Tags(page).named("li")) == min(count, 20)
    assert {query["sql"].split()[0] for query in captured.captured_queries} == {"SELECT"}


# -- How many are unread


def test_the_number_of_unread_actions_is_one_query(
    render: Render, reader: User, author: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    follow(reader, author)
    for minutes in range(1, 4):
        acted(author, minutes=minutes)

    for text, shown in [
        ("{% unread_count user %}", "3"),
        ("{% unread_count user limit=99 %}", "3"),
        ("{% unread_count user limit=3 %}", "3"),
        ("{% unread_count user limit=2 %}", "2+"),
        ("{% unread_count user as n %}{{ n|add:1 }}", "4"),
    ]:
        with django_assert_num_queries(1):
            assert render(text) == shown


@pytest.mark.parametrize("nobody", [AnonymousUser(), None, ""])
def test_nothing_is_unread_for_a_stranger(django_assert_num_queries: DjangoAssertNumQueries, nobody: Any) -> None:
    with django_assert_num_queries(0):
        assert rendered("{% unread_count who %}{% unread_count who limit=9 %}", None, who=nobody) == "00"


# -- The button

BUTTON = "{% follow_button obj %}"


def test_the_button_says_whether_it_is_followed(render: Render, reader: User) -> None:
    article = Article.objects.create(title="Rain")
    for state, label_ in (("follow", "Follow"), ("unfollow", "Unfollow"), ("follow", "Follow")):
        page = Tags(render(BUTTON, "/news/?q=a%26b", obj=article))
        (form,), (button,) = page.named("form"), page.named("button")
        key = ["newsroom.article", article.pk]
        assert (form["method"], form["action"]) == ("post", reverse(f"footfall:{state}", args=key))
        assert (page.text.strip(), button["aria-label"]) == (label_, f"{label_} Rain")
        assert page.sent() == {"next": "/news/?q=a%26b"}
        client = Client()
        client.force_login(reader)
        assert client.post(form["action"], page.sent()).headers["Location"] == "/news/?q=a%26b"


def test_a_button_for_all_that_is_done_to_it(render: Render) -> None:
    page = Tags(render("{% follow_button obj actor_only=False %}", obj=Article.objects.create(title="a")))

    assert page.sent() == {"next": "/news/", "actor_only": "0"}


def test_a_form_carries_the_requests_token(reader: User) -> None:
    article = Article.objects.create(title="a")
    page = Tags(rendered(BUTTON, requested("/", reader), obj=article))
    (token,) = [field["value"] for field in page.named("input") if field["name"] == "csrfmiddlewaretoken"]

    assert len(token) == 64


def test_a_list_of_buttons_is_one_query(
    render: Render, reader: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """For each model among its objects."""
    articles = [Article.objects.create(title=str(number)) for number in range(30)]
    for article in articles[::3]:
        follow(reader, article)
    loop = "{% for obj in objects %}{% follow_button obj %}{% endfor %}"

    with django_assert_num_queries(1):
        page = render(loop, objects=articles)
    assert page.count("/unfollow/") == 10 and page.count("/follow/") == 20

    topics = [Topic.objects.create(slug=str(number)) for number in range(10)]
    with django_assert_num_queries(2):
        render(loop, objects=[*articles, *topics, *articles])


def test_of_who_follows_very_much_each_object_is_looked_up(
    render: Render, reader: User, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than everything that they follow is loaded."""
    monkeypatch.setattr(followed, "LOADED", 2)
    articles = [Article.objects.create(title=str(number)) for number in range(5)]
    for article in articles[:3]:
        follow(reader, article)

    with django_assert_num_queries(1 + 5) as captured:
        page = render("{% for obj in objects %}{% follow_button obj %}{% endfor %}", objects=articles)

    assert page.count("/unfollow/") == 3 and page.count("/follow/") == 2
    assert "LIMIT 3" in captured.captured_queries[0]["sql"]


def test_a_stranger_is_led_to_the_login(django_assert_num_queries: DjangoAssertNumQueries, settings: Any) -> None:
    settings.LOGIN_URL = "/login/"
    article = Article.objects.create(title="Rain")

    with django_assert_num_queries(0):
        page = Tags(rendered(BUTTON, requested("/news/?q=1", AnonymousUser()), obj=article))

    (link,) = page.named("a")
    assert (link["href"], link["aria-label"]) == ("/login/?next=/news/%3Fq%3D1", "Follow Rain")
    assert page.named("form") == []


def test_there_is_no_button_for_nothing_nor_for_oneself(render: Render, reader: User) -> None:
    for obj in (None, "", Article(title="unsaved"), reader):
        assert render(BUTTON, obj=obj) == ""


def test_a_button_that_can_not_work_is_an_error_at_once(render: Render, reader: User) -> None:
    with pytest.raises(TemplateSyntaxError, match="request"):
        rendered(BUTTON, None, obj=reader)
    with pytest.raises(TypeError, match="not a model instance"):
        render(BUTTON, obj=7)
    totals = ArticleTotals.objects.create(object_type="newsroom.article", object_id="1")
    with pytest.raises(LookupError, match="not connected"):
        render(BUTTON, obj=totals)


# -- One action


def test_an_action_is_rendered_for_who_looks_at_it(render: Render, reader: User, author: User) -> None:
    """And is read by them, unless nobody is named."""
    follow(reader, author)
    acted(author, "wrote", Article.objects.create(title="Rain"))
    action = Action.objects.get()

    with captured_messages() as sent:
        assert "author wrote Rain" in Tags(render("{% render_action action user=None %}", action=action)).text
        assert not sent
        assert "author wrote Rain" in Tags(render("{% render_action action %}", action=action)).text
    assert marked(sent) == [(str(reader.pk), str(action.pk), action.changed)]


@pytest.mark.parametrize("nothing", [None, "", Action(verb="unsaved")])
def test_no_action_is_nothing(render: Render, nothing: Any) -> None:
    assert render("{% render_action action %}", action=nothing) == ""


def test_actions_of_one_list_are_loaded_together(
    reader: User, author: User, django_assert_max_num_queries: Any
) -> None:
    """However many: the list, the entries, and one query for each type of object."""
    for number in range(20):
        acted(author, "wrote", Article.objects.create(title=f"article {number}"), minutes=number + 1)
    follow(reader, author)
    for loop in (
        "{% for action in actions %}{% render_action action user=None %}{% endfor %}",
        "{% for action in actions|with_unread:user %}{% render_action action %}{% endfor %}",
    ):
        with django_assert_max_num_queries(4 if "None" in loop else 6):
            page = rendered(loop, requested("/", reader), actions=Action.objects.all())
        assert page.count("article ") == 20


@pytest.mark.parametrize("nothing", [None, "", []])
def test_no_list_is_an_empty_one(render: Render, nothing: Any) -> None:
    assert render("{% for action in actions|with_unread:user %}x{% endfor %}", actions=nothing) == ""


def test_what_the_reader_may_not_see_is_not_named(render: Render, reader: User, author: User, settings: Any) -> None:
    def visible(user: Any, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.exclude(title="secret") if rows.model is Article else rows

    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": visible}
    follow(reader, author)
    acted(author, "wrote", Article.objects.create(title="secret"))

    for text in (FEED, "{% render_action action %}"):
        page = Tags(render(text, action=Action.objects.get())).text
        assert "secret" not in page and "author wrote article" in page


# -- What strangers wrote


def test_no_name_acts(render: Render, reader: User) -> None:
    """Verbs, names of actors and targets, and what an address says: all of it is text."""
    hostile = User.objects.create(username=XSS)
    follow(reader, hostile)
    acted(hostile, XSS, Article.objects.create(title=XSS), Topic.objects.create(slug=XSS[:50]))
    path = "/news/?q=%3Cscript%3E&<script>alert(1)</script>"

    for text in (FEED, BUTTON, "{% render_action action %}", "{% follow_button topic %}"):
        html = render(text, path, obj=hostile, action=Action.objects.get(), topic=Topic.objects.get())
        assert "<script" not in html and "<img" not in html, text
        page = Tags(html)
        assert not {tag for tag, _ in page.tags} & {"script", "img", "svg"}
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert XSS in Tags(render(FEED)).text


def test_an_object_that_is_looked_up_late_has_a_button(render: Render) -> None:
    article = Article.objects.create(title="Rain")

    page = Tags(render("{% follow_button obj %}", obj=SimpleLazyObject(lambda: article)))

    assert len(page.named("form")) == 1


@pytest.mark.urls("newsroom.views")
def test_a_button_without_its_address_is_an_error(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form that posts to the page itself would be worse."""
    monkeypatch.setattr("newsroom.views.urlpatterns", [], raising=False)
    with pytest.raises(NoReverseMatch, match="footfall"):
        render("{% follow_button obj %}", obj=Article.objects.create(title="Rain"))
