"""Another system that holds the site's articles and comments, and a desk that changes them meanwhile.

A mirror knows only what the site tells under its path. In the end it must hold what the table holds: nothing missing,
nothing that is gone, and no version of anything told twice.
"""

import http.client
import json
import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

from check import Row

#: How long the desk and the mirrors rest in between. Seconds.
PAUSE_SECONDS = 0.2
TIMEOUT_SECONDS = 30

DELETED = "deleted"

#: How many of the comments that the desk removed stay so: of those before, one is let in again.
KEPT_OUT = 5


class Held(NamedTuple):
    """What a mirror has been told of a row, or what the table says: of a deleted one no version and no text."""

    status: str
    updated: str
    version: int | None
    text: str | None


class Mirror:
    """Holds the rows of one table of the site at ``host``, which tells them under ``path``, with their ``text_field``.

    ``changes`` says how many it was told of, ``twice`` how many of those it knew.
    """

    def __init__(self, host: str, port: int, path: str, text_field: str) -> None:
        self.rows: dict[int, Held] = {}
        self.changes = 0
        self.twice = 0
        self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        self._path = path
        self._text_field = text_field
        self._cursor = ""
        self._known: set[tuple[int, Held]] = set()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def follow(self) -> None:
        """Ask what has changed since the last time, until there is nothing more."""
        while changes := self._ask():
            for change in changes:
                self._hold(change["id"], self._held(change))

    def _ask(self) -> list[dict[str, Any]]:
        self._connection.request("GET", f"{self._path}?cursor={quote(self._cursor)}")
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"{self._path} answered {response.status}: {answer}")
        self._cursor = answer["cursor"]
        changes: list[dict[str, Any]] = answer["changes"]
        return changes

    def _held(self, change: dict[str, Any]) -> Held:
        return Held(change["status"], change["updated"], change.get("version"), change.get(self._text_field))

    def _hold(self, key: int, held: Held) -> None:
        self.changes += 1
        self.twice += (key, held) in self._known
        self._known.add((key, held))
        self.rows[key] = held


class Desk:
    """Edits articles, removes comments, and lets some of these in again."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - which article, no secret

    def work(self) -> None:
        """Do one thing of each."""
        from articles.models import Article, Comment

        self._edit(self._chance.choice(list(Article.objects.all())))
        for comment in Comment.handleref.undeleted()[:1]:
            comment.delete()
        for comment in Comment.objects.filter(status=DELETED).order_by("-updated")[KEPT_OUT : KEPT_OUT + 1]:
            comment.undelete()

    def _edit(self, article: Any) -> None:
        from articles.management.commands.make_content import SENTENCES, revision

        article.summary = self._chance.choice(SENTENCES)
        with revision("another summary"):
            article.save()


def mirrors_of(host: str, port: int) -> dict[str, Mirror]:
    """A mirror of the articles and one of the comments, which hold nothing yet."""
    return {
        "articles": Mirror(host, port, "/articles/changes/", "summary"),
        "comments": Mirror(host, port, "/comments/changes/", "text"),
    }


@contextmanager
def following(mirrors: Iterable[Mirror], desk: Desk) -> Iterator[None]:
    """While the block runs, the desk works and ``mirrors`` follow, on a thread of their own.

    In the end these follow to the end. Raises what stopped the thread.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="mirrors") as pool:
        work = pool.submit(_go_on, mirrors, desk, stop)
        try:
            yield
        finally:
            stop.set()
        work.result()


def _go_on(mirrors: Iterable[Mirror], desk: Desk, stop: threading.Event) -> None:
    from django.db import connections

    with ExitStack() as stack:
        stack.callback(connections.close_all)
        for mirror in mirrors:
            stack.callback(mirror.close)
        while not stop.wait(PAUSE_SECONDS):
            desk.work()
            _follow(mirrors)
        _follow(mirrors)


def _follow(mirrors: Iterable[Mirror]) -> None:
    for mirror in mirrors:
        mirror.follow()


def compare(mirrors: dict[str, Mirror]) -> list[Row]:
    """The mirrors, which have followed to the end, held against the tables."""
    from articles.models import Article, Comment

    tables = {"articles": _table(Article, "summary"), "comments": _table(Comment, "text")}
    return [_row(name, mirror, tables[name]) for name, mirror in mirrors.items()]


def _table(model: Any, text_field: str) -> dict[int, Held]:
    rows = model.objects.values_list("pk", "status", "updated", "version", text_field)
    return {
        key: Held(status, updated.isoformat(), *((None, None) if status == DELETED else rest))
        for key, status, updated, *rest in rows
    }


def _row(name: str, mirror: Mirror, table: dict[int, Held]) -> Row:
    wrong = sum(mirror.rows.get(key) != table.get(key) for key in mirror.rows.keys() | table.keys())
    held = _counted(mirror.rows) + "".join(
        f", {number} {fault}" for number, fault in ((wrong, "wrong"), (mirror.twice, "told twice")) if number
    )
    agrees = not wrong and not mirror.twice
    return Row("mirror", f"{name}, told by {mirror.changes:,} changes", held, _counted(table), agrees)


def _counted(rows: dict[int, Held]) -> str:
    deleted = sum(row.status == DELETED for row in rows.values())
    return f"{len(rows) - deleted:,} and {deleted:,} deleted"
