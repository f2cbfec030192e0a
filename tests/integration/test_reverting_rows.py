"""The way back beside others who write the same row, and what is above it, at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, models
from django.test.utils import CaptureQueriesContext
from histories import register_all, saved
from newsroom.models import Magazine, Publisher, Story

from footfall.storage.versions import ReversionReverter

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stack_settings")]

register_all()


@pytest.fixture
def other() -> Iterator[Callable[..., Any]]:
    """Another process, as it were: a thread with a connection of its own."""
    pool = ThreadPoolExecutor(1)
    yield pool.submit
    pool.submit(connections.close_all).result(30)
    pool.shutdown()


def test_what_another_saves_while_a_field_is_reverted_is_not_lost(other: Callable[..., Any]) -> None:
    """The row is locked before it is read: the other waits."""
    story = Story()
    first = saved(story, title="a")
    saved(story, title="b", body="old")
    reached, may_go_on = threading.Event(), threading.Event()

    def wait(**_: Any) -> None:
        if connection.in_atomic_block and not reached.is_set():
            reached.set()
            may_go_on.wait(30)

    def edit() -> None:
        one = Story.objects.get(pk=story.pk)
        one.body = "new"
        one.save(update_fields=["body"])

    models.signals.pre_save.connect(wait, sender=Story)
    try:
        reverting = other(lambda: ReversionReverter().revert_fields(Story.objects.get(pk=story.pk), {"title": first}))
        assert reached.wait(30)
        editing = threading.Thread(target=lambda: (edit(), connections.close_all()))
        editing.start()
        editing.join(0.5)
        assert editing.is_alive()
        may_go_on.set()
        reverting.result(30)
        editing.join(30)
    finally:
        models.signals.pre_save.disconnect(wait, sender=Story)

    story.refresh_from_db()
    assert (story.title, story.body, story.version) == ("a", "new", 4)


def test_what_is_above_is_locked_before_the_row() -> None:
    """What was above it, and what will be: from the top down, as deletions do."""
    old, new = (Publisher.objects.create(name=name) for name in ("old", "new"))
    magazine = Magazine(title="m", publisher=new)
    first = saved(magazine)
    saved(magazine, publisher=old)

    with CaptureQueriesContext(connection) as queries:
        ReversionReverter().rollback(magazine, first)

    locks = [query["sql"] for query in queries if "FOR NO KEY UPDATE" in query["sql"]]
    above = [sql for sql in locks if 'FROM "newsroom_publisher"' in sql]
    row = [sql for sql in locks if 'FROM "newsroom_magazine"' in sql and sql not in above]
    assert locks.index(above[0]) < locks.index(row[0]) and str(new.pk) in above[0]
    assert magazine.publisher == new
