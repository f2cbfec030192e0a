"""Snapshots that django-reversion has taken: one, the history of an object, and the way back.

A snapshot is read from what is stored, without a query; what can't be read shows as such, and breaks no page.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import models, router
from django.db.models import OuterRef, Prefetch, Subquery

from footfall.storage.objectversions import History, Version, VersionNotFound
from footfall.storage.references import HandleRefModel
from footfall.storage.reverting import Reverter
from footfall.storage.revisions import require, revision
from footfall.storage.snapshotvalues import values_of

logger = logging.getLogger("footfall.versions")

#: More make a number that no database has as a key.
DIGITS = 19

_UNASKED: Any = object()


class ReversionVersion(Version):
    """Around a ``reversion.models.Version``, or the one of the primary key given; None: around nothing.

    One query for a key, in the database where ``using`` says that versions are kept (default: as routed). Raises
    VersionNotFound, a LookupError, for a key that no version has; ImproperlyConfigured without django-reversion.
    Snapshots in JSON, the default, keep times to the millisecond.
    """

    def __init__(self, version_or_pk: Any, *, using: str | None = None) -> None:
        require()
        from reversion.models import Version as Stored

        if version_or_pk is not None and not isinstance(version_or_pk, Stored):
            version_or_pk = _stored(version_or_pk, using)
        self.stored: Any = version_or_pk
        self._previous: Any = _UNASKED
        self._next: Any = _UNASKED
        self._parents: list[ReversionVersion] | None = None

    @classmethod
    def of(
        cls, instance_or_model: Any, object_id: Any = None, *, using: str | None = None, model_db: str | None = None
    ) -> ReversionHistory:
        """The history of an instance, or of the object ``object_id`` of a model, newest first.

        No query yet, but for the content type, which is kept then. ``using`` says where versions are kept, ``model_db``
        where the object is (default of both: as routed). Raises reversion's RegistrationError for a model that is not
        registered.
        """
        require()
        is_model = isinstance(instance_or_model, type)
        model = instance_or_model if is_model else instance_or_model.__class__
        key = object_id if is_model else instance_or_model.pk
        hints = {} if is_model else {"instance": instance_or_model}
        rows = _rows(using).get_for_object_reference(
            model, str(key), model_db=model_db or router.db_for_write(model, **hints)
        )
        return ReversionHistory(cls, rows)

    @property
    def id(self) -> int | None:
        """The primary key of the stored version."""
        return self.stored.pk if self.stored else None

    @property
    def date(self) -> datetime | None:
        """When the revision was made."""
        return self.stored.revision.date_created if self.stored else None

    @property
    def user(self) -> Any:
        """Who made the revision."""
        return self.stored.revision.user if self.stored else None

    @property
    def comment(self) -> str:
        """The comment on the revision; one of the admin's is put into words."""
        if not self.stored:
            return ""
        try:
            return str(self.stored.revision.get_comment())
        except Exception:  # it looks like one of the admin's, which are JSON, and is none
            return str(self.stored.revision.comment)

    @cached_property
    def model(self) -> type[models.Model] | None:
        """The model of the object: for one saved through a proxy, that which the proxy stands for."""
        if not self.stored:
            return None
        types = ContentType.objects.db_manager(self.stored._state.db)
        return types.get_for_id(self.stored.content_type_id).model_class()

    @property
    def object_id(self) -> str | None:
        """The key of the object, as text."""
        return self.stored.object_id if self.stored else None

    @property
    def object_repr(self) -> str:
        """What the object called itself."""
        return self.stored.object_repr if self.stored else ""

    @property
    def previous(self) -> Self | None:
        """The one before it; None for the first. A query where it was not loaded with it."""
        if self._previous is _UNASKED:
            found = self._others().filter(pk__lt=self.id).order_by("-pk").first() if self.stored else None
            self._previous = self.__class__(found) if found else None
        return self._previous  # type: ignore[no-any-return]  # what is unasked is no version

    @property
    def next(self) -> Self:
        """The one after it; around nothing for the last. A query where it was not loaded with it."""
        if self._next is _UNASKED:
            found = self._others().filter(pk__gt=self.id).order_by("pk").first() if self.stored else None
            self._next = self.__class__(found)
        return self._next  # type: ignore[no-any-return]  # what is unasked is no version

    @property
    def is_readable(self) -> bool:
        """Whether what is stored, and what it inherits, could be read."""
        return self._read is not None

    @property
    def data(self) -> dict[str, Any]:
        """As `Version.data`. A query for each level of inheritance, where they were not loaded with it."""
        return self._read or {}

    # -- Within

    def _others(self) -> Any:
        stored = self.stored
        return _rows(stored._state.db).filter(
            db=stored.db, content_type_id=stored.content_type_id, object_id=stored.object_id
        )

    @cached_property
    def _own(self) -> dict[str, Any] | None:
        """What the snapshot of the object's own table holds; None where it can't be read."""
        if not self.stored or self.model is None:
            return {}
        try:
            return values_of(self.model, self.stored)
        except Exception as error:  # whatever a stored text makes a reader of texts raise
            logger.warning("Version %s of %s can't be read: %s", self.id, self.model._meta.label, error)
            return None

    @cached_property
    def _read(self) -> dict[str, Any] | None:
        if self._parents is None:
            load_parents([self])
        data: dict[str, Any] = {}
        for part in (*(self._parents or ()), self):
            own = part._own if part is self else part._read
            if own is None:
                return None
            data.update(own)
        return data


class ReversionHistory(History[ReversionVersion]):
    """The versions that django-reversion has of an object, newest first.

    A slice of any length is one query, and one for each level that the model inherits from; its versions know their
    `previous` without another one. `count` is one query.
    """

    def __init__(self, version_cls: type[ReversionVersion], rows: Any) -> None:
        self._cls = version_cls
        self._rows = rows.order_by("-pk")

    def count(self) -> int:
        """How many there are. One query."""
        return int(self._rows.count())

    def part(self, start: int, stop: int | None) -> list[ReversionVersion]:
        """As `History.part`."""
        # One more: the one before the last of them.
        found = [self._cls(row) for row in self._rows[start : None if stop is None else stop + 1]]
        wanted = found if stop is None else found[: max(stop - start, 0)]
        _link(found, newest=start == 0, oldest=len(found) == len(wanted))
        load_parents(found)
        return wanted

    def pick(self, keys: Iterable[Any]) -> list[ReversionVersion]:
        """As `History.pick`, each with its `previous`.

        Two queries, and one for each level that the model inherits from.
        """
        keys = {_key(key) for key in keys}
        before = self._rows.filter(pk__lt=OuterRef("pk")).values("pk")[:1]
        found = list(self._rows.filter(pk__in=keys).annotate(before=Subquery(before)))
        missing = keys - {row.pk for row in found}
        if missing:
            raise VersionNotFound(f"The object has no version {min(missing)}.")
        known = {row.pk: row for row in found}
        absent = {row.before for row in found} - known.keys() - {None}
        versions = {row.pk: self._cls(row) for row in (*found, *self._rows.filter(pk__in=absent))}
        for row in found:
            versions[row.pk]._previous = versions.get(row.before)
        load_parents(list(versions.values()))
        return [versions[row.pk] for row in found]


class ReversionReverter(Reverter):
    """A `Reverter` that puts what it does down in a revision of django-reversion."""

    @contextmanager
    def recorded(self, instance: HandleRefModel, user: Any, comment: str) -> Iterator[None]:
        """A revision, or part of the one that is open. Raises ImproperlyConfigured without django-reversion."""
        require()
        with revision(user, comment):
            yield


# -- Loading


def _rows(using: str | None) -> Any:
    """Stored versions with their revisions and users."""
    from reversion.models import Version as Stored

    rows = Stored.objects.using(using or router.db_for_read(Stored))
    users = get_user_model()._base_manager.using(router.db_for_read(get_user_model()))
    if users.db == rows.db:
        return rows.select_related("revision__user")
    return rows.select_related("revision").prefetch_related(Prefetch("revision__user", users))


def _key(pk: Any) -> int:
    text = str(pk)
    if not (text.isascii() and text.isdecimal() and len(text) < DIGITS):
        raise VersionNotFound(f"{text[:80]!r} is no key of a version.")
    return int(text)


def _stored(pk: Any, using: str | None) -> Any:
    found = _rows(using).filter(pk=_key(pk)).first()
    if found is None:
        raise VersionNotFound(f"There is no version {str(pk)[:80]}.")
    return found


def _link(versions: Sequence[ReversionVersion], *, newest: bool, oldest: bool) -> None:
    """Tell neighbours of each other; whether the first and the last of them are those of the object."""
    for later, earlier in pairwise(versions):
        later._previous, earlier._next = earlier, later
    if versions and newest:
        versions[0]._next = versions[0].__class__(None)
    if versions and oldest:
        versions[-1]._previous = None


def load_parents(versions: Sequence[ReversionVersion]) -> None:
    """Give each of ``versions``, all of one model, those of the models that it inherits from, of the same revision.

    One query for each of these models; none for a model that inherits from none.
    """
    model = versions[0].model if versions else None
    links = model._meta.concrete_model._meta.parents if model is not None else {}  # type: ignore[union-attr]  # never None
    for version in versions:
        version._parents = []
    for parent, link in links.items():
        if link is not None:
            _load_parent(versions, parent, link.attname)


def _load_parent(versions: Sequence[ReversionVersion], parent: type[models.Model], link: str) -> None:
    stored = versions[0].stored
    using = stored._state.db
    places = {(one.stored.revision_id, str((one._own or {}).get(link))): one for one in versions}
    rows = stored.__class__.objects.using(using).filter(
        content_type=ContentType.objects.db_manager(using).get_for_model(parent),
        db=stored.db,
        object_id__in={key for _revision, key in places},
        revision_id__in={revision for revision, _key in places},
    )
    found = [versions[0].__class__(row) for row in rows]
    load_parents(found)
    for one in found:
        child = places.get((one.stored.revision_id, one.stored.object_id))
        if child is not None and child._parents is not None:
            child._parents.append(one)
