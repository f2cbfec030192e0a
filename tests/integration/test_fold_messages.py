"""fold_messages on RabbitMQ: shipping, consuming, setting aside; killed in the middle, and run twice at once."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any, Protocol

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from newsroom.models import Article, ArticleDaily, ArticleTotals
from pika.exceptions import ChannelClosedByBroker
from processes import Process, eventually

from footfall.producers import publish_action, publish_increment, publish_labels, publish_view, scope
from footfall.producers.messages import Increment, LabelKey, Ref, encode_event, encode_message, new_id
from footfall.producers.queues import ACTIONS, INCREMENTS, QUEUES
from footfall.producers.settings import conf
from footfall.producers.shipper import LOCK_NAME
from footfall.producers.tail import SpoolLock
from footfall.storage.models import Action, Attempt, DeadLetter, Statistic, Tally, ViewMark
from footfall.workers import foldqueues, foldrun, pipeline
from footfall.workers.consumer import ensure_queue

pytestmark = [pytest.mark.usefixtures("stack_settings"), pytest.mark.django_db(transaction=True)]

TOTALS, DAILY = "newsroom.ArticleTotals", "newsroom.ArticleDaily"


class Transport(Protocol):
    def put(self, body: bytes, queue: str) -> None: ...

    def start_worker(self, *queues: str) -> Process: ...


@pytest.fixture
def article(transport: Transport) -> Article:
    return Article.objects.create(title="Read by many")


@pytest.fixture
def user() -> User:
    return User.objects.create(username="reader")


@pytest.fixture
def small_batches(tmp_path: Path) -> str:
    """The name of a settings module for processes, with which a run takes many batches."""
    text = 'from settings.stack import *\nFOOTFALL = {**FOOTFALL, "BATCH_MESSAGES": 5}\n'
    (tmp_path / "small_batches_here.py").write_text(text)
    return "small_batches_here"


def said(*arguments: object) -> str:
    out = io.StringIO()
    call_command("fold_messages", *map(str, arguments), "--no-progress", stdout=out, stderr=out)
    return out.getvalue()


def numbers(text: str) -> dict[str, int]:
    """The numbers of a report, without those that are zero."""
    names = ("applied", "replayed", "filtered", "duplicate", "dead", "set aside", "busy elsewhere")
    pairs = (line.split(":") for line in text.splitlines() if line.startswith(names))
    return {name.strip(): count for name, text in pairs if (count := int(text.split()[0].strip(",")))}


def fold(*arguments: object) -> dict[str, int]:
    return numbers(said(*arguments))


def waiting() -> int:
    return sum(foldqueues.waiting_in(QUEUES).values())


def increment(article: Article, dataset: str = TOTALS, **fields: Any) -> bytes:
    at = datetime.now(UTC)
    ref = Ref("newsroom.article", str(article.pk))
    fields = {"field": "views", **fields}
    return encode_event(Increment(id=new_id(), at=at, dataset=dataset.lower(), object=ref, **fields))


def message(*events: bytes) -> bytes:
    return encode_message(INCREMENTS, new_id(), time.time_ns() // 1_000_000, events)


def totals(field: str = "views") -> int:
    return sum(ArticleTotals.objects.values_list(field, flat=True))


def days() -> int:
    return sum(ArticleDaily.objects.values_list("views", flat=True))


def publish_everything(article: Article, user: User) -> None:
    with scope():
        publish_view(user, article)
        publish_increment(article, "views", dataset=ArticleTotals)
        publish_increment(article, "views", dataset=ArticleDaily)
        publish_labels("home")
        publish_action(user, "read", article)


def test_the_spool_is_shipped_and_every_queue_folded(article: Article, user: User) -> None:
    """What lies in this host's spool, and what is in the broker already."""
    for _ in range(3):
        publish_everything(article, user)

    assert fold() == {"applied": 15}
    assert (totals(), days(), ViewMark.objects.count(), Action.objects.count()) == (3, 3, 1, 3)
    assert (Statistic.objects.get().counter, waiting()) == (3, 0)
    assert fold() == {}


def test_a_dry_run_counts_and_changes_nothing(article: Article, transport: Transport, user: User) -> None:
    """Bytes to be shipped, messages per queue."""
    transport.put(message(increment(article)), INCREMENTS)
    publish_everything(article, user)
    eventually(lambda: waiting() == 1)

    text = said("--dry-run")

    assert "footfall.increments: 1 messages" in text and "footfall.actions: 0 messages" in text
    assert "spool of this host: 0 bytes" not in text and "Dry run: nothing was applied." in text
    assert (totals(), waiting()) == (0, 1)


def test_a_dry_run_declares_no_queue(transport: Transport, settings: Any) -> None:
    """One that is not there has nothing waiting; whoever may declare it does not do it yet."""
    settings.FOOTFALL = {**settings.FOOTFALL, "BROKER_URL": os.environ["FOOTFALL_AMQP_ADMIN_URL"]}
    with foldqueues.connected() as connection:
        connection.channel().queue_delete(ACTIONS)
        try:
            assert "footfall.actions: 0 messages" in said("--dry-run")

            with pytest.raises(ChannelClosedByBroker, match="NOT_FOUND"):
                connection.channel().queue_declare(ACTIONS, passive=True)
        finally:
            ensure_queue(connection, ACTIONS)


def test_tb_13_tb_14_two_datasets_in_one_call_and_nothing_of_others_is_lost(
    article: Article, transport: Transport
) -> None:
    """The queue is emptied; what was not asked for is set aside and taken by the next call."""
    for _ in range(4):
        others = [encode_event(hit()), increment(article, "newsroom.gone")]
        transport.put(message(increment(article), increment(article, DAILY), *others), INCREMENTS)
    eventually(lambda: waiting() == 4)

    assert fold(TOTALS) == {"applied": 4, "set aside": 8, "dead": 4}
    assert (totals(), days(), waiting()) == (4, 0, 0)
    assert fold(TOTALS, DAILY) == {"replayed": 4}
    assert fold() == {"replayed": 4}
    assert (totals(), days(), Statistic.objects.get().counter) == (4, 4, 4)


def hit() -> Increment:
    return Increment(id=new_id(), at=datetime.now(UTC), label=LabelKey("home"))


def test_other_queues_are_not_touched_by_a_call_for_datasets(article: Article, user: User) -> None:
    """Views and actions wait where they are."""
    publish_everything(article, user)
    assert fold(TOTALS) == {"applied": 1, "set aside": 2}

    assert waiting() == 2
    assert fold() == {"replayed": 2, "applied": 2}


def test_tb_25_at_most_so_many_events_and_the_rest_stays_in_the_queue(article: Article, transport: Transport) -> None:
    """One message is cut; those behind it are not even taken."""
    for _ in range(10):
        transport.put(message(*(increment(article) for _ in range(5))), INCREMENTS)
    eventually(lambda: waiting() == 10)

    assert fold("--max", 12) == {"applied": 12, "set aside": 3}
    assert (totals(), waiting()) == (12, 7)
    assert fold("--max", 4) == {"replayed": 3, "applied": 1, "set aside": 4}
    assert fold() == {"replayed": 4, "applied": 30}
    assert (totals(), waiting()) == (50, 0)


def test_new_arrivals_do_not_keep_it_running(
    article: Article, transport: Transport, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """As many messages are folded as were ready at the start; the others are not even returned."""
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 3}
    for _ in range(7):
        transport.put(message(increment(article)), INCREMENTS)
    eventually(lambda: waiting() == 7)
    apply = pipeline.apply

    def busy_site(*args: Any, **kwargs: Any) -> pipeline.Totals:
        for _ in range(3):
            transport.put(message(increment(article)), INCREMENTS)
        return apply(*args, **kwargs)

    monkeypatch.setattr(foldrun.pipeline, "apply", busy_site)
    assert fold() == {"applied": 7}
    monkeypatch.undo()

    eventually(lambda: waiting() == 9)
    monkeypatch.delattr(foldrun.FoldRun, "apply_alone")  # nothing may look as if it had been delivered before
    assert fold() == {"applied": 9}
    assert totals() == 16


def test_killed_in_the_middle_and_run_again_the_numbers_are_exact(
    article: Article, transport: Transport, processes: Callable[..., Process], small_batches: str
) -> None:
    """kill -9 whenever: what had committed is known, the rest is delivered again."""
    for _ in range(300):
        transport.put(message(*(increment(article) for _ in range(3))), INCREMENTS)
    eventually(lambda: waiting() == 300)

    for share in (50, 150):
        command = processes("fold_messages", DJANGO_SETTINGS_MODULE=small_batches)
        eventually(lambda share=share: totals() >= share, 60)  # type: ignore[misc]  # a lambda has no annotations
        command.kill_all()
    eventually(lambda: unchanged(waiting))
    done = totals()
    assert done < 900, "it was killed too late to say anything"

    last = fold()

    assert totals() == 900
    assert last.get("applied", 0) == 900 - done
    assert waiting() == 0 and not DeadLetter.objects.exists() and not Attempt.objects.exists()


def unchanged(value: Callable[[], int]) -> bool:
    before = value()
    time.sleep(0.5)
    return value() == before


def test_tb_10_what_kills_the_command_becomes_a_letter_and_its_neighbours_are_applied(
    article: Article, transport: Transport, processes: Callable[..., Process]
) -> None:
    """After a few runs, each of which may die of it."""
    for number in range(20):
        op = "kill_worker" if number == 10 else "incr"
        transport.put(message(increment(article, field="score", op=op)), INCREMENTS)
    eventually(lambda: waiting() == 20)

    ends = []
    for _ in range(8):
        command = processes("fold_messages")
        ends.append(command.wait(60))
        if ends[-1] == 0:
            break
        assert ends[-1] == -signal.SIGKILL, command.output()
        eventually(lambda: unchanged(waiting))

    assert ends == [-signal.SIGKILL] * 3 + [0]
    assert (totals("score"), waiting()) == (19, 0)
    assert DeadLetter.objects.get().reason == "killed_worker"
    assert not Attempt.objects.exists()


def test_a_signal_ends_it_in_order(
    article: Article, transport: Transport, processes: Callable[..., Process], small_batches: str
) -> None:
    """The batch at hand is finished and acknowledged, the rest stays, and nothing comes twice."""
    for _ in range(400):
        transport.put(message(increment(article)), INCREMENTS)
    eventually(lambda: waiting() == 400)

    command = processes("fold_messages", DJANGO_SETTINGS_MODULE=small_batches)
    eventually(lambda: totals() >= 10, 60)
    command.terminate()

    assert command.wait() == 0
    assert "Stopped as asked" in command.output()
    done = totals()
    assert 10 <= done < 400 and numbers(command.output()) == {"applied": done}
    assert fold() == {"applied": 400 - done}


# -- Two at once


def at_once(*works: Callable[[], object]) -> None:
    barrier = Barrier(len(works))

    def begin(work: Callable[[], object]) -> None:
        barrier.wait(10)
        try:
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as threads:
        for future in [threads.submit(begin, work) for work in works]:
            future.result(120)


def test_two_runs_at_once_replay_what_was_set_aside_exactly_once(article: Article, transport: Transport) -> None:
    """They share the work, and their numbers add up."""
    for _ in range(150):
        transport.put(message(increment(article), increment(article, DAILY)), INCREMENTS)
    eventually(lambda: waiting() == 150)
    assert fold(TOTALS) == {"applied": 150, "set aside": 150}
    results: list[dict[str, int]] = []

    at_once(*[lambda: results.append(fold())] * 2)
    results.append(fold())

    assert (totals(), days()) == (150, 150)
    assert sum(result.get("replayed", 0) for result in results) == 150
    assert sum(Tally.objects.filter(name="replayed").values_list("count", flat=True)) == 150
    assert not Attempt.objects.exists()


def test_two_runs_at_once_fold_a_queue_exactly_once(article: Article, transport: Transport, settings: Any) -> None:
    """None waits for the other; what one has taken, the other misses."""
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 10}
    for _ in range(200):
        transport.put(message(increment(article)), INCREMENTS)
    eventually(lambda: waiting() == 200)
    results: list[dict[str, int]] = []

    at_once(*[lambda: results.append(fold())] * 2)

    assert totals() == 200
    assert sum(result.get("applied", 0) for result in results) == 200


def test_beside_a_running_worker_every_action_is_applied_once(
    transport: Transport, user: User, processes: Callable[..., Process]
) -> None:
    """The queue of actions has one consumer at a time: the command does not wait for its turn for ever."""
    article = Article.objects.create(title="Acted upon")
    started = [transport.start_worker(ACTIONS), processes("ship_spool")]
    publish_action(user, "read", article)
    eventually(lambda: Action.objects.count() == 1)

    for _ in range(100):
        publish_action(user, "read", article)
    said()
    for process in started:
        process.terminate()
        process.wait()
    said()

    assert (Action.objects.count(), waiting()) == (101, 0)


# -- Trouble


def test_tb_24_a_broker_that_is_away_is_said_so(article: Article, settings: Any) -> None:
    """With what was done, and that it can be run again: no event is lost by it."""
    publish_increment(article, "views", dataset=ArticleTotals)
    good = settings.FOOTFALL
    settings.FOOTFALL = {**good, "BROKER_URL": "amqp://nobody:secret@127.0.0.1:1/"}

    with pytest.raises(CommandError, match="It can be run again") as caught:
        said()
    assert "secret" not in str(caught.value)

    settings.FOOTFALL = good
    assert fold() == {"applied": 1}


def test_what_another_process_ships_is_waited_for(article: Article, processes: Callable[..., Process]) -> None:
    """The daemon has the spool; the command folds what that ships."""
    processes("ship_spool")
    lock = SpoolLock(conf.spool_dir / LOCK_NAME)
    eventually(lambda: lock.path.exists() and lock.holder() != "?")
    for _ in range(50):
        publish_increment(article, "views", dataset=ArticleTotals)

    assert fold() == {"applied": 50}
