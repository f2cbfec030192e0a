"""Objects are deleted with their actions while workers group, on PostgreSQL: no entry is left without its action."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.utils import timezone
from newsroom.models import Note

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref, View, encode_event, encode_message, new_id
from footfall.producers.queues import ACTIONS
from footfall.storage.models import Action, ActionObject, ActionStamp, DeadLetter
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


def wait_until_somebody_waits() -> None:
    for _ in range(1000):
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            if cursor.fetchone() == (True,):
                return
        time.sleep(0.01)
    raise AssertionError("The deletion did not wait for who stores actions.")


def test_a_deletion_waits_for_who_adds_to_the_action() -> None:
    """And takes along what was added."""
    user, note, other = (
        User.objects.create(username="u"),
        Note.objects.create(title="n"),
        Note.objects.create(title="o"),
    )
    action = store_one(user, note)

    def add() -> None:
        with transaction.atomic():
            list(ActionStamp.objects.select_for_update())
            held.set()
            wait_until_somebody_waits()
            ActionObject.objects.create(action=action, role="t", object_type="newsroom.note", object_id=str(other.pk))

    def delete() -> None:
        held.wait()
        note.delete()

    held = threading.Event()
    assert in_threads(add, delete) == []
    assert not Action.objects.exists() and not ActionObject.objects.exists()


def batch(rng: random.Random, users: list[User], notes: list[Note], stored: list[Action]) -> list[Delivery]:
    """Actions to be grouped, about a note each; marks on notes and on actions."""
    now = datetime.now(UTC)
    events: list[ActionEvent | View] = []
    for _ in range(20):
        user, note = rng.choice(users), Ref("newsroom.note", str(rng.choice(notes).pk))
        who = {"actor": Ref("auth.user", str(user.pk)), "verb": "wrote", "grouping_delay": 3600}
        about = {"targets": [note], "related": [Ref("newsroom.note")]}
        events.append(ActionEvent(id=new_id(), at=now, **who, **about))  # type: ignore[arg-type]  # dicts of its fields
        seen = rng.choice([note, Ref("footfall_storage.action", str(rng.choice(stored).pk))])
        events.append(View(id=new_id(), at=now, user=str(user.pk), object=seen))
    body = encode_message(ACTIONS, new_id(), int(time.time() * 1000), list(map(encode_event, events)))
    return [Delivery(body, ACTIONS)]


def test_what_is_deleted_while_workers_group_leaves_nothing_half() -> None:
    """Nor does anybody wait in a circle: neither for actions, nor for the marks on notes and on actions."""
    users = [User.objects.create(username=str(n)) for n in range(3)]
    notes = [Note.objects.create(title=str(n)) for n in range(NOTES)]
    stored = [store_one(users[0], note) for note in notes]

    def worker(seed: int) -> Callable[[], None]:
        def work() -> None:
            rng = random.Random(seed)
            for _ in range(BATCHES):
                apply(batch(rng, users, notes, stored))

        return work

    def delete() -> None:
        for start in range(0, NOTES, 5):
            Note.objects.filter(pk__in=[note.pk for note in notes[start : start + 5]]).delete()

    assert in_threads(*map(worker, range(WORKERS)), delete) == []
    assert dangling() == 0 and not DeadLetter.objects.exists()
    assert not Action.objects.filter(pk__in=[action.pk for action in stored]).exists()
