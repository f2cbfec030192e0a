"""`track` and `untrack`: one tracker for a user and an object, and what becomes of its verbs."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import AnonymousUser, User
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils import translation
from django.utils.functional import SimpleLazyObject, lazystr
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import Article, Column, Page, Topic
from storedactions import at, store

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref
from footfall.producers.testing import captured_messages
from footfall.storage import unread
from footfall.storage.actions import track, untrack
from footfall.storage.models import Action, DeletedItem, Tracker
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(days=3)

ARTICLE = "newsroom.article"


@pytest.fixture
def news() -> SimpleNamespace:
    """A reader, and an object of each kind of primary key."""
    return SimpleNamespace(
        ada=User.objects.create(username="ada"),
        bob=User.objects.create(username="bob"),
        article=Article.objects.create(title="On counting"),
        page=Page.objects.create(title="Imprint"),
        topic=Topic.objects.create(slug="trees"),
    )


def trackers(**filters: Any) -> list[tuple[str, str]]:
    """Whom the stored trackers follow."""
    return list(
        Tracker.objects.filter(**filters)
        .order_by("tracked_type", "tracked_id")
        .values_list("tracked_type", "tracked_id")
    )


def only() -> Tracker:
    return Tracker.objects.get()


def logged(messages: list[Any]) -> list[ActionEvent]:
    return [message.event for message in messages]


# -- track


def test_ac_24_a_tracker_follows_an_object_for_all_verbs_and_only_as_an_actor(news: SimpleNamespace) -> None:
    """From now on."""
    with time_machine.travel(NOW, tick=False):
        assert track(news.ada, news.article) is None  # type: ignore[func-returns-value]  # that is what it promises
    assert only().user == news.ada
    assert (only().tracked_type, only().tracked_id) == (ARTICLE, str(news.article.pk))
    assert (only().verbs, only().excluded, only().actor_only, only().last_updated) == ([], [], True, NOW)
    assert only().tracked == news.article


def test_ac_24_every_kind_of_key_and_a_model_are_tracked_in_any_mix(news: SimpleNamespace) -> None:
    """From any iterable; a model without saying on which database, and without a warning."""
    track(news.ada, (one for one in (news.article, news.page, Topic, news.topic, news.bob)))
    assert trackers() == [
        ("auth.user", str(news.bob.pk)),
        (ARTICLE, str(news.article.pk)),
        ("newsroom.page", str(news.page.pk)),
        ("newsroom.topic", ""),
        ("newsroom.topic", "trees"),
    ]
    track(news.ada, Article)
    assert Tracker.objects.get(tracked_type=ARTICLE, tracked_id="").tracked is Article
    track(news.bob, Page.objects.all())
    assert trackers(user=news.bob) == [("newsroom.page", str(news.page.pk))]


def test_ac_24_what_is_given_twice_is_tracked_once_and_a_proxy_is_its_concrete_model(news: SimpleNamespace) -> None:
    """The same object as another instance, as a proxy, with its key as text."""
    same = Article.objects.get()
    same.pk = str(same.pk)
    track(news.ada, [news.article, same, Column.objects.get(), Column, Article])
    assert trackers() == [(ARTICLE, ""), (ARTICLE, str(news.article.pk))]


def test_ac_25_given_values_overwrite_those_of_a_tracker_that_stands(news: SimpleNamespace) -> None:
    """And there is still only one."""
    track(news.ada, news.article, verbs="read")
    track(news.ada, news.article, verbs={"wrote"}, actor_only=False, last_updated=EARLIER)
    assert (only().verbs, only().actor_only, only().last_updated) == (["wrote"], False, EARLIER)


def test_ac_41_tracking_again_without_verbs_means_all_verbs_and_keeps_actor_only(news: SimpleNamespace) -> None:
    """As well as the time from which on actions are new."""
    track(news.ada, news.article, verbs=["read", "wrote"], actor_only=False, last_updated=EARLIER)
    track(news.ada, news.article)
    assert (only().verbs, only().actor_only, only().last_updated) == ([], False, EARLIER)


def test_ac_41_tracking_again_takes_back_what_was_excluded(news: SimpleNamespace) -> None:
    """Whether for all verbs or for some."""
    track(news.ada, news.article)
    for verbs in (None, ["read", "wrote"]):
        untrack(news.ada, news.article, verbs="read")
        track(news.ada, news.article, verbs=verbs)
        assert (only().verbs, only().excluded) == (verbs or [], [])


def test_each_user_has_their_own_tracker(news: SimpleNamespace) -> None:
    """Of the same object."""
    track(news.ada, news.article, verbs="read")
    track(news.bob, news.article, verbs="wrote")
    assert [tracker.verbs for tracker in Tracker.objects.order_by("user__username")] == [["read"], ["wrote"]]


def test_no_second_tracker_of_a_user_and_an_object_can_be_stored(news: SimpleNamespace) -> None:
    """By whatever way."""
    track(news.ada, news.article)
    with pytest.raises(IntegrityError), transaction.atomic():
        Tracker.objects.create(user=news.ada, tracked_type=ARTICLE, tracked_id=str(news.article.pk))


@pytest.mark.parametrize("verb", ["a;b", "a,b", "a:b", "a/b", "a b", "a & b", "it's a b"])
def test_ac_59_a_verb_with_a_separator_is_stored_intact(news: SimpleNamespace, verb: str) -> None:
    """And is taken out again as a whole."""
    track(news.ada, news.article, verbs=[verb, "c"])
    assert only().verbs == [verb, "c"]
    untrack(news.ada, news.article, verbs=["a", "b"])
    assert only().verbs == [verb, "c"]
    untrack(news.ada, news.article, verbs=verb)
    assert only().verbs == ["c"]


def test_lazily_translated_verbs_are_stored_untranslated(news: SimpleNamespace) -> None:
    """One or several: the verb must not depend on the language of whoever follows."""
    with translation.override("de"):
        track(news.ada, news.article, verbs=gettext_lazy("Yes"))
        track(news.ada, news.page, verbs=[gettext_lazy("No"), lazystr("read")])
    assert Tracker.objects.get(tracked_type=ARTICLE).verbs == ["Yes"]
    assert Tracker.objects.get(tracked_type="newsroom.page").verbs == ["No", "read"]


def test_the_same_verb_counts_once(news: SimpleNamespace) -> None:
    """In the order in which they came."""
    track(news.ada, news.article, verbs=["wrote", "read", "wrote"])
    assert only().verbs == ["wrote", "read"]


@pytest.mark.parametrize("verb", ["", "<b>", "__import__", "x" * 256, ["read", ""]])
def test_what_is_no_verb_is_refused_and_nothing_is_stored(news: SimpleNamespace, verb: Any) -> None:
    """By both."""
    with pytest.raises(ValueError, match="verb"):
        track(news.ada, news.article, verbs=verb)
    with pytest.raises(ValueError, match="verb"):
        untrack(news.ada, news.article, verbs=verb)
    assert trackers() == []


@pytest.mark.parametrize("call", [track, untrack])
def test_who_can_t_follow_is_refused(news: SimpleNamespace, call: Any) -> None:
    """An anonymous user, nobody, an object that is no user, a user who is not saved."""
    for user in (AnonymousUser(), None, news.article, User):
        with pytest.raises(TypeError, match="logged in"):
            call(user, news.article)
    with pytest.raises(ValueError, match="not saved"):
        call(User(username="eve"), news.article)


@pytest.mark.parametrize("call", [track, untrack])
def test_what_can_t_be_followed_is_refused(news: SimpleNamespace, call: Any) -> None:
    """An unsaved object, a text, a number, a class that is no model, an abstract one; nothing is stored."""
    for unsaved in (Article(title="Draft"), Article(pk=7), [news.article, Page()]):
        with pytest.raises(ValueError, match="not saved"):
            call(news.ada, unsaved)
    with isolate_apps("newsroom"):

        class Base(models.Model):
            class Meta:
                abstract = True
                app_label = "newsroom"

        for thing in ("newsroom.article", 7, None, int, Base, [news.article, "x"], Article.objects):
            with pytest.raises(TypeError):
                call(news.ada, thing)
    assert trackers() == []


def test_a_time_that_can_t_be_is_refused(news: SimpleNamespace) -> None:
    """Without a zone, or none at all."""
    with pytest.raises(ValueError, match="time zone"):
        track(news.ada, news.article, last_updated=datetime(2026, 1, 1))
    with pytest.raises(TypeError, match="datetime"):
        track(news.ada, news.article, last_updated="yesterday")  # type: ignore[arg-type]  # which is the point


def test_a_user_behind_a_lazy_object_may_follow_and_be_followed(news: SimpleNamespace) -> None:
    """As a request has them."""
    track(SimpleLazyObject(lambda: news.ada), SimpleLazyObject(lambda: news.bob))
    assert trackers(user=news.ada) == [("auth.user", str(news.bob.pk))]


# -- the log


def test_ac_26_one_action_is_logged_about_all_that_is_newly_tracked(news: SimpleNamespace) -> None:
    """Untranslated, by the user, with what is new as targets."""
    track(news.ada, news.page)
    with captured_messages() as messages, translation.override("de"):
        track(news.ada, [news.article, news.page, Topic], log=True)
    (event,) = logged(messages)
    assert event.verb == "started tracking"
    assert event.actor == Ref("auth.user", str(news.ada.pk))
    assert event.targets == [Ref(ARTICLE, str(news.article.pk)), Ref("newsroom.topic")]
    assert event.related == []
    assert len(trackers()) == 3


def test_ac_26_nothing_is_logged_where_nothing_is_new_or_nobody_asked(news: SimpleNamespace) -> None:
    """But what was given is taken over all the same."""
    with captured_messages() as messages:
        track(news.ada, [news.article, news.page])
        track(news.ada, [news.article, news.page], log=True, verbs="read", actor_only=False)
        track(news.ada, [], log=True)
    assert messages == []
    assert {(tuple(tracker.verbs), tracker.actor_only) for tracker in Tracker.objects.all()} == {(("read",), False)}


def test_ac_26_stopped_tracking_is_logged_about_what_was_followed(news: SimpleNamespace) -> None:
    """And of several verbs only when the last one is gone."""
    track(news.ada, [news.article, news.page], verbs=["read", "wrote"])
    with captured_messages() as messages:
        untrack(news.ada, news.article, verbs="read", log=True)
        untrack(news.ada, news.topic, log=True)
        assert messages == []
        untrack(news.ada, [news.article, news.page, news.topic], verbs={"wrote"}, log=True)
        untrack(news.ada, [news.article, news.page, news.topic], log=True)
    events = logged(messages)
    assert [event.verb for event in events] == ["stopped tracking"] * 2
    assert [event.targets for event in events] == [
        [Ref(ARTICLE, str(news.article.pk))],
        [Ref("newsroom.page", str(news.page.pk))],
    ]


@pytest.mark.django_db(transaction=True)
def test_ac_26_what_is_rolled_back_is_neither_tracked_nor_logged(news: SimpleNamespace) -> None:
    """The log goes with the transaction."""
    with captured_messages() as messages:
        with pytest.raises(RuntimeError), transaction.atomic():
            track(news.ada, news.article, log=True)
            raise RuntimeError
        assert trackers() == []
        track(news.ada, news.page, log=True)
    assert [message.committed for message in messages] == [False, True]


def test_more_than_one_action_can_be_about_is_refused_as_a_whole(news: SimpleNamespace) -> None:
    """With ``log``; without it any number is tracked."""
    topics = Topic.objects.bulk_create(Topic(slug=f"topic {n}") for n in range(1001))
    with pytest.raises(ValueError, match="at most 1000"):
        track(news.ada, topics, log=True)
    assert trackers() == []
    track(news.ada, topics)
    assert len(trackers()) == 1001


@pytest.mark.django_db(transaction=True)
def test_ac_26_the_logged_action_is_stored_by_a_worker(news: SimpleNamespace) -> None:
    """And is found as any other."""
    track(news.ada, [news.article, news.page], log=True)
    drain()
    (action,) = news.ada.actions.as_actor()
    assert (action.verb, action.actor, action.targets) == ("started tracking", news.ada, [news.article, news.page])


# -- untrack


def test_ac_27_untrack_deletes_the_trackers_of_this_user_only(news: SimpleNamespace) -> None:
    """Objects and models, with or without ``using``; what was not followed is passed over."""
    for user in (news.ada, news.bob):
        track(user, [news.article, Article, news.page, Topic])
    untrack(news.ada, [news.article, Article, news.topic])
    assert trackers(user=news.ada) == [("newsroom.page", str(news.page.pk)), ("newsroom.topic", "")]
    untrack(news.ada, Topic, using="default")
    untrack(news.ada, Page.objects.all())
    assert trackers(user=news.ada) == []
    assert len(trackers(user=news.bob)) == 4


def test_ac_27_a_model_and_its_objects_are_untracked_apart(news: SimpleNamespace) -> None:
    """One does not stand for the others."""
    track(news.ada, [news.article, Article])
    untrack(news.ada, Article)
    assert trackers() == [(ARTICLE, str(news.article.pk))]


def test_ac_40_one_of_two_verbs_is_subtracted(news: SimpleNamespace) -> None:
    """The other stays."""
    track(news.ada, news.article, verbs=["a", "b"])
    untrack(news.ada, news.article, verbs="a")
    assert only().verbs == ["b"]


def test_ac_40_with_the_last_verb_the_tracker_is_gone(news: SimpleNamespace) -> None:
    """Both at once, or one after the other."""
    track(news.ada, [news.article, news.page], verbs=["a", "b"])
    untrack(news.ada, news.article, verbs={"a", "b", "c"})
    for verb in ("a", "b"):
        untrack(news.ada, news.page, verbs=[verb])
    assert trackers() == []


def test_ac_40_a_tracker_of_all_verbs_remembers_those_taken_out(news: SimpleNamespace) -> None:
    """Each once, however often."""
    track(news.ada, [news.article, Article])
    untrack(news.ada, [news.article, Article], verbs="a")
    untrack(news.ada, news.article, verbs=["b", "a"])
    assert [(tracker.verbs, tracker.excluded) for tracker in Tracker.objects.order_by("tracked_id")] == [
        ([], ["a"]),
        ([], ["a", "b"]),
    ]
    assert [Tracker.objects.get(tracked_id="").follows(verb) for verb in "ab"] == [False, True]


def test_no_verbs_taken_out_take_nothing_out(news: SimpleNamespace) -> None:
    """An empty list is not None."""
    track(news.ada, news.article)
    untrack(news.ada, news.article, verbs=[])
    assert trackers() == [(ARTICLE, str(news.article.pk))]


def test_what_is_gone_is_untracked_by_its_deleted_item(news: SimpleNamespace) -> None:
    """Which a tracker leads to."""
    track(news.ada, news.article)
    item = DeletedItem.objects.create(object_type=ARTICLE, object_id=str(news.article.pk), description="gone")
    with captured_messages() as messages:
        untrack(news.ada, item, log=True)
    assert trackers() == []
    assert logged(messages)[0].targets == [item.footfall_ref]


def test_what_is_loaded_for_the_user_hears_of_it(news: SimpleNamespace) -> None:
    """An action that knew whether it is unread asks again, where the same instance of the user follows or stops."""
    store(news.article)
    actions = list(Action.objects.all())
    unread.load_flags(news.ada, actions)
    said = []
    for change in (partial(track, last_updated=at(-60)), untrack):
        said += Action.bulk_is_unread_for(news.ada, actions)
        change(news.ada, news.article)
        unread.load_flags(news.ada, actions)
    assert [*said, *Action.bulk_is_unread_for(news.ada, actions)] == [False, True, False]


Steps = st.lists(
    st.tuples(st.sampled_from(["track", "untrack"]), st.none() | st.sets(st.sampled_from("abc"), min_size=1)),
    max_size=8,
)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=Steps)
def test_ac_40_any_sequence_follows_what_sets_of_verbs_would(
    news: SimpleNamespace, steps: list[tuple[str, set[str] | None]]
) -> None:
    """Of the verbs a to d, where d is never named."""
    Tracker.objects.all().delete()
    followed: set[str] = set()
    for step, verbs in steps:
        if step == "track":
            track(news.ada, news.article, verbs=verbs)
            followed = set("abcd") if verbs is None else set(verbs)
        else:
            untrack(news.ada, news.article, verbs=verbs)
            followed -= set("abcd") if verbs is None else verbs
        assert {verb for verb in "abcd" if any(one.follows(verb) for one in Tracker.objects.all())} == followed
    assert Tracker.objects.exists() == bool(followed)


# -- statements


def topics(count: int) -> list[Topic]:
    return Topic.objects.bulk_create(Topic(slug=f"{uuid.uuid4()}") for _ in range(count))


def statements(call: Any, *args: Any, **kwargs: Any) -> int:
    """How many, but for those of transactions."""
    with CaptureQueriesContext(connection) as queries, captured_messages():
        call(*args, **kwargs)
    bounds = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")
    return sum(not query["sql"].startswith(bounds) for query in queries.captured_queries)


@pytest.mark.parametrize("count", [1, 500])
def test_any_number_of_objects_is_tracked_by_one_statement(news: SimpleNamespace, count: int) -> None:
    """New ones and those that are tracked already."""
    some = topics(count)
    assert statements(track, news.ada, some) == 1
    assert statements(track, news.ada, some, verbs="read", actor_only=False) == 1
    assert Tracker.objects.filter(verbs=["read"], actor_only=False).count() == count


@pytest.mark.parametrize("count", [1, 500])
def test_the_statements_that_tell_what_is_new_do_not_grow_with_the_objects(news: SimpleNamespace, count: int) -> None:
    """Nor do those that take verbs out, but for some hundred that go into a statement of SQLite."""
    some = topics(count)
    assert statements(track, news.ada, some, log=True) == 3
    assert statements(track, news.ada, some, log=True) == 3
    assert statements(untrack, news.ada, some, verbs=["read"]) <= 6
    assert statements(untrack, news.ada, some, log=True) <= 6
    assert trackers() == []
