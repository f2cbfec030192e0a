"""SQLite finds feeds, streams and unread counts through its indexes."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from storedactions import follow, store

from footfall.storage import feeds
from footfall.storage.models import Action, ActionObject, Tracker


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create(username="ann")


ASKED: dict[str, Callable[[User], Any]] = {
    "page": lambda user: feeds.feed_of(user).page(20),
    "next page": lambda user: feeds.feed_of(user).page(20, after=feeds.feed_of(user).page(5).next),
    "with own": lambda user: feeds.feed_of(user, include_own=True)[:20].count(),
    "of a verb": lambda user: feeds.feed_of(user, verb="wrote").page(20),
    "of a model": lambda user: feeds.feed_of(model_follower(user)).page(20),
    "whole": lambda user: list(feeds.feed_of(user)),
    "unread count": feeds.unread_count_of,
    "unread": lambda user: feeds.unread_of(user).page(20),
    "stream": lambda user: list(Action.objects.about("auth.user", "3")[:20]),
}


def model_follower(user: User) -> User:
    Tracker.objects.create(user=user, tracked_type="auth.user", actor_only=False)
    return user


@pytest.mark.parametrize("asked", ASKED)
def test_ac_60_sqlite_searches_actions_and_entries_by_index(asked: str, ann: User) -> None:
    """It scans neither table. PostgreSQL's plans depend on the size: see the integration tests."""
    assert connection.vendor == "sqlite", "Run this with --ds settings.embedded, as make does."
    for n in range(20):
        follow(ann, ("auth.user", str(n)), *(["wrote"] if n % 2 else []), actor_only=n < 10)
        store(("auth.user", str(n)), "wrote", [("newsroom.article", "1")], seconds=n)

    with CaptureQueriesContext(connection) as captured:
        ASKED[asked](ann)

    plans = [step for query in captured if query["sql"].startswith("SELECT") for step in plan_of(query["sql"])]
    tables = {Action._meta.db_table, ActionObject._meta.db_table, "one"}
    assert plans and not [step for step in plans if step.startswith("SCAN") and step.split()[1] in tables]


def plan_of(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + sql)
        return [row[-1] for row in cursor.fetchall()]
