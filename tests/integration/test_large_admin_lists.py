"""Label statistics of very many rows in the admin, on PostgreSQL: no page reads more than a few of them.

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

from footfall.storage.models import KnownLabel, Statistic
from footfall.storage.paging import COUNTED

pytestmark = [pytest.mark.usefixtures("many_rows"), pytest.mark.django_db]

LIST = reverse("admin:footfall_storage_statistic_changelist")
CHART = reverse("admin:footfall_storage_statistic_chart")
TABLE = Statistic._meta.db_table

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


@pytest.fixture(scope="module")
def many_rows(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Made once, and gone after the last test of this module."""
    assert connection.vendor == "postgresql", "Run this with --ds settings.stack, as make does."
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for statement in (ROWS, KNOWN, "ANALYZE"):
            cursor.execute(statement)
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLE}, {KnownLabel._meta.db_table}")


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from steps(below)


def reads(sql: str) -> list[dict[str, Any]]:
    """Each step of a query's plan that reads the statistics, run to its end."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.replace('%', '%%')}")
        [[plan]] = cursor.fetchall()
    [whole] = json.loads(plan) if isinstance(plan, str) else plan
    return [step for step in steps(whole["Plan"]) if step.get("Relation Name") == TABLE]


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
    with CaptureQueriesContext(connection) as captured:
        assert admin_client.get(url).status_code == 200

    asked = [query["sql"] for query in captured.captured_queries if f'"{TABLE}"' in query["sql"]]
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
