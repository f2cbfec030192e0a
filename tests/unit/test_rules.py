"""The rules of text, numbers and times."""

import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.producers.messages import EARLIEST, INT64_MAX, LabelKey, Once, new_id
from footfall.producers.reasons import Reason
from footfall.producers.rules import (
    MAX_DEPTH,
    Malformed,
    check_data,
    check_label,
    check_once,
    check_option,
    check_text,
    check_time,
    check_verb,
)

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SKEW = timedelta(seconds=300)
quick = settings(max_examples=100, deadline=None, database=None)


@pytest.mark.parametrize(
    "verb",
    [
        "read",
        "started tracking",
        "commented on",
        "don't like",
        "liked it!",
        "asked why?",
        "a;b",
        "gefällt mir",
        "読んだ",
        "पढ़ा",
        "was 50/50 on",
        "moved (again)",
        "x" * 255,
        "3 times",
        "well-known",
        "_private",
    ],
)
def test_a_phrase_is_a_verb(verb: str) -> None:
    """Letters of any script, digits, spaces and ordinary punctuation."""
    check_verb(verb)


@pytest.mark.parametrize(
    "verb",
    [
        "",
        " read",
        "read ",
        "__class__",
        "<script>alert(1)</script>",
        "'; DROP TABLE users; --",
        "x'; DROP TABLE users; --",
        "Robert'); DROP TABLE students;--",
        "x' OR '1'='1",
        "read\n",
        "re\nad",
        "read\0",
        "\ud800",
        '"read"',
        "a\\b",
        "{{ verb }}",
        "${jndi:ldap}",
    ],
)
def test_markup_statements_and_internals_are_no_verbs(verb: str) -> None:
    """They are refused as bad text."""
    with pytest.raises(Malformed) as caught:
        check_verb(verb)
    assert caught.value.reason is Reason.BAD_TEXT


@pytest.mark.parametrize(
    "label",
    [
        LabelKey("a"),
        LabelKey("a b"),
        LabelKey("é"),
        LabelKey("e\u0301te\u0301", "हिन्दी", "தமிழ்"),
        LabelKey("home", "links", "nav-1"),
        LabelKey("50% off", "#top", "a.b_c"),
    ],
)
def test_a_name_is_a_label(label: LabelKey) -> None:
    """Letters of any script, digits, spaces and a few marks."""
    check_label(label)


@pytest.mark.parametrize(
    "bad", ["a<script>", "a\nb", "a:b", "a|b", "'; --", '"', "__class__", "\0", "\ud800", "a=b", "\u0301a"]
)
def test_no_part_of_a_label_holds_markup_or_separators(bad: str) -> None:
    """Label, category and dom_id keep the same rule."""
    for key in (LabelKey(bad), LabelKey("a", bad), LabelKey("a", "b", bad)):
        with pytest.raises(Malformed) as caught:
            check_label(key)
        assert caught.value.reason is Reason.BAD_TEXT


@pytest.mark.parametrize(
    ("at", "fits"),
    [
        pytest.param(EARLIEST, True, id="the first moment of 2000"),
        pytest.param(EARLIEST - timedelta(microseconds=1), False, id="the last of 1999"),
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), False, id="1970"),
        pytest.param(datetime(9999, 12, 31, tzinfo=UTC), False, id="9999"),
        pytest.param(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), False, id="the first of all times"),
        pytest.param(datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))), False, id="the last of all times"),
        pytest.param(NOW + SKEW, True, id="the skew itself"),
        pytest.param(NOW + SKEW + timedelta(microseconds=1), False, id="more than the skew"),
        pytest.param((NOW + SKEW).astimezone(timezone(timedelta(hours=9))), True, id="the skew in another zone"),
    ],
)
def test_an_event_happened_between_2000_and_the_skew(at: datetime, fits: bool) -> None:
    """Both limits are inside."""
    if fits:
        check_time(at, NOW, SKEW)
    else:
        with pytest.raises(Malformed) as caught:
            check_time(at, NOW, SKEW)
        assert caught.value.reason is Reason.BAD_TIME


@pytest.mark.parametrize(
    ("at", "until", "fits"),
    [
        pytest.param(NOW, NOW, True, id="at once"),
        pytest.param(NOW, NOW + timedelta(days=400), True, id="400 days"),
        pytest.param(NOW, NOW + timedelta(days=400, microseconds=1), False, id="more than 400 days"),
        pytest.param(NOW, NOW - timedelta(microseconds=1), False, id="before the event"),
        pytest.param(NOW - timedelta(days=900), NOW + timedelta(days=1), True, id="an old event, published now"),
        pytest.param(NOW + SKEW, NOW + SKEW + timedelta(days=400), True, id="400 days from a clock that is ahead"),
        pytest.param(NOW, datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))), False, id="for ever"),
        pytest.param(NOW, datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), False, id="never"),
    ],
)
def test_what_counts_once_is_remembered_for_a_time(at: datetime, until: datetime, fits: bool) -> None:
    """Not for ever, and not less than nothing."""
    once = Once(new_id(), until)
    if fits:
        check_once(once, at, NOW)
    else:
        with pytest.raises(Malformed) as caught:
            check_once(once, at, NOW)
        assert caught.value.reason is Reason.BAD_TIME


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("device", "phone", None),
        ("x" * 100, "y" * 255, None),
        ("n", INT64_MAX, None),
        ("n", -INT64_MAX, None),
        ("n", True, None),
        ("n", None, None),
        ("", "x", Reason.BAD_EVENT),
        ("x" * 101, "x", Reason.BAD_EVENT),
        (7, "x", Reason.BAD_EVENT),
        ("n", "x" * 256, Reason.BAD_TEXT),
        ("n", "a\0", Reason.BAD_TEXT),
        ("a\0", "n", Reason.BAD_TEXT),
        ("n", "\ud800", Reason.BAD_TEXT),
        ("n", INT64_MAX + 1, Reason.BAD_NUMBER),
        ("n", 1.5, Reason.BAD_EVENT),
        ("n", b"x", Reason.BAD_EVENT),
        ("n", ["x"], Reason.BAD_EVENT),
        ("n", NOW, Reason.BAD_EVENT),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_option_is_a_short_text_a_number_a_bool_or_none(name: Any, value: Any, reason: Reason | None) -> None:
    """What travels as itself and can be part of a row's key."""
    if reason is None:
        check_option(name, value)
    else:
        with pytest.raises(Malformed) as caught:
            check_option(name, value)
        assert caught.value.reason is reason


@pytest.mark.parametrize("text", ["a\0", "\0", "é\0", "\ud800", "a\udfff", "\udc80é"])
def test_text_holds_no_nul_and_no_lone_surrogate(text: str) -> None:
    """A database can't store them, alone, as a key or anywhere inside data."""
    for value in (text, {text: 1}, {"a": {"b": [1, text]}}, (text,)):
        with pytest.raises(Malformed) as caught:
            check_data(value)
        assert caught.value.reason is Reason.BAD_TEXT
    with pytest.raises(Malformed):
        check_text(text)


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -math.inf, INT64_MAX + 1, -INT64_MAX - 1, 10**400], ids=lambda n: repr(n)[:12]
)
def test_numbers_are_finite_and_of_64_bits(number: float) -> None:
    """One NaN would ruin a sum for ever."""
    for value in (number, [number], {"a": {"b": number}}):
        with pytest.raises(Malformed) as caught:
            check_data(value)
        assert caught.value.reason is Reason.BAD_NUMBER


def test_data_is_at_most_32_levels_deep() -> None:
    """Also where it holds itself."""
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    check_data(value)

    with pytest.raises(Malformed):
        check_data([value])
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Malformed):
        check_data(endless)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@quick
@given(json_values)
def test_any_value_passes_or_is_malformed(value: Any) -> None:
    """Nothing else is ever raised."""
    assert reason_of(value) in {None, Reason.BAD_TEXT, Reason.BAD_NUMBER, Reason.BAD_EVENT}


def reason_of(value: Any) -> Reason | None:
    try:
        check_data(value)
    except Malformed as error:
        return error.reason
    return None


@quick
@given(st.text(max_size=300))
def test_any_text_is_a_verb_or_malformed(text: str) -> None:
    """And what is a verb can be stored."""
    try:
        check_verb(text)
    except Malformed:
        return
    check_text(text)
    assert not set(text) & set('<>"\\{}=$*')


def test_a_long_verb_is_judged_in_no_time() -> None:
    """The patterns don't backtrack into the night."""
    for text in ("a" * 200_000, "a;" * 100_000 + "<", "a'" * 100_000, "- " * 100_000):
        with suppress(Malformed):
            check_verb(text)
        with suppress(Malformed):
            check_label(LabelKey(text))
