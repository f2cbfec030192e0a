"""Footfall and django-activity-stream at the same work, in one process and one database; prints one JSON list a row.

Run by test_beside_activity_stream.py. Each has the tables and indexes that it ships, its default settings, and the
same data: 100,000 actions by 10,000 users, and readers who follow 500 objects of five types, or ten. An action has an
actor, a target, and every other one has a second object (``action_object`` there, ``related`` here), since that is what
both can say. What is timed alternates between the two, so that a busy machine slows down both.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from copy import copy
from statistics import median
from typing import Any, Final
from unittest.mock import patch

import django
import psycopg

django.setup()

# Models can be imported now.
from actstream import action as sent  # noqa: E402 - after setup
from actstream import registry  # noqa: E402 - after setup
from actstream.models import Action as TheirAction  # noqa: E402 - after setup
from actstream.models import Follow, user_stream  # noqa: E402 - after setup
from benchmarks.largesite import KEY_OF, Sizes, counts, kinds, label, objects, table  # noqa: E402 - after setup
from django.contrib.auth.models import Group, User  # noqa: E402 - after setup
from django.contrib.contenttypes.models import ContentType  # noqa: E402 - after setup
from django.db import connection  # noqa: E402 - after setup
from django.test.utils import setup_databases, setup_test_environment, teardown_databases  # noqa: E402 - after setup
from newsroom.models import Article, Page, Topic  # noqa: E402 - after setup

from footfall.producers import publish_action, scope  # noqa: E402 - after setup
from footfall.storage.models import Action, ActionObject, ActionStamp, Tracker  # noqa: E402 - after setup
from footfall.workers.testing import drain  # noqa: E402 - after setup

THEIRS: Final = "django-activity-stream"
OURS: Final = "Footfall"

USERS: Final = 10_000
ACTIONS: Final = 100_000
SIZES: Final[Sizes] = {Article: 2_000, Page: 2_000, Topic: 1_000, Group: 500, User: USERS}
#: Follow 500 objects each, a hundred of every type: the popular ones, and those that little happens to.
WIDE: Final = 5_000
QUIET: Final = 5_001
#: Follows ten of the quiet ones, two of each type, as somebody does who has just come.
NEW: Final = 5_002
FOLLOWED: Final = 100
LOGGED: Final = 1_000
ROUNDS: Final = 15
PAGE: Final = 20

# -- The data

#: How popular a thing is falls with its rank, as in largesite.py.
_DRAFTS: Final = f"""
    CREATE TEMPORARY TABLE draft AS
    SELECT n, md5('action ' || n)::uuid AS id, floor({USERS} ^ random())::int::text AS actor_id,
           (ARRAY['viewed', 'liked', 'commented', 'shared', 'printed'])[1 + floor(5 * random())::int] AS verb,
           now() - ({ACTIONS} - n) * interval '1 minute' AS at,
           target, pg_temp.key_of(target, floor(target_size ^ random())::int) AS target_id,
           other, pg_temp.key_of(other, floor(other_size ^ random())::int) AS other_id
    FROM (
        SELECT n, {kinds(SIZES)}[1 + n % {len(SIZES)}] AS target, {counts(SIZES)}[1 + n % {len(SIZES)}] AS target_size,
               CASE WHEN n % 2 = 0 THEN {kinds(SIZES)}[1 + n / 7 % {len(SIZES)}] END AS other,
               {counts(SIZES)}[1 + n / 7 % {len(SIZES)}] AS other_size
        FROM generate_series(1, {ACTIONS}) n
    ) AS numbered
"""

_OURS: Final = (
    f"""
    INSERT INTO {table(Action)} (id, actor_type, actor_id, verb, level, data, timestamp, renewed, changed)
    SELECT id, '{label(User)}', actor_id, verb, 30, '{{}}', at, at, at FROM draft ORDER BY n
    """,
    f"""
    INSERT INTO {table(ActionObject)}
           (action_id, role, object_type, object_id, verb, level, timestamp, renewed, changed)
    SELECT id, role, kind, key, verb, 30, at, at, at
    FROM draft, LATERAL (
        VALUES ('a', '{label(User)}', actor_id), ('t', target, target_id), ('r', other, other_id)
    ) AS about (role, kind, key)
    WHERE kind IS NOT NULL ORDER BY n
    """,
    f"INSERT INTO {table(ActionStamp)} (id, at) VALUES (1, now())",
)

_THEIRS: Final = f"""
    INSERT INTO {table(TheirAction)} (actor_content_type_id, actor_object_id, verb, description, timestamp, public,
                                      target_content_type_id, target_object_id,
                                      action_object_content_type_id, action_object_object_id)
    SELECT (SELECT id FROM content_type WHERE label = '{label(User)}'), actor_id, verb, NULL, at, true,
           (SELECT id FROM content_type WHERE label = target), target_id,
           (SELECT id FROM content_type WHERE label = other), other_id
    FROM draft ORDER BY n
"""

#: Every other one with what is done to it. Everybody else follows two of each type.
_FOLLOWED: Final = f"""
    CREATE TEMPORARY TABLE followed AS
    SELECT follower, kind, pg_temp.key_of(kind, rank) AS key, rank % 2 = 0 AS actor_only
    FROM unnest({kinds(SIZES)}, {counts(SIZES)}) AS sized (kind, size), LATERAL (
        SELECT {WIDE} AS follower, k + (((k - 1) / {FOLLOWED}.0) ^ 3 * (size - {FOLLOWED}))::int AS rank
        FROM generate_series(1, {FOLLOWED}) k
        UNION ALL
        SELECT {QUIET}, size / 2 + k * (size / {2 * FOLLOWED}) - k % 2 FROM generate_series(1, {FOLLOWED}) k
        UNION ALL
        SELECT {NEW}, size - k FROM generate_series(1, 2) k
        UNION ALL
        SELECT u, 1 + (u * k) % size FROM generate_series(1, {USERS}) u, generate_series(1, 2) k
        WHERE u NOT IN ({WIDE}, {QUIET}, {NEW})
    ) AS each
    GROUP BY 1, 2, 3, 4
"""


def build() -> None:
    """The same actions and the same reader for both."""
    for model in SIZES:
        registry.register(model)
        ContentType.objects.get_for_model(model)
    statements = (
        "SELECT setseed(0.5)",
        KEY_OF,
        *objects(SIZES),
        _DRAFTS,
        f"""
        CREATE TEMPORARY TABLE content_type AS
        SELECT id, app_label || '.' || model AS label FROM {table(ContentType)}
        """,
        *_OURS,
        _THEIRS,
        _FOLLOWED,
        f"""
        INSERT INTO {table(Tracker)} (user_id, tracked_type, tracked_id, verbs, excluded, actor_only, last_updated)
        SELECT follower, kind, key, '[]', '[]', actor_only, now() - interval '30 days' FROM followed
        """,
        f"""
        INSERT INTO {table(Follow)} (user_id, content_type_id, object_id, actor_only, flag, started)
        SELECT follower, (SELECT id FROM content_type WHERE label = kind), key, actor_only, '',
               now() - interval '30 days'
        FROM followed
        """,
        "VACUUM (ANALYZE)",
    )
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


# -- The measure

Work = Callable[[], object]


def alternating(rounds: int, *works: Work) -> list[float]:
    """The median time of each, in milliseconds: all of them in turn, ``rounds`` times, after one that is not timed."""
    times: list[list[float]] = [[] for _ in works]
    for each in range(rounds + 1):
        for taken, work in zip(times, works, strict=True):
            start = time.perf_counter()
            work()
            if each:
                taken.append((time.perf_counter() - start) * 1000)
    return [median(taken) for taken in times]


def statements(work: Work) -> int:
    """How many statements it sends, those of COPY too, which Django does not see."""
    count = itertools.count()

    def execute(run: Callable[..., Any], *arguments: Any) -> Any:
        next(count)
        return run(*arguments)

    def copy_in(*arguments: Any, **options: Any) -> Any:
        next(count)
        return original(*arguments, **options)

    original = psycopg.Cursor.copy
    with connection.execute_wrapper(execute), patch.object(psycopg.Cursor, "copy", copy_in):
        work()
    return next(count)


def row(title: str, *cells: str) -> None:
    print(json.dumps([title, *cells]), flush=True)


def line(title: str, first: str, ms: float, number: int | float, theirs: float) -> None:
    ratio = ms / theirs
    row(title, first, f"{ms:.3f}", f"{number:g}", f"{ratio:.2f} ×" if ratio > 0.1 else f"1/{1 / ratio:.0f} ×")


def compare_logs() -> None:
    """A thousand requests that log one action each, and the worker's part."""
    user = User.objects.get(pk=WIDE)
    article, page = Article.objects.get(pk=1), Page.objects.all()[0]

    def send() -> None:
        sent.send(user, verb="liked", target=article, action_object=page)

    def publish() -> None:
        with scope():
            publish_action(user, "liked", article, page)

    title = f"log one action with two objects (medians of {LOGGED})"
    row(title, "", "ms", "statements", f"{THEIRS} = 1")
    theirs, ours = alternating(LOGGED, send, publish)
    line(title, f"{THEIRS}: action.send, in the request", theirs, statements(send), theirs)
    line(title, f"{OURS}: publish_action, in the request, its scope included", ours, statements(publish), theirs)
    drain()
    applied, sent_by_worker = fold(publish)
    line(title, f"{OURS}: the worker's part, of {LOGGED} in batches", applied, sent_by_worker, theirs)


def fold(publish: Work) -> tuple[float, float]:
    """What applying costs for each action, in milliseconds and in statements."""
    times, number = [], 0
    for _ in range(5):
        for _ in range(LOGGED):
            publish()
        start = time.perf_counter()
        drain()
        times.append((time.perf_counter() - start) * 1000 / LOGGED)
    for _ in range(LOGGED):
        publish()
    number = statements(drain)
    return median(times), number / LOGGED


def compare_feeds(key: int, what: str) -> None:
    """The first page of a feed as text, each action with its objects."""
    reader = User.objects.get(pk=key)

    def with_prefetch() -> list[str]:
        return [str(action) for action in user_stream(reader)[:PAGE]]

    def without_prefetch() -> list[str]:
        return [str(action) for action in user_stream(reader).prefetch_related(None)[:PAGE]]

    def ours() -> list[str]:
        user: Any = copy(reader)  # as a request has it: nothing loaded yet
        return Action.bulk_render(user.actions.feed()[:PAGE], user)

    def count() -> int:
        return Action.unread_count(copy(reader))

    shown = [action.timestamp for action in user_stream(reader)[:PAGE]]
    assert shown == [action.timestamp for action in reader.actions.feed()[:PAGE]]  # type: ignore[attr-defined]  # connected
    title = f"a feed page of {PAGE}, rendered, of {what} objects and {ACTIONS:,} actions (medians of {ROUNDS})"
    row(title, "", "ms", "queries", f"{THEIRS} = 1")
    theirs, bare, mine, counted = alternating(ROUNDS, with_prefetch, without_prefetch, ours, count)
    line(title, f"{THEIRS}: user_stream, as it ships (prefetches)", theirs, statements(with_prefetch), theirs)
    line(title, f"{THEIRS}: without its prefetch", bare, statements(without_prefetch), theirs)
    line(title, f"{OURS}: feed, with what is unread", mine, statements(ours), theirs)
    line(title, f"{OURS}: unread count ({THEIRS} has none)", counted, statements(count), theirs)


def main() -> None:
    setup_test_environment()
    databases = setup_databases(verbosity=0, interactive=False, serialized_aliases=set())
    try:
        build()
        compare_feeds(WIDE, "500 popular")
        compare_feeds(QUIET, "500 quiet")
        compare_feeds(NEW, "10 quiet")
        compare_logs()
    finally:
        teardown_databases(databases, verbosity=0)


if __name__ == "__main__":
    main()
