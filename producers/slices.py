"""A slice of a journal on its way to the broker: taken apart, cut into messages, written down. Pure but for `Position`.

The way a slice is cut is part of what is written down, so that the same messages, byte for byte, can be made of it
again after a crash, whatever the settings say by then.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import msgspec
from msgspec import Struct

from footfall.producers.messages import Unit, decode_unit, encode_message, new_id
from footfall.producers.queues import INCREMENTS, QUEUE_OF_KIND
from footfall.producers.tail import JournalDamagedError, Slice

POSITION_SUFFIX = ".offset"

#: A longer line isn't taken apart; many a broker refuses a longer body.
LONGEST_LINE = 16_777_216

STRAY = "stray"

#: The queue to publish to, and the body.
Message = tuple[str, bytes]


class Cut(Struct, frozen=True):
    """One message of a slice: the next ``events`` events of ``kind``, or a stray line. ``aside``: not published."""

    queue: str
    id: uuid.UUID
    kind: str
    events: int = 1
    aside: bool = False


class Pending(Struct, frozen=True):
    """A slice that may have been published: up to byte ``end``, at ``timestamp`` (ms since epoch), as ``messages``."""

    end: int
    timestamp: int
    messages: list[Cut]


class Position(Struct, frozen=True):
    """Where the shipper is in ``journal``: all before byte ``offset`` is confirmed. Stored beside the journal."""

    journal: str
    offset: int = 0
    pending: Pending | None = None


@dataclass(slots=True)
class Contents:
    """A slice taken apart: per kind the groups of events that stay together, and the lines that are no units."""

    units: int = 0
    groups: dict[str, list[list[bytes]]] = field(default_factory=dict)
    strays: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a message may be. One group that exceeds them is a message of its own."""

    events: int
    bytes: int


def take_apart(piece: Slice) -> Contents:
    """The units in ``piece`` as events by kind. Views and increments stand alone, a unit's actions stay together."""
    contents = Contents(groups={kind: [] for kind in QUEUE_OF_KIND})
    for offset, line in piece.lines:
        contents.units += 1
        unit = _unit_in(line)
        if unit is None:
            contents.strays.append((offset, line))
            continue
        for kind, raws in unit.by_kind():
            events = [bytes(raw) for raw in raws]
            contents.groups[kind] += [events] if kind == "action" else [[event] for event in events]
    return contents


def _unit_in(line: bytes) -> Unit | None:
    if len(line) > LONGEST_LINE:
        return None
    if not line.isascii():
        # Events are not decoded here, and one with broken text would spoil the message for its neighbours.
        try:
            line.decode()
        except UnicodeDecodeError:
            return None
    return decode_unit(line)


def cut(contents: Contents, limits: Limits) -> Iterator[Cut]:
    """How ``contents`` is to be published: as many events in a message as ``limits`` allow, each under a new id."""
    for kind, groups in contents.groups.items():
        for events in _pack(groups, limits):
            yield Cut(QUEUE_OF_KIND[kind], new_id(), kind, events)
    for _ in contents.strays:
        yield Cut(INCREMENTS, new_id(), STRAY)


def _pack(groups: list[list[bytes]], limits: Limits) -> Iterator[int]:
    events = size = 0
    for group in groups:
        weight = sum(map(len, group))
        if events and (events + len(group) > limits.events or size + weight > limits.bytes):
            yield events
            events = size = 0
        events += len(group)
        size += weight
    if events:
        yield events


def assemble(contents: Contents, pending: Pending) -> dict[int, Message]:
    """The messages of a slice by their number, byte for byte the same whenever they are made from the same slice."""
    events = {kind: chain.from_iterable(groups) for kind, groups in contents.groups.items()}
    strays = iter(contents.strays)
    messages = {}
    for number, part in enumerate(pending.messages):
        if part.kind == STRAY:
            _, body = next(strays)
        else:
            own = list(islice(events[part.kind], part.events))
            body = encode_message(part.queue, part.id, pending.timestamp, own)
        if not part.aside:
            messages[number] = (part.queue, body)
    return messages


def events_by_kind(contents: Contents) -> dict[str, int]:
    counts = {kind: sum(map(len, groups)) for kind, groups in contents.groups.items()}
    counts[STRAY] = len(contents.strays)
    return counts


def events_by_cut(pending: Pending) -> dict[str, int]:
    counts = dict.fromkeys((*QUEUE_OF_KIND, STRAY), 0)
    for part in pending.messages:
        counts[part.kind] = counts.get(part.kind, 0) + part.events
    return counts


def load_position(journal: Path) -> Position:
    """Where the shipping of ``journal`` stands. Raises JournalDamagedError where that can't be read any more."""
    try:
        stored = journal.with_name(f"{journal.name}{POSITION_SUFFIX}").read_bytes()
    except FileNotFoundError:
        return Position(journal.name)
    try:
        return msgspec.json.decode(stored, type=Position)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        text = f"the position up to which it was shipped is unreadable ({error})."
        raise JournalDamagedError(journal, 0, text) from error
