"""On a table of some size PostgreSQL reads feeds, streams and unread counts from indexes only.

The large site of ``tests/benchmarks`` shows the same with a million of everything, and the times.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from footfall.storage import feeds
from footfall.storage.models import Action, Tracker

#: Deeds of 2,000 users, each of one of 5,000 articles, in relation to one of 500 topics.
ACTIONS = 40_000
USERS = 2_000
READER = 1

NOW = datetime(2024, 5, 1, tzinfo=UTC)

FILL = [
    f"""CREATE TEMPORARY TABLE deeds AS
        SELECT md5(n::text)::uuid AS id, (n * 7919 % {USERS} + 1)::text AS who, (n * 104729 % 5000 + 1)::text AS what,
               'topic-' || n % 500 AS topic, (ARRAY['wrote', 'liked', 'read'])[1 + n % 3] AS verb,
               CASE WHEN n % 10 = 0 THEN 20 ELSE 30 END AS level,
               timestamptz '2024-01-01 00:00Z' + n * interval '1 minute' AS at
        FROM generate_series(1::bigint, {ACTIONS}) AS n""",
    """INSERT INTO footfall_storage_action (id, actor_type, actor_id, verb, level, data, timestamp, renewed, changed)
        SELECT id, 'auth.user', who, verb, level, '{"n": 1}', at, at, at FROM deeds""",
    """INSERT INTO footfall_storage_actionobject
               (action_id, role, object_type, object_id, verb, level, timestamp, renewed, changed)
        SELECT id, 'a', 'auth.user', who, verb, level, at, at, at FROM deeds
        UNION ALL SELECT id, 't', 'newsroom.article', what, verb, level, at, at, at FROM deeds
        UNION ALL SELECT id, 'r', 'newsroom.topic', topic, verb, level, at, at, at FROM deeds""",
    f"""INSERT INTO footfall_storage_tracker
               (user_id, tracked_type, tracked_id, verbs, excluded, actor_only, last_updated)
        SELECT follower, 'auth.user', (follower * 31 + n * 97) % {USERS} + 1, '[]', '[]', true,
               timestamptz '2024-01-20Z'
        FROM generate_series(1, {USERS}) AS follower, generate_series(1, 20) AS n""",
    f"""INSERT INTO footfall_storage_tracker
               (user_id, tracked_type, tracked_id, verbs, excluded, actor_only, last_updated)
        SELECT {READER}, 'newsroom.article', n * 10, CASE WHEN n % 2 = 0 THEN '[]' ELSE '["liked"]' END::jsonb,
               CASE WHEN n % 4 = 0 THEN '["read"]' ELSE '[]' END::jsonb, false, timestamptz '2024-01-10Z'
        FROM generate_series(1, 479) AS n""",
    """INSERT INTO footfall_storage_viewmark (user_id, object_type, object_id, at, seen)
        SELECT who::int, 'footfall_storage.action', id, at, get_byte(uuid_send(id), 0) > 9 FROM deeds""",
    f"""INSERT INTO footfall_storage_deleteditem (object_type, object_id, description, serialization, deleted_at)
        SELECT 'newsroom.article', n, 'An article', '{{}}', now() FROM generate_series(1, {ACTIONS}) AS n""",
    "ANALYZE",
]


@pytest.fixture(scope="module")
def filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The tables, filled once; emptied by who comes after, since other tests flush what they find."""
    tables = ("action", "actionobject", "tracker", "viewmark", "deleteditem")
    with django_db_blocker.unblock():
        assert connection.vendor == "postgresql", "Run this with --ds settings.stack, as make does."
        with connection.cursor() as cursor:
            for statement in FILL:
                cursor.execute(statement)
        yield
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE deeds")
            cursor.execute(f"TRUNCATE {', '.join(f'footfall_storage_{table}' for table in tables)}")


@pytest.fixture
def reader(filled: None, db: None) -> User:
    """Follows 500 objects."""
    return User.objects.create(pk=READER, username="reader")


def seq_scans(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for inner in plan.get("Plans", []):
        yield from seq_scans(inner)


def explained(ask: Callable[[], Any]) -> list[tuple[str, dict[str, Any]]]:
    """The statements that ``ask`` makes on tables of ours, with their plans."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        ask()
    plans = []
    for query in captured.captured_queries:
        if "footfall_storage_" in query["sql"]:
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN (FORMAT JSON) " + query["sql"])
                (plan,) = cursor.fetchone()
            plans.append((query["sql"], plan[0] if isinstance(plan, list) else json.loads(plan)[0]))
    return plans


def first(user: User, **options: Any) -> Any:
    return feeds.feed_of(user, **options).page(20)


ASKED: dict[str, Callable[[User], Any]] = {
    "page": first,
    "slice": lambda user: list(feeds.feed_of(user)[:20]),
    "next page": lambda user: feeds.feed_of(user).page(20, after=first(user).next),
    "with own": lambda user: first(user, include_own=True),
    "of a verb": lambda user: first(user, verb="liked"),
    "since following": lambda user: first(user, since_following=True),
    "since a model is followed": lambda user: first(model_follower(user), since_following=True),
    "is there any": lambda user: feeds.feed_of(user).exists(),
    "of a model": lambda user: first(model_follower(user)),
    "unread count": feeds.unread_count_of,
    "unread count, up to a limit": lambda user: feeds.unread_count_of(user, limit=100),
    "unread actions": lambda user: feeds.unread_of(user).page(20),
    "stream": lambda user: list(Action.objects.about("newsroom.topic", "topic-7")[:20]),
    "stream's next page": lambda user: Action.objects.about("newsroom.topic", "topic-7").page(
        20, after=Action.objects.about("newsroom.topic", "topic-7").page(20).next
    ),
    "all actions": lambda user: Action.objects.all().page(20, after=Action.objects.page(20).next),
    "tracked by": lambda user: Action.objects.tracked_by(Tracker(tracked_type="newsroom.topic", actor_only=False)).page(
        20
    ),
}


def model_follower(user: User) -> User:
    Tracker.objects.create(user=user, tracked_type="newsroom.topic", actor_only=False, last_updated=NOW)
    return user


@pytest.mark.parametrize("asked", ASKED)
def test_ac_60_no_table_is_read_as_a_whole(asked: str, reader: User) -> None:
    """A page of the feed of somebody who follows 500 objects, what is unread of it, the stream of an object."""
    plans = explained(lambda: ASKED[asked](reader))

    assert plans
    for sql, plan in plans:
        assert not [table for table in seq_scans(plan["Plan"]) if table.startswith("footfall")], (sql, plan)
