"""Statistics, actions, trackers and deleted items of very many rows in the admin, on PostgreSQL: no page reads more
than a few of them.

What is true of 200,000 rows here is so of ten million: the plans are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, DjangoDbBlocker

from footfall.storage import actionadmin
from footfall.storage.models import Action, ActionObject, DeletedItem, KnownLabel, Statistic, Tracker
from footfall.storage.paging import COUNTED

pytestmark = [pytest.mark.usefixtures("many_rows"), pytest.mark.django_db]

LIST = reverse("admin:footfall_storage_statistic_changelist")
CHART = reverse("admin:footfall_storage_statistic_chart")
ACTIONS, TRACKERS, ITEMS = (
    reverse(f"admin:footfall_storage_{name}_changelist") for name in ("action", "tracker", "deleteditem")
)
TABLE = Statistic._meta.db_table
LARGE = {model._meta.db_table for model in (Statistic, Action, ActionObject, Tracker, DeletedItem)}

#: What a query may read: what is counted of a list, the rest of a day, and a little.
READ = COUNTED + 5_000

#: 199 labels of 20 categories on five elements each, on 200 days; and one that was only hit in the first ten of them.
ROWS = f"""
    INSERT INTO {TABLE} (label, category, dom_id, day, counter)
    SELECT 'label ' || label, 'category ' || label % 20, 'dom ' || dom, date '2026-06-15' - ago, label
    FROM generate_series(0, 199) ago, generate_series(1, 199) label, generate_series(1, 5) dom
    UNION ALL
    SELECT 'old label', 'old category', 'dom ' || dom, date '2026-06-15' - ago, 1
    FROM generate_series(190, 199) ago, generate_series(1, 100) dom
"""
KNOWN = f"""
    INSERT INTO {KnownLabel._meta.db_table} (label, category, dom_id, first_day)
    SELECT label, category, dom_id, min(day) FROM {TABLE} GROUP BY label, category, dom_id
"""

#: 60,000 actions of ten verbs, a minute apart, of 100 actors on 300 articles; one verb and one level were used only in
#: the beginning, and one article is the target of all.
DEEDS = f"""
    INSERT INTO {Action._meta.db_table} (id, actor_type, actor_id, verb, level, data, timestamp, renewed, changed)
    SELECT md5(n::text)::uuid, 'auth.user', n % 100, CASE WHEN n < 50 THEN 'old verb' ELSE 'verb ' || n % 10 END,
           CASE WHEN n < 50 THEN 40 ELSE 30 END, '{{}}', at, at, at
    FROM (SELECT n, timestamptz '2026-01-01' + n * interval '1 minute' AS at FROM generate_series(1, 60000) n) AS made
"""
ENTRIES = f"""
    INSERT INTO {ActionObject._meta.db_table}
        (action_id, role, object_type, object_id, verb, level, timestamp, renewed, changed)
    SELECT id, role, type, named, verb, level, timestamp, renewed, changed
    FROM {Action._meta.db_table}, LATERAL (VALUES
        ('a', 'auth.user', actor_id), ('t', 'articles.article', 'all'),
        ('t', 'articles.article', (extract(epoch FROM timestamp)::bigint / 60 % 300)::text)
    ) AS entry (role, type, named)
"""
FOLLOWS = f"""
    INSERT INTO {Tracker._meta.db_table}
        (user_id, tracked_type, tracked_id, verbs, excluded, actor_only, last_updated)
    SELECT n, 'articles.article', CASE WHEN n % 20 = 0 THEN 'all' ELSE n::text END, '[]', '[]', true, now()
    FROM generate_series(1, 60000) n
"""
GONE = f"""
    INSERT INTO {DeletedItem._meta.db_table} (object_type, object_id, description, serialization, deleted_at)
    SELECT 'articles.article', n, CASE WHEN n < 50 THEN 'Snow' ELSE 'Rain' END, '{{}}',
           timestamptz '2026-01-01' + n * interval '1 minute'
    FROM generate_series(1, 60000) n
"""


@pytest.fixture(scope="module")
def many_rows(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Made once, and gone after the last test of this module."""
    assert connection.vendor == "postgresql", "Run this with --ds settings.stack, as make does."
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for statement in (ROWS, KNOWN, DEEDS, ENTRIES, FOLLOWS, GONE, "VACUUM ANALYZE"):
            cursor.execute(statement)
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(LARGE)}, {KnownLabel._meta.db_table}")


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from steps(below)


def reads(sql: str) -> list[dict[str, Any]]:
    """Each step of a query's plan that reads a large table, run to its end."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.replace('%', '%%')}")
        [[plan]] = cursor.fetchall()
    [whole] = json.loads(plan) if isinstance(plan, str) else plan
    return [step for step in steps(whole["Plan"]) if step.get("Relation Name") in LARGE]


def rows_read(step: dict[str, Any]) -> int:
    rows = step["Actual Rows"] + step.get("Rows Removed by Filter", 0)
    return int(rows * step["Actual Loops"])


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(LIST, id="first page"),
        pytest.param(f"{LIST}?p=2", id="second page"),
        pytest.param(f"{LIST}?p=100", id="last page"),
        pytest.param(f"{LIST}?o=4", id="turned round"),
        pytest.param(f"{LIST}?day__gte=2026-06-10&day__lt=2026-06-16", id="days"),
        pytest.param(f"{LIST}?day__year=2026", id="year"),
        pytest.param(f"{LIST}?day__year=2026&day__month=3", id="month"),
        pytest.param(f"{LIST}?day__year=2026&day__month=3&day__day=8", id="day"),
        pytest.param(f"{LIST}?category=category+7", id="category"),
        pytest.param(f"{LIST}?category=category+7&o=4", id="category, turned round"),
        pytest.param(f"{LIST}?category=old+category", id="category of long ago"),
        pytest.param(f"{LIST}?category=nope", id="no such category"),
        pytest.param(f"{LIST}?label=label+7", id="label"),
        pytest.param(f"{LIST}?label=label+7&p=2", id="second page of a label"),
        pytest.param(f"{LIST}?label=old+label", id="label of long ago"),
        pytest.param(f"{LIST}?label=nope", id="no such label"),
        pytest.param(f"{LIST}?label=label+7&category=category+7&day__year=2026", id="all of them"),
        pytest.param(f"{LIST}?q=bel+17", id="search"),
        pytest.param(f"{LIST}?q=old", id="search for what was long ago"),
        pytest.param(f"{CHART}?label=label+7", id="chart of a label"),
        pytest.param(f"{CHART}?category=category+7", id="chart of a category"),
        pytest.param(f"{CHART}?q=old", id="chart of a search"),
    ],
)
def test_no_page_reads_the_table(admin_client: Client, url: str) -> None:
    """Each query of it finds its rows by an index, and passes few others."""
    assert_finds_its_rows(admin_client, url)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(ACTIONS, id="actions"),
        pytest.param(f"{ACTIONS}?p=100", id="last page"),
        pytest.param(f"{ACTIONS}?timestamp__year=2026&timestamp__month=1", id="month"),
        pytest.param(f"{ACTIONS}?timestamp__year=2026&timestamp__month=1&verb=old+verb", id="old verb of its month"),
        pytest.param(f"{ACTIONS}?verb=verb+7", id="verb"),
        pytest.param(f"{ACTIONS}?verb=old+verb", id="verb of long ago"),
        pytest.param(f"{ACTIONS}?level=40", id="level of long ago"),
        pytest.param(f"{ACTIONS}?level=30&verb=verb+7&p=2", id="level and verb"),
        pytest.param(f"{ACTIONS}?q=old", id="search"),
        pytest.param(f"{ACTIONS}?q=articles.article:all", id="object of all actions"),
        pytest.param(f"{ACTIONS}?q=articles.article:7", id="object of some actions"),
        pytest.param(f"{ACTIONS}?q=auth.user:7&timestamp__year=2026&timestamp__month=1", id="actor in a month"),
        pytest.param(f"{ACTIONS}?q=articles.article:nope", id="no such object"),
        pytest.param(TRACKERS, id="trackers"),
        pytest.param(f"{TRACKERS}?p=100", id="last page of trackers"),
        pytest.param(f"{TRACKERS}?q=articles.article:all", id="followers of the most followed"),
        pytest.param(f"{TRACKERS}?q=admin", id="trackers of a user"),
        pytest.param(ITEMS, id="deleted items"),
        pytest.param(f"{ITEMS}?q=snow", id="words of a description"),
        pytest.param(f"{ITEMS}?q=articles.article:7", id="one deleted item"),
        pytest.param(f"{ITEMS}?deleted_at__year=2026&deleted_at__month=1&q=snow", id="deleted items of a month"),
    ],
)
def test_no_page_of_actions_reads_the_table(admin_client: Client, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise; a filter looks through as many of the latest rows as it is told to."""
    monkeypatch.setattr(actionadmin, "SEARCHED", 5_000)
    assert_finds_its_rows(admin_client, url)


def assert_finds_its_rows(admin_client: Client, url: str) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert admin_client.get(url).status_code == 200

    asked = [
        query["sql"] for query in captured.captured_queries if any(f'"{table}"' in query["sql"] for table in LARGE)
    ]
    assert asked
    for sql in asked:
        for step in reads(sql):
            assert step["Node Type"] != "Seq Scan", sql
            assert rows_read(step) <= READ, sql


def test_a_large_list_opens_in_eight_queries(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """And says that there are more rows than it counted."""
    with django_assert_max_num_queries(8):
        page = admin_client.get(LIST).content.decode()

    assert f"more than {COUNTED} Statistics" in " ".join(page.split())
