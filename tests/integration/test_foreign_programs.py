"""Programs that use none of Footfall's code publish what the README describes, and it arrives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika
import pytest
from django.contrib.auth.models import User
from newsroom.models import Article, ArticleDaily
from processes import eventually

from footfall.storage.models import Action, ActionObject, DeadLetter, ViewMark

README = Path(__file__).resolve().parents[2] / "README.md"


def readme_message() -> dict[str, Any]:
    """The example message of the README, as it stands there."""
    block = re.search(r"```json\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    message: dict[str, Any] = json.loads(block[1])
    return message


def handwritten(user: User, article: Article) -> list[dict[str, str]]:
    """One message of each kind, put together from the README's example and its table."""
    ref = {"type": "newsroom.article", "id": str(article.pk)}
    events = {
        "footfall.views": {"kind": "view", "user": str(user.pk), "object": ref},
        "footfall.increments": {**readme_message()["args"][0][0], "dataset": "newsroom.articledaily", "object": ref},
        "footfall.actions": {
            "kind": "action",
            "verb": "liked",
            "actor": {"type": "auth.user", "id": str(user.pk)},
            "targets": [ref],
            "data": {"from": "elsewhere"},
        },
    }
    return [{"queue": queue, "body": json.dumps(message(queue, event))} for queue, event in events.items()]


def message(queue: str, event: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        **readme_message(),
        "queue_name": queue,
        "actor_name": queue,
        "args": [[{**event, "id": str(uuid.uuid4()), "at": now.isoformat()}]],
        "message_id": str(uuid.uuid4()),
        "message_timestamp": int(time.time() * 1000),
    }


def publish_with_pika(url: str, messages: list[dict[str, str]]) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for each in messages:
            channel.basic_publish("", each["queue"], each["body"].encode(), pika.BasicProperties(delivery_mode=2))


def publish_with_node(url: str, messages: list[dict[str, str]]) -> None:
    program = Path(__file__).with_name("publish.mjs")
    done = subprocess.run(
        ["node", str(program), url], input=json.dumps(messages), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("publish", [publish_with_pika, publish_with_node], ids=["pika", "node"])
def test_a_message_of_each_kind_arrives(publish: Any, transport: Any) -> None:
    """As the user that may only write; the worker may only read and write."""
    user, article = User.objects.create(username="reader"), Article.objects.create(title="From afar")
    transport.start_worker()

    publish(os.environ["FOOTFALL_AMQP_WEB_URL"], handwritten(user, article))

    eventually(lambda: ViewMark.objects.exists() and ArticleDaily.objects.exists() and Action.objects.exists())
    assert ViewMark.objects.get().object_id == str(article.pk)
    assert ArticleDaily.objects.get().views == 1
    assert Action.objects.get().data == {"from": "elsewhere"}
    assert ActionObject.objects.get(role="t").object_id == str(article.pk)
    assert not DeadLetter.objects.exists()
