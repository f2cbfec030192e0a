"""Cursors: texts that say what a client has seen of the changes, which it keeps and gives back, and nobody else reads.

A cursor is URL-safe base64 of compact JSON: the version of this form, which database it is of, and what was seen as a
snapshot. One in the midst of a window, where a client takes some rows at a time, carries the window's end as well, and
the last row that was given. The empty text is the cursor of who has seen nothing. Cursors may come from strangers: one
that was made by hand is refused, or shows what its maker might have asked for anyway.
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, NamedTuple

from footfall.storage.changesnapshots import NOTHING, Present, Snapshot

FORM = 1

#: How long a cursor may be that is read.
LENGTH = 16 * 1024

BIGGEST = 2**63 - 1


class CursorExpired(ValueError):
    """The cursor is of another database, or of what this one was before it was restored: start again with ""."""


class Position(NamedTuple):
    """The last row that was given: of which model, from which of its lists, its stamp, and its key as text."""

    label: str
    stage: int
    stamp: int
    key: str


@dataclass(frozen=True)
class Cursor:
    """What was ``seen`` of the database ``identity``; in the midst of a window also its end, and the last row given."""

    identity: str
    seen: Snapshot
    until: Snapshot | None = None
    position: Position | None = None

    def __str__(self) -> str:
        parts: list[Any] = [FORM, self.identity, _packed(self.seen)]
        if self.until is not None and self.position is not None:
            parts += [_packed(self.until), self.position]
        text = json.dumps(parts, separators=(",", ":"))
        return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    def check(self, now: Present) -> None:
        """Raises CursorExpired where the numbers of ``now`` are not those of the cursor."""
        if self.seen == NOTHING and self.until is None:
            return
        # A counter that has never counted is that of every database.
        if self.identity != now.identity and self.seen.xmax > 1:
            raise CursorExpired("This cursor is of another database, or of another time of this one: start with ''.")
        reached = max(self.seen.xmax, self.until.xmax if self.until else 0)
        if reached > now.next and not now.may_lag:
            raise CursorExpired("This cursor has seen more than there is, as if it was restored: start with ''.")


def cursor_of(text: str) -> Cursor:
    """The cursor that ``text`` is. Raises ValueError for a text that is none, TypeError for what is no text."""
    if not isinstance(text, str):
        raise TypeError(f"A cursor is a text, not {type(text).__name__}.")
    if not text:
        return Cursor("", NOTHING)
    if len(text) > LENGTH:
        raise _fault(text)
    try:
        parts = json.loads(b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (ValueError, RecursionError):
        raise _fault(text) from None
    match parts:
        case [int(form), *_] if _is_number(form) and form != FORM:
            raise CursorExpired("This cursor is of another version of Footfall: start again with ''.")
        case [int(), str(identity), seen]:
            return Cursor(identity, _unpacked(seen, text))
        case [int(), str(identity), seen, until, position]:
            return Cursor(identity, _unpacked(seen, text), _unpacked(until, text), _position(position, text))
        case _:
            raise _fault(text)


def _packed(snapshot: Snapshot) -> list[int]:
    """Where it ends, and how far before that each of those is that are running."""
    return [snapshot.xmax, *(snapshot.xmax - stamp for stamp in snapshot.running)]


def _unpacked(given: Any, text: str) -> Snapshot:
    if not isinstance(given, list) or not given or not all(_is_number(number) for number in given):
        raise _fault(text)
    xmax, *before = given
    if not all(0 < number <= xmax for number in before):
        raise _fault(text)
    return Snapshot.of(xmax, (xmax - number for number in before))


def _position(given: Any, text: str) -> Position:
    match given:
        case [str(label), int(stage), int(stamp), str(key)] if _is_number(stage) and _is_number(stamp):
            if "\0" not in key and not any("\ud800" <= one <= "\udfff" for one in key):  # no database takes these
                return Position(label, stage, stamp, key)
    raise _fault(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= BIGGEST


def _fault(text: str) -> ValueError:
    return ValueError(f"{text[:80]!r} is no cursor: give back what came with the last rows, or '' to start.")
