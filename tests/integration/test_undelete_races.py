"""Restoring below what is being deleted at the same time: transactions of several connections, in both orders."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, transaction
from newsroom.models import Desk, Issue, Magazine, Publisher

from footfall.storage.references import UndeleteRefused
from footfall.storage.softdeletion import DELETED

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stack_settings")]


class Other:
    """Another process, as it were: a thread with a connection of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._pid = self.do(self._backend).result(30)

    def do(self, work: Callable[[], Any]) -> Future[Any]:
        """Have it do ``work`` while the test goes on."""
        return self._pool.submit(work)

    def waits_for_a_lock(self) -> bool:
        """Whether it comes to wait for another transaction, within half a minute."""
        for _ in range(1_000):
            with connection.cursor() as cursor:
                cursor.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [self._pid])
                if cursor.fetchone() == ("Lock",):
                    return True
            time.sleep(0.03)
        return False

    def close(self) -> None:
        self.do(connections.close_all).result(30)
        self._pool.shutdown()

    @staticmethod
    def _backend() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])


@pytest.fixture
def other() -> Iterator[Other]:
    one = Other()
    yield one
    one.close()


@pytest.fixture
def press() -> Publisher:
    """A publisher with a deleted magazine, that has an issue which went with it."""
    publisher = Publisher.objects.create(name="Press")
    magazine = Magazine.objects.create(title="Weekly", publisher=publisher)
    Issue.objects.create(number=1, magazine=magazine)
    magazine.delete()
    return publisher


def statuses() -> list[str]:
    return [model.objects.get().status for model in (Publisher, Magazine, Issue)]


def by_saving() -> None:
    one = Magazine.objects.get()
    one.status = "ok"
    one.save()


def by_bulk_update() -> None:
    one = Magazine.objects.get()
    one.status = "ok"
    Magazine.objects.bulk_update([one], ["status"])


#: How the magazine is restored, and the status that it and its issue have then.
WAYS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "undelete": (lambda: Magazine.objects.get().undelete(), ["", ""]),
    "queryset": (lambda: Magazine.objects.all().undelete(), ["", ""]),
    "save": (by_saving, ["ok", DELETED]),
    "update": (lambda: Magazine.objects.update(status="ok"), ["ok", DELETED]),
    "bulk_update": (by_bulk_update, ["ok", DELETED]),
}
ways = pytest.mark.parametrize(("restore", "live"), WAYS.values(), ids=WAYS)


@ways
def test_hr_45_a_parent_that_is_being_deleted_is_waited_for_and_forbids_it(
    press: Publisher, other: Other, restore: Callable[[], Any], live: list[str]
) -> None:
    """The deletion came first; once it is committed the restoration is refused."""
    with transaction.atomic():
        press.delete()
        restored = other.do(restore)
        assert other.waits_for_a_lock()

    with pytest.raises(UndeleteRefused):
        restored.result(30)
    assert statuses() == [DELETED] * 3


@ways
def test_a_deletion_that_is_rolled_back_forbids_nothing(
    press: Publisher, other: Other, restore: Callable[[], Any], live: list[str]
) -> None:
    """The restoration waits for it, and goes on."""
    with transaction.atomic():
        press.delete()
        restored = other.do(restore)
        assert other.waits_for_a_lock()
        transaction.set_rollback(True)

    restored.result(30)
    assert statuses() == ["", *live]


@ways
def test_hr_45_a_deletion_waits_for_what_is_being_restored_and_takes_it_along(
    press: Publisher, other: Other, restore: Callable[[], Any], live: list[str]
) -> None:
    """The restoration came first; once it is committed the parent is deleted with all that is live then."""
    with transaction.atomic():
        restore()
        deleted = other.do(lambda: Publisher.objects.get().delete())
        assert other.waits_for_a_lock()

    deleted.result(30)
    assert statuses() == [DELETED] * 3
    assert Magazine.objects.get().change_batch == Publisher.objects.get().change_batch


@pytest.mark.parametrize("restored_first", [True, False], ids=["below", "above"])
def test_parent_and_child_restored_at_once_meet_no_deadlock(
    press: Publisher, other: Other, restored_first: bool
) -> None:
    """They went together; whichever is first, the parent comes back with all of it, and the child never before it."""
    Magazine.objects.get().undelete()
    press.delete()

    if restored_first:
        with transaction.atomic():
            with pytest.raises(UndeleteRefused):
                Magazine.objects.get().undelete()
            above = other.do(lambda: Publisher.objects.get().undelete())
    else:
        with transaction.atomic():
            press.undelete()
            above = other.do(lambda: Magazine.objects.get().undelete())
            assert other.waits_for_a_lock()

    above.result(30)
    assert statuses() == [""] * 3


def test_two_restorations_of_one_object_are_one(press: Publisher, other: Other) -> None:
    """The second finds it restored."""
    with transaction.atomic():
        Magazine.objects.get().undelete()
        again = other.do(lambda: Magazine.objects.get().undelete())
        assert other.waits_for_a_lock()

    again.result(30)
    assert Magazine.objects.get().version == 3 and statuses() == [""] * 3


def test_two_deletions_of_one_object_are_one(press: Publisher, other: Other) -> None:
    """The second finds it deleted."""
    Magazine.objects.get().undelete()

    with transaction.atomic():
        press.delete()
        again = other.do(lambda: Publisher.objects.get().delete())
        assert other.waits_for_a_lock()

    again.result(30)
    assert [model.objects.get().version for model in (Publisher, Magazine, Issue)] == [2, 4, 4]


def test_hr_45_whatever_happens_at_once_nothing_live_is_below_what_is_deleted() -> None:
    """Four connections delete and restore at random; none meets a deadlock."""
    publishers = [Publisher.objects.create(name=str(n)) for n in range(2)]
    magazines = [Magazine.objects.create(title=str(n), publisher=publishers[n % 2]) for n in range(4)]
    issues = [Issue.objects.create(number=n, magazine=magazines[n % 4]) for n in range(8)]
    desks = [Desk.objects.create(name="0")]
    for n in range(6):
        desks.append(Desk.objects.create(name=str(n + 1), above=desks[n // 2]))
    keys = [(one.__class__, one.pk) for one in (*publishers, *magazines, *issues, *desks)]
    failures: list[Exception] = []
    together = threading.Barrier(4)

    def work(number: int) -> None:
        dice = random.Random(number)
        try:
            together.wait(30)
            for _ in range(150):
                model, key = dice.choice(keys)
                try:
                    _at_random(dice, model, key)
                except UndeleteRefused:
                    continue
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert failures == []
    assert not Magazine.handleref.undeleted().filter(publisher__status=DELETED).exists()
    assert not Issue.handleref.undeleted().filter(magazine__status=DELETED).exists()
    assert not Desk.handleref.undeleted().filter(above__status=DELETED).exists()


def _at_random(dice: random.Random, model: Any, key: int) -> None:
    one = model.objects.get(pk=key)
    match dice.randrange(5):
        case 0 | 1:
            one.delete()
        case 2 | 3:
            one.undelete()
        case 4 if one.is_deleted:  # what is live may have been deleted meanwhile, with what is below it
            one.status = "ok"
            one.save()
