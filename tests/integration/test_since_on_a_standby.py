"""Polls that are answered by a real standby of PostgreSQL: it lags, and it doesn't know who is writing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import load_stack
from django.db import connection, connections, transaction
from newsroom.models import Publisher

from footfall.storage.references import CursorExpired, Tombstone, current_cursor

pytestmark = pytest.mark.usefixtures("stack_settings")

stack = load_stack()


class Standby(stack.PostgreSQL):  # type: ignore[misc,name-defined]  # the module is loaded from its file
    """A copy of ``primary`` that follows it."""

    primary: Any

    def _initialise(self, base: Path, port: int) -> None:
        source = ["-h", stack.HOST, "-p", str(self.primary.port), "-U", "postgres"]
        options = ["-D", str(base / "data"), "-R", "-X", "stream", "-c", "fast", "-N"]
        stack._as_server_user([stack._program("pg_basebackup"), *source, *options], cwd=base)
        with (base / "data" / "postgresql.conf").open("a") as conf:
            conf.write(f"port = {port}\n")

    def _make_database(self) -> None:
        """It has that of the primary."""


@pytest.fixture
def standby(transactional_db: None, django_db_blocker: Any, postgresql: Any, tmp_path: Path) -> Iterator[Standby]:
    """It runs, and has all that the primary has; the alias "standby" leads there."""
    server = Standby(tmp_path / "standby")
    server.primary = postgresql
    try:
        server.start()
        # What `connection` leads to by now is the tests' own database.
        connections.settings["standby"] = {**connection.settings_dict, "PORT": server.port, "CONN_HEALTH_CHECKS": True}
        catch_up(server)
        with django_db_blocker.unblock():  # for aliases that are made only here
            yield server
    finally:
        if "standby" in connections.settings:
            connections["standby"].close()
            del connections["standby"]
            del connections.settings["standby"]
        server.remove()


def catch_up(standby: Standby) -> None:
    """Wait until it has replayed all that was written."""
    written = standby.primary.sql("SELECT pg_current_wal_insert_lsn()").strip()
    for _ in range(600):
        if standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'").strip() == "t":
            return
        time.sleep(0.05)
    raise AssertionError("the standby does not follow")


def names(changes: Any) -> list[str]:
    return [f"gone {row.pk}" if isinstance(row, Tombstone) else row.name for row in changes.rows]


def poll(where: str, cursor: str, **options: Any) -> Any:
    return Publisher.objects.using(where).since(cursor=cursor, **options)


def test_hr_40_a_standby_tells_everything_once_also_what_is_committed_late(standby: Standby) -> None:
    """What is running on the primary is not in the standby's snapshots: nothing after it is told before it ends."""
    Publisher.objects.create(name="before")
    with ThreadPoolExecutor(max_workers=1) as thread:
        late = transaction.atomic()
        thread.submit(late.__enter__).result(60)
        thread.submit(Publisher.objects.create, name="late").result(60)
        Publisher.objects.create(name="meanwhile")
        catch_up(standby)
        first = poll("standby", "")
        thread.submit(late.__exit__, None, None, None).result(60)
        thread.submit(connections.close_all).result(60)
    catch_up(standby)
    second = poll("standby", first.cursor)
    assert names(first) == ["before"]
    assert names(second) == ["late", "meanwhile"]
    assert names(poll("standby", second.cursor)) == []
    assert names(poll("default", second.cursor)) == [], "what the one has told the other knows"


def test_hr_40_a_client_that_is_sent_to_the_primary_and_to_a_standby_that_lags_misses_nothing(standby: Standby) -> None:
    rows = [Publisher.objects.create(name=name) for name in "abcd"]
    catch_up(standby)
    standby.sql("SELECT pg_wal_replay_pause()")
    cursor = current_cursor()
    for row in rows[:2]:
        row.save()
    ahead = poll("default", cursor, limit=1)
    assert names(ahead) == ["a"] and ahead.more

    behind = poll("standby", ahead.cursor, limit=1)
    assert names(behind) == [], "it has nothing of the window yet"
    gone = [rows[2].pk, rows[3].pk]
    rows[2].delete(hard=True)
    rows[3].delete()
    at_primary = poll("default", behind.cursor)
    back = poll("standby", at_primary.cursor)
    assert names(back) == [], "a cursor that has seen more than it is no reason to start again"

    standby.sql("SELECT pg_wal_replay_resume()")
    catch_up(standby)
    told = Counter(names(ahead) + names(at_primary))
    assert set(told) == {"a", "b", *(f"gone {key}" for key in gone)} and told["b"] == 1
    assert names(poll("standby", back.cursor)) == []


def test_after_a_promotion_everybody_starts_again(standby: Standby) -> None:
    """What the old primary had told, and the standby never got, would be told of others by the same numbers."""
    Publisher.objects.create(name="a")
    catch_up(standby)
    cursor = current_cursor()
    assert names(poll("standby", cursor)) == []
    standby.sql("SELECT pg_promote()")
    with pytest.raises(CursorExpired, match="another time"):
        poll("standby", cursor)
    again = poll("standby", "")
    assert names(again) == ["a"] and names(poll("standby", again.cursor)) == []
