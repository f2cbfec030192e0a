"""The publish helpers: what each builds, what it refuses, and that none of them touches a database.

No test here asks for the database: pytest-django's guard raises on any connection that is opened.
"""

import math
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest
import time_machine
from django.contrib.auth.models import AbstractUser, AnonymousUser, User
from django.db import connections, models
from django.test import RequestFactory
from django.test.utils import isolate_apps
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy
from newsroom.models import Article, ArticleByDevice, ArticleDaily, ArticleTotals, Column, Page, Topic

from footfall import producers
from footfall.producers import (
    log,
    publish_action,
    publish_all_viewed,
    publish_decrement,
    publish_increment,
    publish_labels,
    publish_model_view,
    publish_view,
    scope,
)
from footfall.producers.messages import Action, Event, Increment, LabelKey, Ref, View, decode_unit
from footfall.producers.tail import journals, read_slice
from footfall.producers.testing import captured_messages
from footfall.storage.models import DeletedItem

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture(autouse=True)
def _no_connection() -> Iterator[None]:
    """Whatever a test publishes, no connection may have been opened by it."""
    connections.close_all()
    yield
    assert all(connection.connection is None for connection in connections.all(initialized_only=True))


Stored = TypeVar("Stored", bound=models.Model)


def stored(model: type[Stored], pk: Any = 7) -> Stored:
    """An instance as if it had been read from the database."""
    return model.from_db("default", [model._meta.pk.attname], [pk])


def wrong(value: Any) -> Any:
    """A value that the annotations already forbid."""
    return value


ARTICLE = Ref("newsroom.article", "7")
Read = Callable[[], list[Event]]


@pytest.fixture
def article() -> Article:
    return stored(Article)


@pytest.fixture
def user() -> User:
    return stored(User, 42)


@pytest.fixture
def published(spool_directory: Path) -> Callable[[], list[Event]]:
    """What is in the spool, decoded as a worker would."""

    def read() -> list[Event]:
        slices = [read_slice(path, 0, max_lines=10**6, max_bytes=10**8) for path in journals(spool_directory)]
        units = [decode_unit(line) for piece in slices if piece for _, line in piece.lines]
        raws = [raw for unit in units if unit for _, same in unit.by_kind() for raw in same]
        return [msgspec.json.decode(raw, type=Event) for raw in raws]

    return read


# -- What is built


def test_a_view_says_who_saw_what_and_when(article: Article, user: User, published: Read) -> None:
    """The default time is now, the id is the returned one."""
    returned = publish_view(user, article)

    assert returned is not None
    assert published() == [View(id=returned, at=NOW, user="42", object=ARTICLE)]


@pytest.mark.parametrize("pk", ["6F9619FF8B86D011B42D00C04FC964FF", "6f9619ff-8b86-d011-b42d-00c04fc964ff"])
def test_vt_19_a_key_that_was_given_as_text_is_the_key(user: User, published: Read, pk: str) -> None:
    """Django leaves it on a new object as it was given."""
    publish_view(user, stored(Page, pk))

    (event,) = published()
    assert isinstance(event, View) and event.object == Ref("newsroom.page", "6f9619ff-8b86-d011-b42d-00c04fc964ff")


@isolate_apps("newsroom")
def test_a_composite_primary_key_is_refused(user: User) -> None:
    """A worker could not read it."""

    class Seat(models.Model):
        pk = models.CompositePrimaryKey("row", "number")
        row = models.IntegerField()
        number = models.IntegerField()

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return ""

    seat = Seat(row=1, number=2)
    seat._state.adding = False
    with pytest.raises(TypeError, match="composite primary key"):
        publish_view(user, seat)


def test_a_view_of_a_model_and_of_everything_name_no_object(user: User, published: Read) -> None:
    """The wider scopes of a mark."""
    publish_model_view(user, Article)
    publish_all_viewed(user, at=NOW - timedelta(days=1))

    of_model, of_all = published()
    assert isinstance(of_model, View) and of_model.object == Ref("newsroom.article")
    assert isinstance(of_all, View) and of_all.object is None and of_all.at == NOW - timedelta(days=1)


def test_an_increment_goes_to_the_first_dataset_of_its_model(article: Article, published: Read) -> None:
    """Unless another is named."""
    first = publish_increment(article, "views")
    second = publish_increment(article, "clicks", 5, ArticleDaily)

    assert published() == [
        Increment(id=first, at=NOW, dataset="newsroom.articletotals", object=ARTICLE, field="views"),
        Increment(id=second, at=NOW, dataset="newsroom.articledaily", object=ARTICLE, field="clicks", value=5),
    ]


def test_a_decrement_and_a_custom_operation_name_their_operation(article: Article, published: Read) -> None:
    """The value stays positive: the operation says which way."""
    publish_decrement(article, "score", 3)
    publish_increment(article, "peak", 9, op="record_peak")

    assert [(e.op, e.value) for e in published() if isinstance(e, Increment)] == [("decr", 3), ("record_peak", 9)]


def test_an_action_says_all_that_it_is_given(article: Article, user: User, published: Read) -> None:
    """Targets and related objects are one or many, in order and without repeats; other keywords are its data."""
    page, topic = stored(Page, uuid.UUID(int=1)), stored(Topic, "django")

    returned = publish_action(
        user,
        "commented on",
        [article, page, article],
        topic,
        timestamp=NOW - timedelta(minutes=1),
        level=40,
        grouping_delay=60,
        using="default",
        text="Fine.",
        data={"stars": 5},
    )

    assert published() == [
        Action(
            id=returned,
            at=NOW - timedelta(minutes=1),
            actor=Ref("auth.user", "42"),
            verb="commented on",
            targets=[ARTICLE, Ref("newsroom.page", str(uuid.UUID(int=1)))],
            related=[Ref("newsroom.topic", "django")],
            level=40,
            data={"text": "Fine.", "data": {"stars": 5}},
            grouping_delay=60,
            using="default",
        )
    ]


def test_an_action_can_be_about_a_model_and_about_what_is_left_of_an_object(user: User, published: Read) -> None:
    """A model is all of its objects; a proxy is what its base is; a deleted object is named as it was."""
    left = DeletedItem(object_type="newsroom.article", object_id="7")

    publish_action(user, "started tracking", Article, [Column, left])

    [event] = published()
    assert isinstance(event, Action)
    assert event.targets == [Ref("newsroom.article")]
    assert event.related == [Ref("newsroom.article"), ARTICLE]


def test_log_is_publish_action() -> None:
    """The older name is the same function."""
    assert log is publish_action is producers.publish_action


def test_any_iterable_is_read_once(article: Article, user: User, published: Read) -> None:
    """A generator of targets is not used up by the checks."""
    publish_action(user, "read", (one for one in [article]), iter([article]))

    (event,) = published()
    assert isinstance(event, Action) and event.targets == event.related == [ARTICLE]


def test_each_label_of_a_query_is_one_hit(published: Read) -> None:
    """Category and dom_id default to "None", and a label that stands twice counts twice."""
    ids = publish_labels("home:links:nav|a b|a b")

    home, again, once_more = published()
    assert [home.id, again.id, once_more.id] == ids
    assert [event.label for event in published() if isinstance(event, Increment)] == [
        LabelKey("home", "links", "nav"),
        LabelKey("a b", "None", "None"),
        LabelKey("a b", "None", "None"),
    ]


# -- Who and what


@pytest.mark.parametrize(
    "nobody", [None, AnonymousUser(), SimpleLazyObject(AnonymousUser)], ids=["None", "Anonymous", "lazy"]
)
def test_for_an_anonymous_user_everything_is_seen(nobody: Any, article: Article, published: Read) -> None:
    """Views are neither recorded nor an error."""
    assert publish_view(nobody, article) is None
    assert publish_model_view(nobody, Article) is None
    assert publish_all_viewed(nobody) is None
    assert published() == []


@pytest.mark.parametrize(
    "nobody", [None, AnonymousUser(), SimpleLazyObject(AnonymousUser)], ids=["None", "Anonymous", "lazy"]
)
def test_an_anonymous_actor_is_nobody(nobody: Any, article: Article, published: Read) -> None:
    """The action is recorded all the same."""
    publish_action(nobody, "read", article)

    (event,) = published()
    assert isinstance(event, Action) and event.actor is None


def test_a_lazy_user_is_the_user(article: Article, user: User, published: Read) -> None:
    """`request.user` is lazy."""
    publish_view(SimpleLazyObject(lambda: user), article)
    publish_action(wrong(SimpleLazyObject(lambda: user)), "read", SimpleLazyObject(lambda: article))

    view, action = published()
    assert isinstance(view, View) and view.user == "42"
    assert isinstance(action, Action) and (action.actor, action.targets) == (Ref("auth.user", "42"), [ARTICLE])


def test_a_proxy_is_what_its_base_is(user: User, published: Read) -> None:
    """It has the base's identity and the base's datasets."""
    publish_view(user, stored(Column))
    publish_model_view(user, Column)
    publish_increment(stored(Column), "views")

    seen, model, counted = published()
    assert isinstance(seen, View) and isinstance(model, View) and isinstance(counted, Increment)
    assert (seen.object, model.object, counted.object) == (ARTICLE, Ref("newsroom.article"), ARTICLE)


def test_lazily_translated_text_travels_untranslated_as_verb_and_as_itself_in_data(user: User, published: Read) -> None:
    """A verb's name doesn't depend on who is reading; other texts do."""
    with translation.override("de"):
        publish_action(user, gettext_lazy("Yes"), word=gettext_lazy("Yes"), inner=[{"no": gettext_lazy("No")}])

    (event,) = published()
    assert isinstance(event, Action) and event.verb == "Yes"
    assert event.data == {"word": "Ja", "inner": [{"no": "Nein"}]}


def test_lazy_text_beside_a_backslash_is_fine(user: User, published: Read) -> None:
    """A text that only looks like an escaped NUL is no NUL."""
    publish_action(user, "read", path="C:\\u0000", word=gettext_lazy("Yes"))

    (event,) = published()
    assert isinstance(event, Action) and event.data["path"] == "C:\\u0000"


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        pytest.param(lambda: publish_view(User(), stored(Article)), ValueError, "not saved", id="unsaved user"),
        pytest.param(lambda: publish_view(stored(User), Article()), ValueError, "not saved", id="unsaved object"),
        pytest.param(
            lambda: publish_view(stored(User), Article(pk=7)), ValueError, "not saved", id="object with a made-up key"
        ),
        pytest.param(
            lambda: publish_view(stored(User), Page()), ValueError, "not saved", id="unsaved object with a UUID"
        ),
        pytest.param(
            lambda: publish_view(stored(User), wrong(Article)),
            TypeError,
            "not a model instance",
            id="class for an object",
        ),
        pytest.param(
            lambda: publish_view(stored(User), wrong("article")),
            TypeError,
            "not a model instance",
            id="text for an object",
        ),
        pytest.param(
            lambda: publish_view(stored(Topic, "x"), stored(Article)),
            TypeError,
            "auth.user",
            id="another model's instance for a user",
        ),
        pytest.param(
            lambda: publish_view("bob", stored(Article)), TypeError, "not a model instance", id="text for a user"
        ),
        pytest.param(
            lambda: publish_model_view(stored(User), wrong(stored(Topic, "x"))),
            TypeError,
            "takes a model class",
            id="instance for a class",
        ),
        pytest.param(
            lambda: publish_increment(Article(), "views"), ValueError, "not saved", id="unsaved counted object"
        ),
        pytest.param(
            lambda: publish_increment(stored(User), "views"),
            LookupError,
            "No dataset is registered for auth.User",
            id="unregistered model",
        ),
        pytest.param(
            lambda: publish_increment(stored(Page), "views", dataset=ArticleDaily),
            LookupError,
            "counted in ArticleTotals",
            id="dataset of another model",
        ),
        pytest.param(
            lambda: publish_increment(stored(Article), "view"), ValueError, "Did you mean 'views'?", id="nearly a field"
        ),
        pytest.param(
            lambda: publish_increment(stored(Article), "qqqq"),
            ValueError,
            "It has 'views', 'score', 'peak'",
            id="unknown field",
        ),
        pytest.param(
            lambda: publish_increment(stored(Article), "id"),
            ValueError,
            "no counter field 'id'",
            id="primary key as field",
        ),
        pytest.param(
            lambda: publish_increment(stored(Article), "object_id"), ValueError, "no counter field", id="key as field"
        ),
        pytest.param(
            lambda: publish_increment(stored(Article), "views", op="delete"),
            ValueError,
            "no operation 'delete'",
            id="method that is no operation",
        ),
        pytest.param(
            lambda: publish_increment(stored(Article), "views", op="__class__"),
            ValueError,
            "no operation",
            id="__class__ as operation",
        ),
        pytest.param(lambda: publish_action(User(), "read"), ValueError, "not saved", id="unsaved actor"),
        pytest.param(
            lambda: publish_action(stored(User), "read", Article()), ValueError, "not saved", id="unsaved target"
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", [Article()]),
            ValueError,
            "not saved",
            id="unsaved target in a list",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", "article"), TypeError, "iterable of them", id="text as target"
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", 7), TypeError, "iterable of them", id="number as target"
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", [7]),
            TypeError,
            "not a model instance",
            id="number among targets",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", (), wrong(dict)),
            TypeError,
            "iterable of them",
            id="class that is no model as related object",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", target=stored(Article)),
            TypeError,
            "'target' is an object (newsroom.Article), which data can't hold. Did you mean 'targets'?",
            id="object as data",
        ),
        pytest.param(lambda: publish_action(stored(User), None), TypeError, "A verb is a text", id="no verb"),
        pytest.param(lambda: publish_action(stored(User), 3), TypeError, "A verb is a text", id="number as verb"),
        pytest.param(
            lambda: publish_action(stored(User), "read", AbstractUser),
            TypeError,
            "abstract",
            id="abstract model among targets",
        ),
        pytest.param(
            lambda: publish_action(wrong("bob"), "read"), TypeError, "not a model instance", id="text as actor"
        ),
        pytest.param(lambda: publish_action(stored(User), ""), ValueError, "not a verb", id="empty verb"),
        pytest.param(lambda: publish_action(stored(User), "<b>"), ValueError, "not a verb", id="HTML as verb"),
        pytest.param(lambda: publish_action(stored(User), "read\0"), ValueError, "not a verb", id="NUL in a verb"),
        pytest.param(lambda: publish_action(stored(User), "v" * 256), ValueError, "255", id="over-long verb"),
        pytest.param(
            lambda: publish_action(stored(User), "read", level=-1), ValueError, "0 to 32767", id="negative level"
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", level=32768), ValueError, "0 to 32767", id="level too high"
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", level=wrong("INFO")),
            ValueError,
            "0 to 32767",
            id="level as text",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", level=True), ValueError, "0 to 32767", id="level True"
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", grouping_delay=-2),
            ValueError,
            "-1 or a number",
            id="grouping delay below -1",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", grouping_delay=wrong(1.5)),
            ValueError,
            "-1 or a number",
            id="grouping delay of half seconds",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", grouping_delay=2**63),
            ValueError,
            "grouping_delay",
            id="grouping delay beyond 64 bits",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", using="defualt"),
            ValueError,
            "Did you mean 'default'?",
            id="nearly an alias",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", [stored(Article, n) for n in range(1001)]),
            ValueError,
            "at most 1000",
            id="1,001 targets",
        ),
        pytest.param(
            lambda: publish_action(stored(User), "read", (), [stored(Article, n) for n in range(1001)]),
            ValueError,
            "at most 1000",
            id="1,001 related",
        ),
        pytest.param(
            lambda: publish_view(stored(User), stored(Topic, "t" * 256)), ValueError, "255", id="over-long key"
        ),
        pytest.param(lambda: publish_view(stored(User), stored(Topic, "")), ValueError, "", id="empty key"),
        pytest.param(lambda: publish_view(stored(User), stored(Topic, "a\0")), ValueError, "NUL", id="NUL in a key"),
        pytest.param(
            lambda: publish_view(stored(User), stored(Topic, "\ud800")),
            ValueError,
            "surrogate",
            id="surrogate in a key",
        ),
    ],
)
def test_what_can_t_be_right_raises_where_it_is_written(
    call: Callable[[], object], error: type[Exception], text: str, published: Read
) -> None:
    """The message tells the programmer, and nothing is published."""
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert published() == []


# -- Times


@pytest.mark.parametrize(
    ("at", "error", "text"),
    [
        (datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), ValueError, "before the year 2000"),
        (NOW + timedelta(seconds=301), ValueError, "300 s in the future"),
        (datetime.max.replace(tzinfo=UTC), ValueError, "in the future"),
        (datetime(2026, 6, 15, 12), ValueError, "no time zone"),
        (date(2026, 6, 15), TypeError, "a datetime"),
        (NOW.timestamp(), TypeError, "a datetime"),
        ("2026-06-15", TypeError, "a datetime"),
    ],
    ids=["1999", "beyond the skew", "9999", "naive", "a date", "seconds", "text"],
)
def test_an_impossible_time_is_refused_by_every_helper(
    at: Any, error: type[Exception], text: str, article: Article, user: User, published: Read
) -> None:
    """Whichever way it is given."""
    calls: list[Callable[[], object]] = [
        lambda: publish_view(user, article, at),
        lambda: publish_model_view(user, Article, at),
        lambda: publish_all_viewed(user, at),
        lambda: publish_increment(article, "views", at=at),
        lambda: publish_decrement(article, "views", at=at),
        lambda: publish_labels("home", at=at),
        lambda: publish_action(user, "read", timestamp=at),
    ]
    for call in calls:
        with pytest.raises(error, match=text):
            call()
    assert published() == []


def test_a_time_up_to_the_skew_ahead_is_taken(article: Article, user: User, published: Read, settings: Any) -> None:
    """Clocks differ; how much is a setting."""
    publish_view(user, article, NOW + timedelta(seconds=300))
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_CLOCK_SKEW_SECONDS": 10}

    with pytest.raises(ValueError, match="more than 10 s"):
        publish_view(user, article, NOW + timedelta(seconds=11))


def test_a_naive_time_of_a_site_without_time_zones_is_its_local_time(
    article: Article, user: User, settings: Any
) -> None:
    """With USE_TZ off all times are naive."""
    settings.USE_TZ = False

    with captured_messages() as messages:
        publish_view(user, article, datetime(2026, 6, 15, 13, 0))

    assert messages[0].event.at == datetime(2026, 6, 15, 11, 0, tzinfo=UTC)


def test_a_time_in_any_zone_keeps_its_moment(article: Article, user: User, published: Read) -> None:
    """Also over the change to winter time, where local times repeat."""
    moments = [datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    for at in moments:
        publish_view(user, article, timezone.localtime(at, timezone.get_default_timezone()))

    assert [event.at for event in published()] == moments


# -- Values (TB-04, TB-05)


@pytest.mark.parametrize(
    ("value", "counted"),
    [(0, 0), (1, 1), (-3, -3), ("7", 7), ("-7", -7), (" 7 ", 7), (2**31 - 1, 2**31 - 1), (-(2**31) + 1, -(2**31) + 1)],
)
def test_tb_04_and_05_whole_numbers_count_as_themselves(
    value: Any, counted: int, article: Article, published: Read
) -> None:
    """0 adds 0, a numeric string is its number."""
    publish_increment(article, "score", value)

    (event,) = published()
    assert isinstance(event, Increment) and event.value == counted


@pytest.mark.parametrize(("dataset", "field", "bits"), [(ArticleTotals, "score", 31), (ArticleDaily, "clicks", 63)])
def test_more_than_the_counter_holds_is_refused_at_the_door(
    dataset: type[models.Model], field: str, bits: int, article: Article, published: Read
) -> None:
    """It could only become a dead letter."""
    publish_increment(article, field, 2**bits - 1, dataset=dataset)
    with pytest.raises(ValueError, match="does not fit"):
        publish_increment(article, field, 2**bits, dataset=dataset)

    assert len(published()) == 1


@pytest.mark.parametrize(
    "value",
    [2.9, 2.0, None, True, "", "2.9", "seven", math.nan, math.inf, Decimal(1), 2**63, -(2**63), [], b"7"],
    ids=repr,
)
def test_tb_05_anything_else_is_refused_at_the_door(value: Any, article: Article, published: Read) -> None:
    """Never poison for the worker."""
    for publish in (publish_increment, publish_decrement):
        with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, and `int()` writes some of them
            publish(article, "score", value)
    assert published() == []


def test_tb_29_options_are_the_calls_own(published: Read, article: Article) -> None:
    """Neither a default that calls share, nor the caller's dict: what is done to it later changes nothing."""
    options: dict[str, Any] = {"device": "phone"}

    with captured_messages() as captured:
        publish_increment(article, "views", dataset=ArticleByDevice, options=options)
        publish_increment(article, "views")
        options["device"] = "tablet"
        publish_increment(article, "views", dataset=ArticleByDevice, options=options)
        publish_decrement(article, "views", dataset=ArticleByDevice, options=options)

    events = [one.event for one in captured]
    assert [event.options for event in events if isinstance(event, Increment)] == [
        {"device": "phone"},
        {},
        {"device": "tablet"},
        {"device": "tablet"},
    ]
    captured[1].event.options["stray"] = 1  # type: ignore[union-attr]  # an increment
    assert Increment(id=uuid.uuid4(), at=NOW, label=LabelKey("a")).options == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (None, "KeyError: 'device'"),
        ({}, "KeyError: 'device'"),
        ({"device": 7}, "TypeError: a device is a text, not 7"),
        ({"device": None}, "a device is a text"),
        ({"device": "x" * 256}, "more than 255 characters"),
        ({"device": "a\0"}, "NUL"),
        ({"device": "\ud800"}, "surrogate"),
        ({"device": 1.5}, "no text, integer, bool or None"),
        ({"device": ["phone"]}, "no text, integer, bool or None"),
        ({"device": "phone", "": 1}, "not the name of an option"),
        ({"device": "phone", 7: 1}, "not the name of an option"),
        ({"device": "phone", "n": 2**63}, "64 bits"),
        ({"device": "phone", "cls": 1}, "multiple values"),
        ({"device": "phone", "at": 1}, "multiple values"),
    ],
    ids=repr,
)
def test_options_that_the_dataset_does_not_take_are_refused_at_the_door(
    options: Any, text: str, article: Article, published: Read
) -> None:
    """In words that say what is wrong with which."""
    for publish in (publish_increment, publish_decrement):
        with pytest.raises(ValueError, match=re.escape(text)):
            publish(article, "views", dataset=ArticleByDevice, options=options)
    assert published() == []


@pytest.mark.parametrize("options", ["device", [("device", "phone")], 7], ids=repr)
def test_options_are_a_dict(options: Any, article: Article, published: Read) -> None:
    with pytest.raises(TypeError, match="options is a dict"):
        publish_increment(article, "views", dataset=ArticleByDevice, options=options)
    assert published() == []


# -- Labels (TR-04)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        pytest.param("a", [("a", "None", "None")], id="a"),
        pytest.param("a|a", [("a", "None", "None")] * 2, id="a|a"),
        pytest.param("a b", [("a b", "None", "None")], id="a b"),
        pytest.param("a:", [("a", "None", "None")], id="a:"),
        pytest.param("a::d", [("a", "None", "d")], id="a::d"),
        pytest.param("a:b:", [("a", "b", "None")], id="a:b:"),
        pytest.param("a:b:c", [("a", "b", "c")], id="a:b:c"),
        pytest.param("a::", [("a", "None", "None")], id="a::"),
        pytest.param("a: :\u2003", [("a", "None", "None")], id="blanks"),
        pytest.param("a:None:None", [("a", "None", "None")], id="a:None:None"),
        pytest.param("読んだ:страница:d", [("読んだ", "страница", "d")], id="unicode"),
        pytest.param("a|b:c|a", [("a", "None", "None"), ("b", "c", "None"), ("a", "None", "None")], id="a|b:c|a"),
        pytest.param("|".join("a" * 1000), [("a", "None", "None")] * 1000, id="1000 labels"),
        pytest.param("é", [("é", "None", "None")], id="é"),
        pytest.param("x" * 250, [("x" * 250, "None", "None")], id="250 characters"),
        pytest.param("a:" + "c" * 30 + ":" + "d" * 50, [("a", "c" * 30, "d" * 50)], id="the longest parts"),
    ],
)
def test_tr_04_a_well_formed_query_is_counted(query: str, keys: list[tuple[str, ...]], published: Read) -> None:
    """TR-04 and TR-12: an empty category or dom_id is "None"."""
    assert len(publish_labels(query)) == len(keys)

    assert [event.label for event in published() if isinstance(event, Increment)] == [LabelKey(*key) for key in keys]


@pytest.mark.parametrize(
    "query",
    [
        "a|",
        "|a",
        "|",
        "",
        " ",
        ":c",
        "::",
        "a:b:c:d",
        "a:b:c:d|e",
        "e|a:b:c:d",
        "a<script>",
        "a\nb",
        "a|!<",
        "a\0",
        "\ud800",
        "x" * 251,
        "a:" + "c" * 31,
        "a:b:" + "d" * 51,
        "ok|" + "x" * 251,
        "__class__",
        "'; DROP TABLE x; --",
        "a||b",
        "a:b:c:",
        ":::",
        "!a",
        "a\n",
        "\na",
        "a:b\n:c",
        "a\tb",
        "a\r",
        "a:<b>",
        "a:b:&lt;",
        'a:b:"c',
        "=cmd()",
        "\u3000",
        "|".join("a" * 1001),
        "|" * 100_000,
    ],
    ids=lambda query: repr(query[:14]),
)
def test_tr_04_a_malformed_query_counts_nothing(query: str, published: Read) -> None:
    """TR-04 and TR-13: empty labels, four parts, over-long parts and odd characters are refused, with the others."""
    with pytest.raises(ValueError):  # noqa: PT011 - each rule has its own text
        publish_labels(query)
    assert published() == []


# -- Data


class Opaque:
    """Nothing that JSON could hold."""


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param(math.nan, ValueError, id="NaN"),
        pytest.param(math.inf, ValueError, id="inf"),
        pytest.param({"a": [1, -math.inf]}, ValueError, id="-inf, deep inside"),
        pytest.param(2**63, ValueError, id="more than 64 bits"),
        pytest.param("a\0", ValueError, id="NUL"),
        pytest.param({"a\0": 1}, ValueError, id="NUL in a key"),
        pytest.param("\ud800", ValueError, id="surrogate"),
        pytest.param([{"\udfff": 1}], ValueError, id="surrogate in a key"),
        pytest.param("x" * 70_000, ValueError, id="oversize"),
        pytest.param(Opaque(), TypeError, id="an object"),
        pytest.param({"a": [Opaque()]}, TypeError, id="an object, deep inside"),
        pytest.param(lambda: 1, TypeError, id="a function"),
        pytest.param({(1, 2): 3}, TypeError, id="a tuple as key"),
    ],
)
def test_data_that_can_t_be_stored_is_refused(value: Any, error: type[Exception], user: User, published: Read) -> None:
    """At the call, with nothing published."""
    with pytest.raises(error):
        publish_action(user, "read", thing=value)
    assert published() == []


def test_data_that_holds_itself_is_refused(user: User, published: Read) -> None:
    """Instead of ending in a RecursionError."""
    endless: dict[str, Any] = {}
    endless["again"] = endless

    with pytest.raises(ValueError, match="nested"):
        publish_action(user, "read", thing=endless)


def test_ordinary_values_travel_as_json(user: User, published: Read) -> None:
    """Dates, decimals, UUIDs and sets become what JSON has for them."""
    publish_action(
        user,
        "read",
        when=date(2026, 1, 2),
        price=Decimal("1.50"),
        key=uuid.UUID(int=1),
        some={1},
        none=None,
        pair=(1, 2),
    )

    (event,) = published()
    assert isinstance(event, Action)
    assert event.data == {
        "when": "2026-01-02",
        "price": "1.50",
        "key": str(uuid.UUID(int=1)),
        "some": [1],
        "none": None,
        "pair": [1, 2],
    }


def test_a_float_that_hides_in_another_object_is_refused_too(user: User, published: Read) -> None:
    """A NaN must not travel as null."""
    with pytest.raises((TypeError, ValueError)):
        publish_action(user, "read", thing=SimpleNamespace(x=math.nan))
    assert published() == []


def test_max_event_bytes_is_a_setting(user: User, settings: Any) -> None:
    """An event that the worker would refuse is refused at the door."""
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_EVENT_BYTES": 300}

    publish_action(user, "read", text="x" * 100)
    with pytest.raises(ValueError, match="MAX_EVENT_BYTES \\(300\\)"):
        publish_action(user, "read", text="x" * 300)


# -- The request


def test_the_user_agent_is_the_requests(article: Article, user: User, published: Read) -> None:
    """Given with the call or by the scope; the call's own wins. An action takes it only where it is given."""
    request = RequestFactory(HTTP_USER_AGENT="Firefox").get("/")

    with scope("Chrome"):
        publish_view(user, article)
        publish_increment(article, "views")
        publish_increment(article, "views", request=request)
        publish_labels("home", request)
        publish_action(user, "read")
        publish_action(user, "read", request=request)

    by_kind = {kind: [e.user_agent for e in published() if isinstance(e, kind)] for kind in (View, Increment, Action)}
    assert by_kind == {View: ["Chrome"], Increment: ["Chrome", "Firefox", "Firefox"], Action: [None, "Firefox"]}


@pytest.mark.parametrize(
    ("header", "travels"),
    [
        ({}, ""),
        ({"HTTP_USER_AGENT": ""}, ""),
        ({"HTTP_USER_AGENT": "x" * 2000}, "x" * 512),
        ({"HTTP_USER_AGENT": "a\0b"}, "ab"),
        ({"HTTP_USER_AGENT": "a\ud800b"}, "a?b"),
        ({"HTTP_USER_AGENT": "caf\xe9"}, "caf\xe9"),
    ],
    ids=["absent", "empty", "over-long", "NUL", "surrogate", "latin 1"],
)
def test_any_user_agent_header_can_travel(
    header: dict[str, str], travels: str, article: Article, published: Read
) -> None:
    """A request never fails by its headers."""
    publish_increment(article, "views", request=RequestFactory().get("/", **header))  # type: ignore[arg-type]

    (event,) = published()
    assert event.user_agent == travels


@pytest.mark.parametrize("user_agent", ["x" * 2000, "a\0b", "a\ud800b"], ids=["over-long", "NUL", "surrogate"])
def test_any_user_agent_of_a_scope_can_travel(user_agent: str, article: Article, published: Read) -> None:
    """A header that is handed to `scope()` as it came is cleaned like that of a request."""
    with scope(user_agent):
        publish_increment(article, "views")

    (event,) = published()
    assert event.user_agent in ("x" * 512, "ab", "a?b")


# -- Switched off


def test_switched_off_everything_is_checked_and_dropped(
    article: Article, user: User, published: Read, settings: Any, spool_directory: Path
) -> None:
    """Ids come back, faults are raised, and not even the spool is made."""
    settings.FOOTFALL = {**settings.FOOTFALL, "ENABLED": False}

    assert isinstance(publish_view(user, article), uuid.UUID)
    assert isinstance(publish_increment(article, "views"), uuid.UUID)
    assert len(publish_labels("a|b")) == 2
    with scope():
        assert isinstance(publish_action(user, "read"), uuid.UUID)
    with pytest.raises(ValueError, match="no counter field"):
        publish_increment(article, "nothing")

    assert published() == []
    assert not spool_directory.exists()


def test_a_returned_id_is_time_ordered(article: Article) -> None:
    """Rows that are keyed by it are appended, not scattered."""
    assert publish_increment(article, "views").version == 7


def test_a_spool_that_can_t_be_used_never_raises_into_a_view(
    article: Article, spool_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged instead."""
    spool_directory.parent.joinpath("spool").write_text("a file where a directory should be")

    assert publish_increment(article, "views") is not None
    assert caplog.records


def test_totals_and_daily_share_a_model() -> None:
    """The newsroom's datasets are what the tests above rely on."""
    assert ArticleTotals.get_trackable_fields() == ("views", "score", "peak")
    assert ArticleDaily.get_trackable_fields() == ("views", "clicks")
