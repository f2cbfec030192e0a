"""Actions rendered for a reader: in bulk, with what is unread and hidden, and what reading does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError
from django.db.models import QuerySet
from django.utils import translation
from django.utils.translation import gettext_lazy
from newsroom.models import Article, Column, Page, Topic
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from footfall.producers import publish_action
from footfall.storage import handlers
from footfall.storage.actions import ActionHandler, track
from footfall.storage.models import Action, DeletedItem, ViewMark
from footfall.storage.rendering import bulk_render, bulk_render_html, made_for

pytestmark = pytest.mark.django_db

Log = Callable[..., Action]


@pytest.fixture(autouse=True)
def immediate(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": "immediate"}


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """What a test defines goes with it."""
    known = dict(handlers._handlers)
    yield
    handlers._handlers.clear()
    handlers._handlers.update(known)


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def bob(ada: User) -> User:
    """Ada follows him."""
    bob = User.objects.create(username="bob")
    track(ada, bob)
    return bob


@pytest.fixture
def log(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Log:
    """Publish an action, and give it as it is stored then."""

    def logged(*args: Any, **kwargs: Any) -> Action:
        with django_capture_on_commit_callbacks(execute=True):
            key = publish_action(*args, **kwargs)
        return Action.objects.get(pk=key)

    return logged


@pytest.fixture
def committed(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Callable[..., Any]:
    """Call, and commit: what was published is applied."""

    def call(made: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            return made(*args, **kwargs)

    return call


# -- Text


def test_ac_23_actions_of_every_kind_are_rendered_in_their_order(log: Log, bob: User) -> None:
    page, topic = Page.objects.create(title="p"), Topic.objects.create(slug="t")
    actions = [
        log(bob, "created", [page, Article], related=topic),
        log(None, "closed", [topic]),
        log(bob, "logged in"),
    ]
    assert bulk_render(actions) == [
        "bob created p and articles in relation to t, just now",
        "t was closed, just now",
        "bob logged in, just now",
    ]
    assert [action.render() for action in actions] == bulk_render(actions)
    assert Action.bulk_render(actions) == bulk_render(actions)


def test_ac_51_without_an_actor_it_is_logged_and_rendered(log: Log) -> None:
    pages = [Page.objects.create(title=name) for name in "pq"]
    assert log(None, "built", pages).render() == "p and q were built, just now"


def test_a_lazy_verb_is_translated_when_it_is_read_not_when_it_is_logged(log: Log, bob: User) -> None:
    with translation.override("de"):
        action = log(bob, gettext_lazy("Yes"))
        assert action.verb == "Yes"
        assert action.render() == "bob Ja, just now"
    assert action.render() == "bob Yes, just now"


def test_actions_that_came_one_by_one_are_loaded_together(
    log: Log, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Entries, users, pages: as if they were of one queryset."""
    actions = [log(bob, "read", Page.objects.create(title="p")) for _ in range(10)]
    with django_assert_num_queries(3):
        assert bulk_render(actions) == ["bob read p, just now"] * 10


def test_a_queryset_and_nothing_are_rendered_too(
    log: Log, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    log(bob, "logged in")
    assert bulk_render(Action.objects.all()) == ["bob logged in, just now"]
    with django_assert_num_queries(0):
        assert bulk_render([], bob) == bulk_render_html([]) == []


def test_what_is_deleted_reads_as_its_description(log: Log, bob: User) -> None:
    page = Page.objects.create(title="p")
    action = log(bob, "created", page)
    page.delete()
    assert DeletedItem.objects.count() == 1
    assert action.render() == "bob created p, just now"
    assert "<a" not in bulk_render_html([action])[0]


def test_100_actions_from_anywhere_cost_one_query_for_entries_and_one_per_type(
    log: Log, ada: User, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """With the actions themselves two, and three types. For a reader two more, which tell what is unread."""
    made = [
        log(bob, "read", [Page.objects.create(title="p"), Topic.objects.create(slug=f"t{number}")])
        for number in range(100)
    ]
    with django_assert_num_queries(5):
        assert len(bulk_render(Action.objects.all())) == 100
    with django_assert_num_queries(7):
        assert len(bulk_render(Action.objects.filter(pk__in=[action.pk for action in made]), ada)) == 100


def test_a_page_of_a_feed_is_rendered_without_a_query(
    log: Log, ada: User, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        log(bob, "read", Page.objects.create(title=f"p{number}"))
    page = ada.actions.feed().page()  # type: ignore[attr-defined]  # which connect() adds
    with django_assert_num_queries(0):
        assert len(bulk_render(page, ada)) == 20
        assert len(bulk_render_html(page, ada)) == 20


# -- Read and unread


class Flagged(ActionHandler):
    """Says what its context says."""

    def render(self, context: Any = None) -> str:
        known = self.get_context(**(context or {}))
        return f"{known.get('user')} {known.get('unread')}"


@pytest.fixture
def flagged(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "DEFAULT_HANDLER": Flagged}


def test_ac_55_what_is_rendered_for_a_user_is_read_by_them(
    flagged: None, log: Log, ada: User, bob: User, committed: Callable[..., Any]
) -> None:
    """The handler is told the true state, of each action."""
    first, second = log(bob, "read"), log(bob, "wrote")
    assert committed(bulk_render, [first], ada) == ["ada True"]
    assert ViewMark.objects.get(user=ada, object_id=first.pk).at == first.changed
    assert committed(bulk_render, [first, second], ada) == ["ada False", "ada True"]
    assert Action.bulk_is_unread_for(ada, Action.objects.all()) == [False, False]
    assert log(bob, "sang").is_unread_for(ada)


def test_ac_55_the_same_instances_are_read_at_once(flagged: None, log: Log, ada: User, bob: User) -> None:
    action = log(bob, "read")
    assert action.render(ada) == "ada True"
    assert action.render(ada) == "ada False"


def test_ac_55_without_auto_read_rendering_leaves_it_unread(
    flagged: None, settings: Any, log: Log, ada: User, bob: User, committed: Callable[..., Any]
) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "AUTO_READ": False}
    action = log(bob, "read")
    for _ in range(2):
        assert committed(action.render, ada) == "ada True"
    assert not ViewMark.objects.exists()
    assert Action.objects.get().is_unread_for(ada)


def test_what_was_read_is_not_published_again(
    log: Log, ada: User, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    action = log(bob, "read")
    with django_capture_on_commit_callbacks(execute=True) as first:
        bulk_render([action], ada)
    with django_capture_on_commit_callbacks(execute=True) as second:
        bulk_render([Action.objects.get()], ada)
        bulk_render_html([Action.objects.get()], ada)
    assert first
    assert not second


@pytest.mark.parametrize("make", [bulk_render, bulk_render_html])
def test_for_an_anonymous_visitor_everything_is_read_and_nothing_is_published(
    log: Log, bob: User, make: Callable[..., list[str]], django_capture_on_commit_callbacks: Any
) -> None:
    action = log(bob, "read")
    with django_capture_on_commit_callbacks() as published:
        assert "bob read" in make([action], AnonymousUser())[0]
        assert "bob read" in make([action])[0]
    assert not published


@pytest.mark.parametrize("make", [bulk_render, bulk_render_html])
def test_a_user_in_the_context_is_the_reader(
    log: Log,
    ada: User,
    bob: User,
    make: Callable[..., list[str]],
    committed: Callable[..., Any],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """As if given: what is unread is asked for all actions together, and read by them."""
    actions = [log(bob, "read") for _ in range(10)]
    with django_assert_num_queries(4):
        assert len(make(actions, None, {"user": ada})) == 10
    committed(make, [log(bob, "wrote")], context={"user": ada})
    assert [one.is_unread_for(ada) for one in Action.objects.order_by("-verb")[:2]] == [False, True]


def test_without_a_user_the_context_has_no_word_of_unread(flagged: None, log: Log, bob: User) -> None:
    action = log(bob, "read")
    assert bulk_render([action]) == ["None None"]
    assert bulk_render([action], AnonymousUser()) == ["AnonymousUser False"]


def test_the_html_marks_what_is_unread_and_reads_it(
    log: Log, ada: User, bob: User, committed: Callable[..., Any], rf: Any
) -> None:
    action = log(bob, "read")
    assert "footfall-unread" in committed(bulk_render_html, [action], ada, request=rf.get("/"))[0]
    assert "footfall-unread" not in bulk_render_html(Action.objects.all(), ada, request=rf.get("/"))[0]


def test_the_context_is_handed_to_handlers_and_templates(log: Log, bob: User) -> None:
    class Greeting(ActionHandler):
        verb = "greeted"

        def render(self, context: Any = None) -> str:
            return f"{context['word']} {self.actor}"

    action = log(bob, "greeted")
    assert action.render(context={"word": "Hello"}) == "Hello bob"
    assert bulk_render([action], context={"word": "Hi"}) == ["Hi bob"]


# -- Hidden


def only_ada(viewer: Any, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Ada sees all; others don't see columns whose title is secret."""
    if getattr(viewer, "username", "") == "ada" or not hasattr(rows.model, "title"):
        return rows
    return rows.exclude(title="secret")


def test_each_viewer_sees_what_they_may(settings: Any, log: Log, ada: User, bob: User) -> None:
    """Without a user as an anonymous visitor does; for code that works for nobody the handler shows all."""
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": only_ada}
    action = log(bob, "read", Article.objects.create(title="secret"))
    assert action.render(ada) == "bob read secret, just now"
    for viewer in (bob, AnonymousUser(), None):
        assert action.render(viewer) == "bob read article, just now"
        assert "secret" not in bulk_render_html([action], viewer)[0]
    assert action.handler.render() == "bob read secret, just now"


def test_what_is_hidden_is_no_link(settings: Any, log: Log, ada: User, bob: User, monkeypatch: Any) -> None:
    monkeypatch.setattr(Article, "get_absolute_url", lambda self: f"/articles/{self.pk}/", raising=False)
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": only_ada}
    article = Article.objects.create(title="secret")
    action = log(bob, "read", article)
    assert f'<a href="/articles/{article.pk}/">secret</a>' in bulk_render_html([action], ada)[0]
    assert "<a" not in bulk_render_html([action], bob)[0]


# -- Handlers that raise


class Broken(ActionHandler):
    verb = "broke"

    def get_text(self) -> str:
        raise KeyError("title")


@pytest.fixture
def broken(log: Log, bob: User) -> list[Action]:
    """Between two that are well, one whose handler raises."""
    handlers._handlers["broke"] = Broken
    return [log(bob, "read"), log(bob, "broke", Page.objects.create(title="<p>")), log(bob, "wrote")]


def test_a_handler_that_raises_takes_no_page_down(broken: list[Action], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "footfall.rendering"):
        assert bulk_render(broken) == ["bob read, just now", "bob broke <p>, just now", "bob wrote, just now"]
        assert "bob broke &lt;p&gt;, <time" in bulk_render_html(broken)[1]
    assert [str(broken[1].pk) in record.getMessage() for record in caplog.records] == [True, True]


def test_a_handler_that_can_not_be_made_takes_no_page_down(
    log: Log, bob: User, caplog: pytest.LogCaptureFixture
) -> None:
    class Unmade(ActionHandler):
        verb = "made"

        def __init__(self, action: Action) -> None:
            raise KeyError(action.data["of"])

    assert bulk_render([log(bob, "made")]) == ["bob made, just now"]
    assert "Unmade" in caplog.text


def test_a_template_that_raises_takes_no_page_down(
    broken: list[Action], settings: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "footfall" / "actions").mkdir(parents=True)
    (tmp_path / "footfall" / "actions" / "read.html").write_text("{% include 'nowhere.html' %}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]
    assert "bob read, <time" in bulk_render_html(broken)[0]
    assert "nowhere.html" in caplog.text


def test_with_debug_a_handler_that_raises_is_seen(broken: list[Action], settings: Any) -> None:
    settings.DEBUG = True
    with pytest.raises(KeyError):
        bulk_render(broken)


def test_an_object_that_can_not_say_its_name_leaves_the_verb(
    log: Log, bob: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    action = log(bob, "read", Page.objects.create(title="p"))
    monkeypatch.setattr(Page, "__str__", lambda self: self.author.name)
    assert bulk_render([action]) == ["read, just now"]
    assert "read, <time" in bulk_render_html([action])[0]
    assert len(caplog.records) == 4


def test_an_error_of_the_database_is_none_of_a_handlers(log: Log, bob: User) -> None:
    """The transaction may be lost with it: what comes after would fail, too."""

    class Asking(ActionHandler):
        verb = "asked"

        def get_text(self) -> str:
            raise OperationalError("gone")

    with pytest.raises(OperationalError):
        bulk_render([log(bob, "asked")])


def test_what_is_made_for_a_viewer_is_not_read_by_them(log: Log, ada: User, bob: User) -> None:
    action = log(bob, "read", Column.objects.create(title="p"))
    assert made_for(ada, [action], lambda handler: handler.get_text()) == ["bob read p"]
    assert Action.objects.get().is_unread_for(ada)


@pytest.mark.django_db(transaction=True)
def test_a_loop_that_renders_one_action_after_the_other_loads_for_all_of_them(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    """The list, its entries, and one query for each type of object."""
    author = User.objects.create(username="ada")
    for number in range(10):
        publish_action(author, "wrote", Article.objects.create(title=f"No. {number}"))

    with django_assert_max_num_queries(4):
        texts = [action.render() for action in Action.objects.all()]

    assert len(texts) == 10
