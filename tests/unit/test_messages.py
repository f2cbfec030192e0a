"""What travels: events, units and envelopes keep what they are given, and refuse what can't be."""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.producers.messages import (
    INT64_MAX,
    KIND_OF,
    Action,
    Envelope,
    Event,
    Increment,
    LabelKey,
    Ref,
    View,
    decode_unit,
    encode_event,
    encode_message,
    encode_unit,
    new_id,
)

AT = datetime(2026, 6, 15, 12, 0, 0, 123456, tzinfo=UTC)
ID = uuid.UUID("0190163d-8694-739b-aea5-966c26f8ad91")
ARTICLE = Ref("newsroom.article", "7")
EVENT: dict[str, Any] = {"id": str(ID), "at": AT.isoformat()}
VIEW = EVENT | {"kind": "view", "user": "1"}
COUNT = EVENT | {"kind": "increment", "dataset": "a.b", "object": {"type": "a.b", "id": "1"}, "field": "f"}
HIT = EVENT | {"kind": "increment", "label": {"label": "home"}}
ACTION = EVENT | {"kind": "action", "verb": "read"}
TWO = {"type": "a.b", "id": "1"}

quick = settings(max_examples=60, deadline=None, database=None)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
refs = st.builds(Ref, texts, texts | st.none())
labels = st.builds(LabelKey, texts, texts, texts)
common = {"id": st.uuids(), "at": times, "user_agent": st.none() | texts}
views = st.builds(View, **common, user=texts, object=st.none() | refs)
hits = st.builds(Increment, **common, label=labels, value=st.integers(-INT64_MAX, INT64_MAX))
increments = st.builds(
    Increment,
    **common,
    dataset=texts,
    object=st.builds(Ref, texts, texts),
    field=texts,
    op=texts,
    value=st.integers(-INT64_MAX, INT64_MAX),
)
data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-INT64_MAX, INT64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
actions = st.builds(
    Action,
    **common,
    verb=texts,
    actor=st.none() | refs,
    targets=st.lists(refs, max_size=3),
    related=st.lists(refs, max_size=3),
    level=st.none() | st.integers(0, 32767),
    data=st.dictionaries(texts, data, max_size=3),
    grouping_delay=st.none() | st.integers(-1, 86_400),
    using=st.none() | texts,
    unit=st.none() | st.uuids(),
)
events: st.SearchStrategy[Event] = st.one_of(views, hits, increments, actions)


@quick
@given(events)
def test_an_event_comes_out_of_its_bytes_as_it_went_in(event: Event) -> None:
    """Encoding and decoding any event gives an equal event of the same kind."""
    decoded = msgspec.json.decode(encode_event(event), type=Event)

    assert decoded == event
    assert KIND_OF[type(decoded)] == json.loads(encode_event(event))["kind"]


@quick
@given(st.lists(events, min_size=1, max_size=8))
def test_a_unit_keeps_the_order_of_publishing_within_each_kind(published: list[Event]) -> None:
    """A spool line gives back each kind's events in their order, and no kind that isn't in it."""
    line = encode_unit(ID, [(KIND_OF[type(event)], encode_event(event)) for event in published])

    unit = decode_unit(line)
    assert unit is not None and unit.unit == ID and b"\n" not in line
    found = {kind: [msgspec.json.decode(raw, type=Event) for raw in raws] for kind, raws in unit.by_kind()}
    assert found == {
        kind: same for kind in KIND_OF.values() if (same := [e for e in published if KIND_OF[type(e)] == kind])
    }


@quick
@given(st.lists(events, max_size=4))
def test_a_message_is_dramatiqs_envelope_around_one_list_of_events(published: list[Event]) -> None:
    """What is encoded is the JSON that Dramatiq writes, and decodes to what went in."""
    raws = [encode_event(event) for event in published]

    body = encode_message("footfall.views", ID, 1_781_524_800_000, raws)

    envelope = msgspec.json.decode(body, type=Envelope)
    assert [bytes(raw) for raw in envelope.args[0]] == raws
    assert json.loads(body) == {
        "queue_name": "footfall.views",
        "actor_name": "footfall.views",
        "args": [[json.loads(raw) for raw in raws]],
        "kwargs": {},
        "options": {},
        "message_id": str(ID),
        "message_timestamp": 1_781_524_800_000,
    }


def test_what_has_its_default_value_is_not_written() -> None:
    """An event's bytes hold what it says and nothing else."""
    assert json.loads(encode_event(View(id=ID, at=AT, user="1"))) == {
        "kind": "view",
        "id": str(ID),
        "at": "2026-06-15T12:00:00.123456Z",
        "user": "1",
    }


def test_unknown_fields_are_ignored() -> None:
    """A newer producer may say more than this worker knows, in the event and in a Ref."""
    raw = json.dumps(
        {
            "kind": "view",
            "id": str(ID),
            "at": AT.isoformat(),
            "user": "1",
            "object": {"type": "newsroom.article", "id": "7", "revision": 3},
            "mood": "curious",
        }
    )

    assert msgspec.json.decode(raw, type=Event) == View(id=ID, at=AT, user="1", object=ARTICLE)


def test_a_line_with_more_than_is_known_is_no_unit() -> None:
    """It may hold events of a kind that only a newer worker knows: it becomes a dead letter, to be replayed by one."""
    assert decode_unit(json.dumps({"unit": str(ID), "views": [VIEW]}).encode()) is not None
    assert decode_unit(json.dumps({"unit": str(ID), "views": [VIEW], "pings": [VIEW]}).encode()) is None


def test_a_time_keeps_its_moment_whatever_its_zone() -> None:
    """The same moment in another zone is the same time."""
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=45)))

    decoded = msgspec.json.decode(encode_event(View(id=ID, at=there, user="1")), type=Event)

    assert decoded.at == AT


@pytest.mark.parametrize("valid", [VIEW, COUNT, HIT, ACTION], ids=["view", "increment", "hit", "action"])
def test_the_least_that_an_event_says_is_enough(valid: dict[str, Any]) -> None:
    """Everything else has a default."""
    assert msgspec.json.decode(json.dumps(valid), type=Event).version == 1


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(VIEW | {"id": "7"}, id="an id that is no UUID"),
        pytest.param(VIEW | {"at": "2026-06-15T12:00:00"}, id="a time without a zone"),
        pytest.param(VIEW | {"at": 1_781_524_800}, id="a time in seconds"),
        pytest.param(VIEW | {"user": 1}, id="a user that is no text"),
        pytest.param(VIEW | {"user": ""}, id="an empty user"),
        pytest.param(VIEW | {"user": "u" * 256}, id="a user key of 256 characters"),
        pytest.param(VIEW | {"user_agent": "u" * 513}, id="a user agent of 513 characters"),
        pytest.param(VIEW | {"object": {"type": ""}}, id="an empty type"),
        pytest.param(VIEW | {"object": {"type": "t" * 101}}, id="a type of 101 characters"),
        pytest.param(VIEW | {"object": {"type": "a.b", "id": ""}}, id="an empty key"),
        pytest.param(VIEW | {"object": {"id": "1"}}, id="an object without a type"),
        pytest.param(EVENT | {"kind": "increment"}, id="an increment of nothing"),
        pytest.param(COUNT | {"field": None}, id="an increment without a field"),
        pytest.param(COUNT | {"dataset": None}, id="an increment without a dataset"),
        pytest.param(COUNT | {"object": {"type": "a.b"}}, id="an increment of a whole model"),
        pytest.param(COUNT | {"label": {"label": "home"}}, id="an increment of an object and a label"),
        pytest.param(COUNT | {"value": 2**63}, id="an integer beyond 64 bits"),
        pytest.param(COUNT | {"value": -(2**63)}, id="a negative integer beyond 64 bits"),
        pytest.param(COUNT | {"value": 1.5}, id="half a hit"),
        pytest.param(COUNT | {"value": "1"}, id="a number as text"),
        pytest.param(COUNT | {"op": ""}, id="an empty operation"),
        pytest.param(HIT | {"label": {"label": ""}}, id="an empty label"),
        pytest.param(HIT | {"label": {"label": "l" * 251}}, id="a label of 251 characters"),
        pytest.param(HIT | {"label": {"label": "l", "category": "c" * 31}}, id="a category of 31 characters"),
        pytest.param(HIT | {"label": {"label": "l", "dom_id": "d" * 51}}, id="a dom_id of 51 characters"),
        pytest.param(ACTION | {"verb": ""}, id="an empty verb"),
        pytest.param(ACTION | {"verb": "v" * 256}, id="a verb of 256 characters"),
        pytest.param(ACTION | {"level": -1}, id="a negative level"),
        pytest.param(ACTION | {"level": 32768}, id="a level of more than 15 bits"),
        pytest.param(ACTION | {"grouping_delay": -2}, id="a grouping delay below -1"),
        pytest.param(ACTION | {"targets": [TWO] * 1001}, id="1,001 targets"),
        pytest.param(ACTION | {"related": [TWO] * 1001}, id="1,001 related objects"),
        pytest.param(ACTION | {"data": [1]}, id="data that is a list"),
        pytest.param(VIEW | {"kind": "like"}, id="an unknown kind"),
        pytest.param(VIEW | {"version": 2}, id="an unknown version"),
    ],
)
def test_the_structs_refuse(broken: dict[str, Any]) -> None:
    """A value outside its constraints does not decode."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(broken), type=Event)


@pytest.mark.parametrize(
    "largest",
    [
        pytest.param(VIEW | {"user": "u" * 255, "user_agent": "u" * 512}, id="a view"),
        pytest.param(COUNT | {"value": INT64_MAX}, id="an increment"),
        pytest.param(COUNT | {"value": -INT64_MAX}, id="a decrement"),
        pytest.param(HIT | {"label": {"label": "l" * 250, "category": "c" * 30, "dom_id": "d" * 50}}, id="a hit"),
        pytest.param(ACTION | {"targets": [TWO] * 1000, "level": 32767, "verb": "v" * 255}, id="an action"),
    ],
)
def test_the_structs_take_the_largest_values(largest: dict[str, Any]) -> None:
    """The limits themselves are inside."""
    assert msgspec.json.decode(json.dumps(largest), type=Event) is not None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'{"unit": "0190163d-8694-739b-aea5-966c26f8ad91"}',
        b"\xff\xfe",
        b'{"unit": 7}',
        b'{"unit": "0190163d-8694-739b-aea5-966c26f8ad91", "views": {}}',
        b'{"unit": "0190163d-8694-739b-aea5-966c26f8ad91"',
        b"[" * 200_000,
        b'{"queue_name": "footfall.views"}',
    ],
)
def test_a_line_that_is_no_unit_is_none(line: bytes) -> None:
    """Whatever stands in a spool line, asking for its unit raises nothing."""
    assert decode_unit(line) is None


@quick
@given(st.binary(max_size=60))
def test_random_bytes_are_no_unit(line: bytes) -> None:
    """No bytes make `decode_unit` raise."""
    assert decode_unit(line) is None


def test_an_id_is_a_version_7_uuid_of_this_moment() -> None:
    """RFC 9562: version 7, the variant of RFC 4122, and the milliseconds of the clock in front."""
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before <= made.int >> 80 <= after


def test_ids_are_ordered_by_time_and_never_the_same() -> None:
    """What is made a millisecond later sorts later, as a number, as text and as bytes."""
    ids = []
    for _ in range(20):
        ids.append(new_id())
        time.sleep(0.0015)

    assert ids == sorted(ids)
    assert [one.hex for one in ids] == sorted(one.hex for one in ids)
    assert len({new_id() for _ in range(20_000)}) == 20_000


def test_a_ref_reads_as_type_and_key() -> None:
    """`str()` of a Ref is what a person wants to read."""
    assert str(ARTICLE) == "newsroom.article:7"
    assert str(Ref("newsroom.article")) == "newsroom.article"
