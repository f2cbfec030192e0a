"""From the raw bytes of a delivery to events, or to the reason why not. Pure: no broker, no database, no Dramatiq."""

import json
import math
import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from footfall.producers.messages import KIND_OF, KINDS, VERSION, Action, Envelope, Event, Increment, Unit
from footfall.producers.queues import QUEUE_OF_KIND
from footfall.producers.reasons import Reason
from footfall.producers.rules import Malformed, check_data, check_label, check_once, check_time, check_verb
from footfall.workers.outcomes import UNKNOWN_KIND, WHOLE, Message, Parcel, dead, digest_id

DECODE = "decode"
_KIND_OF_QUEUE = {queue: kind for kind, queue in QUEUE_OF_KIND.items()}
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)


class _Header(Struct):
    kind: str
    version: int = VERSION


def _whole_number(digits: str) -> int | float:
    # Python refuses to read more than some thousand digits, which is no fault of the JSON around them.
    return int(digits) if len(digits) <= 400 else math.inf


_json = json.JSONDecoder(parse_int=_whole_number)
_events = msgspec.json.Decoder(Event)
_envelopes = msgspec.json.Decoder(Envelope)
_headers = msgspec.json.Decoder(_Header)


class Rules(Struct, frozen=True):
    """The limits that a delivery is held against: bytes, how far ahead a time may be, how old a message may be."""

    max_message_bytes: int
    max_event_bytes: int
    skew: timedelta
    oldest: timedelta


def open_delivery(body: bytes, queue: str, now: datetime, rules: Rules) -> Message:
    """Open a message that came from ``queue``: every event in it decoded, or dead with its reason."""
    try:
        envelope = decode_envelope(body, queue, rules)
        check_age(envelope.message_timestamp, now, rules)
    except Malformed as error:
        return _closed(body, queue, error)
    return _message(envelope.message_id, queue, envelope.args[0], now, rules)


def open_unit(unit: Unit, queue: str, now: datetime, rules: Rules) -> Message:
    """Open one line of the spool."""
    raws = [raw for _, raws in unit.by_kind() for raw in raws]
    return _message(unit.unit, queue, raws, now, rules)


def open_event(raw: bytes, message_id: uuid.UUID, position: int, queue: str, now: datetime, rules: Rules) -> Parcel:
    """Decode one event; the parcel is dead already where that fails."""
    parcel = Parcel(message_id, position, raw, queue)
    try:
        if len(raw) > rules.max_event_bytes:
            raise Malformed(Reason.TOO_LARGE, f"The event has {len(raw)} bytes, more than {rules.max_event_bytes}.")
        parcel.event = decode_event(raw)
        parcel.kind = KIND_OF[type(parcel.event)]
        check_time(parcel.event.at, now, rules.skew)
        if isinstance(parcel.event, Increment) and parcel.event.once is not None:
            check_once(parcel.event.once, parcel.event.at, now)
    except Malformed as error:
        parcel.kind = parcel.kind if parcel.event is not None else _kind_of(raw)
        parcel.outcome = dead(error.reason, str(error), DECODE)
    return parcel


def _message(message_id: uuid.UUID, queue: str, raws: list[Any], now: datetime, rules: Rules) -> Message:
    parcels = [open_event(bytes(raw), message_id, position, queue, now, rules) for position, raw in enumerate(raws)]
    kind = parcels[0].kind if parcels else _KIND_OF_QUEUE.get(queue, UNKNOWN_KIND)
    return Message(message_id, kind, parcels)


def _closed(body: bytes, queue: str, error: Malformed) -> Message:
    # By its digest even where an id can be read: other bytes under a known id are no duplicate of it.
    message_id = digest_id(body)
    kind = _KIND_OF_QUEUE.get(queue, UNKNOWN_KIND)
    parcel = Parcel(message_id, WHOLE, body, queue, kind, outcome=dead(error.reason, str(error), DECODE))
    return Message(message_id, kind, [parcel])


def check_age(timestamp_ms: int, now: datetime, rules: Rules) -> None:
    """A message is younger than the ledger remembers, so that a duplicate would be known, and not from the future."""
    age = now.timestamp() - timestamp_ms / 1000
    if age > rules.oldest.total_seconds():
        raise Malformed(Reason.EXPIRED, f"The message is {age / 86400:.0f} days old, more than {rules.oldest.days}.")
    if age < -rules.skew.total_seconds():
        text = f"message_timestamp {timestamp_ms} is in the future: milliseconds since 1970 are expected."
        raise Malformed(Reason.BAD_TIME, text)


def decode_envelope(body: bytes, queue: str, rules: Rules) -> Envelope:
    """A message in Dramatiq's JSON format, its events still raw. Raises Malformed."""
    if len(body) > rules.max_message_bytes:
        raise Malformed(Reason.TOO_LARGE, f"The message has {len(body)} bytes, more than {rules.max_message_bytes}.")
    try:
        envelope = _envelopes.decode(body)
    except _UNDECODABLE as error:
        envelope = _decode_leniently(body, error)
    if envelope.queue_name != queue and queue in _KIND_OF_QUEUE:
        raise Malformed(Reason.WRONG_QUEUE, f"The message says queue {envelope.queue_name!r} and came from {queue!r}.")
    if envelope.actor_name not in _KIND_OF_QUEUE or envelope.actor_name != envelope.queue_name:
        raise Malformed(Reason.UNKNOWN_ACTOR, f"{envelope.actor_name!r} is not the actor of {envelope.queue_name!r}.")
    return envelope


def _decode_leniently(body: bytes, error: Exception) -> Envelope:
    """Open an envelope in which only an event is at fault (a NaN, a lone surrogate), or say what is wrong with it."""
    document = _parse(body, error)
    if not isinstance(document, dict):
        raise Malformed(Reason.BAD_ENVELOPE, f"A message is a JSON object, not {type(document).__name__}.")
    args = document.get("args")
    if not (isinstance(args, list) and len(args) == 1 and isinstance(args[0], list)):
        raise Malformed(Reason.BAD_ENVELOPE, "args is not a list that holds one list of events.")
    try:
        envelope = msgspec.convert({**document, "args": [[]]}, Envelope)
    except _UNDECODABLE as wrong:
        raise Malformed(Reason.BAD_ENVELOPE, str(wrong)) from None
    try:
        events = _events_in(body.decode())
    except (ValueError, IndexError, RecursionError):
        events = []
    if len(events) != len(args[0]):
        raise Malformed(Reason.BAD_ENVELOPE, "args stands there twice.")
    return msgspec.structs.replace(envelope, args=(events,))


def _events_in(text: str) -> list[msgspec.Raw]:
    """The bytes of each event, as they stand in the JSON ``text`` of an envelope that was found to have them."""
    at = _after(text, 0, "{")
    while True:
        name, at = _json.raw_decode(text, at)
        at = _after(text, at, ":")
        if name == "args":
            break
        _, at = _json.raw_decode(text, at)
        at = _after(text, at, ",")
    at = _after(text, _after(text, at, "["), "[")
    events = []
    while text[at] != "]":
        _, end = _json.raw_decode(text, at)
        events.append(msgspec.Raw(text[at:end].encode()))
        at = _after(text, end, ",")
    return events


def _after(text: str, at: int, mark: str) -> int:
    """The place of the next value, past blanks and, where it stands there, ``mark``."""
    at = _blank(text, at)
    return _blank(text, at + 1) if text[at] == mark else at


def _blank(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\n", "\t", "\r"):
        at += 1
    return at


def _parse(raw: bytes, error: Exception) -> Any:
    try:
        return _json.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as wrong:
        raise Malformed(Reason.NOT_UTF8, f"Not UTF-8: {wrong.reason} at byte {wrong.start}.") from None
    except RecursionError:
        raise Malformed(Reason.NOT_JSON, "The JSON is nested too deeply.") from None
    except ValueError:
        raise Malformed(Reason.NOT_JSON, f"Not JSON: {error}") from None


def decode_event(raw: bytes) -> Event:
    """One event. Raises Malformed with the reason."""
    try:
        event: Event = _events.decode(raw)
    except _UNDECODABLE as error:
        raise _diagnosis(raw, error) from None
    if b"\\u0000" in raw:
        check_data(msgspec.to_builtins(event))
    if isinstance(event, Action):
        check_verb(event.verb)
        if event.data:
            check_data(event.data)
    elif isinstance(event, Increment) and event.label is not None:
        check_label(event.label)
    return event


def _diagnosis(raw: bytes, error: Exception) -> Malformed:
    try:
        document = _parse(raw, error)
        check_data(document)
        header = _headers.decode(raw)
    except Malformed as malformed:
        return malformed
    except _UNDECODABLE:
        return Malformed(Reason.BAD_EVENT, str(error))
    if header.kind not in KINDS:
        return Malformed(Reason.UNKNOWN_KIND, f"{header.kind[:80]!r} is not a kind of event.")
    if header.version != VERSION:
        return Malformed(Reason.UNKNOWN_VERSION, f"Version {header.version} of {header.kind!r} is not known here.")
    if "out of range" in str(error):
        return Malformed(Reason.BAD_NUMBER, str(error))
    return Malformed(Reason.BAD_EVENT, str(error))


def _kind_of(raw: bytes) -> str:
    try:
        kind = _headers.decode(raw).kind
    except _UNDECODABLE:
        return UNKNOWN_KIND
    return kind if kind in KINDS else UNKNOWN_KIND
