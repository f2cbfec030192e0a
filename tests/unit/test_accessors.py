"""What objects of connected models have: ``obj.actions`` and ``obj.trackers``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template import Context, Template
from django.test.utils import isolate_apps
from django.utils import timezone
from newsroom.models import Article, Column, Page, Topic
from pytest_django import DjangoAssertNumQueries
from visibleobjects import no_secrets

from footfall.producers import publish_action, publish_view
from footfall.storage.actions import level, track, untrack
from footfall.storage.models import Action, DeletedItem
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

Log = Callable[..., None]


@pytest.fixture
def news() -> SimpleNamespace:
    """Readers, and an object of each kind of primary key."""
    return SimpleNamespace(
        ada=User.objects.create(username="ada"),
        bob=User.objects.create(username="bob"),
        article=Article.objects.create(title="On counting"),
        page=Page.objects.create(title="Imprint"),
        topic=Topic.objects.create(slug="trees"),
    )


@pytest.fixture
def log(django_capture_on_commit_callbacks: Any) -> Log:
    """Publish an action, and let a worker store it."""

    def publish(*args: Any, **kwargs: Any) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            publish_action(*args, **kwargs)
        drain()

    return publish


@pytest.fixture
def _logged(news: SimpleNamespace, log: Log) -> None:
    """What ada, the page and others did."""
    log(news.ada, "wrote", news.article, level=level.DEBUG)
    log(news.ada, "read", [news.article, news.page], news.topic)
    log(news.ada, "filed", news.page, news.article)
    log(news.page, "grew", related=[news.ada, news.page])
    log(None, "lost", news.page)
    log(news.ada, "sold", Page)


def verbs(actions: Any) -> list[str]:
    return [action.verb for action in actions]


# -- actions


@pytest.mark.usefixtures("_logged")
def test_ac_10_all_are_those_in_which_it_is_actor_target_or_related(news: SimpleNamespace) -> None:
    """Newest first, of any level; an action about all of its model is not about it."""
    assert verbs(news.article.actions.all()) == ["filed", "read", "wrote"]
    assert verbs(news.page.actions.all()) == ["lost", "grew", "filed", "read"]
    assert verbs(news.topic.actions.all()) == ["read"]
    assert verbs(news.ada.actions.all()) == ["sold", "grew", "filed", "read", "wrote"]
    assert verbs(news.bob.actions.all()) == []


@pytest.mark.usefixtures("_logged")
def test_ac_11_an_action_in_which_it_is_in_several_roles_is_there_once(news: SimpleNamespace) -> None:
    """Also counted, sliced, and asked whether there are any."""
    assert news.page.actions.all(verb="grew").count() == 1
    assert verbs(news.page.actions.all()[:2]) == ["lost", "grew"]
    assert len(news.page.actions.all()) == news.page.actions.all().count() == 4
    assert news.page.actions.all().exists() and not news.bob.actions.all().exists()


@pytest.mark.usefixtures("_logged")
def test_ac_12_each_role_has_its_list(news: SimpleNamespace) -> None:
    """What it did, what was done to it, and what in relation to it."""
    assert verbs(news.ada.actions.as_actor()) == ["sold", "filed", "read", "wrote"]
    assert verbs(news.page.actions.as_actor()) == ["grew"]
    assert verbs(news.page.actions.as_target()) == ["lost", "filed", "read"]
    assert verbs(news.page.actions.as_related()) == ["grew"]
    assert verbs(news.article.actions.as_actor()) == []
    assert verbs(news.article.actions.as_related()) == ["filed"]


@pytest.mark.usefixtures("_logged")
@pytest.mark.parametrize("name", ["all", "as_actor"])
def test_ac_13_filters_are_honoured(news: SimpleNamespace, name: str) -> None:
    """In the call, and after it."""
    listed = getattr(news.ada.actions, name)
    assert verbs(listed(verb="read")) == ["read"]
    assert verbs(listed(level__lt=level.INFO)) == ["wrote"]
    assert verbs(listed(level__gte=level.INFO, verb__in=["wrote", "filed"])) == ["filed"]
    assert verbs(listed(timestamp__gt=timezone.now())) == []
    assert verbs(listed().filter(verb="filed")) == ["filed"]
    assert verbs(listed().exclude(verb__in=["sold", "grew"]).order_by("timestamp")) == ["wrote", "read", "filed"]


@pytest.mark.usefixtures("_logged")
def test_ac_13_filters_of_the_other_roles_are_honoured(news: SimpleNamespace) -> None:
    """As of the actor's."""
    assert verbs(news.page.actions.as_target(verb="lost")) == ["lost"]
    assert verbs(news.page.actions.as_related(verb="lost")) == []
    assert verbs(news.page.actions.as_target(actor_type="")) == ["lost"]


@pytest.mark.usefixtures("_logged")
def test_a_proxy_has_the_actions_of_its_object(news: SimpleNamespace) -> None:
    """It is the same object."""
    column: Any = Column.objects.get()
    assert verbs(column.actions.all()) == ["filed", "read", "wrote"]


@pytest.mark.usefixtures("_logged")
def test_the_list_of_an_object_loads_what_it_is_about_together(
    news: SimpleNamespace, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """One query for the actions, one for the entries, one for each of four types."""
    with django_assert_num_queries(6):
        for action in news.article.actions.all():
            assert action.actor == news.ada
            assert news.article in [*action.targets, *action.related]


def test_an_object_that_is_not_saved_has_no_lists() -> None:
    """It has no identity yet."""
    draft: Any = Article(title="Draft")
    nobody: Any = User(username="eve")
    for ask in (draft.actions.all, draft.actions.as_target, draft.trackers.all, draft.trackers.users):
        with pytest.raises(ValueError, match="not saved"):
            ask()
    with pytest.raises(ValueError, match="not saved"):
        nobody.trackers.owned()


def test_ac_14_what_is_for_users_only_is_refused_to_other_objects(news: SimpleNamespace) -> None:
    """With a word on why."""
    actions, trackers = news.article.actions, news.article.trackers
    for ask in (
        actions.feed,
        actions.unread,
        actions.unread_count,
        actions.mark_all_read,
        trackers.owned,
        trackers.tracked,
    ):
        with pytest.raises(TypeError, match="for users"):
            ask()


def test_ac_14_a_user_has_a_feed_of_what_they_follow(news: SimpleNamespace, log: Log) -> None:
    """With filters; their own actions only when they are asked for."""
    track(news.ada, news.bob)
    log(news.bob, "wrote", news.article)
    log(news.bob, "filed", news.article, level=level.HIDDEN)
    log(news.ada, "read", news.article)
    assert verbs(news.ada.actions.feed()) == ["wrote"]
    assert verbs(news.ada.actions.feed(include_own=True)) == ["read", "wrote"]
    assert verbs(news.ada.actions.feed(level__gte=level.HIDDEN)) == ["filed", "wrote"]
    assert verbs(news.bob.actions.feed()) == []


def test_ac_14_since_following_leaves_out_what_was_before(news: SimpleNamespace, log: Log) -> None:
    """Which is otherwise in the feed."""
    log(news.bob, "wrote", news.article, timestamp=timezone.now() - timedelta(hours=1))
    track(news.ada, news.bob)
    log(news.bob, "sold", news.article)
    assert verbs(news.ada.actions.feed()) == ["sold", "wrote"]
    assert verbs(news.ada.actions.feed(since_following=True)) == ["sold"]


def test_ac_58_the_feed_of_a_tracker_of_two_verbs(news: SimpleNamespace, log: Log) -> None:
    """Has these, and can be filtered further."""
    track(news.ada, news.bob, verbs={"a", "b"})
    for verb in "abc":
        log(news.bob, verb, news.article)
    assert verbs(news.ada.actions.feed()) == ["b", "a"]
    assert verbs(news.ada.actions.feed(verb="a")) == ["a"]
    assert verbs(news.ada.actions.unread(verb="b")) == ["b"]


def test_ac_56_the_feed_of_a_tracker_of_all_roles(news: SimpleNamespace, log: Log) -> None:
    """Has what was done to the object, and in relation to it."""
    log(news.bob, "wrote", news.article)
    log(news.bob, "read", related=news.article)
    track(news.ada, news.article)
    assert verbs(news.ada.actions.feed()) == []
    track(news.ada, news.article, actor_only=False)
    assert verbs(news.ada.actions.feed()) == ["read", "wrote"]


def test_ac_45_a_model_and_one_of_its_objects_are_followed(news: SimpleNamespace, log: Log) -> None:
    """The feed has each action once, and it is unread once."""
    track(news.ada, [User, news.bob])
    log(news.bob, "wrote", news.article)
    assert verbs(news.ada.actions.feed()) == verbs(news.ada.actions.unread()) == ["wrote"]
    assert news.ada.actions.unread_count() == 1


def test_ac_19_a_user_s_unread_actions(news: SimpleNamespace, log: Log) -> None:
    """Listed, counted, filtered, and marked as read."""
    track(news.ada, news.bob)
    log(news.bob, "wrote", news.article)
    log(news.bob, "sold", news.article)
    assert verbs(news.ada.actions.unread()) == ["sold", "wrote"]
    assert verbs(news.ada.actions.unread(verb="sold")) == ["sold"]
    assert news.ada.actions.unread_count() == 2
    assert news.ada.actions.mark_all_read() is None
    assert news.ada.actions.unread_count() == 0
    log(news.bob, "read", news.article)
    assert verbs(news.ada.actions.unread()) == ["read"]
    assert news.bob.actions.unread_count() == 0


def test_ac_19_all_up_to_a_time_is_marked_as_read(news: SimpleNamespace, log: Log) -> None:
    """What was stored later stays unread."""
    track(news.ada, news.bob)
    log(news.bob, "wrote", news.article)
    log(news.bob, "sold", news.article)
    news.ada.actions.mark_all_read(up_to=Action.objects.get(verb="wrote").changed)
    assert verbs(news.ada.actions.unread()) == ["sold"]


def test_a_template_shows_lists_and_marks_nothing(news: SimpleNamespace, log: Log) -> None:
    """A template that calls what writes gets nothing."""
    track(news.ada, news.bob)
    log(news.bob, "wrote", news.article)
    source = "{{ user.actions.mark_all_read }}{{ user.actions.unread_count }} {{ user.actions.feed.0.verb }}"
    assert Template(source).render(Context({"user": news.ada})) == "1 wrote"


# -- trackers


def test_ac_15_trackers_are_those_that_follow_it_and_a_user_s_own(news: SimpleNamespace) -> None:
    """Each once."""
    track(news.ada, [news.bob, news.article, news.ada])
    track(news.bob, [news.article, Article])
    assert news.article.trackers.all().count() == news.article.trackers.tracking().count() == 2
    assert {str(tracker) for tracker in news.bob.trackers.all()} == {
        f"{news.ada.pk} follows auth.user:{news.bob.pk}",
        f"{news.bob.pk} follows newsroom.article:{news.article.pk}",
        f"{news.bob.pk} follows newsroom.article:",
    }
    assert news.ada.trackers.all().count() == 3
    assert news.page.trackers.all().count() == 0
    assert news.bob.trackers.all(actor_only=False).count() == 0


def test_ac_16_tracking_are_those_that_follow_it(news: SimpleNamespace) -> None:
    """Not those of its model."""
    track(news.ada, news.article, verbs="read")
    track(news.bob, Article)
    assert [tracker.user for tracker in news.article.trackers.tracking()] == [news.ada]
    assert [tracker.user for tracker in news.article.trackers.tracking(user=news.bob)] == []
    assert news.ada.trackers.tracking().count() == 0


def test_ac_17_users_are_those_who_follow_it(news: SimpleNamespace) -> None:
    """As users, with filters of theirs."""
    for user in (news.ada, news.bob):
        track(user, news.article)
    track(news.bob, Page)
    assert set(news.article.trackers.users()) == {news.ada, news.bob}
    assert news.article.trackers.users(username="bob").get() == news.bob
    assert list(news.article.trackers.users().order_by("-username")) == [news.bob, news.ada]
    assert list(news.page.trackers.users()) == []


def test_ac_18_owned_are_the_user_s_trackers(news: SimpleNamespace) -> None:
    """With filters."""
    track(news.ada, [news.article, Page], verbs="read")
    track(news.bob, news.ada)
    assert news.ada.trackers.owned().count() == 2
    assert [tracker.tracked for tracker in news.ada.trackers.owned(tracked_id="")] == [Page]


def test_ac_19_tracked_are_the_objects_that_the_user_follows(news: SimpleNamespace) -> None:
    """For whatever verbs; a model for a model; what is gone by its DeletedItem, or not at all."""
    track(news.ada, [news.article, Article])
    track(news.ada, [news.page, news.topic], verbs=["read"])
    track(news.bob, news.ada)
    assert news.ada.trackers.tracked() == {news.article, Article, news.page, news.topic}
    assert news.bob.trackers.tracked() == {news.ada}
    news.article.delete()
    Topic.objects.all()._raw_delete("default")
    assert news.ada.trackers.tracked() == {DeletedItem.objects.get(), Article, news.page}


def test_ac_19_tracked_for_any_of_some_verbs(news: SimpleNamespace) -> None:
    """Trackers of all verbs follow these, too, unless they were taken out."""
    track(news.ada, [news.article, news.page, Page])
    track(news.ada, news.topic, verbs=["read", "wrote"])
    untrack(news.ada, news.page, verbs="read")
    assert news.ada.trackers.tracked(verbs="read") == {news.article, news.topic, Page}
    assert news.ada.trackers.tracked(verbs=["read", "sold"]) == {news.article, news.page, news.topic, Page}
    assert news.ada.trackers.tracked(verbs=["sold"]) == {news.article, news.page, Page}


def test_ac_19_tracked_of_some_models(news: SimpleNamespace) -> None:
    """Classes or labels, also of proxies; with verbs and filters of trackers."""
    track(news.ada, [news.article, news.page, news.topic, Page])
    assert news.ada.trackers.tracked(Page) == {news.page, Page}
    assert news.ada.trackers.tracked(Column, "newsroom.Topic") == {news.article, news.topic}
    assert news.ada.trackers.tracked(Page, tracked_id="") == {Page}
    assert news.ada.trackers.tracked(User, verbs="read") == set()
    with pytest.raises(LookupError):
        news.ada.trackers.tracked("newsroom.nothing")
    with pytest.raises(ValueError, match="verb"):
        news.ada.trackers.tracked(verbs="<b>")


def test_what_became_secret_is_not_among_what_its_follower_tracks(news: SimpleNamespace, settings: Any) -> None:
    """They may still see everything else, by the very rule of the site."""
    track(news.ada, [news.article, news.topic])
    news.article.title = "secret plans"
    news.article.save()
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": no_secrets}
    assert news.ada.trackers.tracked() == {news.topic}


@isolate_apps("newsroom")
def test_a_child_of_the_user_model_with_a_table_of_its_own_is_no_user(news: SimpleNamespace, log: Log) -> None:
    """No door takes it, so none is half open; the user that it has is one."""

    class Customer(User):
        class Meta:
            app_label = "newsroom"

    track(news.ada, news.bob)
    log(news.bob, "wrote")
    customer = Customer(user_ptr_id=news.ada.pk, id=news.ada.pk, username="ada")
    customer._state.adding = False
    doors: list[Callable[[], Any]] = [
        lambda: Action.bulk_render(Action.objects.all(), customer),
        lambda: Action.objects.get().is_unread_for(customer),
        lambda: Action.unread_count(customer),
        lambda: track(customer, news.article),
        lambda: publish_view(customer, news.article),
    ]
    for door in doors:
        with pytest.raises(TypeError, match=r"(?i)auth\.user"):
            door()
    assert Action.unread_count(news.ada) == 1


@pytest.mark.parametrize("count", [1, 100])
def test_ac_19_what_is_tracked_is_loaded_by_one_query_for_each_type(
    news: SimpleNamespace, django_assert_num_queries: DjangoAssertNumQueries, count: int
) -> None:
    """And one for the trackers."""
    track(news.ada, Topic.objects.bulk_create(Topic(slug=f"topic {n}") for n in range(count)))
    track(news.ada, Article.objects.bulk_create(Article(title=f"{n}") for n in range(count)))
    with django_assert_num_queries(3):
        assert len(news.ada.trackers.tracked()) == 2 * count
