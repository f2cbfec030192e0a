"""Any interleaving of writers' transactions with a client's polls, and what the client may be told in each.

Writers are threads with connections of their own, which do one thing when they are told to. What is committed is known,
and so is who has which row locked, so that nobody ever waits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from django.db import connection, connections, transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from newsroom.models import Publisher

from footfall.storage.models import DeletedItem
from footfall.storage.references import Tombstone

WRITERS = range(3)
KEYS = range(1, 5)

#: A row as it is: not there, live with its text, or deleted softly, with its text.
Row = tuple[str, str] | None


class Writer:
    """A thread, its connection, and its transaction, if it is in one."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._atomic: transaction.Atomic | None = None
        self.pending: dict[int, Row] = {}

    @property
    def is_open(self) -> bool:
        return self._atomic is not None

    def do(self, act: Callable[[], object]) -> None:
        self._thread.submit(act).result(60)

    def begin(self) -> None:
        self._atomic = transaction.atomic()
        self.do(self._atomic.__enter__)

    def end(self, *, commit: bool) -> dict[int, Row]:
        """What it has written, where that is committed."""
        atomic, written = self._atomic, self.pending
        assert atomic is not None

        def act() -> None:
            if not commit:
                transaction.set_rollback(True)
            atomic.__exit__(None, None, None)

        self._atomic, self.pending = None, {}
        self.do(act)
        return written if commit else {}

    def close(self) -> None:
        self.do(connections.close_all)
        self._thread.shutdown()


#: What is done next, by its name, and with what.
Step = tuple[Any, ...]

some_writer, some_key = st.sampled_from(WRITERS), st.sampled_from(KEYS)
ways = st.sampled_from(["save", "save", "update", "soft", "hard", "restore"])
seldom = st.sampled_from([False, False, False, True])
begins = st.tuples(st.just("begin"), some_writer, st.booleans())
writes = st.tuples(st.just("write"), some_writer, some_key, ways, seldom)
ends = st.tuples(st.just("end"), some_writer, seldom)
polls = st.tuples(st.just("poll"), st.sampled_from([1, 1, 1, 2, 3, None]))
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(writes, begins, polls, ends, writes, polls, writes, begins, writes, ends), min_size=40, max_size=80
)


class Interleaving:
    """Whatever happens: each committed change is told, once, and nothing else."""

    def __init__(self, writers: list[Writer], at_once: int) -> None:
        self.writers, self.at_once = writers, at_once
        self.committed: dict[int, Row] = {}
        self.texts = map(str, itertools.count())
        self.cursor = ""
        self.within = False
        self.told: set[Any] = set()
        self.mirror: dict[int, Row] = {}
        #: Keys that were written since the window began, those that it is about, and those it has told.
        self.dirty: set[int] = set()
        self.window: set[int] = set()
        self.seen: set[int] = set()

    # -- Writers

    def begin(self, number: int, numbered: bool) -> None:
        """On PostgreSQL a transaction may get its number long before it writes, or by its first write."""
        if sum(writer.is_open for writer in self.writers) == self.at_once or self.writers[number].is_open:
            return
        self.writers[number].begin()
        if numbered and connection.vendor == "postgresql":
            self.writers[number].do(lambda: connection.cursor().execute("SELECT pg_current_xact_id()"))

    def write(self, number: int, key: int, how: str, undone: bool) -> None:
        """In a transaction, or one for it alone; undone: under a savepoint that is rolled back."""
        writer = self.who_may_write(number, key)
        before, text = writer.pending.get(key, self.committed.get(key)), next(self.texts)
        after = written(before, how, text)
        if after == before:
            how = "save"
            after = written(before, how, text)
        if undone:
            writer.do(lambda: undo(lambda: change(key, before, how, text)))
            return
        writer.do(lambda: change(key, before, how, text))
        if writer.is_open:
            writer.pending[key] = after
        else:
            self.commit({key: after})

    def who_may_write(self, number: int, key: int) -> Writer:
        """The writer ``number``, or another, where that one would have to wait for it."""
        writer, opened = self.writers[number], [one for one in self.writers if one.is_open]
        holder = next((one for one in opened if key in one.pending), None)
        if holder is not None:
            return holder
        return writer if writer.is_open or len(opened) < self.at_once else opened[0]

    def end(self, number: int, rolled_back: bool) -> None:
        opened = [one for one in (self.writers[number], *self.writers) if one.is_open]
        if opened:
            self.commit(opened[0].end(commit=not rolled_back))

    def commit(self, written: dict[int, Row]) -> None:
        self.committed.update(written)
        self.dirty.update(written)

    # -- The client

    def poll(self, limit: int | None) -> None:
        if not self.within:
            self.window, self.dirty, self.seen = self.dirty, set(), set()
        told = Publisher.handleref.since(cursor=self.cursor, limit=limit)
        assert limit is None or len(told.rows) <= limit
        for row in told.rows:
            self.take(row)
        self.cursor, self.within = told.cursor, told.more
        if not self.within:
            assert self.seen <= self.window <= self.seen | self.dirty
            for key in set(KEYS) - self.dirty:
                assert live(self.mirror.get(key)) == live(self.committed.get(key))

    def take(self, row: Any) -> None:
        is_gone = isinstance(row, Tombstone)
        change = (row.pk, is_gone, row.updated if is_gone else (row.version, row.note))
        assert change not in self.told
        self.told.add(change)
        self.seen.add(row.pk)
        self.mirror[row.pk] = None if is_gone else ("live", row.note)

    def finish(self) -> None:
        """Whoever still writes commits; then the client goes on until it is told nothing more."""
        for writer in self.writers:
            if writer.is_open:
                self.commit(writer.end(commit=True))
        self.poll(None)
        self.poll(None)
        assert not self.dirty
        assert Publisher.handleref.since(cursor=self.cursor).rows == []

    def clear(self) -> None:
        for writer in self.writers:
            if writer.is_open:
                writer.end(commit=False)
        Publisher.objects.all()._raw_delete("default")
        DeletedItem.objects.all().delete()


def written(before: Row, how: str, text: str) -> Row:
    """What becomes of the row; the same where it can't be done."""
    if how == "save":
        return (before[0], text) if before else ("live", text)
    if before is None:
        return before
    state, old = before
    return {"update": (state, text), "hard": None, "soft": ("deleted", old), "restore": ("live", old)}[how]


def live(row: Row) -> Row:
    return row if row and row[0] == "live" else None


def change(key: int, before: Row, how: str, text: str) -> None:
    rows = Publisher.objects.filter(pk=key)
    if how == "save" and before is None:
        Publisher.objects.create(pk=key, name=str(key), note=text)
    elif how == "save":
        row = rows.get()
        row.note = text
        row.save()
    elif how == "update":
        rows.update(note=text)
    elif how == "restore":
        rows.get().undelete()
    else:
        rows.get().delete(hard=how == "hard")


class Undone(Exception):
    """What rolls a savepoint back."""


def undo(act: Callable[[], object]) -> None:
    with suppress(Undone), transaction.atomic():
        act()
        raise Undone


def check_interleavings(*, at_once: int, examples: int) -> None:
    """Try so many of them. Raises what the client should not have been told, or should have."""
    writers = [Writer() for _ in WRITERS]

    @settings(max_examples=examples, deadline=None)
    @given(steps)
    def play(those: list[Step]) -> None:
        interleaving = Interleaving(writers, at_once)
        try:
            for name, *arguments in those:
                getattr(interleaving, name)(*arguments)
            interleaving.finish()
        finally:
            interleaving.clear()

    try:
        play()
    finally:
        for writer in writers:
            writer.close()
