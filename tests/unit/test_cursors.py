"""Snapshots add up as sets of stamps do, and of the texts that are no cursors each is refused by a ValueError."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.storage.changesnapshots import NOTHING, RUNNING, Present, Snapshot
from footfall.storage.cursors import FORM, LENGTH, Cursor, CursorExpired, Position, cursor_of

STAMPS = range(30)

snapshots = st.builds(Snapshot.of, st.sampled_from(STAMPS), st.lists(st.sampled_from(STAMPS)))
positions = st.builds(
    Position,
    st.just("newsroom.topic"),
    st.integers(0, 2),
    st.integers(0, 2**63 - 1),
    st.text().filter(lambda t: t.isprintable()),
)


def seen(snapshot: Snapshot) -> set[int]:
    return {stamp for stamp in STAMPS if snapshot.sees(stamp)}


def encoded(parts: Any) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()


# -- Snapshots


@given(st.sampled_from(STAMPS), st.lists(st.sampled_from(STAMPS)))
def test_a_snapshot_sees_all_before_its_end_but_what_was_running(xmax: int, running: list[int]) -> None:
    snapshot = Snapshot.of(xmax, running)
    assert seen(snapshot) == set(range(xmax)) - set(running)
    assert all(snapshot.sees(stamp) for stamp in range(snapshot.xmin)) and not snapshot.sees(snapshot.xmin)


@given(snapshots, snapshots)
def test_what_either_of_two_snapshots_sees_and_what_both_see(one: Snapshot, other: Snapshot) -> None:
    assert seen(one.united(other)) == seen(one) | seen(other)
    assert seen(one.common(other)) == seen(one) & seen(other)


def test_a_snapshot_with_very_many_running_ends_before_the_first_of_them() -> None:
    """It sees less, so that what it leaves out comes later; and cursors stay short."""
    assert Snapshot.of(1000, range(10, 10 + RUNNING + 1)) == Snapshot(10, 10)
    assert Snapshot.of(1000, range(10, 10 + RUNNING)).xmax == 1000


# -- Cursors


@given(st.text(max_size=20), snapshots)
def test_a_cursor_is_read_as_it_was_written(identity: str, snapshot: Snapshot) -> None:
    cursor = Cursor(identity, snapshot)
    assert cursor_of(str(cursor)) == cursor


@given(snapshots, snapshots, positions)
def test_a_cursor_in_the_midst_of_a_window_is_read_as_it_was_written(
    one: Snapshot, other: Snapshot, position: Position
) -> None:
    cursor = Cursor("x", one, other, position)
    text = str(cursor)
    assert cursor_of(text) == cursor
    assert text.isascii() and text.replace("-", "").replace("_", "").isalnum(), "nothing to be quoted in an address"


def test_the_longest_cursor_is_read() -> None:
    """Of two windows with as many running as are listed, at a key of 255 letters of four bytes."""
    snapshot = Snapshot.of(2**62, range(2**62 - 10 * RUNNING, 2**62 - 9 * RUNNING))
    cursor = Cursor("0" * 16, snapshot, snapshot, Position("newsroom.topic", 2, 2**62, "\U0001f4f0" * 255))
    assert cursor_of(str(cursor)) == cursor


def test_the_empty_cursor_has_seen_nothing() -> None:
    assert cursor_of("") == Cursor("", NOTHING)
    assert not NOTHING.sees(0)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
almost = st.tuples(
    st.sampled_from([FORM, True, "1"]),
    st.text(max_size=3) | st.integers(),
    st.lists(st.integers(-2, 2**64) | st.booleans() | st.floats(), max_size=4),
    st.lists(st.integers(-2, 9), max_size=4),
    st.tuples(st.text(max_size=3), st.integers(), st.integers() | st.booleans(), st.text(st.characters(), max_size=4)),
)


@given(
    st.text()
    | st.binary().map(lambda raw: urlsafe_b64encode(raw).decode())
    | json_values.map(encoded)
    | almost.map(encoded)
    | almost.map(lambda parts: encoded(parts[:3]))
)
def test_a_text_is_a_cursor_or_a_value_error(text: str) -> None:
    try:
        cursor = cursor_of(text)
    except ValueError:
        return
    assert cursor_of(str(cursor)) == cursor or not text


GARBAGE = {
    "words": "hello world",
    "no base64": "a",
    "other letters": "ü" * 8,
    "not JSON": urlsafe_b64encode(b"{").decode(),
    "another form of JSON": encoded({"xmax": 1}),
    "a list too short": encoded([FORM, "x"]),
    "no snapshot": encoded([FORM, "x", []]),
    "a snapshot of no numbers": encoded([FORM, "x", ["1"]]),
    "a snapshot of truths": encoded([FORM, "x", [True]]),
    "a snapshot of fractions": encoded([FORM, "x", [1.5]]),
    "a negative number": encoded([FORM, "x", [-1]]),
    "a number past all": encoded([FORM, "x", [2**63]]),
    "running after the end": encoded([FORM, "x", [10, 0]]),
    "running before the beginning": encoded([FORM, "x", [10, 11]]),
    "a position without an end": encoded([FORM, "x", [10], ["newsroom.topic", 0, 1, "1"]]),
    "a key with a zero byte": encoded([FORM, "x", [10], [11], ["newsroom.topic", 0, 1, "\0"]]),
    "a key that is half a character": encoded([FORM, "x", [10], [11], ["newsroom.topic", 0, 1, "\ud800"]]),
    "very deep": urlsafe_b64encode(b"[" * 9000).decode(),
    "a number of thousands of digits": urlsafe_b64encode(b"9" * 9000).decode(),
    "very long": "A" * (LENGTH + 1),
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused_clearly(text: str) -> None:
    with pytest.raises(ValueError, match="is no cursor: give back what came with the last rows"):
        cursor_of(text)


def test_what_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="A cursor is a text, not int"):
        cursor_of(5)  # type: ignore[arg-type]  # what a site may pass on by mistake


def test_a_cursor_of_another_form_is_expired() -> None:
    with pytest.raises(CursorExpired, match="another version"):
        cursor_of(encoded([FORM + 1, "anything"]))


# -- Against a database


def now(**changes: Any) -> Present:
    return Present("here", Snapshot.of(100), 100, None, may_lag=False)._replace(**changes)


def test_a_cursor_of_another_database_is_expired() -> None:
    Cursor("here", Snapshot.of(100)).check(now())
    with pytest.raises(CursorExpired, match="another database"):
        Cursor("there", Snapshot.of(50)).check(now())


@pytest.mark.parametrize("cursor", [Cursor("here", Snapshot.of(101)), Cursor("here", NOTHING, Snapshot.of(101))])
def test_a_cursor_that_has_seen_more_than_there_is_is_expired(cursor: Cursor) -> None:
    with pytest.raises(CursorExpired, match="more than there is"):
        cursor.check(now())


def test_where_others_may_have_seen_more_a_cursor_that_has_is_none_the_worse() -> None:
    Cursor("here", Snapshot.of(101)).check(now(may_lag=True))


def test_to_start_goes_everywhere() -> None:
    cursor_of("").check(now())
