"""A softly deleted object is its own tombstone: wherever it is named, a `DeletedItem` made from its row is shown."""

from __future__ import annotations

import json
import logging
import pickle
import uuid
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.db.models import QuerySet
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.urls import reverse
from newsroom.models import Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks
from storedactions import follow, store

from footfall.producers import publish_action, publish_view
from footfall.producers.messages import Ref
from footfall.storage import handlers
from footfall.storage.actions import get_del_item, track
from footfall.storage.drafts import Draft
from footfall.storage.feeds import feed_of
from footfall.storage.models import Action, DeletedItem, SpiderTally, Tracker, ViewMark
from footfall.storage.references import DELETED
from footfall.storage.rendering import bulk_render_html
from footfall.storage.resolving import Hidden, resolve
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

Published = Callable[..., Action]


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def bob(ada: User) -> User:
    """Ada follows him."""
    bob = User.objects.create(username="bob")
    follow(ada, bob)
    return bob


@pytest.fixture
def story(db: None, monkeypatch: pytest.MonkeyPatch) -> Story:
    """It has a page of its own."""
    monkeypatch.setattr(Story, "get_absolute_url", lambda story: f"/stories/{story.pk}/", raising=False)
    made: Story = Story.objects.create(title="Rain")
    return made


@pytest.fixture
def publish(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Published:
    """Publish an action, and let the worker store it."""

    def publish(*args: Any, **kwargs: Any) -> Action:
        with django_capture_on_commit_callbacks(execute=True):
            key = publish_action(*args, **kwargs)
        drain()
        return Action.objects.get(pk=key)

    return publish


def ref(obj: Any) -> Ref:
    return Ref((obj._meta.concrete_model or obj)._meta.label_lower, str(obj.pk))


def restricted(settings: Any, hook: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": hook}


# -- What a Ref leads to


def test_a_softly_deleted_object_resolves_to_its_tombstone(
    story: Story, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Made from the row by the query that reads it, by its own two methods, and not stored."""
    story.delete()
    with django_assert_num_queries(1):
        item = resolve([ref(story)])[ref(story)]

    assert isinstance(item, DeletedItem) and item.pk is None
    assert str(item) == item.description == "the story Rain"
    assert item.serialization == {"pk": str(story.pk)}
    assert item.footfall_ref == ref(story)
    story.refresh_from_db()
    assert (item.deleted_at, item.change_stamp) == (story.updated, story.change_stamp)
    assert not DeletedItem.objects.exists()


def test_a_stored_tombstone_reads_as_one_made_from_a_row(story: Story) -> None:
    """`status` and `updated`, as the row has them."""
    story.delete()
    soft = get_del_item(story)
    story.delete(hard=True)
    hard = DeletedItem.objects.get()
    for item in (soft, hard):
        assert (item.status, item.updated) == (DELETED, item.deleted_at)
        assert (str(item), item.footfall_ref.type) == ("the story Rain", "newsroom.story")


def test_restored_it_is_itself_again(story: Story) -> None:
    story.delete()
    assert isinstance(resolve([ref(story)])[ref(story)], DeletedItem)
    story.undelete()
    assert resolve([ref(story)]) == {ref(story): story}
    with pytest.raises(LookupError, match="still exists"):
        get_del_item(story)


def test_objects_of_every_kind_of_key_connected_or_not(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Those that don't describe themselves are what `str()` says, and nobody is warned of it each time."""
    publisher = Publisher.objects.create(name="Acme")
    magazine = Magazine.objects.create(title="Acme Monthly", publisher=publisher)
    made: list[Any] = [
        publisher,
        magazine,
        Supplement.objects.create(theme="t", number=7, magazine=magazine),
        Photo.objects.create(id=uuid.UUID(int=5), caption="A photo"),
        Masthead.objects.create(slug="head"),
    ]
    for one in made:
        one.delete()
    with warnings.catch_warnings(), django_assert_num_queries(5):
        warnings.simplefilter("error")
        found = resolve(map(ref, made))
    assert [str(found[ref(one)]) for one in made] == ["Acme", "Acme Monthly", "7", "A photo", "head"]
    assert all(isinstance(one, DeletedItem) for one in found.values())


def test_a_proxy_is_what_its_base_is() -> None:
    magazine = Magazine.objects.create(title="m", publisher=Publisher.objects.create(name="p"))
    special = SpecialIssue.objects.create(number=3, magazine=magazine)
    special.delete()
    item = get_del_item(special)
    assert item.footfall_ref == ref(Issue.objects.get()) == ref(special)
    assert resolve([ref(special)]) == {ref(special): item}


def test_what_goes_with_it_is_its_own_tombstone_too(ada: User) -> None:
    publisher = Publisher.objects.create(name="p")
    magazine = Magazine.objects.create(title="m", publisher=publisher)
    action = store(ada, "read", [magazine], [publisher])
    publisher.delete()
    assert [str(one) for one in (*action.targets, *action.related)] == ["m", "p"]
    assert all(isinstance(one, DeletedItem) for one in (*action.targets, *action.related))
    publisher.undelete()
    assert Action.objects.get().targets == [magazine]


def test_a_model_of_a_soft_deleted_object_is_still_a_model(story: Story) -> None:
    story.delete()
    assert resolve([Ref("newsroom.story")]) == {Ref("newsroom.story"): Story}


def test_what_can_t_be_described_is_logged_and_shown_by_its_key(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """But an error of the database is one."""
    story.delete()
    monkeypatch.setattr(Story, "deleted_item_description", lambda story: 1 / 0)
    monkeypatch.setattr(Story, "deleted_item_serialization", lambda story: {1, 2}, raising=False)
    with caplog.at_level(logging.ERROR, "footfall.tombstones"):
        item = resolve([ref(story)])[ref(story)]
    assert (str(item), item.serialization) == (f"story {story.pk}", {"pk": str(story.pk)})
    assert len(caplog.records) == 2

    def cut_off(story: Story) -> str:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(Story, "deleted_item_description", cut_off)
    with pytest.raises(OperationalError):
        resolve([ref(story)])


def test_two_tombstones_of_one_object_are_equal_and_of_two_are_not(story: Story) -> None:
    """So that they may stand in sets; also copied, as caches copy them."""
    other = Story.objects.create(title="Snow")
    Story.objects.all().delete()
    first, again, different = get_del_item(story), get_del_item(story), get_del_item(other)
    assert first == again == pickle.loads(pickle.dumps(first)) != different
    assert len({first, again, different}) == 2
    assert first not in (story, None) and DeletedItem.objects.create(object_type="a", object_id="1") != first


# -- get_del_item


def test_get_del_item_goes_by_what_is_stored(story: Story, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """By one query, whatever the instance at hand says: it was loaded before, or another one was deleted."""
    stale = Story.objects.get()
    story.delete()
    assert stale.status == ""
    with django_assert_num_queries(1):
        assert str(get_del_item(stale)) == "the story Rain"
    deleted = Story.objects.get()
    story.undelete()
    assert deleted.status == DELETED
    with pytest.raises(LookupError):
        get_del_item(deleted)


def test_get_del_item_after_a_deletion_for_good_is_what_is_stored(story: Story) -> None:
    stale = Story.objects.get()
    story.delete()
    story.delete(hard=True)
    assert get_del_item(story) == get_del_item(stale) == DeletedItem.objects.get()
    with pytest.raises(LookupError):
        get_del_item(Story(title="unsaved"))


def test_an_action_about_a_tombstone_is_one_about_the_object(story: Story, bob: User, publish: Published) -> None:
    """As target, related and actor; restored, the object is what it was about."""
    story.delete()
    item = get_del_item(story)
    action = publish(bob, "mourned", item)
    other = publish(item, "was mourned by", related=[bob, item])
    assert set(story.actions.all()) == {action, other}  # type: ignore[attr-defined]  # it is connected
    assert action.targets == [item] == [other.actor]
    assert other.related == [bob, item]
    story.undelete()
    assert Action.objects.get(pk=action.pk).targets == [story]


# -- The worker


def test_what_is_published_about_a_softly_deleted_object_is_applied(
    story: Story, bob: User, publish: Published
) -> None:
    """Its row exists: it may be restored."""
    story.delete()
    action = publish(bob, "mourned", story)
    assert [str(one) for one in action.targets] == ["the story Rain"]
    assert not SpiderTally.objects.exists()


def test_what_is_folded_only_after_the_deletion_is_applied_too(
    story: Story, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """Views as well."""
    with django_capture_on_commit_callbacks(execute=True):
        publish_action(bob, "praised", story)
        publish_view(bob, story)
    story.delete()
    drain()
    assert [str(one) for one in Action.objects.get(verb="praised").targets] == ["the story Rain"]
    assert ViewMark.objects.filter(object_type="newsroom.story", object_id=str(story.pk)).exists()
    assert not SpiderTally.objects.exists()


def test_handlers_in_the_worker_see_the_tombstone(
    story: Story, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    seen: list[Any] = []

    class Mourned(handlers.ActionHandler):
        verb = "mourned"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            seen.extend(newer.load_targets())
            return True

    story.delete()
    try:
        for _ in range(2):
            with django_capture_on_commit_callbacks(execute=True):
                publish_action(bob, "mourned", story, grouping_delay=3600)
            drain()
    finally:
        handlers._handlers.pop("mourned")
    assert seen == [get_del_item(story)]


# -- On pages


def test_a_feed_tells_of_it_by_its_description(
    ada: User, bob: User, story: Story, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """As text and as HTML, in as many queries as before, and without a link to a page that is gone."""
    store(bob, "wrote", [story])
    with django_assert_num_queries(QUERIES):
        (before,) = shown(ada)
    assert f'href="/stories/{story.pk}/"' in before and "Rain" in before

    story.delete()
    with django_assert_num_queries(QUERIES):
        (after,) = shown(ada)
    assert "the story Rain" in after and "/stories/" not in after
    assert Action.objects.get().render().startswith("bob wrote the story Rain, ")

    story.undelete()
    assert f'href="/stories/{story.pk}/"' in shown(ada)[0]


def test_a_softly_deleted_actor_is_shown_likewise(ada: User) -> None:
    """And its actions are still in the feed of who follows it."""
    desk = Desk.objects.create(name="<b>Desk</b>")
    follow(ada, desk)
    store(desk, "closed")
    desk.delete()
    (html,) = shown(ada)
    assert "&lt;b&gt;Desk&lt;/b&gt; closed" in html
    (action,) = feed_of(ada)
    assert isinstance(action.actor, DeletedItem)


def test_feed_readers_get_the_description(ada: User, bob: User, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Atom and as JSON Feed; the link leads to the page no more."""
    monkeypatch.setattr(User, "get_absolute_url", lambda user: "", raising=False)
    store(bob, "wrote", [story])
    story.delete()
    client = Client()
    client.force_login(ada)
    atom = client.get(reverse("footfall:feed_atom")).content.decode()
    assert "bob wrote the story Rain" in atom and "/stories/" not in atom
    (item,) = json.loads(client.get(reverse("footfall:feed_json")).content)["items"]
    assert item["content_text"] == "bob wrote the story Rain" and "url" not in item


def test_the_admin_shows_the_description_and_no_link(bob: User, story: Story) -> None:
    """In the list and on the page of an action and of a tracker."""
    action = store(bob, "wrote", [story])
    tracker = follow(bob, story)
    story.delete()
    staff = User.objects.create(username="staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="footfall_storage"))
    client = Client()
    client.force_login(staff)
    for row in (action, tracker):
        name = f"admin:footfall_storage_{row._meta.model_name}"
        for url in (reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[row.pk])):
            page = client.get(url)
            assert page.status_code == 200
            html = page.content.decode()
            assert "the story Rain" in html
            assert "/None/" not in html and f"/story/{story.pk}/" not in html and "<a" in html


def test_what_the_viewer_may_not_see_is_hidden_whether_deleted_or_not(
    settings: Any, ada: User, story: Story, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """The rule is applied to the row, and only to it; it may also hold back whatever is deleted."""
    asked: list[Any] = []

    def no_rain(user: Any, rows: QuerySet[Any]) -> QuerySet[Any]:
        asked.append(rows.model)
        return rows.exclude(title="Rain")

    snow = Story.objects.create(title="Snow")
    Story.objects.all().delete()
    restricted(settings, no_rain)
    with django_assert_num_queries(2):
        found = resolve([ref(story), ref(snow)], viewer=ada)
    assert isinstance(found[ref(story)], Hidden) and str(found[ref(story)]) == "story"
    assert str(found[ref(snow)]) == "the story Snow"
    assert asked == [Story]

    restricted(settings, lambda user, rows: rows.exclude(status=DELETED))
    assert all(isinstance(one, Hidden) for one in resolve([ref(story), ref(snow)], viewer=ada).values())


# -- Following


def test_trackers_stay_and_lead_to_the_tombstone(ada: User, story: Story) -> None:
    """One of those that are followed, and one question for all of them."""
    snow = Story.objects.create(title="Snow")
    track(ada, [story, snow, Story])
    story.delete()
    item = get_del_item(story)
    assert ada.trackers.tracked() == {item, snow, Story}  # type: ignore[attr-defined]  # it is connected
    assert Tracker.objects.get(tracked_id=str(story.pk)).tracked == item
    assert set(story.trackers.users()) == {ada}  # type: ignore[attr-defined]  # likewise
    story.undelete()
    assert ada.trackers.tracked() == {story, snow, Story}  # type: ignore[attr-defined]  # likewise


def test_nobody_begins_to_follow_what_is_deleted_but_may_end_it(ada: User, story: Story) -> None:
    """By the end-points behind the buttons."""
    client = Client()
    client.force_login(ada)
    path = ["newsroom.story", quote(str(story.pk))]
    story.delete()
    assert client.post(reverse("footfall:follow", args=path)).status_code == 404
    assert not Tracker.objects.exists()
    track(ada, story)
    assert client.post(reverse("footfall:unfollow", args=path)).status_code == 302
    assert not Tracker.objects.exists()


def test_the_button_of_a_deleted_object_only_ends_it(ada: User, story: Story) -> None:
    """Also that of what is left of one that is gone for good; of both for nobody else."""
    snow = Story.objects.create(title="Snow")
    track(ada, [story, snow])
    stale = Story.objects.get(pk=snow.pk)
    story.delete()
    snow.delete(hard=True)
    assert button(ada, snow) == ""  # it is nothing any more
    for obj, name in (
        (story, "the story Rain"),
        (get_del_item(story), "the story Rain"),
        (get_del_item(stale), "Snow"),
    ):
        html = button(ada, obj)
        assert "/unfollow/newsroom.story/" in html and name in html
    Tracker.objects.all().delete()
    for obj in (story, get_del_item(story), get_del_item(stale)):
        assert button(ada, obj) == ""
    story.undelete()
    assert "/follow/newsroom.story/" in button(ada, story)


# -- How it is asked

#: The reader, the feed, whom it is about, whether it is unread (two), users and stories.
QUERIES = 7


def shown(user: User) -> list[str]:
    """The first page of a user's feed as HTML."""
    user = User.objects.get(pk=user.pk)
    return list(map(str, bulk_render_html(feed_of(user)[:10], user)))


def button(user: User, obj: Any) -> str:
    request = RequestFactory().get("/news/")
    request.user = user
    text = "{% load footfall %}{% follow_button obj %}"
    return Template(text).render(Context({"request": request, "obj": obj}))
