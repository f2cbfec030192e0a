"""What an object was at a time, and what differs between two of these. `Version` is the contract for any store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, Self, TypeVar, overload

from django.db import models

#: What tells of deletion and order in the database only: no snapshot shows it.
TECHNICAL = frozenset({"change_stamp", "change_batch", "former_status"})

#: What every save writes by itself: no change, and nothing to go back to.
OWN = frozenset({"created", "updated", "version"}) | TECHNICAL


V = TypeVar("V", bound="Version")


class VersionNotFound(LookupError):
    """There is no such version, or it is not one of the object in question: a page answers 404."""


class Version:
    """A snapshot of an object, taken when it was saved: what a history is made of.

    Abstract: a store of snapshots inherits from it, and gives `of`, `id`, `date`, `user`, `comment`, `model`,
    `object_id`, `data`, `previous` and `next`. What stands around nothing, as the `next` of the last does, is false,
    and its properties are None or empty. Two are equal that are of one class and have one `id`.
    """

    @classmethod
    def of(cls, instance_or_model: Any, object_id: Any = None) -> History[Self]:
        """The history of an instance, or of the object with the key ``object_id`` of a model."""
        raise NotImplementedError

    @property
    def id(self) -> Any:
        """Its key in the store, neither blank nor 0. Of two snapshots of one object the later one has the greater."""
        raise NotImplementedError

    @property
    def date(self) -> datetime | None:
        """When it was taken."""
        raise NotImplementedError

    @property
    def user(self) -> Any:
        """Who made the change; None where nobody was named, or the user is gone."""
        raise NotImplementedError

    @property
    def comment(self) -> str:
        """What was said of the change, which may be blank."""
        raise NotImplementedError

    @property
    def model(self) -> type[models.Model] | None:
        """The model of the object; None where it is not installed any more."""
        raise NotImplementedError

    @property
    def object_id(self) -> str | None:
        """The key of the object, as text."""
        raise NotImplementedError

    @property
    def data(self) -> dict[str, Any]:
        """The fields that the snapshot holds and the model still has, with their values.

        A foreign key has the name of its column (``publisher_id``), and the key as its value; a many-to-many field a
        list of keys. Empty for a snapshot that can't be read. Raises nothing.
        """
        raise NotImplementedError

    @property
    def previous(self) -> Self | None:
        """The one before it, of the same object; None for the first."""
        raise NotImplementedError

    @property
    def next(self) -> Self:
        """The one after it, of the same object. That of the last is false, and all of its properties are empty."""
        raise NotImplementedError

    @property
    def is_readable(self) -> bool:
        """Whether what is stored could be read."""
        return True

    # -- The same for every store

    @property
    def version(self) -> int | None:
        """The number that the object had after the change; None where the snapshot holds none."""
        return self.data.get("version")

    @property
    def number(self) -> Any:
        """What people call it: the number that the object had, or its key where the snapshot holds none."""
        return self.id if self.version is None else self.version

    @property
    def data_sorted(self) -> list[tuple[str, Any]]:
        """`data` as (field, value), by name."""
        return sorted(self.data.items())

    def belongs_to(self, instance: models.Model) -> bool:
        """Whether it is a snapshot of ``instance``. One of a proxy of its model is. No query."""
        return (
            self.model is not None
            and self.model._meta.concrete_model is instance._meta.concrete_model
            and self.object_id == str(instance.pk)
        )

    def changes(self, other: Version | None) -> dict[str, dict[str, Any]] | None:
        """What changed from ``other``, mostly `previous`, to this: see `Diff.changes`. None without ``other``."""
        return Diff(other, self).changes

    def changed_fields(self, other: Version | None) -> list[str]:
        """The names of the fields that changed from ``other`` to this, in order. Empty without ``other``."""
        return sorted(self.changes(other) or ())

    @classmethod
    def changes_summary(cls, versions: Iterable[Version]) -> dict[str, list[dict[str, Any]]]:
        """For each field that any of ``versions`` changed, against its `previous`: which ones did, newest first.

        ``{field: [{"version": Version, "old": …, "changed": …}, …]}``. The first version of an object changes nothing.
        """
        summary: dict[str, list[dict[str, Any]]] = {}
        for version in sorted(versions, key=lambda one: one.id, reverse=True):
            for field, change in (version.changes(version.previous) or {}).items():
                summary.setdefault(field, []).append({"version": version, **change})
        return summary

    def __bool__(self) -> bool:
        return self.id is not None

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, self.__class__) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.id}>"


class History(Generic[V]):
    """The versions of one object, newest first: a sequence of which a paginator takes slices.

    Abstract: a store gives `count`, `part` and `pick`. Making one asks nothing of the store.
    """

    #: For paginators, which warn of rows in no order.
    ordered = True

    def count(self) -> int:
        """How many there are."""
        raise NotImplementedError

    def part(self, start: int, stop: int | None) -> list[V]:
        """Those from ``start`` to before ``stop`` (None: to the last), fewer where there are fewer."""
        raise NotImplementedError

    def pick(self, keys: Iterable[Any]) -> list[V]:
        """Those with the ``keys``, or texts that strangers gave for these, newest first, each of them once.

        Raises VersionNotFound for one that is no version of this object, or no key at all.
        """
        raise NotImplementedError

    def get(self, key: Any) -> V:
        """The one with ``key``. Raises VersionNotFound."""
        return self.pick([key])[0]

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[V]:
        return iter(self[:])

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[V]: ...
    def __getitem__(self, index: int | slice) -> V | Sequence[V]:
        if isinstance(index, slice):
            if index.step not in (None, 1):
                raise ValueError("A slice of a history has no step.")
            return self.part(index.start or 0, index.stop)
        if index < 0:
            raise IndexError("A history is counted from the newest one: a negative index is none.")
        found = self.part(index, index + 1)
        if not found:
            raise IndexError(f"There is no version at {index}.")
        return found[0]


class Diff:
    """What differs between an older snapshot and a newer one."""

    #: What no change is made of.
    ignored_fields = OWN

    def __init__(self, older: Version | None, newer: Version | None) -> None:
        self.older, self.newer = older, newer

    @property
    def changes(self) -> dict[str, dict[str, Any]] | None:
        """``{field: {"old": …, "changed": …}}`` of the fields that the newer one holds, in its order.

        Both values as they are where the old one is a text or a whole number, else both as text; the old one is None
        where the older snapshot does not hold the field. None where one of the two is missing, and empty where one
        can't be read.
        """
        if not self.older or not self.newer:
            return None
        if not (self.older.is_readable and self.newer.is_readable):
            return {}
        held = self.older.data
        return {
            field: _change(held, field, value)
            for field, value in self.newer.data.items()
            if field not in self.ignored_fields and (field not in held or held[field] != value)
        }


def _change(held: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    if field not in held:
        return {"old": None, "changed": str(value)}
    old = held[field]
    return {"old": old, "changed": value} if isinstance(old, (str, int)) else {"old": str(old), "changed": str(value)}
