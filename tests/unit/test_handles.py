"""Handles: what a model and a key make is read back as both, and nothing else is taken for one."""

import sys
import uuid
from typing import Any

import pytest
from django.test.utils import isolate_apps
from hypothesis import given, settings
from hypothesis import strategies as st
from newsroom.models import Desk, Masthead, Photo, Publisher

from footfall.storage.handles import MOST_DIGITS, fault_of, handle_of
from footfall.storage.references import HandleRefModel, split_ref

#: Letters and marks of any script, digits, underscores; between them also hyphens and spaces.
ENDS = st.characters(categories=["L", "M", "N", "Pc"])
INSIDE = st.characters(categories=["L", "M", "N", "Pc"], include_characters="- ")
TAGS = st.builds(lambda first, inside, last: first + inside + last, ENDS, st.text(INSIDE, max_size=8), ENDS) | ENDS
KEYS = (
    st.integers(0, 10**MOST_DIGITS - 1)
    | st.uuids()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
)


@settings(max_examples=1000, deadline=None, database=None)
@given(TAGS, KEYS)
def test_hr_52_every_tag_comes_back_with_its_key(tag: str, key: Any) -> None:
    """Numbers as numbers, all other keys as texts; whatever case the tag was declared in."""
    kept = tag.lower()  # as the inner class does
    assert fault_of(kept) == ""  # the system check has nothing against it

    back = split_ref(handle_of(kept, key))

    assert back == (kept, key if isinstance(key, int) else str(key))
    assert type(back[1]) is (int if isinstance(key, int) else str)


@pytest.mark.parametrize(
    "tag", ["net_2", "a1", "2", "desk-2", "desk 2", "n2t", "a-1-b", "हिन्दी", "straße", "ÅÄÖ", "東京", "x²"]
)
def test_hr_52_tags_that_older_handles_could_not_hold(tag: str) -> None:
    """Digits, underscores, hyphens and spaces inside, marks of other scripts."""
    assert fault_of(tag) == ""
    for key in (0, 7, 10**18):
        assert split_ref(handle_of(tag.lower(), key)) == (tag.lower(), key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("asdf123", ("asdf", 123)),
        ("ASDF123", ("asdf", 123)),
        ("asdf 123", ("asdf", 123)),
        ("asdf-123", ("asdf", 123)),
        ("asdf - 12", ("asdf", 12)),
        ("net 0012", ("net", 12)),
        ("net1\n", ("net", 1)),
        ("net١٢", ("net", 12)),
        ("desk_2-5", ("desk_2", 5)),
        ("DESK_2 - 5", ("desk_2", 5)),
        ("page:Front", ("page", "Front")),
        ("page:7", ("page", "7")),
        ("page:-7", ("page", "-7")),
        ("Page:a:b", ("page", "a:b")),
        ("org" + "0" * (MOST_DIGITS - 1) + "1", ("org", 1)),
    ],
)
def test_hr_09_a_tag_and_a_key_are_read_from_what_people_write(text: str, expected: tuple[str, Any]) -> None:
    """Letters, then spaces and hyphens, then digits of any script; the tag is lowered."""
    assert split_ref(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "asdf123a",
        "123asdf",
        "12",
        "net",
        "n2t12",
        "NET_1",
        "",
        "-5",
        " 5",
        " net5",
        "-net-5",
        "net:",
        ":5",
        " :5",
        "a :5",
        "a\n5",
        "a\n-5",
        "net-five",
        "net²",
        "net 1 2 x",
        "page:a\0b",
        "pa\0ge:a",
        "a\0-5",
        "page:\ud800",
        "net" + "1" * (MOST_DIGITS + 1),
        "net" + "1" * 5000,
        "net" * 100_000,
    ],
)
def test_hr_10_what_is_no_handle_is_refused(text: str) -> None:
    """With a message that says what one looks like, and is short whatever was given."""
    with pytest.raises(ValueError, match="is no handle: a tag and a key") as refused:
        split_ref(text)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("given", [None, 12, b"net12", ["net12"]])
def test_only_a_text_is_a_handle(given: Any) -> None:
    """Not what looks like one."""
    with pytest.raises(TypeError, match="A handle is a text"):
        split_ref(given)


@settings(max_examples=500, deadline=None, database=None)
@given(st.text(max_size=60) | st.text(" -:1a²\n\0", max_size=60))
def test_strangers_get_a_tag_and_a_key_or_a_value_error(text: str) -> None:
    """Whatever they send; and what is read makes a handle that is read as the same."""
    try:
        tag, key = split_ref(text)
    except ValueError:
        return
    if not fault_of(tag):
        assert split_ref(handle_of(tag, key)) == (tag, key)


@pytest.mark.parametrize("piece", ["1-", "a-", " -", "- 1", "1\n", "a1 ", "١"])
def test_each_character_is_read_a_bounded_number_of_times(piece: str) -> None:
    """A text forty times as long takes some forty times as long, and not sixteen hundred times."""

    def lines_run(text: str) -> int:
        ran = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal ran
            ran += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            split_ref(text)
        except ValueError:
            pass
        finally:
            sys.settrace(before)
        return ran

    short, long = piece * 50 + "x", piece * 2000 + "x"
    for one, other in ((short, long), (short[:-1], long[:-1])):
        assert lines_run(other) <= 41 * lines_run(one)


# -- Of objects


def test_hr_06_an_object_tells_its_tag_and_its_handle() -> None:
    """In the form that its tag and its key allow."""
    key = uuid.uuid4()

    assert (Publisher(pk=1).ref_tag, Publisher(pk=1).handle) == ("org", "org1")
    assert Desk(pk=5).handle == "desk_2-5"
    assert Photo(pk=key).handle == f"photo:{key}"
    assert Masthead(slug="Front page").handle == "masthead:Front page"
    assert str(Publisher.handleref.tag) == "org"


def test_an_object_without_a_key_has_no_handle() -> None:
    """A new one, one whose key is blank, one whose key has several columns."""
    for unsaved in (Publisher(), Masthead()):
        with pytest.raises(ValueError, match="no primary key yet"):
            _ = unsaved.handle
    with pytest.raises(ValueError, match="several columns"):
        handle_of("net", (1, 2))


@isolate_apps("newsroom")
def test_a_tag_is_lowered_where_it_is_declared() -> None:
    """So that a handle is read back with the tag that the model has."""

    class Station(HandleRefModel):
        class HandleRef:
            tag = "TV Station"

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return self.handle

    assert Station(pk=3).ref_tag == "tv station"
    assert split_ref(str(Station(pk=3))) == ("tv station", 3)
