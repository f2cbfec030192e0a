"""`captured_messages` shows a site's tests what its code publishes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import models, transaction
from django.test import TestCase
from newsroom.models import Article

from footfall.producers import publish_action, publish_increment, publish_labels, publish_view, scope
from footfall.producers.messages import Action, Increment, View
from footfall.producers.testing import captured_messages


class TestInATestCase(TestCase):
    """Inside TestCase no transaction ever commits."""

    def test_events_are_recorded_when_they_are_published(self) -> None:
        """In order, with their kind, and not committed."""
        user = User.objects.create(username="ada")
        article = Article.objects.create(title="News")

        with captured_messages() as messages:
            publish_view(user, article)
            publish_increment(article, "views")
            publish_action(user, "read", article)

        assert [message.kind for message in messages] == ["view", "increment", "action"]
        assert [type(message.event) for message in messages] == [View, Increment, Action]
        assert not any(message.committed for message in messages)

    def test_commit_callbacks_commit_them(self) -> None:
        """As with anything that waits for a commit."""
        with captured_messages() as messages, self.captureOnCommitCallbacks(execute=True):
            publish_labels("a")
            assert not messages[0].committed

        assert messages[0].committed

    def test_a_rolled_back_event_is_seen_and_never_committed(self) -> None:
        """So a test can tell that it would not have been sent."""
        with captured_messages() as messages, self.captureOnCommitCallbacks(execute=True):
            publish_labels("kept")
            with pytest.raises(RuntimeError), transaction.atomic():
                publish_labels("ghost")
                raise RuntimeError

        assert [message.committed for message in messages] == [True, False]


@pytest.mark.django_db(transaction=True)
def test_with_real_transactions_a_commit_is_a_commit() -> None:
    """And outside of one there is nothing to wait for."""
    with captured_messages() as messages:
        publish_labels("at once")
        with transaction.atomic():
            publish_labels("later")
            assert [message.committed for message in messages] == [True, False]
        with pytest.raises(RuntimeError), transaction.atomic():
            publish_labels("never")
            raise RuntimeError

    assert [message.committed for message in messages] == [True, True, False]


def test_nothing_leaves_the_process(spool_directory: Path) -> None:
    """Neither in a scope nor outside of one."""
    with captured_messages() as messages:
        publish_labels("a")
        with scope():
            publish_labels("b")

    assert len(messages) == 2
    assert not spool_directory.exists()
    publish_labels("c")
    assert spool_directory.exists() and len(messages) == 2


def test_it_records_what_is_published_while_publishing_is_switched_off(settings: Any) -> None:
    """A site's test settings may switch Footfall off, and a test still see what would be said."""
    settings.FOOTFALL = {**settings.FOOTFALL, "ENABLED": False}

    with captured_messages() as messages:
        publish_labels("a")

    assert len(messages) == 1


def test_the_innermost_block_records() -> None:
    """The outer one goes on afterwards, also after an exception."""
    with captured_messages() as outer:
        publish_labels("a")
        with pytest.raises(RuntimeError), captured_messages() as inner:
            publish_labels("b")
            raise RuntimeError
        publish_labels("c")

    assert [len(outer), len(inner)] == [2, 1]


def test_it_records_what_coroutines_publish() -> None:
    """Tasks and asyncio's threads inherit it."""

    async def work() -> None:
        publish_labels("a")
        await asyncio.gather(asyncio.to_thread(publish_labels, "b"), asyncio.create_task(later()))

    async def later() -> None:
        publish_labels("c")

    with captured_messages() as messages:
        asyncio.run(work())

    assert len(messages) == 3


def test_arguments_are_checked_as_ever() -> None:
    """A captured call that can't be right raises, too."""
    with captured_messages() as messages, pytest.raises(ValueError, match="not a label"):
        publish_labels("a|")

    assert messages == []


class Replicas:
    """Reads go to a replica, writes to the default database."""

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str:
        return "default"


@pytest.mark.django_db(transaction=True)
def test_what_was_read_from_a_replica_waits_for_the_primarys_commit(settings: Any) -> None:
    """An event must not survive the rollback of what it tells of."""
    settings.DATABASE_ROUTERS = [Replicas()]
    article = Article.objects.create(title="read from elsewhere")
    article._state.db = "replica"

    with captured_messages() as captured, transaction.atomic():
        publish_increment(article, "views")
        transaction.set_rollback(True)
    assert not captured[0].committed

    with captured_messages() as captured, transaction.atomic():
        publish_increment(article, "views")
        assert not captured[0].committed
    assert captured[0].committed
