"""Trackers in another database than the users and what these follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections
from django.db.utils import ConnectionDoesNotExist
from newsroom.models import Article

from footfall.storage.actions import track, untrack
from footfall.storage.models import Tracker

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"tracker", "deleteditem"}


@pytest.mark.django_db
def test_without_a_router_there_is_one_database_and_using_names_no_other() -> None:
    """An alias that is not known is refused, and nothing is stored."""
    ada, article = User.objects.create(username="ada"), Article.objects.create(title="On counting")
    for call in (track, untrack):
        with pytest.raises(ConnectionDoesNotExist, match="elsewhere"):
            call(ada, article, using="elsewhere")
    track(ada, article, using="default")
    assert Tracker.objects.using("default").count() == 1


def test_the_trackers_of_another_database(archive: str) -> None:
    """Are read there; the users who follow are found where these are."""
    ada, article = User.objects.create(username="ada"), Article.objects.create(title="On counting")
    track(ada, [article, Article])
    assert [Tracker.objects.using(alias).count() for alias in ("default", archive)] == [0, 2]
    assert list(article.trackers.users(username="ada")) == [ada]
    assert ada.trackers.tracked() == {article, Article}
    assert article.trackers.tracking().db == archive
    untrack(ada, article, log=True)
    assert ada.trackers.tracked() == {Article}
    track(ada, article, using="default")
    assert list(article.trackers.tracking().using("default").values_list("user_id", flat=True)) == [ada.pk]


@pytest.fixture
def beside(archive: str) -> Iterator[str]:
    """Another connection to the second database, which waits for nobody; both begin transactions as SQLite does."""
    plain = {**connections.settings[archive], "OPTIONS": {"timeout": 0}}
    connections[archive].close()
    connections[archive].settings_dict = connections.settings["beside"] = plain
    for alias in (archive, "beside"):
        connections[alias].connect()
        with connections[alias].cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
    yield "beside"
    connections["beside"].close()
    del connections["beside"]
    del connections.settings["beside"]


def test_ac_40_nobody_writes_between_what_untrack_reads_and_writes(archive: str, beside: str) -> None:
    """On SQLite, where no row is locked: whoever comes in between is kept out until the commit."""
    ada, article = User.objects.create(username="ada"), Article.objects.create(title="On counting")
    track(ada, article, verbs=["a", "b", "c"])
    refused = []

    def come_in_between(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        done = execute(sql, params, many, context)
        if sql.startswith("SELECT") and "footfall_storage_tracker" in sql:
            with pytest.raises(OperationalError, match="locked"):
                untrack(ada, article, verbs="b", using=beside)
            refused.append(sql)
        return done

    with connections[archive].execute_wrapper(come_in_between):
        untrack(ada, article, verbs="a")
    assert len(refused) == 1
    untrack(ada, article, verbs="b", using=beside)
    assert Tracker.objects.get().verbs == ["c"]
