"""Handlers by verb: which one an action gets, and how it reads by it, for whom, and when."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone as django_timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from newsroom.models import Article, Column

from footfall.producers.messages import Ref
from footfall.storage import handlers
from footfall.storage.actions import ActionHandler, Draft, level
from footfall.storage.checks import check_default_handler
from footfall.storage.handlers import default_handler, handler_of, level_of, readable_level
from footfall.storage.loading import Objects
from footfall.storage.models import Action, DeletedItem
from footfall.storage.resolving import Hidden

NOW = datetime(2024, 6, 15, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test defines goes with it."""
    known = dict(handlers._handlers)
    yield
    handlers._handlers.clear()
    handlers._handlers.update(known)


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


class Shown:
    """Put before a handler class: its objects are given, so that nothing is stored."""

    given: Objects

    @property
    def objects(self) -> Objects:
        return self.given


def handler(
    cls: type[ActionHandler], actor: Any = None, targets: list[Any] | None = None, **fields: Any
) -> ActionHandler:
    """A handler of ``cls`` on an action that isn't stored, about the objects given."""
    related = fields.pop("related", [])
    action = Action(**{"id": uuid.uuid4(), "verb": cls.verb or "created", "timestamp": ago(minutes=5), **fields})
    shown: Any = type("Handler", (Shown, cls), {"verb": "", "given": Objects(actor, targets or [], related)})
    made: ActionHandler = shown(action)
    return made


BOB = User(pk=1, username="bob")


# -- Which handler


def test_ac_04_a_verb_has_its_handler_and_the_last_definition_wins() -> None:
    class First(ActionHandler):
        verb = "wrote"

    class Second(ActionHandler):
        verb = "wrote"

    assert handler_of("wrote") is Second
    assert isinstance(Action(verb="wrote").handler, Second)
    assert type(Action(verb="sang").handler) is ActionHandler


def test_a_class_that_inherits_a_verb_takes_nobodys_place() -> None:
    """One that states the same verb itself does."""

    class Wrote(ActionHandler):
        verb = "wrote"

    class Mixed(Wrote):
        pass

    assert handler_of("wrote") is Wrote

    class Rewrote(Mixed):
        verb = "wrote"

    assert handler_of("wrote") is Rewrote


class House(ActionHandler):
    """The default of a site."""

    level = 20

    def get_text(self) -> str:
        return f"({self.action.verb})"


@pytest.mark.parametrize("named", [House, "newsroom.models.House"], ids=["class", "import string"])
def test_a_site_names_the_handler_of_verbs_without_one(
    settings: Any, monkeypatch: pytest.MonkeyPatch, named: Any
) -> None:
    monkeypatch.setattr("newsroom.models.House", House, raising=False)
    settings.FOOTFALL = {**settings.FOOTFALL, "DEFAULT_HANDLER": named}
    assert handler_of("sang") is House
    assert level_of("sang") == 20
    assert check_default_handler() == []


@pytest.mark.parametrize("named", ["nowhere.Handler", "footfall.storage.handlers.Nothing", "Handler", Article, None, 7])
def test_a_default_handler_that_is_none_is_an_error(settings: Any, named: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "DEFAULT_HANDLER": named}
    with pytest.raises(ImproperlyConfigured, match="DEFAULT_HANDLER"):
        default_handler()
    assert [message.id for message in check_default_handler()] == ["footfall.storage.E001"]


def test_a_handler_names_its_level_or_gives_its_number() -> None:
    """What is stored is a number; and what is none is refused where it is written."""

    class Quiet(ActionHandler):
        verb = gettext_lazy("wrote")
        level = "DEBUG"

    assert handler_of("wrote") is Quiet
    assert level_of("wrote") == 10
    for wrong in ("LOUD", -1, 40_000, True, 3.5):
        with pytest.raises(ValueError, match="is no level"):
            type("Wrong", (ActionHandler,), {"level": wrong})


def test_the_check_leaves_settings_that_are_no_dict_to_the_producers(settings: Any) -> None:
    settings.FOOTFALL = []
    assert check_default_handler() == []


@pytest.mark.parametrize(("given", "number"), [("INFO", 30), ("ERROR", 50), (35, 35), (0, 0)])
def test_levels_of_the_settings_are_names_or_numbers(settings: Any, given: Any, number: int) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "READABLE_LEVEL": given, "DEFAULT_LEVEL": given}
    assert readable_level() == number
    assert level_of("sang") == number


def test_ac_04_a_handler_states_the_level_of_its_verb() -> None:
    class Loud(ActionHandler):
        verb = "shouted"
        level = level.WARNING

    class Null(ActionHandler):
        verb = "breathed"
        level = level.NULL

    assert level_of("shouted") == 40
    assert level_of("breathed") == 0


def test_a_level_that_is_not_in_the_settings_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'LOUD'"):
        level.LOUD  # noqa: B018 - asking for it is what is tested


def draft(*targets: str) -> Draft:
    return Draft(uuid.uuid4(), None, "wrote", NOW, 30, [Ref("newsroom.article", one) for one in targets])


def test_group_is_inherited_with_and_without_saying_so() -> None:
    class Base(ActionHandler):
        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            return cls.verb == "wrote"

    class Plain(Base):
        verb = "sang"

    class Stated(Base):
        verb = "wrote"
        group = "inherit"  # type: ignore[assignment]  # a word instead of a method is what sites may write

    assert not Plain.group(draft("1"), draft("2"))
    stated: Any = Stated
    assert stated.group(draft("1"), draft("2"))


def test_combinators_are_not_inherited() -> None:
    class Base(ActionHandler):
        verb = "wrote"

        @staticmethod
        def combine_with_sang_out_loud(own: Draft, other: Draft) -> bool:
            return True

    class Child(Base):
        verb = "scribbled"

    hook = Base.combinator("sang out-loud")
    assert hook is not None and hook(draft("1"), draft("1"))
    assert Child.combinator("sang out-loud") is None


# -- Text


def test_ac_23_the_text_says_who_did_what_and_when() -> None:
    made = handler(ActionHandler, BOB, [Article(title="p"), Article(title="q")], related=[Article(title="t")])
    assert made.get_text() == "bob created p and q in relation to t"
    assert made.get_timeinfo() == "5 minutes ago"
    assert made.render() == "bob created p and q in relation to t, 5 minutes ago"


def test_ac_51_an_action_without_an_actor_is_rendered() -> None:
    assert handler(ActionHandler, None, [Article(title="p")]).render() == "p was created, 5 minutes ago"
    assert handler(ActionHandler).render() == "created, 5 minutes ago"


def test_what_is_left_of_an_object_reads_as_its_description_and_what_is_hidden_as_its_kind() -> None:
    made = handler(ActionHandler, Hidden(User), [DeletedItem(description="an old page"), Article, Hidden(Article)])
    assert made.get_text() == "user created an old page, articles and article"


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (ago(seconds=0), "just now"),
        (ago(seconds=59.9), "just now"),
        (ago(seconds=60), "1 minute ago"),
        (ago(minutes=59, seconds=59), "59 minutes ago"),
        (ago(minutes=65), "1 hour ago"),
        (ago(days=1), "1 day ago"),
        (ago(days=400), "1 year ago"),
        (ago(minutes=-1), "just now"),
        (ago(days=-400), "just now"),
        (ago(minutes=5).astimezone(timezone(timedelta(hours=14))), "5 minutes ago"),
    ],
)
def test_the_time_is_told_in_its_largest_unit_and_never_lies_ahead(at: datetime, text: str) -> None:
    """A time ahead is that of a host whose clock is fast."""
    assert handler(ActionHandler, timestamp=at).get_timeinfo() == text


def test_an_hour_that_comes_twice_is_not_counted_twice(settings: Any) -> None:
    """In the night in which clocks are put back, what is read on them is no measure."""
    before = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)  # 2:30, and an hour later it is 2:30 again
    with time_machine.travel(before + timedelta(hours=1), tick=False), django_timezone.override("Europe/Berlin"):
        assert handler(ActionHandler, timestamp=before).get_timeinfo() == "1 hour ago"


def test_a_site_without_time_zones_reads_its_naive_times(settings: Any) -> None:
    settings.USE_TZ = False
    naive = datetime.now() - timedelta(minutes=5)
    made = handler(ActionHandler, BOB, timestamp=naive)
    assert made.render() == "bob created, 5 minutes ago"
    assert f'datetime="{naive:%Y-%m-%dT%H:%M:%S}' in made.render_html()


# -- A handler's own text, context and render


class Upload(ActionHandler):
    verb = "uploaded"

    def get_text(self) -> str:
        return f"{self.actor} uploaded {self.action.data['count']} <photos>"


def test_ac_04_a_handler_has_a_text_of_its_own_in_text_and_html() -> None:
    made = handler(Upload, BOB, data={"count": 3})
    assert made.render() == "bob uploaded 3 <photos>, 5 minutes ago"
    assert "bob uploaded 3 &lt;photos&gt;, <time" in made.render_html()


def test_ac_04_a_handler_has_a_time_of_its_own() -> None:
    class Dated(ActionHandler):
        def get_timeinfo(self) -> str:
            return f"{self.action.timestamp:%d.%m.}"

    assert handler(Dated, BOB).render() == "bob created, 15.06."


def test_ac_04_the_context_has_action_data_and_handler() -> None:
    made = handler(ActionHandler, data={"x": 1})
    assert made.get_context(page=2) == {"page": 2, "action": made.action, "data": {"x": 1}, "handler": made}


def test_ac_04_a_handler_renders_with_the_context_that_it_gets() -> None:
    class Paged(ActionHandler):
        def render(self, context: Any = None) -> str:
            known = self.get_context(**(context or {}))
            return f"{known['data']['x']} on page {known['page']}"

    assert handler(Paged, data={"x": 1}).render({"page": 2}) == "1 on page 2"


def test_whether_it_is_unread_is_taken_from_the_context_where_it_stands_there() -> None:
    made = handler(ActionHandler)
    assert made.get_context(user=BOB, unread=True)["unread"] is True
    assert "unread" not in made.get_context()


# -- HTML


def test_the_html_links_what_has_an_address_and_tells_the_time_in_the_readers_zone() -> None:
    made = handler(ActionHandler, BOB, [Column(pk=7, title="p"), Article(title="q")])
    with django_timezone.override("Asia/Tokyo"):
        html = made.render_html({"unread": True})
    assert isinstance(html, SafeString)
    assert 'bob created <a href="/columns/7/">p</a> and q, <time' in html
    assert 'datetime="2024-06-15T20:55:00+09:00"' in html
    assert "8:55 p.m." in html
    assert "5 minutes ago</time>" in html
    assert "footfall-unread" in html
    assert "footfall-unread" not in made.render_html()


XSS = '"><script>alert(1)</script>{{ 7 }}{% now "Y" %}'


def test_nothing_that_is_stored_is_trusted_in_html() -> None:
    """Neither names nor verbs nor data, whether they are links, deleted, or of a handler's own text."""

    class Told(ActionHandler):
        def get_text(self) -> str:
            return str(self.action.data["x"])

    objects: dict[str, Any] = {
        "actor": User(username=XSS),
        "targets": [Column(pk=1, title=XSS), DeletedItem(description=XSS), Article(title=XSS)],
        "related": [Article(title=XSS)],
    }
    for made in (
        handler(ActionHandler, **objects, verb=XSS),
        handler(ActionHandler, None, [], verb=XSS),
        handler(Told, **objects, data={"x": XSS}),
    ):
        html = made.render_html()
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert "{{ 7 }}" in html


def test_a_handler_may_say_its_sentence_in_html() -> None:
    class Bold(ActionHandler):
        def get_html(self) -> str:
            return SafeString("<b>written by the site</b>")

    assert "<b>written by the site</b>, <time" in handler(Bold).render_html()


@pytest.fixture
def templates(settings: Any, tmp_path: Any) -> Any:
    """The directory of the site's templates of verbs."""
    directory = tmp_path / "templates"
    (directory / "footfall" / "actions").mkdir(parents=True)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(directory)]}]
    return directory / "footfall" / "actions"


def test_ac_04_a_verb_has_its_template(templates: Any, rf: Any) -> None:
    (templates / "sang_out_loud.html").write_text(
        "{{ handler.actor }}: {{ data.song }}{{ extra }} {{ request.path }} {{ handler.targets.0 }}"
    )
    made = handler(ActionHandler, BOB, [Article(title="<p>")], verb="sang out-loud", data={"song": "<la>"})
    html = made.render_html({"extra": "!"}, rf.get("/page/"))
    assert html == "bob: &lt;la&gt;! /page/ &lt;p&gt;"


@pytest.mark.parametrize("verb", ["", "../../secret", "x" * 255, "ö" * 255, "a/b\\c", "\x00"])
def test_no_verb_is_too_odd_for_a_template_to_be_looked_for(templates: Any, verb: str) -> None:
    (templates.parent / "secret.html").write_text("secret")
    html = handler(ActionHandler, BOB, verb=verb).render_html()
    assert 'class="footfall-action"' in html
    assert "<time" in html
