"""What travels: three kinds of events, the units they are published in, and the messages that carry them.

An event is a msgspec struct, tagged by ``kind`` and with a ``version``. Objects travel as `Ref`: a model's label and
the primary key as text. Nothing here knows a database or a broker.
"""

import os
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from django.utils.functional import Promise
from msgspec import Meta, Raw, Struct

VERSION: Final = 1

#: Before this no event can have happened: an older time is a unit mistake (seconds for milliseconds, a zero).
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

MAX_USER_AGENT = 512
MAX_REFS = 1000
MAX_LEVEL = 32_767
INT64_MAX = 2**63 - 1

Label = Annotated[str, Meta(min_length=1, max_length=250)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Key = Annotated[str, Meta(min_length=1, max_length=255)]
Int64 = Annotated[int, Meta(ge=-INT64_MAX, le=INT64_MAX)]
When = Annotated[datetime, Meta(tz=True)]
UserAgent = Annotated[str, Meta(max_length=MAX_USER_AGENT)]
Option = Annotated[str, Meta(max_length=255)] | Int64 | bool | None


class Ref(Struct, frozen=True, omit_defaults=True, order=True):
    """Who or what: ``type`` is ``app_label.model``, ``id`` the primary key as text, or absent for the whole type."""

    type: Name
    id: Key | None = None

    def __str__(self) -> str:
        return self.type if self.id is None else f"{self.type}:{self.id}"


class LabelKey(Struct, frozen=True, omit_defaults=True, order=True):
    """What a label hit counts for: the label, its category and the id of the element that was clicked."""

    label: Label
    category: Annotated[str, Meta(max_length=30)] = "None"
    dom_id: Annotated[str, Meta(max_length=50)] = "None"


class Once(Struct, frozen=True):
    """Counts one visitor once: of all events with the same ``token`` the one that happened first counts.

    The token is new for each visitor, counter and window of time, and says nothing about the visitor; after ``until``
    no event can have it any more.
    """

    token: uuid.UUID
    until: When


class _Event(Struct, frozen=True, omit_defaults=True, tag_field="kind", kw_only=True):
    id: uuid.UUID
    at: When
    version: Literal[1] = VERSION
    # None: not from a request, always kept. "": a request without the header, MISSING_USER_AGENT decides.
    user_agent: UserAgent | None = None


class View(_Event, frozen=True, omit_defaults=True, tag="view", kw_only=True):
    """``user`` saw ``object`` at ``at``; an object without an id is a whole model, no object is everything."""

    user: Key
    object: Ref | None = None


class Increment(_Event, frozen=True, omit_defaults=True, tag="increment", kw_only=True):
    """``field`` of the row of ``object`` in ``dataset`` changes by ``op`` and ``value``; or a hit of ``label``.

    ``options`` are for a dataset whose rows have more to their key than object and time.
    """

    dataset: Name | None = None
    object: Ref | None = None
    field: Name | None = None
    op: Name = "incr"
    value: Int64 = 1
    label: LabelKey | None = None
    options: dict[Name, Option] = {}
    once: Once | None = None

    def __post_init__(self) -> None:
        of_object = self.dataset is not None and self.object is not None and self.field is not None
        if of_object == (self.label is not None) or (self.object is not None and self.object.id is None):
            raise ValueError("an increment has a dataset, an object with an id and a field, or else a label")


class Action(_Event, frozen=True, omit_defaults=True, tag="action", kw_only=True):
    """``actor`` did ``verb`` to ``targets``, in relation to ``related``. Actions of one ``unit`` may be combined."""

    verb: Annotated[str, Meta(min_length=1, max_length=255)]
    actor: Ref | None = None
    targets: Annotated[list[Ref], Meta(max_length=MAX_REFS)] = []
    related: Annotated[list[Ref], Meta(max_length=MAX_REFS)] = []
    level: Annotated[int, Meta(ge=0, le=MAX_LEVEL)] | None = None
    data: dict[str, Any] = {}
    grouping_delay: Annotated[int, Meta(ge=-1, le=INT64_MAX)] | None = None
    using: Name | None = None
    unit: uuid.UUID | None = None


Event = View | Increment | Action
KIND_OF: dict[type[Event], str] = {View: "view", Increment: "increment", Action: "action"}
KINDS = tuple(KIND_OF.values())


class Unit(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line of the spool: what one unit of work published, already encoded, by kind.

    A line with a kind that is not known here is no unit of ours: it becomes a dead letter and is replayed later.
    """

    unit: uuid.UUID
    views: list[Raw] = []
    increments: list[Raw] = []
    actions: list[Raw] = []

    def by_kind(self) -> Iterable[tuple[str, list[Raw]]]:
        """The kinds that this unit holds, each with its events' bytes, in the order they were published."""
        pairs = (("view", self.views), ("increment", self.increments), ("action", self.actions))
        return ((kind, raws) for kind, raws in pairs if raws)


class Envelope(Struct, frozen=True):
    """A message as Dramatiq writes it; ``args`` holds one list, the events."""

    queue_name: str
    actor_name: str
    args: tuple[list[Raw]]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    message_id: uuid.UUID
    message_timestamp: Annotated[int, Meta(ge=0, le=INT64_MAX)]


def new_id() -> uuid.UUID:
    """A time-ordered UUID (version 7, RFC 9562 section 5.7): rows keyed by it are appended, not scattered."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | (0x7 << 76)
    return uuid.UUID(int=number & ~(0x3 << 62) | (0x2 << 62))


def _encode_lazy(value: Any) -> str:
    if isinstance(value, Promise):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


_encoder = msgspec.json.Encoder(enc_hook=_encode_lazy)
_unit_decoder = msgspec.json.Decoder(Unit)


def encode_event(event: Event) -> bytes:
    """The event as JSON. Raises TypeError for data that JSON can't hold, ValueError for NaN, infinities, surrogates."""
    return _encoder.encode(event)


def encode_unit(unit_id: uuid.UUID, events: Iterable[tuple[str, bytes]]) -> bytes:
    """One spool line, without its newline, from (kind, encoded event) pairs in the order of publishing."""
    by_kind: dict[str, list[Raw]] = {kind: [] for kind in KINDS}
    for kind, raw in events:
        by_kind[kind].append(Raw(raw))
    return _encoder.encode(Unit(unit_id, by_kind["view"], by_kind["increment"], by_kind["action"]))


def encode_message(queue_name: str, message_id: uuid.UUID, timestamp_ms: int, events: Sequence[bytes]) -> bytes:
    """A message in Dramatiq's JSON format for the actor named like the queue. ``events`` are encoded already."""
    raws = [Raw(event) for event in events]
    return _encoder.encode(Envelope(queue_name, queue_name, (raws,), {}, {}, message_id, timestamp_ms))


def decode_unit(line: bytes) -> Unit | None:
    """The unit in a spool line, or None: then the line is something else, to be delivered as the body that it is."""
    try:
        unit = _unit_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return unit if unit.views or unit.increments or unit.actions else None
