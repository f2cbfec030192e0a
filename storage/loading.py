"""What actions are about, loaded for many actions at once.

Actions that came out of the database together share one loader: whichever is asked first, all of them are loaded, by
one query for the entries and one for each type of object. The loader knows the actions by their ids only, so it goes
when the last of them goes; copies and pickles of actions take it along, without what it has loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import router
from django.utils.functional import LazyObject

from footfall.producers.messages import Ref
from footfall.storage.resolving import ANYBODY, resolve, restricted

if TYPE_CHECKING:
    from footfall.storage.models import Action

#: Where an action keeps its loader.
LOADER = "_footfall_loader"

#: Role and Ref of one entry; roles are those of `ActionObject`.
Entry = tuple[str, Ref]


@dataclass
class Objects:
    """Whom one action is about. What is gone without a trace, or was never there, is None or left out."""

    actor: Any = None
    targets: list[Any] = field(default_factory=list)
    related: list[Any] = field(default_factory=list)


def attach(actions: Iterable[Action], using: str) -> None:
    """Let ``actions``, which are stored on ``using``, load what they are about together. No query."""
    together = list(actions)
    loader = _Loader([id_of(action) for action in together], using)
    for action in together:
        action.__dict__[LOADER] = loader


def load(actions: Iterable[Action], viewer: Any = ANYBODY) -> None:
    """Load what ``actions`` are about, as ``viewer`` sees it, where it isn't loaded: all at once.

    One query for the entries, and those of `resolve`; wherever they came from.
    """
    together = list(actions)
    fresh: dict[str, list[Action]] = defaultdict(list)
    for action in together:
        loader = _loader_in(action)
        if loader is None or not loader.is_loaded:
            fresh[alias_of(action)].append(action)
    for using, some in fresh.items():
        # What came together is loaded together, also when one of them is asked for.
        if _loader_in(some[0]) is None or len({id(_loader_in(action)) for action in some}) > 1:
            attach(some, using)
    for action in together:
        objects_of(action, viewer)


def objects_of(action: Action, viewer: Any = ANYBODY) -> Objects:
    """Whom ``action`` is about, as ``viewer`` sees it; see `resolve`. Loads for all that it came with at first."""
    return _loader_of(action).objects(viewer)[id_of(action)]


def entries_of(action: Action) -> list[Entry]:
    """Role and Ref of whom ``action`` is about. One query at first, for all that it came with."""
    return _loader_of(action).entries().get(id_of(action), [])


def forget(action: Action) -> None:
    """Load what ``action`` is about anew when it is asked for again, for it alone."""
    action.__dict__.pop(LOADER, None)


def id_of(action: Action) -> UUID:
    """The id of ``action``, also where it was made with the text of one."""
    key: UUID = action._meta.get_field("id").to_python(action.pk)
    return key


def alias_of(action: Action) -> str:
    """The database that ``action`` was read from, or would be."""
    return action._state.db or router.db_for_read(type(action))


class _Loader:
    """What the actions ``ids`` on the database ``using`` are about. Entries are loaded once, objects per viewer."""

    def __init__(self, ids: Sequence[UUID], using: str) -> None:
        self.ids = dict.fromkeys(ids)
        self._using = using
        self._entries: dict[UUID, list[Entry]] | None = None
        # By viewer, who is kept: the identity of one that is gone could be another's. Another instance of a user may
        # have other permissions.
        self._objects: dict[int, tuple[Any, dict[UUID, Objects]]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _Loader, (list(self.ids), self._using)

    @property
    def is_loaded(self) -> bool:
        return self._entries is not None

    def entries(self) -> dict[UUID, list[Entry]]:
        if self._entries is None:
            self._entries = _stored_entries(self.ids, self._using)
        return self._entries

    def objects(self, viewer: Any) -> dict[UUID, Objects]:
        viewer = _unwrapped(viewer) if restricted(viewer) else ANYBODY
        if id(viewer) not in self._objects:
            self._objects[id(viewer)] = (viewer, self._resolved(viewer))
        return self._objects[id(viewer)][1]

    def _resolved(self, viewer: Any) -> dict[UUID, Objects]:
        entries = self.entries()
        found = resolve((ref for some in entries.values() for _, ref in some), viewer)
        return {key: _objects_in(entries.get(key, []), found) for key in self.ids}


def _loader_of(action: Action) -> _Loader:
    loader = _loader_in(action)
    if loader is None:
        attach([action], alias_of(action))
        loader = action.__dict__[LOADER]
    return loader


def _loader_in(action: Action) -> _Loader | None:
    loader: _Loader | None = action.__dict__.get(LOADER)
    # One that was given another id since is another action.
    return loader if loader is not None and id_of(action) in loader.ids else None


def _unwrapped(viewer: Any) -> Any:
    """The very user, of whom a request has a lazy proxy."""
    if not isinstance(viewer, LazyObject):
        return viewer
    viewer.__class__  # noqa: B018 - which sets it up
    return viewer.__dict__["_wrapped"]


def _stored_entries(ids: Iterable[UUID], using: str) -> dict[UUID, list[Entry]]:
    from footfall.storage.marks import KEYS, in_chunks
    from footfall.storage.models import ActionObject

    entries: dict[UUID, list[Entry]] = defaultdict(list)
    for some in in_chunks(ids, KEYS):
        rows = ActionObject.objects.using(using).filter(action__in=some).order_by("id")
        for action, role, label, key in rows.values_list("action_id", "role", "object_type", "object_id"):
            entries[action].append((role, Ref(label, key or None)))
    return entries


def _objects_in(entries: Iterable[Entry], found: dict[Ref, Any]) -> Objects:
    by_role: dict[str, list[Any]] = defaultdict(list)
    for role, ref in entries:
        if ref in found:
            by_role[role].append(found[ref])
    return Objects(actor=next(iter(by_role["a"]), None), targets=by_role["t"], related=by_role["r"])
