"""What is committed after somebody marked actions as read is unread, on PostgreSQL, with a worker in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import wire
from django.contrib.auth.models import User
from django.db import connections
from newsroom.models import Page, Topic
from storedactions import follow
from wire import NOW

from footfall.producers.queues import ACTIONS
from footfall.storage.models import Action, ViewMark
from footfall.storage.viewtracker import ViewTracker
from footfall.workers.pipeline import Delivery, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stack_settings")]


@contextmanager
def a_batch_that_is_not_committed(*events: Any) -> Iterator[None]:
    """A worker that has written ``events`` and holds the stamp; it commits when the block ends."""
    written, go_on = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def hold(alias: str) -> None:
        written.set()
        assert go_on.wait(60)

    def work() -> None:
        try:
            apply([Delivery(wire.body(events, ACTIONS), ACTIONS)], now=NOW, also=hold)
        except Exception as error:
            failures.append(error)
        finally:
            written.set()
            connections.close_all()

    worker = threading.Thread(target=work)
    worker.start()
    assert written.wait(60)
    try:
        yield
    finally:
        go_on.set()
        worker.join(60)
    assert failures == []


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def bob(ada: User) -> User:
    """Ada follows him."""
    bob = User.objects.create(username="bob")
    follow(ada, bob)
    return bob


def tagged(bob: User, title: str, topic: Topic) -> wire.Event:
    """Two of them are grouped."""
    page = Page.objects.create(title=title)
    return wire.action(bob, "tagged", page, related=[wire.ref(topic)], grouping_delay=60)


def test_ac_42_what_was_not_committed_when_all_was_marked_as_read_is_unread(ada: User, bob: User) -> None:
    """Marking waits for nobody."""
    apply([Delivery(wire.body([wire.action(bob, "wrote")], ACTIONS), ACTIONS)], now=NOW)
    with a_batch_that_is_not_committed(wire.action(bob, "read"), wire.action(bob, "closed")):
        assert Action.unread_count(ada) == 1
        Action.mark_all_read(ada)
        assert Action.unread_count(ada) == 0
    actions = Action.objects.order_by("changed", "verb")
    unread = {action.verb: action.is_unread_for(ada) for action in actions}
    assert unread == {"wrote": False, "closed": True, "read": True}
    assert Action.unread_count(ada) == 2


@pytest.mark.parametrize("how", ["one", "bulk", "up to", "all"])
def test_ac_49_what_was_being_grouped_in_when_it_was_marked_as_read_is_unread(ada: User, bob: User, how: str) -> None:
    """The reader has not seen it."""
    topic = Topic.objects.create(slug="t")
    apply([Delivery(wire.body([tagged(bob, "p", topic)], ACTIONS), ACTIONS)], now=NOW)
    with a_batch_that_is_not_committed(tagged(bob, "q", topic)):
        (action,) = Action.objects.all()
        assert action.is_unread_for(ada)
        if how == "one":
            assert action.mark_read_for(ada)
        elif how == "bulk":
            assert Action.bulk_mark_read_for(ada, [action]) == [True]
        else:
            Action.mark_all_read(ada, up_to=action.changed if how == "up to" else None)
        assert not Action.objects.get().is_unread_for(ada)
    (grown,) = Action.objects.all()
    assert len(grown.targets) == 2
    assert grown.is_unread_for(ada) and Action.unread_count(ada) == 1
    assert grown.mark_read_for(ada) and Action.unread_count(ada) == 0


def test_many_readers_and_workers_mark_the_same_without_waiting_in_a_circle(ada: User, bob: User) -> None:
    """All orders of marks on one and on all actions, and of views that are folded in."""
    apply([Delivery(wire.body([wire.action(bob, "wrote") for _ in range(60)], ACTIONS), ACTIONS)], now=NOW)
    actions = list(Action.objects.all())
    failures: list[Exception] = []

    def read(turn: int) -> None:
        try:
            reader = User.objects.get(pk=ada.pk)
            for round_ in range(10):
                some = actions[(turn + round_) % 5 :: 2]
                Action.bulk_mark_read_for(reader, some if round_ % 2 else some[::-1])
                if turn == 0:
                    Action.mark_all_read(reader)
                elif turn == 1:
                    ViewTracker(reader).mark_unseen(some)
                elif turn == 2:
                    views = [wire.view(reader, action, at=action.changed) for action in some]
                    apply([Delivery(wire.body(views, "footfall.views"), "footfall.views")], now=NOW)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=read, args=[turn]) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    ViewTracker(ada).mark_all_viewed()
    assert Action.unread_count(ada) == 0 and ViewMark.objects.filter(user=ada).count() == 1
