"""Values of snapshots as text: of any kind, and none breaks a page."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from footfall.storage.snapshottext import BRIEF, Change, Value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (datetime(2024, 6, 1, 12, 30, 1, tzinfo=UTC), "June 1, 2024, 14:30:01+02:00"),
        (datetime(2024, 6, 1, 12, 30, 1, 5, tzinfo=UTC), "June 1, 2024, 14:30:01.000005+02:00"),
        (datetime(2024, 6, 1, 12, 30), "June 1, 2024, 12:30:00"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31T23:59:59+00:00"),
        (datetime(1, 1, 1, tzinfo=UTC), "Jan. 1, 0001, 00:53:28+00:53:28"),
        (time(8, 15), "08:15:00"),
        (date(2024, 6, 1), "June 1, 2024"),
        (b"abc", "abc"),
        (None, "none"),
        ("", "empty"),
        (True, "yes"),
    ],
)
def test_values_are_told_to_the_last_digit(value: Any, shown: str) -> None:
    """In the zone of the reader, where there is such a time there."""
    assert Value(value).full == Value(value).brief == shown


def test_the_two_hours_when_clocks_are_set_back_are_told_apart() -> None:
    """By their offsets."""
    first, second = (Value(datetime(2024, 10, 27, hour, 30, tzinfo=UTC)).full for hour in (0, 1))

    assert first != second


def test_a_time_before_the_calendar_in_the_zone_of_the_reader_is_shown_as_it_is() -> None:
    """West of Greenwich."""
    with timezone.override("America/New_York"):
        assert Value(datetime(1, 1, 1, tzinfo=UTC)).brief == "0001-01-01T00:00:00+00:00"


def test_only_none_and_an_empty_text_are_nothing() -> None:
    """For these a word stands."""
    assert [Value(value).is_nothing for value in (None, "", 0, False, [], b"", "none", "empty")] == [
        True,
        True,
        *[False] * 6,
    ]


@given(st.text("ab ", max_size=200), st.text("ab", max_size=9), st.text("ab", max_size=9), st.text("ab ", max_size=200))
def test_texts_that_differ_in_words_read_differently(start: str, old: str, new: str, end: str) -> None:
    """Wherever the first difference is, and as short as ever."""
    change = Change.between("body", "Body", f"{start}{old}{end}", f"{start}{new}{end}")

    lines = [" ".join(f"{start}{middle}{end}".split()) for middle in (old, new)]
    assert (change.old.brief == change.new.brief) == (lines[0] == lines[1]) or not all(lines)
    assert max(len(change.old.brief), len(change.new.brief)) <= BRIEF
