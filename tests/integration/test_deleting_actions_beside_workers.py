"""Actions are deleted while a worker adds to them, on PostgreSQL: no entry is left without its action."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from newsroom.models import Article

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref, encode_event, encode_message, new_id
from footfall.producers.queues import ACTIONS
from footfall.storage.models import Action, ActionObject
from footfall.workers.pipeline import Delivery, apply

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def stack(stack_settings: None) -> None:
    """These are about PostgreSQL."""


def like(user: User, article: Article) -> None:
    event = ActionEvent(
        id=new_id(),
        at=datetime.now(UTC),
        verb="liked",
        actor=Ref("auth.user", str(user.pk)),
        targets=[Ref("newsroom.article", str(article.pk))],
        related=[Ref("newsroom.topic", "rain")],
        grouping_delay=3600,
    )
    body = encode_message(ACTIONS, new_id(), int(time.time() * 1000), [encode_event(event)])
    apply([Delivery(body, ACTIONS)])


def is_waited_for() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone() == (True,)


@pytest.mark.parametrize(
    "delete",
    [lambda: Action.objects.all().delete(), lambda: Action.objects.get().delete()],
    ids=["queryset", "instance"],
)
def test_what_a_worker_is_adding_to_goes_as_a_whole(delete: Callable[[], Any]) -> None:
    """The worker has written and not committed: the deletion waits, and then takes what the worker has added along."""
    user = User.objects.create(username="ada")
    first, second = (Article.objects.create(title=title) for title in ("a", "b"))
    like(user, first)
    failures: list[Exception] = []

    def run() -> None:
        try:
            delete()
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    deleting = threading.Thread(target=run)
    with transaction.atomic():
        like(user, second)
        deleting.start()
        for _ in range(500):
            if is_waited_for():
                break
            time.sleep(0.01)
        else:
            raise AssertionError("The deletion waits for nobody.")
    deleting.join(20)

    assert failures == []
    assert (Action.objects.count(), ActionObject.objects.count()) == (0, 0)
