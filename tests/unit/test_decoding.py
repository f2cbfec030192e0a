"""From raw bytes to events or the reason why not: nothing raises, bytes are kept, neighbours are untouched."""

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import wire
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import NOW

from footfall.producers.messages import Action, Increment, Unit, View, decode_unit, encode_unit
from footfall.producers.queues import ACTIONS, INCREMENTS, QUARANTINE, VIEWS
from footfall.producers.reasons import Reason
from footfall.workers.decoding import Rules, open_delivery, open_unit
from footfall.workers.outcomes import WHOLE, Fate, Message, Parcel, digest_id

LIMITS = Rules(
    max_message_bytes=4_194_304, max_event_bytes=65_536, skew=timedelta(seconds=300), oldest=timedelta(days=30)
)
quick = settings(max_examples=150, deadline=None, database=None)

VIEW = wire.view("7")
HIT = wire.hit("home")
ACTION = wire.action(None, "read", data={"page": 1})


def opened(body: bytes, queue: str = INCREMENTS) -> Message:
    return open_delivery(body, queue, NOW, LIMITS)


def of_whole(body: bytes, queue: str = INCREMENTS) -> Parcel:
    """The one parcel of a delivery that could not be opened."""
    message = opened(body, queue)
    (parcel,) = message.parcels
    assert parcel.position == WHOLE and parcel.event is None
    assert parcel.raw == body
    assert message.id == parcel.message_id == digest_id(body)
    return parcel


def reason_of(parcel: Parcel) -> Reason | None:
    if parcel.outcome is None:
        return None
    assert parcel.outcome.fate is Fate.DEAD and parcel.outcome.error
    return parcel.outcome.reason


def changed(event: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({**event, **fields}).encode()


def with_raw(event: dict[str, Any], name: str, raw: bytes) -> bytes:
    """The event with a field whose bytes `json.dumps` would not write."""
    return changed(event, **{name: "@"}).replace(b'"@"', raw)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", Reason.NOT_JSON, id="nothing at all"),
        pytest.param(b"\xff\xfe\x00", Reason.NOT_UTF8, id="not UTF-8"),
        pytest.param(
            wire.body([HIT]).replace(b"home", b"h\xf8me").replace(b"{", b"\xff{", 1),
            Reason.NOT_UTF8,
            id="not UTF-8, in front",
        ),
        pytest.param(b"hello", Reason.NOT_JSON, id="not JSON"),
        pytest.param(b"\xef\xbb\xbf" + wire.body([HIT]), Reason.NOT_JSON, id="a byte order mark"),
        pytest.param(wire.body([HIT])[:-1], Reason.NOT_JSON, id="truncated by one byte"),
        pytest.param(wire.body([HIT])[:90], Reason.NOT_JSON, id="truncated"),
        pytest.param(wire.body([HIT]) * 2, Reason.NOT_JSON, id="two messages in one"),
        pytest.param(b"null", Reason.BAD_ENVELOPE, id="null"),
        pytest.param(b"[]", Reason.BAD_ENVELOPE, id="a list"),
        pytest.param(b'"x"', Reason.BAD_ENVELOPE, id="a string"),
        pytest.param(b"7", Reason.BAD_ENVELOPE, id="a number"),
        pytest.param(b"NaN", Reason.BAD_ENVELOPE, id="a NaN"),
        pytest.param(b"{}", Reason.BAD_ENVELOPE, id="an empty object"),
        pytest.param(b"[" * 200_000 + b"]" * 200_000, Reason.NOT_JSON, id="200,000 nested lists"),
        pytest.param(b"[" * 200_000, Reason.NOT_JSON, id="200,000 lists that don't end"),
        pytest.param(b'{"a":' * 200_000, Reason.NOT_JSON, id="200,000 nested objects"),
        pytest.param(b" " * 10_000_000, Reason.TOO_LARGE, id="10 MB of nothing"),
        pytest.param(wire.body([changed(ACTION, data={"x": "x" * 10_000_000})]), Reason.TOO_LARGE, id="a 10 MB body"),
        pytest.param(wire.body([HIT], options=None), Reason.BAD_ENVELOPE, id="options null"),
        pytest.param(wire.body([HIT], options=...), Reason.BAD_ENVELOPE, id="no options"),
        pytest.param(wire.body([HIT], kwargs=[]), Reason.BAD_ENVELOPE, id="kwargs a list"),
        pytest.param(wire.body([HIT], actor_name=5), Reason.BAD_ENVELOPE, id="actor_name 5"),
        pytest.param(wire.body([HIT], actor_name=...), Reason.BAD_ENVELOPE, id="no actor_name"),
        pytest.param(wire.body([HIT], queue_name=...), Reason.BAD_ENVELOPE, id="no queue_name"),
        pytest.param(wire.body([HIT], queue_name=VIEWS), Reason.WRONG_QUEUE, id="another queue in the body"),
        pytest.param(wire.body([HIT], VIEWS), Reason.WRONG_QUEUE, id="a message of another queue"),
        pytest.param(wire.body([HIT], queue_name="\ud800"), Reason.WRONG_QUEUE, id="a queue that is no text"),
        pytest.param(wire.body([HIT], actor_name="send_mail"), Reason.UNKNOWN_ACTOR, id="a site's own actor"),
        pytest.param(wire.body([HIT], actor_name=VIEWS), Reason.UNKNOWN_ACTOR, id="the actor of another queue"),
        pytest.param(wire.body([HIT], message_id="7"), Reason.BAD_ENVELOPE, id="message_id not a UUID"),
        pytest.param(wire.body([HIT], message_id=...), Reason.BAD_ENVELOPE, id="no message_id"),
        pytest.param(wire.body([HIT], message_timestamp="now"), Reason.BAD_ENVELOPE, id="a timestamp as text"),
        pytest.param(wire.body([HIT], message_timestamp=-1), Reason.BAD_ENVELOPE, id="a negative timestamp"),
        pytest.param(wire.body([HIT], message_timestamp=2**63), Reason.BAD_ENVELOPE, id="a timestamp beyond 64 bits"),
        pytest.param(wire.body([HIT], message_timestamp=2**62), Reason.BAD_TIME, id="a timestamp in nanoseconds"),
        pytest.param(wire.body([HIT], message_timestamp=1_781_524_800), Reason.EXPIRED, id="a timestamp in seconds"),
        pytest.param(wire.body([HIT], message_timestamp=0), Reason.EXPIRED, id="a timestamp in 1970"),
        pytest.param(
            wire.body([HIT]).replace(b"[[", b"[").replace(b"]]", b"]"), Reason.BAD_ENVELOPE, id="no list of events"
        ),
        pytest.param(wire.body([HIT]).replace(b"]]", b"], []]"), Reason.BAD_ENVELOPE, id="two lists of events"),
        pytest.param(wire.body([HIT]).replace(b'"args"', b'"argv"'), Reason.BAD_ENVELOPE, id="no args"),
        pytest.param(
            wire.body([HIT])
            .replace(b'"kwargs": {}', b'"kwargs": {"a": NaN}')
            .replace(b"[[", b"[[7, ")
            .replace(b'"options": {}', b'"options": null'),
            Reason.BAD_ENVELOPE,
            id="a NaN and options null",
        ),
    ],
)
def test_a_delivery_that_is_no_message_dies_whole_with_its_reason(body: bytes, reason: Reason) -> None:
    """Its bytes are kept, and it is known by their digest."""
    assert reason_of(of_whole(body)) is reason


BAD_EVENTS = [
    pytest.param(b"null", Reason.BAD_EVENT, id="null"),
    pytest.param(b"[]", Reason.BAD_EVENT, id="a list"),
    pytest.param(b'"x"', Reason.BAD_EVENT, id="a string"),
    pytest.param(b"{}", Reason.BAD_EVENT, id="an empty object"),
    pytest.param(changed(HIT, kind="like"), Reason.UNKNOWN_KIND, id="unknown kind"),
    pytest.param(changed(HIT, kind="__class__"), Reason.UNKNOWN_KIND, id="__class__ as kind"),
    pytest.param(changed(HIT, kind=5), Reason.BAD_EVENT, id="a number as kind"),
    pytest.param(changed(HIT, version=2), Reason.UNKNOWN_VERSION, id="unknown version"),
    pytest.param(changed(HIT, version=0), Reason.UNKNOWN_VERSION, id="version 0"),
    pytest.param(changed(HIT, version=2, label=7), Reason.UNKNOWN_VERSION, id="unknown version of another shape"),
    pytest.param(changed(HIT, label={"label": "__class__"}), Reason.BAD_TEXT, id="__class__ as label"),
    pytest.param(changed(HIT, label={"label": "'; DROP TABLE x; --"}), Reason.BAD_TEXT, id="SQL as label"),
    pytest.param(changed(HIT, label={"label": "<b>"}), Reason.BAD_TEXT, id="HTML as label"),
    pytest.param(changed(HIT, label={"label": "a", "category": "<b>"}), Reason.BAD_TEXT, id="HTML as category"),
    pytest.param(changed(HIT, label={"label": "a", "dom_id": "a:b"}), Reason.BAD_TEXT, id="a colon in a dom_id"),
    pytest.param(changed(HIT, label={"label": ""}), Reason.BAD_EVENT, id="an empty label"),
    pytest.param(changed(HIT, label={"label": "x" * 251}), Reason.BAD_EVENT, id="an over-long label"),
    pytest.param(changed(ACTION, verb="__class__"), Reason.BAD_TEXT, id="__class__ as verb"),
    pytest.param(changed(ACTION, verb="'; DROP TABLE x; --"), Reason.BAD_TEXT, id="SQL as verb"),
    pytest.param(changed(ACTION, verb="<script>"), Reason.BAD_TEXT, id="HTML as verb"),
    pytest.param(changed(ACTION, verb="read\0"), Reason.BAD_TEXT, id="NUL in a verb"),
    pytest.param(changed(ACTION, data={"a": "\0"}), Reason.BAD_TEXT, id="NUL in data"),
    pytest.param(changed(ACTION, data={"\0": 1}), Reason.BAD_TEXT, id="NUL in a key of data"),
    pytest.param(changed(VIEW, user="7\0"), Reason.BAD_TEXT, id="NUL in a user"),
    pytest.param(changed(VIEW, user_agent="\0"), Reason.BAD_TEXT, id="NUL in a user agent"),
    pytest.param(changed(ACTION, targets=[{"type": "a.b", "id": "\0"}]), Reason.BAD_TEXT, id="NUL in a target"),
    pytest.param(changed(ACTION, data={"a": "\ud800"}), Reason.BAD_TEXT, id="a lone surrogate in data"),
    pytest.param(changed(ACTION, verb="\udfff"), Reason.BAD_TEXT, id="a lone surrogate as verb"),
    pytest.param(changed(VIEW, user="\ud800"), Reason.BAD_TEXT, id="a lone surrogate as user"),
    pytest.param(with_raw(VIEW, "user", b'"\xff"'), Reason.NOT_UTF8, id="not UTF-8 in a text"),
    pytest.param(with_raw(VIEW, "user", b'"\xed\xa0\x80"'), Reason.NOT_UTF8, id="a surrogate in UTF-8"),
    pytest.param(with_raw(ACTION, "data", b'{"a": NaN}'), Reason.BAD_NUMBER, id="NaN in data"),
    pytest.param(with_raw(ACTION, "data", b'{"a": Infinity}'), Reason.BAD_NUMBER, id="Infinity in data"),
    pytest.param(with_raw(ACTION, "data", b'{"a": [1e999]}'), Reason.BAD_NUMBER, id="1e999 in data"),
    pytest.param(with_raw(ACTION, "data", b'{"a": -1e999}'), Reason.BAD_NUMBER, id="-1e999 in data"),
    pytest.param(with_raw(HIT, "value", b"NaN"), Reason.BAD_NUMBER, id="NaN as value"),
    pytest.param(with_raw(HIT, "value", b"1e999"), Reason.BAD_NUMBER, id="1e999 as value"),
    pytest.param(with_raw(HIT, "value", b"9223372036854775808"), Reason.BAD_NUMBER, id="2**63 as value"),
    pytest.param(with_raw(HIT, "value", b"-9223372036854775808"), Reason.BAD_NUMBER, id="-2**63 as value"),
    pytest.param(with_raw(HIT, "value", b"1" + b"0" * 30), Reason.BAD_NUMBER, id="31 digits as value"),
    pytest.param(with_raw(HIT, "value", b"1" + b"0" * 5000), Reason.BAD_NUMBER, id="5,001 digits as value"),
    pytest.param(with_raw(ACTION, "data", b'{"a": 9223372036854775808}'), Reason.BAD_NUMBER, id="2**63 in data"),
    pytest.param(with_raw(ACTION, "level", b"99999999999999999999"), Reason.BAD_NUMBER, id="20 digits as level"),
    pytest.param(changed(HIT, value=1.5), Reason.BAD_EVENT, id="half a hit"),
    pytest.param(changed(HIT, value="1"), Reason.BAD_EVENT, id="text as value"),
    pytest.param(changed(HIT, at="1970-01-01T00:00:00Z"), Reason.BAD_TIME, id="1970"),
    pytest.param(changed(HIT, at="1999-12-31T23:59:59.999999Z"), Reason.BAD_TIME, id="1999"),
    pytest.param(changed(HIT, at="9999-12-31T23:59:59Z"), Reason.BAD_TIME, id="9999"),
    pytest.param(changed(HIT, at="9999-12-31T23:59:59-23:59"), Reason.BAD_TIME, id="9999 in the west"),
    pytest.param(changed(HIT, at="0001-01-01T00:00:00+23:59"), Reason.BAD_TIME, id="the year 1 in the east"),
    pytest.param(changed(HIT, at="2026-06-15T12:05:01Z"), Reason.BAD_TIME, id="more than the skew ahead"),
    pytest.param(changed(HIT, at="2026-06-15T12:00:00"), Reason.BAD_EVENT, id="a time without a zone"),
    pytest.param(changed(HIT, at="2026-02-30T12:00:00Z"), Reason.BAD_EVENT, id="the 30th of February"),
    pytest.param(changed(HIT, at=0), Reason.BAD_EVENT, id="a number as time"),
    pytest.param(changed(HIT, id="7"), Reason.BAD_EVENT, id="an id that is no UUID"),
    pytest.param(
        changed(HIT, object={"type": "a.b", "id": "1"}, dataset="a.b", field="f"),
        Reason.BAD_EVENT,
        id="an object and a label",
    ),
    pytest.param(
        changed(ACTION, data={str(n): n for n in range(20_000)}), Reason.TOO_LARGE, id="a great many keys in data"
    ),
    pytest.param(changed(ACTION, data={"a": "x" * 70_000}), Reason.TOO_LARGE, id="a text of 70 kB"),
    pytest.param(with_raw(ACTION, "data", b'{"a":' * 40 + b"1" + b"}" * 40), Reason.BAD_EVENT, id="40 levels of data"),
    pytest.param(
        with_raw(ACTION, "data", b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"), Reason.BAD_EVENT, id="900 levels of data"
    ),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_EVENTS)
def test_a_bad_event_dies_alone_with_its_reason_and_its_bytes(bad: bytes, reason: Reason) -> None:
    """Its neighbours in the same message are decoded as if it weren't there."""
    body = wire.body([VIEW, bad, HIT, ACTION])

    message = opened(body)

    before, dead, *after = message.parcels
    assert reason_of(dead) is reason
    assert dead.raw == bad
    assert [type(parcel.event) for parcel in (before, *after)] == [View, Increment, Action]
    assert [parcel.outcome for parcel in (before, *after)] == [None] * 3
    assert [json.loads(parcel.raw) for parcel in (before, *after)] == [VIEW, HIT, ACTION]
    assert [parcel.position for parcel in message.parcels] == [0, 1, 2, 3]
    assert message.id == uuid.UUID(json.loads(wire.body([], message_id=str(message.id)))["message_id"])


def test_a_million_keys_in_data_are_too_large() -> None:
    """They are refused by their size, before anything looks into them."""
    raw = with_raw(ACTION, "data", b'{"a":1' + b',"a":1' * 999_999 + b"}")

    assert reason_of(of_whole(wire.body([raw]))) is Reason.TOO_LARGE


def test_two_bad_events_of_different_sorts_don_t_hide_each_other() -> None:
    """A NaN makes the envelope no JSON, and a huge number beside it is still only that event's fault."""
    huge, no_number = with_raw(HIT, "value", b"1" + b"0" * 5000), with_raw(HIT, "value", b"NaN")

    message = opened(wire.body([VIEW, huge, no_number, HIT]))

    assert [reason_of(parcel) for parcel in message.parcels] == [None, Reason.BAD_NUMBER, Reason.BAD_NUMBER, None]


def test_a_dead_event_is_counted_under_its_kind_where_that_can_be_read() -> None:
    """Otherwise under "unknown"."""
    message = opened(wire.body([changed(VIEW, user=7), changed(HIT, kind="like"), b"null", changed(ACTION, verb="")]))

    assert [parcel.kind for parcel in message.parcels] == ["view", "unknown", "unknown", "action"]


def test_errors_can_be_stored() -> None:
    """What a person is told about bad text holds none of it, and is not endless."""
    for bad in (
        changed(ACTION, verb="<\ud800\0" + "x" * 200),
        changed(HIT, kind="\ud800"),
        changed(HIT, kind="k" * 9000),
    ):
        outcome = opened(wire.body([bad])).parcels[0].outcome
        assert outcome is not None and "\0" not in outcome.error and len(outcome.error) <= 2000
        outcome.error.encode()


@pytest.mark.parametrize("days", [29, 30])
def test_a_message_is_taken_up_to_the_age_that_the_ledger_remembers(days: int) -> None:
    """Age alone is no fault, and changes no time."""
    old = int((NOW - timedelta(days=days)).timestamp() * 1000)

    (parcel,) = opened(wire.body([changed(HIT, at="2026-05-01T00:00:00Z")], message_timestamp=old)).parcels

    assert parcel.outcome is None and parcel.event is not None
    assert parcel.event.at == datetime(2026, 5, 1, tzinfo=UTC)


def test_a_message_older_than_the_ledger_is_expired() -> None:
    """Whether it was applied can't be known any more."""
    old = int((NOW - timedelta(days=30, seconds=1)).timestamp() * 1000)

    assert reason_of(of_whole(wire.body([HIT], message_timestamp=old))) is Reason.EXPIRED


def test_the_quarantine_takes_messages_of_every_queue() -> None:
    """A suspect keeps its own queue's name in its body."""
    for queue in (VIEWS, INCREMENTS, ACTIONS):
        (parcel,) = opened(wire.body([HIT], queue), QUARANTINE).parcels
        assert parcel.outcome is None and parcel.queue == QUARANTINE


def test_a_message_without_events_is_a_delivery_all_the_same() -> None:
    """It is counted under its queue's kind."""
    message = opened(wire.body([], ACTIONS), ACTIONS)

    assert (message.kind, message.parcels) == ("action", [])


def test_a_unit_of_the_spool_opens_like_a_message() -> None:
    """Kind by kind, under the unit's id, and a bad event in it dies alone."""
    unit_id = uuid.uuid4()
    raws = [
        ("action", changed(ACTION)),
        ("view", changed(VIEW)),
        ("increment", changed(HIT)),
        ("view", b'{"kind":"view"}'),
    ]
    unit = decode_unit(encode_unit(unit_id, raws))
    assert isinstance(unit, Unit)

    message = open_unit(unit, "footfall.spool", NOW, LIMITS)

    assert message.id == unit_id
    assert [parcel.kind for parcel in message.parcels] == ["view", "view", "increment", "action"]
    assert [reason_of(parcel) for parcel in message.parcels] == [None, Reason.BAD_EVENT, None, None]


def assert_decided(message: Message) -> None:
    """Every parcel is an event or dead with a reason, and its error can be stored."""
    for parcel in message.parcels:
        assert (parcel.outcome is None) <= (parcel.event is not None)
        if parcel.outcome is not None:
            assert reason_of(parcel) is not None
            parcel.outcome.error.encode()


@quick
@given(st.binary(max_size=80))
def test_random_bytes_are_a_dead_delivery(body: bytes) -> None:
    """No bytes raise anything."""
    assert reason_of(of_whole(body)) in {Reason.NOT_UTF8, Reason.NOT_JSON, Reason.BAD_ENVELOPE}


@quick
@given(st.integers(0, 2**32))
def test_random_mutations_of_a_message_never_raise(seed: int) -> None:
    """Bytes flipped, dropped, doubled or swapped for telling ones: each event lives or dies, nothing raises."""
    chance = random.Random(seed)
    body = bytearray(wire.body([VIEW, HIT, ACTION]))
    pieces = [
        b"NaN",
        b"null",
        b'"',
        b"\\ud800",
        b"\\u0000",
        b"\xff",
        b"[",
        b"}",
        b"1e999",
        b"9" * 25,
        b"\0",
        b",",
        b"{}",
    ]
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(body))
        until = min(len(body), at + chance.choice([0, 0, 1, 1, 2, 20]))
        body[at:until] = chance.choice([*pieces, bytes([chance.randrange(256)])])

    message = opened(bytes(body))

    assert_decided(message)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@quick
@given(st.sampled_from([VIEW, HIT, ACTION]), st.data())
def test_any_value_in_any_field_of_an_event_never_raises(event: dict[str, Any], data: st.DataObject) -> None:
    """And its neighbour is never touched."""
    field = data.draw(st.sampled_from([*event, "user_agent", "related", "level", "using", "unit", "op", "value"]))
    bad = changed(event, **{field: data.draw(values)})

    neighbour, parcel = opened(wire.body([HIT, bad])).parcels

    assert neighbour.outcome is None and isinstance(neighbour.event, Increment)
    assert (parcel.outcome is None) <= (parcel.event is not None)


@quick
@given(st.sampled_from(["queue_name", "actor_name", "kwargs", "options", "message_id", "message_timestamp"]), values)
def test_any_value_in_any_field_of_an_envelope_never_raises(field: str, value: Any) -> None:
    """A broken envelope is one dead delivery."""
    assert_decided(opened(wire.body([HIT], **{field: value})))


@pytest.mark.parametrize("depth", range(900, 1010, 5))
def test_nesting_near_the_interpreters_limit_never_raises(depth: int) -> None:
    """Whichever of the parsers gives up first."""
    for bad in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
        assert_decided(opened(wire.body([HIT, bad, b"NaN"])))
