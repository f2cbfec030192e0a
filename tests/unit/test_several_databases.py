"""Tracking tables in several databases: a batch is split, and exact on each."""

import json
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

import pytest
import wire
from django.contrib.auth.models import User
from django.db import connections
from newsroom.models import Article, ArticleDaily, ArticleTotals
from wire import NOW

from footfall.producers.queues import INCREMENTS
from footfall.storage.models import Action, ActionStamp, AppliedMessage, DeadLetter, Statistic, Tally, ViewMark
from footfall.workers.failures import Transient
from footfall.workers.pipeline import Delivery, Totals, apply
from footfall.workers.replay import replay

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"statistic", "articledaily"}


def deliver(*bodies: bytes) -> Totals:
    return apply([Delivery(body, INCREMENTS) for body in bodies], now=NOW)


def mend(letter: DeadLetter, body: bytes) -> None:
    letter.edited_body = body
    letter.save()


@pytest.mark.django_db
def test_one_database_keeps_it_all() -> None:
    """Without a router a message is one entry in one ledger."""
    assert deliver(wire.body([wire.hit("a"), wire.hit("<b>")])) == Totals(applied=1, dead=1)
    assert AppliedMessage.objects.count() == 1


@pytest.fixture
def news(archive: str) -> SimpleNamespace:
    """A reader and an article."""
    return SimpleNamespace(ada=User.objects.create(username="ada"), article=Article.objects.create(title="News"))


def counted() -> dict[str, list[int]]:
    """What stands where: rows of actions and marks, sums of counters and labels, on each of the two."""
    aliases = ("default", "archive")
    return {
        "actions": [Action.objects.using(alias).count() for alias in aliases],
        "marks": [ViewMark.objects.using(alias).count() for alias in aliases],
        "totals": [sum(ArticleTotals.objects.using(alias).values_list("views", flat=True)) for alias in aliases],
        "daily": [sum(ArticleDaily.objects.using(alias).values_list("views", flat=True)) for alias in aliases],
        "labels": [sum(Statistic.objects.using(alias).values_list("counter", flat=True)) for alias in aliases],
        "letters": [DeadLetter.objects.using(alias).count() for alias in aliases],
    }


ONCE = {"actions": [1, 1], "marks": [1, 0], "totals": [1, 0], "daily": [0, 1], "labels": [0, 1], "letters": [1, 0]}


def on_both(news: SimpleNamespace) -> bytes:
    article = news.article
    return wire.body(
        [
            wire.increment(article),
            wire.hit("a"),
            wire.increment(article, dataset="newsroom.articledaily"),
            wire.view(news.ada, article),
            wire.action(news.ada, "read", article),
            wire.action(news.ada, "filed", article, using="archive"),
            wire.hit("<b>"),
        ]
    )


def test_a_batch_is_split_by_database_and_each_applies_it_once(archive: str, news: SimpleNamespace) -> None:
    """Ledger and tallies exist in each."""
    body = on_both(news)

    assert deliver(body) == Totals(applied=6, dead=1)
    assert deliver(body, body) == Totals(duplicate=14)

    assert counted() == ONCE
    assert [AppliedMessage.objects.using(alias).count() for alias in ("default", archive)] == [1, 1]
    for alias in ("default", archive):
        counts: Counter[str] = Counter()
        for row in Tally.objects.using(alias):
            counts[row.name] += row.count
        assert counts["received"] == counts["applied"] + counts["duplicate"] + counts["dead"]


@pytest.mark.parametrize("broken", ["default", "archive"])
def test_when_one_database_can_t_answer_a_second_try_is_exact(archive: str, news: SimpleNamespace, broken: str) -> None:
    """What the other had committed is a duplicate there."""
    body = on_both(news)
    with connections[broken].cursor() as cursor:
        cursor.execute("ALTER TABLE footfall_storage_action RENAME TO put_away")

    for _ in range(2):
        with pytest.raises(Transient):
            deliver(body)
    with connections[broken].cursor() as cursor:
        cursor.execute("ALTER TABLE put_away RENAME TO footfall_storage_action")
    deliver(body)

    assert counted() == ONCE


def test_letters_are_replayed_onto_their_own_database(archive: str, news: SimpleNamespace) -> None:
    """Applied once, also when the letters' own transaction had to be repeated; a dry run leaves nothing on either."""
    series = {"dataset": "newsroom.articledaily"}
    deliver(wire.body([wire.increment(news.article, **series, field="likes"), wire.hit("<b>")]))
    everywhere = [DeadLetter.objects.using(alias) for alias in ("default", archive)]
    for letters in everywhere:
        mend(letters.get(), json.dumps(wire.increment(news.article, **series)).encode())

    assert [replay(letters.all(), dry_run=True, now=NOW).replayed for letters in everywhere] == [1, 1]
    assert counted()["daily"] == [0, 0]
    assert [replay(letters.all(), now=NOW).replayed for letters in everywhere] == [1, 1]
    assert counted()["daily"] == [0, 2]

    # As if the commit of the default's letters had failed after that of the archive.
    everywhere[0].update(state="open")
    assert replay(everywhere[0].all(), now=NOW).replayed == 1
    assert counted()["daily"] == [0, 2]


@pytest.mark.parametrize("replay_first", [True, False], ids=["replayed first", "sent again first"])
def test_a_whole_delivery_is_replayed_once_on_every_database(news: SimpleNamespace, replay_first: bool) -> None:
    """When the publisher sends it again afterwards, or had done so before, it is known there too."""
    sound = wire.body([wire.hit("a"), wire.increment(news.article)])
    deliver(sound[:-1])
    mend(DeadLetter.objects.get(), sound)
    if replay_first:
        replay(DeadLetter.objects.all(), now=NOW)
    deliver(sound)
    if not replay_first:
        replay(DeadLetter.objects.all(), now=NOW)

    assert counted()["labels"] == [0, 1]
    assert counted()["totals"] == [1, 0]


def test_a_database_without_our_tables_is_no_alias_for_actions(archive: str, news: SimpleNamespace) -> None:
    """A message that names one is a dead letter: it must not be waited for like an outage, for ever."""
    connections.settings["legacy"] = {**connections.settings["default"], "NAME": ":memory:"}
    connections["legacy"].inc_thread_sharing()
    try:
        lost = wire.action(news.ada, "filed", using="legacy")
        assert apply([Delivery(wire.body([lost, wire.hit()]), INCREMENTS)], now=wire.NOW) == Totals(applied=1, dead=1)
        assert [letter.reason for letter in DeadLetter.objects.all()] == ["unknown_alias"]
    finally:
        connections["legacy"].close()
        del connections["legacy"]
        del connections.settings["legacy"]


def test_actions_are_locked_looked_up_and_grouped_where_they_are_kept(archive: str, news: SimpleNamespace) -> None:
    """The same on two databases is two actions, each one with what stands beside it."""
    earlier = {"at": NOW - timedelta(seconds=9), "grouping_delay": 60}
    for more in (earlier, {"grouping_delay": 60, "level": 40}):
        acts = [wire.action(news.ada, "filed", news.article, **more, **where) for where in ({}, {"using": archive})]
        assert deliver(wire.body(acts)) == Totals(applied=2)

    for alias in ("default", archive):
        action = Action.objects.using(alias).get()
        assert (action.level, action.timestamp) == (40, NOW - timedelta(seconds=9))
        assert action.changed <= ActionStamp.objects.using(alias).get().at
