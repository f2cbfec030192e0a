"""Objects are deleted with their actions while workers group, on PostgreSQL: no entry is left without its action."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.db.models import Model
from django.utils import timezone
from newsroom.models import Note

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref, View, encode_event, encode_message, new_id
from footfall.producers.queues import ACTIONS
from footfall.storage.marks import raise_marks
from footfall.storage.models import Action, ActionObject, ActionStamp, DeadLetter, Tracker, ViewMark
from footfall.storage.purging import delete_marks, purge_actions, purge_trackers
from footfall.workers.failures import Transient
from footfall.workers.pipeline import Delivery, apply

pytestmark = pytest.mark.django_db(transaction=True)

WORKERS, BATCHES, NOTES = 3, 15, 60


def in_threads(*works: Callable[[], object]) -> list[Exception]:
    """Do them all at once; returns what they raised."""
    failures: list[Exception] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def dangling() -> int:
    """How many entries have no action."""
    return ActionObject.objects.exclude(action_id__in=Action.objects.order_by().values("pk")).count()


def store_one(user: User, note: Note) -> Action:
    now = timezone.now()
    ActionStamp.objects.get_or_create(pk=1, defaults={"at": now})
    action = Action.objects.create(id=new_id(), actor_type="auth.user", actor_id=str(user.pk), verb="w", timestamp=now)
    ActionObject.objects.create(action=action, role="t", object_type="newsroom.note", object_id=str(note.pk))
    return action


def is_waited_for() -> bool:
    """Whether somebody waits for a lock, as soon as that is so."""
    for _ in range(1000):
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            if cursor.fetchone() == (True,):
                return True
        time.sleep(0.01)
    return False


def delivery(*events: ActionEvent | View) -> list[Delivery]:
    body = encode_message(ACTIONS, new_id(), int(time.time() * 1000), list(map(encode_event, events)))
    return [Delivery(body, ACTIONS)]


def until_applied(deliveries: list[Delivery]) -> int:
    """Apply them as a worker does, again where that may help; returns how often."""
    for tries in itertools.count(1):
        with suppress(Transient):
            apply(deliveries)
            return tries
    raise AssertionError


def wrote(user: User, note: Note, verb: str = "wrote") -> ActionEvent:
    """To be grouped with others of the hour."""
    who, about = Ref("auth.user", str(user.pk)), Ref("newsroom.note", str(note.pk))
    return ActionEvent(id=new_id(), at=datetime.now(UTC), actor=who, verb=verb, targets=[about], grouping_delay=3600)


@pytest.fixture
def news() -> SimpleNamespace:
    """A user and two notes, with an action on the first."""
    user = User.objects.create(username="u")
    note, other = (Note.objects.create(title=title) for title in "no")
    return SimpleNamespace(user=user, note=note, other=other, action=store_one(user, note))


def test_a_deletion_waits_for_who_adds_to_the_action(news: SimpleNamespace) -> None:
    """And takes along what was added. The action is changed first, and then its entries, as by a worker."""
    held, waited = threading.Event(), []

    def add() -> None:
        with transaction.atomic():
            Action.objects.filter(pk=news.action.pk).update(level=40)
            held.set()
            waited.append(is_waited_for())
            key = str(news.other.pk)
            ActionObject.objects.create(action=news.action, role="t", object_type="newsroom.note", object_id=key)

    def delete() -> None:
        held.wait()
        news.note.delete()

    assert in_threads(add, delete) == [] and waited == [True]
    assert not Action.objects.exists() and not ActionObject.objects.exists()


def test_who_adds_to_the_action_waits_for_the_deletion_and_tries_again(news: SimpleNamespace) -> None:
    """What was published then stands in an action of its own."""
    deleted, waited = threading.Event(), []
    tries: list[int] = []

    def delete() -> None:
        with transaction.atomic():
            news.note.delete()
            deleted.set()
            waited.append(is_waited_for())

    def work() -> None:
        deleted.wait()
        tries.append(until_applied(delivery(wrote(news.user, news.other, verb="w"))))

    assert in_threads(delete, work) == [] and waited == [True] and tries == [2]
    assert Action.objects.get().targets == [news.other]
    assert dangling() == 0 and not DeadLetter.objects.exists()


def test_a_deletion_holds_up_nobody_who_stores_other_actions(news: SimpleNamespace) -> None:
    """Until its transaction ends; nor do the two wait in a circle, where it deletes more that the other marked."""
    raise_marks({(news.user.pk, "newsroom.note", str(news.other.pk)): timezone.now() - timedelta(days=1)}, "default")
    deleted, applied = threading.Event(), threading.Event()
    in_time = []

    def delete() -> None:
        with transaction.atomic():
            news.note.delete()
            deleted.set()
            in_time.append(applied.wait(10))
            news.other.delete()

    def work() -> None:
        deleted.wait()
        other = Ref("newsroom.note", str(news.other.pk))
        seen = View(id=new_id(), at=datetime.now(UTC), user=str(news.user.pk), object=other)
        apply(delivery(seen, wrote(news.user, news.other, verb="praised")))
        applied.set()

    assert in_threads(delete, work) == []
    assert in_time == [True]
    assert not Action.objects.exists() and dangling() == 0 and not ViewMark.objects.exists()


def test_an_action_that_becomes_one_about_the_object_meanwhile_stays_whole(news: SimpleNamespace) -> None:
    """It was not there when the deletion looked: it is neither deleted nor robbed of its entries."""
    late = store_one(news.user, news.other)

    def add() -> None:
        with transaction.atomic():
            Action.objects.filter(pk=late.pk).update(level=40)
            key = str(news.note.pk)
            ActionObject.objects.create(action=late, role="t", object_type="newsroom.note", object_id=key)

    def add_meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        done = execute(sql, params, many, context)
        if sql.startswith('DELETE FROM "footfall_storage_action"'):
            assert in_threads(add) == []
        return done

    gone = [Ref("newsroom.note", str(news.note.pk))]
    with transaction.atomic(), connection.execute_wrapper(add_meanwhile):
        purge_actions(gone, "default")
    assert Action.objects.get() == late
    assert ActionObject.objects.filter(action=late).count() == ActionObject.objects.count() == 2


# -- In which order is locked


def doomed_marks(users: list[User], notes: list[Note]) -> list[ViewMark]:
    marks = [
        ViewMark.objects.create(user=user, object_type="newsroom.note", object_id=str(note.pk), at=timezone.now())
        for user in reversed(users)
        for note in reversed(notes)
    ]
    return sorted(marks, key=lambda mark: (mark.user_id, mark.object_id))


def doomed_trackers(users: list[User], notes: list[Note]) -> list[Tracker]:
    """Some since their users go, others with what they follow."""
    trackers = [
        Tracker.objects.create(user=user, tracked_type="newsroom.note", tracked_id=str(note.pk))
        for user in reversed(users)
        for note in reversed(notes)
    ]
    own = [Tracker.objects.create(user=users[-1], tracked_type="newsroom.article", tracked_id=key) for key in "21"]
    return sorted([*trackers, *own], key=lambda tracker: (tracker.user_id, tracker.tracked_type, tracker.tracked_id))


def doomed_actions(users: list[User], notes: list[Note]) -> list[Action]:
    ids = sorted(new_id() for _ in notes)
    for pk, note in zip(reversed(ids), notes, strict=True):
        action = Action.objects.create(id=pk, verb="w", timestamp=timezone.now())
        ActionObject.objects.create(action=action, role="t", object_type="newsroom.note", object_id=str(note.pk))
    return [Action(pk=pk) for pk in ids]


def delete_all_marks(users: list[Ref], notes: list[Ref]) -> None:
    delete_marks(notes, "default")


def delete_all_trackers(users: list[Ref], notes: list[Ref]) -> None:
    purge_trackers(users[-1:], notes, "default")


def delete_all_actions(users: list[Ref], notes: list[Ref]) -> None:
    purge_actions(notes, "default")


@pytest.mark.parametrize(
    ("made", "delete"),
    [
        pytest.param(doomed_marks, delete_all_marks, id="marks, by user and object"),
        pytest.param(doomed_trackers, delete_all_trackers, id="trackers, by user and object"),
        pytest.param(doomed_actions, delete_all_actions, id="actions, by id"),
    ],
)
def test_rows_are_locked_in_the_order_of_their_keys(
    made: Callable[[list[User], list[Note]], list[Model]], delete: Callable[[list[Ref], list[Ref]], None]
) -> None:
    """Whatever order they were made in: who waits for the first of them has locked no other."""
    users = [User.objects.create(username=str(n)) for n in range(2)]
    notes = [Note.objects.create(title=str(n)) for n in range(4)]
    first, *others = made(users, notes)
    keys = [[Ref(one._meta.label_lower, str(one.pk)) for one in some] for some in (users, notes)]
    held = threading.Event()
    rows = type(first)._default_manager

    def hold() -> None:
        with transaction.atomic():
            rows.select_for_update().get(pk=first.pk)
            held.set()
            assert is_waited_for()
            assert len(rows.filter(pk__in=[one.pk for one in others]).select_for_update(nowait=True)) == len(others)

    def go() -> None:
        held.wait()
        with transaction.atomic():
            delete(*keys)

    assert in_threads(hold, go) == []
    assert not rows.exists()


# -- All at once


def batch(rng: random.Random, users: list[User], notes: list[Note], stored: list[Action]) -> list[Delivery]:
    """Actions to be grouped, about a note each; marks on notes and on actions."""
    events: list[ActionEvent | View] = []
    for _ in range(20):
        user, note = rng.choice(users), rng.choice(notes)
        events.append(wrote(user, note))
        seen = rng.choice(
            [Ref("newsroom.note", str(note.pk)), Ref("footfall_storage.action", str(rng.choice(stored).pk))]
        )
        events.append(View(id=new_id(), at=datetime.now(UTC), user=str(user.pk), object=seen))
    return delivery(*events)


def test_what_is_deleted_while_workers_group_leaves_nothing_half() -> None:
    """Nor does anybody wait in a circle: neither for actions, nor for the marks on notes and on actions."""
    users = [User.objects.create(username=str(n)) for n in range(3)]
    notes = [Note.objects.create(title=str(n)) for n in range(NOTES)]
    stored = [store_one(users[0], note) for note in notes]

    def worker(seed: int) -> Callable[[], None]:
        def work() -> None:
            rng = random.Random(seed)
            for _ in range(BATCHES):
                until_applied(batch(rng, users, notes, stored))

        return work

    def delete() -> None:
        for start in range(0, NOTES, 5):
            Note.objects.filter(pk__in=[note.pk for note in notes[start : start + 5]]).delete()

    assert in_threads(*map(worker, range(WORKERS)), delete) == []
    assert dangling() == 0 and not DeadLetter.objects.exists()
    assert not Action.objects.filter(pk__in=[action.pk for action in stored]).exists()
