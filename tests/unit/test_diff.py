"""What differs between two snapshots, and who changed what: of any store."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.storage.versions import Diff, History, Version


class Page(Version):
    """A snapshot in memory: what a site would write for a store of its own."""

    def __init__(self, number: int | None, data: dict[str, Any] | None = None, shelf: Sequence[Page] = ()) -> None:
        self._number, self._data, self._shelf = number, data or {}, shelf

    @property
    def id(self) -> int | None:
        return self._number

    @property
    def data(self) -> dict[str, Any]:
        return self._data

    @property
    def previous(self) -> Page | None:
        earlier = [page for page in self._shelf if page.id is not None and page.id < (self._number or 0)]
        return earlier[-1] if earlier else None


class Torn(Page):
    @property
    def is_readable(self) -> bool:
        return False


def changes(old: dict[str, Any], new: dict[str, Any]) -> Any:
    return Diff(Page(1, old), Page(2, new)).changes


def shelf(*contents: dict[str, Any]) -> list[Page]:
    """Snapshots of one object, the first first."""
    pages: list[Page] = []
    pages += [Page(number, data, pages) for number, data in enumerate(contents, 1)]
    return pages


# -- Diff


def test_a_diff_names_the_fields_that_changed_with_both_values() -> None:
    """Those that did not are left out."""
    assert changes({"name": "a", "size": 1}, {"name": "b", "size": 1}) == {"name": {"old": "a", "changed": "b"}}


def test_a_diff_ignores_version_created_and_updated() -> None:
    """Every save writes them; deletion and the order of changes have their own columns."""
    names = ("version", "created", "updated", "change_stamp", "change_batch", "former_status")

    assert changes(dict.fromkeys(names, 1), dict.fromkeys(names, 2)) == {}
    assert changes({"status": ""}, {"status": "deleted"}) == {"status": {"old": "", "changed": "deleted"}}


def test_a_diff_knows_only_the_fields_of_the_newer_snapshot() -> None:
    """One that is no longer held did not change."""
    assert changes({"gone": 1, "name": "a"}, {"name": "a"}) == {}


def test_a_field_that_the_older_snapshot_lacks_was_none() -> None:
    """The field was added to the model in between."""
    assert changes({}, {"size": 5}) == {"size": {"old": None, "changed": "5"}}


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        pytest.param("a", "b", {"old": "a", "changed": "b"}, id="text"),
        pytest.param(1, 2, {"old": 1, "changed": 2}, id="whole number"),
        pytest.param(True, False, {"old": True, "changed": False}, id="bool"),
        pytest.param(1, None, {"old": 1, "changed": None}, id="to nothing"),
        pytest.param("", 7, {"old": "", "changed": 7}, id="another type"),
        pytest.param(None, 7, {"old": "None", "changed": "7"}, id="from nothing"),
        pytest.param(Decimal("1.50"), Decimal(2), {"old": "1.50", "changed": "2"}, id="decimal"),
        pytest.param(1.5, 2.5, {"old": "1.5", "changed": "2.5"}, id="float"),
        pytest.param([1], [1, 2], {"old": "[1]", "changed": "[1, 2]"}, id="keys"),
        pytest.param(
            datetime(2024, 5, 1, tzinfo=UTC), None, {"old": "2024-05-01 00:00:00+00:00", "changed": "None"}, id="time"
        ),
        pytest.param(uuid.UUID(int=1), "x", {"old": "00000000-0000-0000-0000-000000000001", "changed": "x"}, id="uuid"),
    ],
)
def test_values_are_as_they_are_where_the_old_one_is_text_or_a_whole_number(old: Any, new: Any, change: Any) -> None:
    """Else both are text."""
    assert changes({"field": old}, {"field": new}) == {"field": change}


def test_changes_from_nothing_are_none() -> None:
    """Nothing is known of what was before; and so for what stands around nothing."""
    page = Page(1, {"name": "a"})

    assert page.changes(None) is None
    assert page.changes(Page(None)) is None
    assert Page(None).changes(page) is None
    assert page.changed_fields(None) == []


def test_changes_are_those_from_the_other_to_this_one() -> None:
    """The other is the older one."""
    old, new = Page(1, {"name": "a", "size": 1}), Page(2, {"name": "b", "size": 2})

    assert new.changes(old) == {"name": {"old": "a", "changed": "b"}, "size": {"old": 1, "changed": 2}}
    assert old.changes(new) == {"name": {"old": "b", "changed": "a"}, "size": {"old": 2, "changed": 1}}
    assert new.changed_fields(old) == ["name", "size"]


def test_what_cant_be_read_changes_nothing() -> None:
    """Whether it comes before or after."""
    page, torn = Page(1, {"name": "a"}), Torn(2)

    assert torn.changes(page) == {} and page.changes(torn) == {}


values = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.booleans(), st.lists(st.integers(), max_size=3))
snapshots = st.dictionaries(st.sampled_from(["name", "size", "desk_id", "status", "version", "updated"]), values)


@given(snapshots, snapshots)
def test_a_diff_names_just_what_is_not_equal(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Whatever the snapshots hold; and none differs from itself."""
    held = {name: value for name, value in new.items() if name not in ("version", "updated")}
    expected = {name for name, value in held.items() if name not in old or old[name] != value}

    assert set(changes(old, new)) == expected
    assert changes(new, new) == {}


# -- The summary


def test_a_summary_tells_for_each_field_which_versions_changed_it_newest_first() -> None:
    """Each against the one before it, in whatever order they are given."""
    pages = shelf({"name": "a", "size": 1}, {"name": "b", "size": 1}, {"name": "c", "size": 2})
    first, second, third = pages

    for given_pages in (pages, [third, first, second]):
        assert Version.changes_summary(given_pages) == {
            "name": [
                {"version": third, "old": "b", "changed": "c"},
                {"version": second, "old": "a", "changed": "b"},
            ],
            "size": [{"version": third, "old": 1, "changed": 2}],
        }


def test_a_summary_compares_with_the_one_before_also_where_that_was_not_chosen() -> None:
    """What is chosen says of whose changes it tells."""
    pages = shelf({"name": "a"}, {"name": "b"}, {"name": "c"})

    assert Version.changes_summary([pages[2]]) == {"name": [{"version": pages[2], "old": "b", "changed": "c"}]}


def test_hr_47_a_summary_of_the_first_version_is_empty() -> None:
    """There is nothing to revert to."""
    assert Version.changes_summary([shelf({"name": "a"})[0]]) == {}
    assert Version.changes_summary([]) == {}


# -- The contract


def test_versions_are_equal_by_class_and_id() -> None:
    """Whatever they hold."""
    assert Page(1, {"a": 1}) == Page(1) and hash(Page(1)) == hash(Page(1))
    assert Page(1) != Page(2) and Page(1) != 1
    assert len({Page(1), Page(1), Page(2)}) == 2
    assert bool(Page(1)) and not Page(None)
    assert repr(Page(1)) == "<Page 1>"


@pytest.mark.parametrize("name", ["id", "date", "user", "comment", "model", "object_id", "data", "previous", "next"])
def test_a_store_has_to_say_what_a_version_is(name: str) -> None:
    """The base class knows none of it."""
    with pytest.raises(NotImplementedError):
        getattr(Version(), name)


def test_a_store_has_to_say_what_a_history_is() -> None:
    """The base classes know no store."""
    history: History[Version] = History()
    for use in (
        lambda: Version.of(None),
        history.count,
        lambda: history[0],
        lambda: history[:],
        lambda: history.get(1),
    ):
        with pytest.raises(NotImplementedError):
            use()


def test_what_follows_from_the_data_is_given() -> None:
    """The number is that of the snapshot; fields are sorted by name."""
    page = Page(7, {"version": 3, "name": "a", "created": None})

    assert page.version == 3 and Page(8).version is None
    assert page.data_sorted == [("created", None), ("name", "a"), ("version", 3)]
    assert page.is_readable
