"""Clients that keep a copy of three tables while writers change them, in threads."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import connections, transaction
from newsroom.models import Masthead, Photo, Publisher

from footfall.storage.references import HandleRefModel, Tombstone, current_cursor

MODELS: list[type[HandleRefModel]] = [Publisher, Photo, Masthead]
NAME: dict[Any, str] = {Publisher: "name", Photo: "caption", Masthead: "slug"}


class Undone(Exception):
    """What rolls back."""


class Busy:
    """A writer that creates, changes, deletes and restores rows of three tables, and takes some of it back.

    Each has rows of its own: nobody waits in a circle.
    """

    def __init__(self, seed: int, transactions: int) -> None:
        self.chance = random.Random(seed)
        self.seed, self.transactions = seed, transactions
        self.made = 0

    def work(self) -> None:
        for _ in range(self.transactions):
            with suppress(Undone), transaction.atomic():
                for _ in range(self.chance.randint(1, 3)):
                    self.act()
                    time.sleep(self.chance.choice([0, 0, 0.001, 0.01]))
                if self.chance.random() < 0.2:
                    raise Undone

    def act(self) -> None:
        model = self.chance.choice(MODELS)
        if self.chance.random() < 0.5:
            self.create(model)
        elif self.chance.random() < 0.3:
            with suppress(Undone), transaction.atomic():
                self.create(model)
                raise Undone
        else:
            self.change(model)

    def create(self, model: type[HandleRefModel]) -> None:
        self.made += 1
        name = f"{self.seed}-{self.made}"
        model.objects.create(**{NAME[model]: name})

    def change(self, model: type[HandleRefModel]) -> None:
        mine = NAME[model]
        rows = list(model.objects.filter(**{f"{mine}__startswith": f"{self.seed}-"}).order_by("pk"))
        if not rows:
            return
        row = self.chance.choice(rows)
        way = self.chance.random()
        if way < 0.4:
            row.save(skip_unchanged=False)
        elif way < 0.5:
            model.objects.filter(pk=row.pk).update(created=row.created)
        elif way < 0.7:
            row.undelete() if row.is_deleted else row.delete()
        else:
            key = row.pk
            row.delete(hard=True)
            if way < 0.8 and model is not Masthead:
                model.objects.create(pk=key, **{mine: f"{self.seed}-again-{self.made}"})
                self.made += 1


class Mirror:
    """A client that keeps a copy of three tables, by small pages, up to a common end each time."""

    def __init__(self) -> None:
        self.cursors = dict.fromkeys(MODELS, "")
        self.copies: dict[Any, dict[Any, tuple[int, int]]] = {model: {} for model in MODELS}
        self.told: set[Any] = set()

    def poll(self, limit: int) -> None:
        end = current_cursor()
        for model in MODELS:
            more = True
            while more:
                page = model.handleref.since(cursor=self.cursors[model], limit=limit, until=end)
                for row in page.rows:
                    self.take(model, row)
                self.cursors[model], more = page.cursor, page.more

    def take(self, model: type[HandleRefModel], row: Any) -> None:
        is_gone = isinstance(row, Tombstone)
        change = (model, row.pk, is_gone, row.updated if is_gone else (row.version, row.change_stamp))
        assert change not in self.told, "told twice"
        self.told.add(change)
        if is_gone:
            self.copies[model].pop(row.pk, None)
        else:
            self.copies[model][row.pk] = (row.version, row.change_stamp)


def live(model: type[HandleRefModel]) -> dict[Any, tuple[int, int]]:
    return {row.pk: (row.version, row.change_stamp) for row in model.handleref.undeleted()}


@contextmanager
def writing(works: list[Callable[[], None]]) -> Iterator[Callable[[], bool]]:
    """Do them in threads; gives what says whether one is still at it. Raises what they raised."""
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield lambda: any(thread.is_alive() for thread in threads)
    finally:
        for thread in threads:
            thread.join()
    assert failures == []


def check_copy(seed: int, *, writers: int, transactions: int) -> None:
    """The copy ends as the tables are; nothing is told twice."""
    mirror, chance = Mirror(), random.Random(seed)
    busy = [Busy(seed * 10 + number, transactions) for number in range(writers)]
    with writing([one.work for one in busy]) as still:
        while still():
            mirror.poll(chance.choice([1, 2, 5]))
            time.sleep(chance.random() / 100)
    mirror.poll(3)
    for model in MODELS:
        assert mirror.copies[model] == live(model)
    told = len(mirror.told)
    assert told > writers * transactions / 2
    mirror.poll(3)
    assert len(mirror.told) == told
