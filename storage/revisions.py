"""What goes into the revisions of django-reversion: registered models, and rows that are deleted softly or restored.

A save counts its version before it sends its signal, so a snapshot carries the number after the change; nothing here
touches an object. Rows changed by ``update()``, ``bulk_update()`` and ``bulk_create()`` send no signals, and are in no
revision: ``reversion.add_to_revision(obj)`` puts one there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from footfall.storage.objectversions import TECHNICAL
from footfall.storage.softdeletion import soft_deleted, undeleted

#: Rows read at once, with what their many-to-many fields hold.
CHUNK = 500


def is_installed() -> bool:
    """Whether django-reversion is among the installed apps."""
    return apps.is_installed("reversion")


def require() -> None:
    """Raise ImproperlyConfigured where django-reversion is not among the installed apps."""
    if not is_installed():
        raise ImproperlyConfigured(
            'History needs django-reversion: install footfall[history] and add "reversion" to INSTALLED_APPS.'
        )


def register(model: type[models.Model], **options: Any) -> type[models.Model]:
    """Record the history of ``model``, also of objects saved through its proxies. Usable as a decorator.

    What is registered already stays as it is. The models that it inherits from are registered, too, and their
    snapshots taken with its own. ``options`` are those of ``reversion.register``; what belongs to the database only
    (``change_stamp``, ``change_batch``, ``former_status``) is left out. Raises ImproperlyConfigured without
    django-reversion, and its RegistrationError for options that it refuses. No query.
    """
    require()
    import reversion

    concrete = model._meta.concrete_model or model
    links = {parent: link.name for parent, link in concrete._meta.parents.items() if link is not None}
    for parent in links:
        register(parent)
    chosen = {
        **options,
        "exclude": {*options.get("exclude", ()), *TECHNICAL},
        "follow": [*dict.fromkeys([*options.get("follow", ()), *links.values()])],
    }
    for each in (concrete, *_proxies(concrete)):
        if not reversion.is_registered(each):
            reversion.register(each, **chosen)
    return model


def _proxies(model: type[models.Model]) -> Iterator[type[models.Model]]:
    for child in model.__subclasses__():
        if child._meta.proxy and child._meta.concrete_model is model:
            yield child
            yield from _proxies(child)


@contextmanager
def revision(user: Any = None, comment: str = "") -> Iterator[None]:
    """A revision by ``user``, where that is somebody, or part of the one that is open.

    Where an exception leaves it, nothing of it is kept, nor in the outer one.
    """
    import reversion

    outer = reversion.revisions._current_frame() if reversion.is_active() else None
    try:
        with reversion.create_revision():
            if user is not None and user.is_authenticated:
                reversion.set_user(user)
            if comment:
                reversion.set_comment(comment)
            yield
    except BaseException:
        if outer is not None:
            # It takes over what the inner one was told also if that fails, and has no public way to take it back.
            reversion.revisions._update_frame(**outer._asdict())
        raise


def keep_first_versions(model: type[models.Model], keys: Collection[Any], comment: str, using: str) -> None:
    """Put down, as they are stored, those of the objects ``keys`` that have no version yet.

    In a revision of its own, which comes before the one that is open. Nothing for a model that is not registered. Two
    queries for each `CHUNK` of keys; then those that write, if any are to be written.
    """
    import reversion

    if reversion.is_registered(model):
        every = list(keys)
        for start in range(0, len(every), CHUNK):
            copy_context().run(_keep_first, model, every[start : start + CHUNK], comment, using)


def _keep_first(model: type[models.Model], keys: list[Any], comment: str, using: str) -> None:
    import reversion
    from reversion.models import Version

    # In this context, which is a copy, no revision is open; else the new one would become part of that.
    reversion.revisions._stack.set([])

    known = Version.objects.get_for_model(model, model_db=using).filter(object_id__in=map(str, keys))
    having = set(known.values_list("object_id", flat=True))
    lacking = [key for key in keys if str(key) not in having]
    if not lacking:
        return
    with reversion.create_revision():
        reversion.set_comment(comment)
        for row in model._base_manager.using(using).filter(pk__in=lacking).prefetch_related(*_many(model)):
            reversion.add_to_revision(row, model_db=using)


def connect() -> None:
    """Put what is deleted softly, or restored, into the revision that is open. Nothing without django-reversion."""
    if is_installed():
        for signal in (soft_deleted, undeleted):
            signal.connect(_add, dispatch_uid="footfall_revision")


def _add(sender: type[models.Model], rows: models.QuerySet[Any], using: str, **kwargs: Any) -> None:
    import reversion

    if not reversion.is_active() or reversion.is_manage_manually():
        return
    for model in _kin(sender):
        if reversion.is_registered(model):
            changed = model._base_manager.using(using).filter(pk__in=rows.order_by().values("pk"))
            for row in changed.prefetch_related(*_many(model)).iterator(chunk_size=CHUNK):
                reversion.add_to_revision(row, model_db=using)


def _kin(model: type[models.Model]) -> Iterator[type[models.Model]]:
    """The model of the table that ``model`` stands for, and those with a table of their own beside it: keys are one."""
    concrete = model._meta.concrete_model
    for each in apps.get_models():
        if not each._meta.proxy and (each is concrete or concrete in each._meta.get_parent_list()):
            yield each


def _many(model: type[models.Model]) -> Iterator[str]:
    """The many-to-many fields that snapshots hold."""
    field: Any
    for field in model._meta.many_to_many:
        if field.remote_field.through._meta.auto_created:
            yield field.name
