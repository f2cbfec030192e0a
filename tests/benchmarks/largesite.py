"""A site of 100,000 users with 1,000,000 actions and as many trackers, made by PostgreSQL itself, in about a minute.

How often something acts or is acted upon falls with its rank: the n-th of a kind comes up about 1/n times as often as
the first. So the first user did every seventeenth of all actions, and most did hardly any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Model, UniqueConstraint
from newsroom.models import Article, Page, Topic

from footfall.storage.models import Action, ActionObject, ActionStamp, DeletedItem, Tracker, ViewMark

USERS: Final = 100_000
ACTIONS: Final = 1_000_000
Sizes = Mapping[type[Model], int]

#: How many of each kind there are.
SIZES: Final[Sizes] = {Article: 20_000, Page: 20_000, Topic: 5_000, Group: 1_000, User: USERS}

#: Follows 500 objects of five types, among them the busiest of each.
READER: Final = 50_000
#: Follows the busiest users for a verb that is rare, or for all but the frequent ones.
CHOOSY: Final = 50_001
#: Follows two whole models, and twelve objects.
FOLLOWER_OF_MODELS: Final = 50_002
SPECIAL: Final = (READER, CHOOSY, FOLLOWER_OF_MODELS)

MADE: Final[tuple[type[Model], ...]] = (*SIZES, Action, ActionObject, ActionStamp, Tracker, ViewMark, DeletedItem)


def table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def label(model: type[Model]) -> str:
    return model._meta.label_lower


def kinds(sizes: Sizes) -> str:
    """An SQL array of the labels of the models."""
    return "(ARRAY[" + ", ".join(f"'{label(model)}'" for model in sizes) + "])"


def counts(sizes: Sizes) -> str:
    """An SQL array of how many there are of each model."""
    return "(ARRAY[" + ", ".join(map(str, sizes.values())) + "])"


#: The primary key, as text, of the object with the rank ``n``.
KEY_OF: Final = f"""
    CREATE FUNCTION pg_temp.key_of(kind text, n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE kind WHEN '{label(Page)}' THEN md5('page ' || n)::uuid::text
                         WHEN '{label(Topic)}' THEN 'topic ' || n
                         ELSE n::text END
    $$
"""


def objects(sizes: Sizes) -> list[str]:
    """Statements that make objects of the five models, as many of each as ``sizes`` says."""
    return [
        f"""
        INSERT INTO {table(User)} (id, username, password, first_name, last_name, email,
                                   is_superuser, is_staff, is_active, date_joined)
        SELECT n, 'user ' || n, '!', '', '', '', false, false, true, now() - interval '200 days'
        FROM generate_series(1, {sizes[User]}) n
        """,
        f"""
        INSERT INTO {table(Article)} (id, title, updated)
        SELECT n, 'Article ' || n, now() FROM generate_series(1, {sizes[Article]}) n
        """,
        f"""
        INSERT INTO {table(Page)} (id, title)
        SELECT md5('page ' || n)::uuid, 'Page ' || n FROM generate_series(1, {sizes[Page]}) n
        """,
        f"INSERT INTO {table(Topic)} (slug) SELECT 'topic ' || n FROM generate_series(1, {sizes[Topic]}) n",
        f"INSERT INTO {table(Group)} (id, name) SELECT n, 'Group ' || n FROM generate_series(1, {sizes[Group]}) n",
    ]


#: Of objects that were deleted long ago, so that nobody looks for tombstones in an empty table.
_TOMBSTONES: Final = f"""
    INSERT INTO {table(DeletedItem)} (object_type, object_id, description, serialization, deleted_at)
    SELECT '{label(Article)}', (1000000 + n)::text, 'Old article ' || n, '{{}}', now() - n * interval '1 minute'
    FROM generate_series(1, 50000) n
"""

#: One in ten thousand is the rare verb; one in twenty can't be read. The last action happened a minute ago.
_DRAFTS: Final = f"""
    CREATE TEMPORARY TABLE draft ON COMMIT DROP AS
    SELECT n,
           (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3)
            || '8' || substr(hash, 4, 15))::uuid AS id,
           floor({USERS} ^ random())::int::text AS actor_id,
           CASE WHEN n % 10000 = 0 THEN 'retired'
                ELSE (ARRAY['viewed', 'liked', 'commented', 'shared', 'printed'])[1 + floor(5 * random())::int]
           END AS verb,
           CASE WHEN n % 20 = 1 THEN 10 WHEN n % 37 = 0 THEN 40 ELSE 30 END AS level,
           at
    FROM (SELECT n, md5('action ' || n) AS hash,
                 now() - interval '1 minute' - ({ACTIONS} - n) * interval '8.64 seconds' AS at
          FROM generate_series(1, {ACTIONS}) n) AS numbered
"""

_ACTIONS: Final = f"""
    INSERT INTO {table(Action)} (id, actor_type, actor_id, verb, level, data, timestamp, renewed, changed)
    SELECT id, '{label(User)}', actor_id, verb, level, '{{}}', at, at, at + interval '2 seconds'
    FROM draft ORDER BY n
"""

_ENTRY_COLUMNS: Final = "action_id, role, object_type, object_id, verb, level, timestamp, renewed, changed"

#: The actor (0), and one to three objects of different types; every other third one is related, not a target.
_ENTRIES: Final = f"""
    INSERT INTO {table(ActionObject)}
           (action_id, role, object_type, object_id, verb, level, timestamp, renewed, changed)
    SELECT id,
           CASE WHEN k = 0 THEN 'a' WHEN k = 3 AND n % 2 = 0 THEN 'r' ELSE 't' END,
           CASE WHEN k = 0 THEN '{label(User)}' ELSE kind END,
           CASE WHEN k = 0 THEN actor_id ELSE pg_temp.key_of(kind, floor(size ^ random())::int) END,
           verb, level, at, at, at + interval '2 seconds'
    FROM (
        SELECT draft.*, k, {kinds(SIZES)}[1 + (n / 3 + k) % {len(SIZES)}] AS kind,
               {counts(SIZES)}[1 + (n / 3 + k) % {len(SIZES)}] AS size
        FROM draft, LATERAL generate_series(0, 1 + n % 3) k
    ) AS about
"""

_STAMP: Final = f"INSERT INTO {table(ActionStamp)} (id, at) VALUES (1, now())"

_TRACKER_COLUMNS: Final = "user_id, tracked_type, tracked_id, verbs, excluded, actor_only, last_updated"

#: How many objects of each type the reader follows.
_FOLLOWED: Final[dict[type[Model], int]] = {User: 300, Article: 60, Page: 60, Topic: 50, Group: 30}


def _trackers_of_reader() -> Iterator[str]:
    """Their ranks are the first, and then ever further apart. Every fifth is for two verbs."""
    for model, count in _FOLLOWED.items():
        yield f"""
            INSERT INTO {table(Tracker)} ({_TRACKER_COLUMNS})
            SELECT {READER}, '{label(model)}',
                   pg_temp.key_of('{label(model)}', k + (((k - 1) / {count}.0) ^ 3 * {SIZES[model] - count})::int),
                   CASE WHEN k % 5 = 0 THEN '["liked", "commented"]' ELSE '[]' END::jsonb,
                   CASE WHEN k % 7 = 1 THEN '["viewed"]' ELSE '[]' END::jsonb,
                   {"k % 3 > 0" if model is User else "false"},
                   now() - CASE WHEN k % 2 = 0 THEN interval '150 days' ELSE interval '20 days' END
            FROM generate_series(1, {count}) k
        """


#: Everybody else follows ten objects, two of each type, mostly the popular ones.
_TRACKERS: Final = f"""
    INSERT INTO {table(Tracker)} ({_TRACKER_COLUMNS})
    SELECT u, kind, pg_temp.key_of(kind, 2 * floor((size / 2) ^ random())::int - k / {len(SIZES)}),
           CASE WHEN random() < 0.1 THEN '["liked"]' ELSE '[]' END::jsonb, '[]', random() < 0.5,
           now() - random() * interval '150 days'
    FROM (
        SELECT u, k, {kinds(SIZES)}[1 + k % {len(SIZES)}] AS kind, {counts(SIZES)}[1 + k % {len(SIZES)}] AS size
        FROM generate_series(1, {USERS}) u, generate_series(0, 9) k
        WHERE u NOT IN {SPECIAL}
    ) AS followed
"""

_SPECIAL_TRACKERS: Final = (
    f"""
    INSERT INTO {table(Tracker)} ({_TRACKER_COLUMNS})
    SELECT {CHOOSY}, '{label(User)}', n::text,
           CASE WHEN n % 2 = 1 THEN '["retired"]' ELSE '[]' END::jsonb,
           CASE WHEN n % 2 = 0 THEN '["viewed", "liked", "commented", "shared", "printed"]' ELSE '[]' END::jsonb,
           true, now() - interval '150 days'
    FROM generate_series(1, 10) n
    """,
    f"""
    INSERT INTO {table(Tracker)} ({_TRACKER_COLUMNS})
    SELECT {FOLLOWER_OF_MODELS}, kind, '', verbs::jsonb, '[]'::jsonb, false, now() - interval '1 day'
    FROM (VALUES ('{label(Topic)}', '[]'), ('{label(Group)}', '["liked"]')) AS followed (kind, verbs)
    UNION ALL
    SELECT {FOLLOWER_OF_MODELS}, '{label(Article)}', n::text, '[]', '[]', false, now() - interval '1 day'
    FROM generate_series(1, 12) n
    """,
)

#: Half of the users once said that they have read all actions; and many have seen some articles.
_MARKS: Final = f"""
    INSERT INTO {table(ViewMark)} (user_id, object_type, object_id, at, seen)
    SELECT u, '{label(Action)}', '', now() - random() * interval '90 days', true
    FROM generate_series(1, {USERS}, 2) u WHERE u NOT IN {SPECIAL}
    UNION ALL
    SELECT 1 + n % {USERS}, '{label(Article)}', (1 + n / 13 % {SIZES[Article]})::text, now(), true
    FROM generate_series(0, 299999) n
    ON CONFLICT DO NOTHING
"""


def build() -> None:
    """Make it all, in one transaction; then what autovacuum would have done by the time that a site is so large."""
    assert connection.vendor == "postgresql", "Run this with --ds settings.stack, as make does."
    with connection.schema_editor() as editor, connection.cursor() as cursor:
        for setting in ("synchronous_commit = off", "maintenance_work_mem = '400MB'", "work_mem = '100MB'"):
            cursor.execute(f"SET LOCAL {setting}")
        cursor.execute("SELECT setseed(0.5)")
        for statement in (KEY_OF, *objects(SIZES), _TOMBSTONES, _DRAFTS):
            cursor.execute(statement)
        with _without_indexes(editor, Action, ActionObject, Tracker):
            for statement in (_ACTIONS, _ENTRIES, _STAMP):
                cursor.execute(statement)
            for statement in (*_trackers_of_reader(), _TRACKERS, *_SPECIAL_TRACKERS, _MARKS):
                cursor.execute(statement)
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (ANALYZE) {', '.join(map(table, MADE))}")


@contextmanager
def _without_indexes(editor: BaseDatabaseSchemaEditor, *models: type[Model]) -> Iterator[None]:
    """To build an index once is quicker than to keep it up to date a million times."""
    for model in models:
        for index in model._meta.indexes:
            editor.remove_index(model, index)
        for constraint in _keys(model):
            editor.remove_constraint(model, constraint)
    yield
    for model in models:
        for index in model._meta.indexes:
            editor.add_index(model, index)
        for constraint in _keys(model):
            editor.add_constraint(model, constraint)


def _keys(model: type[Model]) -> Sequence[UniqueConstraint]:
    return [constraint for constraint in model._meta.constraints if isinstance(constraint, UniqueConstraint)]


def remove() -> None:
    """Leave the tables empty."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(map(table, MADE))} CASCADE")
