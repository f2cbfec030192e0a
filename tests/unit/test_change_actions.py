"""One switch on a model publishes what becomes of its objects: created, changed, deleted, restored, and by whom."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
import reversion
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.auth.models import AnonymousUser, User
from django.core import serializers
from django.db import connection, transaction
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TransactionTestCase
from newsroom.models import Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement
from pytest_django import DjangoCaptureOnCommitCallbacks
from storedactions import store

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref
from footfall.producers.testing import Captured, captured_messages
from footfall.storage import changeactions, connecting
from footfall.storage.actions import get_del_item, track
from footfall.storage.feeds import feed_of
from footfall.storage.models import Action, DeletedItem
from footfall.storage.references import HandleRefModel, acting_as
from footfall.storage.softdeletion import soft_deleted, undeleted
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

ARCHIVED = {"action", "actionobject", "actionstamp"}

Said = tuple[str, str, list[str], dict[str, Any]]


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def switch_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give models the switch, as if their inner classes said so, until the end of the test."""
    family: list[type[HandleRefModel]] = [Publisher, Magazine, Issue, Supplement, SpecialIssue, Photo, Masthead, Desk]

    def forget_options() -> None:
        for model in family:
            if "_footfall_options" in vars(model):
                del model._footfall_options  # type: ignore[attr-defined]  # it is kept there

    def switch_on(*models: type[HandleRefModel]) -> None:
        for model in models:
            inner = getattr(model, "HandleRef", object)
            monkeypatch.setattr(
                model, "HandleRef", type("HandleRef", (inner,), {"publish_actions": True}), raising=False
            )
        forget_options()
        changeactions.connect()

    yield switch_on
    monkeypatch.undo()
    forget_options()
    for model in family:
        for signal in (post_save, post_delete, soft_deleted, undeleted):
            signal.disconnect(sender=model, dispatch_uid="footfall_change_actions")


def said(sent: list[Captured]) -> list[Said]:
    """Of each action: who, did what, to whom, with which data."""
    events = [one.event for one in sent]
    assert all(isinstance(event, ActionEvent) for event in events)
    return [
        (str(event.actor or ""), event.verb, [str(target) for target in event.targets], event.data)
        for event in events
        if isinstance(event, ActionEvent)
    ]


def name(obj: Any) -> str:
    return str(Ref((obj._meta.concrete_model or obj)._meta.label_lower, str(obj.pk)))


# -- What is published


def test_the_life_of_an_object_is_told() -> None:
    """By itself, where nobody is known to act; each with the version that it has then."""
    with captured_messages() as sent:
        story = Story.objects.create(title="Rain")
        story.title = "Snow"
        story.save()
        story.save(update_fields=["title"])
        story.delete()
        story.undelete()
    me = name(story)
    assert said(sent) == [
        (me, "created", [me], {"version": 1}),
        (me, "changed", [me], {"version": 2}),
        (me, "changed", [me], {"version": 3}),
        (me, "deleted", [me], {"version": 4}),
        (me, "restored", [me], {"version": 5}),
    ]
    assert {event.level for event in (one.event for one in sent) if isinstance(event, ActionEvent)} == {None}


def test_a_model_without_the_switch_says_nothing() -> None:
    with captured_messages() as sent:
        publisher = Publisher.objects.create(name="p")
        publisher.save()
        publisher.delete()
        publisher.undelete()
        publisher.delete(hard=True)
    assert not sent


def test_a_save_costs_no_query_more(switch_on: Callable[..., None]) -> None:
    desk = Desk.objects.create(name="d")
    with CaptureQueriesContext(connection) as without:
        desk.save()
    switch_on(Desk)
    with CaptureQueriesContext(connection) as queries, captured_messages() as sent:
        desk.save()
    assert (len(queries), len(sent)) == (len(without), 1)


def test_what_changes_nothing_is_not_told(switch_on: Callable[..., None]) -> None:
    """With `skip_unchanged`, by the model or for one save."""
    switch_on(Photo)
    photo, story = Photo.objects.create(caption="c"), Story.objects.create(title="s")
    with captured_messages() as sent:
        photo.save()
        story.save(skip_unchanged=True)
    assert not sent
    photo.caption = "other"
    with captured_messages() as sent:
        photo.save()
    assert [verb for _who, verb, *_rest in said(sent)] == ["changed"]


def test_a_fixture_and_bulk_changes_are_not_told() -> None:
    text = serializers.serialize("json", [Story.objects.create(title="s")])
    with captured_messages() as sent:
        for one in serializers.deserialize("json", text):
            one.save()
        made = Story.objects.bulk_create([Story(title="a"), Story(title="b")])
        Story.objects.update(body="x")
        made[0].title = "c"
        Story.objects.bulk_update(made[:1], ["title"])
    assert not sent


def test_a_deletion_for_good_is_told_once() -> None:
    """Not again of what was deleted softly before."""
    story, other = Story.objects.create(title="s"), Story.objects.create(title="t")
    me = name(story)
    with captured_messages() as sent:
        story.delete(hard=True)
    assert said(sent) == [(me, "deleted", [me], {"version": 1})]
    other.delete()
    with captured_messages() as sent:
        other.delete(hard=True)
    assert not sent


def test_what_leaves_nothing_is_not_told_of(switch_on: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its actions go with it: there is nothing to tell of."""
    switch_on(Desk)
    connections: dict[Any, Any] = connecting._connections
    monkeypatch.setitem(connections, Desk, connecting.Connection(use_del_items=False))
    desk = Desk.objects.create(name="d")
    with captured_messages() as sent:
        desk.delete(hard=True)
    assert not sent


def test_a_queryset_s_deletion_for_good_tells_of_each() -> None:
    made = [Story.objects.create(title=title) for title in "ab"]
    names = sorted(map(name, made))
    with captured_messages() as sent:
        Story.objects.all().delete(hard=True)
    assert sorted(targets for _who, _verb, targets, _data in said(sent)) == [[one] for one in names]


# -- Many at once


def test_many_that_are_deleted_together_are_one_action(ada: User) -> None:
    """Nobody did it, where nobody is known; who asks finds each of them in it."""
    made = [Story.objects.create(title=title) for title in "abc"]
    names = [name(one) for one in made]
    with captured_messages() as sent:
        Story.objects.all().delete()
        Story.objects.all().undelete()
        with acting_as(ada):
            Story.objects.all().delete()
    assert said(sent) == [
        ("", "deleted", names, {}),
        ("", "restored", names, {}),
        (name(ada), "deleted", names, {}),
    ]


@pytest.mark.parametrize("number", [1000, 1001])
def test_a_thousand_are_in_one_action_and_more_in_several(
    number: int, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    Story.objects.bulk_create(Story(title=str(n)) for n in range(number))
    with captured_messages() as sent, django_assert_max_num_queries(12):
        Story.objects.all().delete()
    assert [len(targets) for _who, _verb, targets, _data in said(sent)] == ([1000, 1] if number > 1000 else [1000])


def test_an_event_is_never_larger_than_one_may_be(settings: Any, switch_on: Callable[..., None]) -> None:
    """Long keys: then there are more actions."""
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_EVENT_BYTES": 8192}
    switch_on(Masthead)
    Masthead.objects.bulk_create(Masthead(slug=f"{n:04}" + "ü" * 46) for n in range(300))
    with captured_messages() as sent:
        Masthead.objects.all().delete()
    told = [target for _who, _verb, targets, _data in said(sent) for target in targets]
    assert len(told) == len(set(told)) == 300 and 2 < len(sent) < 30


def test_each_model_of_a_cascade_is_told_of_once(switch_on: Callable[..., None]) -> None:
    """Those with the switch; and none where nothing was deleted."""
    switch_on(Publisher, Issue)
    publisher = Publisher.objects.create(name="p")
    magazines = [Magazine.objects.create(title=title, publisher=publisher) for title in "ab"]
    issues = [Issue.objects.create(magazine=magazine) for magazine in magazines]
    with captured_messages() as sent:
        publisher.delete()
        publisher.delete()
        publisher.undelete()
    me, below = name(publisher), [name(issue) for issue in issues]
    deleted, restored = said(sent)[:2], said(sent)[2:]
    assert (me, "deleted", [me], {"version": 2}) in deleted and ("", "deleted", below, {}) in deleted
    assert (me, "restored", [me], {"version": 3}) in restored and ("", "restored", below, {}) in restored
    assert len(sent) == 4


def test_all_levels_of_a_tree_are_told_together(switch_on: Callable[..., None]) -> None:
    switch_on(Desk)
    above = Desk.objects.create(name="a")
    below = Desk.objects.create(name="b", above=above)
    with captured_messages() as sent:
        above.delete()
    assert said(sent) == [("", "deleted", [name(above), name(below)], {})]


# -- Models that inherit


def test_a_child_with_a_table_of_its_own_is_told_of_under_its_own_name(switch_on: Callable[..., None]) -> None:
    """Once, not as its parent as well."""
    switch_on(Issue)
    magazine = Magazine.objects.create(title="m", publisher=Publisher.objects.create(name="p"))
    with captured_messages() as sent:
        supplement = Supplement.objects.create(theme="t", magazine=magazine)
        supplement.save()
        supplement.delete()
        supplement.undelete()
        me = name(supplement)
        supplement.delete(hard=True)
    verbs = ["created", "changed", "deleted", "restored", "deleted"]
    assert [(who, verb, targets) for who, verb, targets, _data in said(sent)] == [(me, verb, [me]) for verb in verbs]
    assert me.startswith("newsroom.supplement:")


def test_a_proxy_is_told_of_as_what_its_base_is(switch_on: Callable[..., None]) -> None:
    switch_on(Issue)
    magazine = Magazine.objects.create(title="m", publisher=Publisher.objects.create(name="p"))
    with captured_messages() as sent:
        special = SpecialIssue.objects.create(magazine=magazine)
        special.save()
        special.delete()
        me = name(special)
    assert [(verb, targets) for _who, verb, targets, _data in said(sent)] == [
        (verb, [me]) for verb in ("created", "changed", "deleted")
    ]
    assert me.startswith("newsroom.issue:")


# -- Who acts


def test_who_is_said_to_act_did_it(ada: User) -> None:
    """Within the block, and innermost first; nobody may be said, too."""
    with captured_messages() as sent, acting_as(ada):
        story = Story.objects.create(title="s")
        with acting_as(None):
            story.save()
        with acting_as(AnonymousUser()):
            story.save()
        story.save()
    assert [who for who, *_rest in said(sent)] == [name(ada), "", "", name(ada)]


def test_it_is_a_decorator_too(ada: User) -> None:
    robot = Desk.objects.create(name="robot")

    @acting_as(robot)
    def work() -> None:
        Story.objects.create(title="s")

    with captured_messages() as sent:
        work()
        work()
    assert [who for who, *_rest in said(sent)] == [name(robot)] * 2


def test_it_goes_along_into_asynchronous_saves(ada: User) -> None:
    """Which run in a thread."""

    async def work(story: Story) -> None:
        with acting_as(ada):
            await story.asave()
        await story.adelete()

    story = Story.objects.create(title="s")
    with captured_messages() as sent:
        async_to_sync(work)(story)
    assert [(who, verb) for who, verb, *_rest in said(sent)] == [(name(ada), "changed"), (name(story), "deleted")]


def test_the_user_of_the_revision_did_it(ada: User) -> None:
    """Unless another is said to; and nobody is asked for who is not in a revision."""
    with captured_messages() as sent:
        with reversion.create_revision():
            story = Story.objects.create(title="s")
            reversion.set_user(ada)
            story.save()
            with acting_as(story):
                story.save()
        story.save()
    assert [who for who, *_rest in said(sent)] == [name(story), name(ada), name(story), name(story)]


def test_it_works_where_reversion_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "reversion.revisions")
    with captured_messages() as sent:
        Story.objects.create(title="s")
    assert len(sent) == 1


def save_a_story(request: HttpRequest) -> HttpResponse:
    """Who is logged in is asked for before, afterwards, or not at all."""
    if request.GET.get("asked") == "before":
        assert request.user.is_authenticated in (True, False)
    with reversion.create_revision() if "revision" in request.GET else nullcontext():
        if "revision" in request.GET:
            reversion.set_user(User.objects.get(pk=request.GET["revision"]))
        Story.objects.create(title="s")
    return HttpResponse()


urlpatterns = [path("save/", save_a_story)]


@pytest.mark.urls(__name__)
def test_the_user_of_the_revision_goes_before_that_of_the_request(ada: User) -> None:
    """And who is said to act before both."""
    bob = User.objects.create(username="bob")
    client = Client()
    client.force_login(ada)
    with captured_messages() as sent:
        client.get(f"/save/?asked=before&revision={bob.pk}")
        with acting_as(None):
            client.get(f"/save/?asked=before&revision={bob.pk}")
    assert [who for who, *_rest in said(sent)] == [name(bob), ""]


@pytest.mark.urls(__name__)
def test_the_user_of_the_request_did_it_where_the_site_has_asked_who_that_is(ada: User) -> None:
    """To find out would be a query: it is not made for this."""
    client = Client()
    client.force_login(ada)
    with captured_messages() as sent:
        client.get("/save/?asked=before")
        client.get("/save/")
        Client().get("/save/?asked=before")
    actors = [who for who, *_rest in said(sent)]
    assert actors[0] == name(ada)
    assert all(who.startswith("newsroom.story:") for who in actors[1:])


# -- With the transaction


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_told() -> None:
    story = Story.objects.create(title="s")
    drain()
    with pytest.raises(RuntimeError), transaction.atomic():
        story.save()
        story.delete()
        raise RuntimeError
    with transaction.atomic():
        story.save()
        with pytest.raises(RuntimeError), transaction.atomic():
            Story.objects.create(title="ghost")
            raise RuntimeError
    drain()
    assert list(Action.objects.order_by("timestamp").values_list("verb", "data")) == [
        ("created", {"version": 1}),
        ("changed", {"version": Story.objects.get().version}),
    ]


@pytest.mark.django_db(transaction=True)
def test_it_waits_for_the_commit() -> None:
    with captured_messages() as sent, transaction.atomic():
        Story.objects.create(title="s")
        assert [one.committed for one in sent] == [False]
    assert [one.committed for one in sent] == [True]


@pytest.mark.django_db(transaction=True)
def test_where_actions_are_kept_elsewhere_it_goes_there_after_the_commit(archive: str) -> None:
    """And not at all with what is rolled back."""
    with captured_messages() as sent:
        with pytest.raises(RuntimeError), transaction.atomic():
            Story.objects.create(title="ghost")
            raise RuntimeError
        with transaction.atomic():
            Story.objects.create(title="s")
            assert not sent
    assert [(one.event.using, one.committed) for one in sent if isinstance(one.event, ActionEvent)] == [(archive, True)]


# -- What can't be published


def test_what_can_t_be_published_fails_nobody_s_save(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged. An actor who is not saved, say, is a mistake of the site's."""
    with caplog.at_level(logging.ERROR, "footfall.changeactions"), captured_messages() as sent:
        with acting_as(User(username="unsaved")):
            story = Story.objects.create(title="s")
            story.delete()
        settings.FOOTFALL = {**settings.FOOTFALL, "MAX_EVENT_BYTES": 10}
        story.undelete()
    assert Story.objects.get().status == "" and not sent
    assert [record.getMessage() for record in caplog.records] == [
        f"That 1 objects were {verb} could not be published." for verb in ("created", "deleted", "restored")
    ]


def test_where_publishing_is_switched_off_nothing_is_published(
    settings: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "ENABLED": False}
    with django_capture_on_commit_callbacks(execute=True):
        Story.objects.create(title="s").delete()
    assert drain() == 0


# -- In feeds


def test_who_follows_an_object_reads_what_became_of_it(
    ada: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """By the plain button; as what was done to it where nobody is known, else as what somebody did."""
    bob = User.objects.create(username="bob")
    story = Story.objects.create(title="Rain")
    track(ada, story, last_updated=datetime(2024, 1, 1, tzinfo=UTC))
    track(ada, bob)
    with django_capture_on_commit_callbacks(execute=True):
        story.save()
        with acting_as(bob):
            story.delete()
    drain()
    read = [action.render().partition(",")[0] for action in feed_of(ada)]
    assert sorted(read) == ["bob deleted the story Rain", "the story Rain was changed"]


def test_a_user_who_does_something_to_themselves_is_still_said_to_do_it(ada: User) -> None:
    """Only what becomes of an object while nobody is known reads as done to it."""
    assert store(ada, "praised", [ada]).render().startswith("ada praised ada, ")
    desk = Desk.objects.create(name="Desk")
    assert store(desk, "changed", [desk]).render().startswith("Desk was changed, ")
    assert store(desk, "moved", [desk, ada]).render().startswith("Desk moved Desk and ada, ")


def test_what_is_deleted_for_good_is_read_by_what_is_left_of_it(
    ada: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    story = Story.objects.create(title="Rain")
    with django_capture_on_commit_callbacks(execute=True), acting_as(ada):
        story.delete(hard=True)
    drain()
    (action,) = Action.objects.all()
    assert action.targets == [get_del_item(story)] == [DeletedItem.objects.get()]
    assert action.render().startswith("ada deleted the story Rain, ")


def test_users_do_not_seem_to_do_what_nobody_is_known_to_have_done(
    monkeypatch: pytest.MonkeyPatch, ada: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """Where users keep account of themselves: "alice was changed", not "alice changed alice"."""
    monkeypatch.setattr(django_settings, "AUTH_USER_MODEL", "newsroom.Story")
    with captured_messages() as sent:
        alice = Story.objects.create(title="alice")
        alice.delete()
        alice.undelete()
        with acting_as(ada):
            alice.save()
        alice.delete(hard=True)
    whos = [(who, verb) for who, verb, *_rest in said(sent)]
    nobody = [("", verb) for verb in ("created", "deleted", "restored")]
    assert whos == [*nobody, (name(ada), "changed"), ("", "deleted")]
    with django_capture_on_commit_callbacks(execute=True):
        Story.objects.create(title="bob").save()
    drain()
    assert any(action.render().startswith("bob was changed, ") for action in Action.objects.all())


class Histories(TransactionTestCase):
    """Whatever is done to an object, in any order, the actions tell what its versions tell."""

    @hypothesis_settings(max_examples=15, deadline=None)
    @given(st.lists(st.sampled_from(["save", "delete", "undelete", "skip"]), max_size=8))
    def test_each_version_is_told_exactly_once(self, steps: list[str]) -> None:
        with captured_messages() as sent:
            story = Story.objects.create(title="s")
            for step in steps:
                if step == "skip":
                    story.save(skip_unchanged=True)
                else:
                    getattr(story, step)()
        told = [data["version"] for _who, _verb, _targets, data in said(sent)]
        assert told == list(range(1, story.version + 1))
        assert Story.objects.get(pk=story.pk).version == story.version
