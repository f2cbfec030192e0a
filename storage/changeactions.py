"""Publishes what becomes of objects as actions, where the model says so: ``publish_actions = True`` in `HandleRef`.

"created" and "changed" after each save, "deleted" and "restored" after each deletion and restoration, of one object or
of many. The action names who acts (`footfall.storage.acting`), where nobody is known the object itself, unless it is a
user, who would seem to have done it; and, as target, the object; its data is the ``version`` that the object has now.
As all that is published it waits for the commit, and is dropped with what is rolled back.

Of many that are deleted or restored together there is one action for a thousand of a model, without the version; who
isn't known is nobody then. A status that is set by hand is a change like any other. A fixture, a save that changes
nothing (``skip_unchanged``), ``update()``, ``bulk_create()`` and ``bulk_update()`` publish nothing; nor does the
deletion for good of what was deleted softly before, or leaves nothing (``use_del_items=False``).

Nothing of this raises into what is saved or deleted: what can't be published is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from django.apps import apps
from django.conf import settings
from django.db import models, router, transaction
from django.db.models.signals import post_delete, post_save
from django.utils import timezone
from django.utils.translation import gettext_noop

from footfall.producers.messages import MAX_REFS, Ref
from footfall.producers.publish import publish_action
from footfall.producers.settings import conf
from footfall.storage.acting import UNKNOWN, who_acts
from footfall.storage.connecting import connection_of
from footfall.storage.marks import label_of
from footfall.storage.models import Action
from footfall.storage.references import HandleRefModel
from footfall.storage.softdeletion import DELETED, soft_deleted, undeleted

logger = logging.getLogger("footfall.changeactions")

#: Stored untranslated, and translated where they are shown.
CREATED = gettext_noop("created")
CHANGED = gettext_noop("changed")
DELETED_VERB = gettext_noop("deleted")
RESTORED = gettext_noop("restored")

#: What an action takes beside its targets, in bytes, at most.
BESIDE = 4_096


def connect() -> None:
    """Listen to the models, proxies too, that want it."""
    for model in apps.get_models():
        if issubclass(model, HandleRefModel) and model._handleref.publish_actions:
            listen_to(model)


def listen_to(model: type[HandleRefModel]) -> None:
    """Publish what becomes of objects of ``model``, as just this class; may be said again."""
    post_save.connect(_after_save, sender=model, dispatch_uid="footfall_change_actions")
    post_delete.connect(_after_hard_deletion, sender=model, dispatch_uid="footfall_change_actions")
    soft_deleted.connect(_after_deletion, sender=model, dispatch_uid="footfall_change_actions")
    undeleted.connect(_after_restoration, sender=model, dispatch_uid="footfall_change_actions")


# -- What has happened


def _after_save(instance: HandleRefModel, created: bool, raw: bool, using: str, **kwargs: Any) -> None:
    if not raw:
        _publish_one(CREATED if created else CHANGED, instance, using)


def _after_hard_deletion(sender: type[HandleRefModel], instance: HandleRefModel, using: str, **kwargs: Any) -> None:
    connection = connection_of(sender)
    leaves_nothing = connection is not None and not connection.use_del_items
    if not (leaves_nothing or instance.status == DELETED or _is_part_of(kwargs.get("origin"), sender)):
        _publish_one(DELETED_VERB, instance, using)


def _after_deletion(rows: models.QuerySet[Any], using: str, **kwargs: Any) -> None:
    _publish_rows(DELETED_VERB, rows, using)


def _after_restoration(rows: models.QuerySet[Any], using: str, **kwargs: Any) -> None:
    _publish_rows(RESTORED, rows, using)


def _is_part_of(origin: Any, sender: type[models.Model]) -> bool:
    """Whether ``sender`` has just a row of the objects that are deleted, whose model inherits from it."""
    model = origin.model if isinstance(origin, models.QuerySet) else origin.__class__
    return issubclass(model, sender) and label_of(model) != label_of(sender)


# -- As actions


@dataclass(frozen=True)
class _Named:
    """Stands for an object of which only the key was read."""

    footfall_ref: Ref


def _publish_one(verb: str, instance: HandleRefModel, using: str) -> None:
    actor = _actor(instance.__class__, instance)
    _publish(actor, verb, [instance], using, version=instance.version)


def _publish_rows(verb: str, rows: models.QuerySet[Any], using: str) -> None:
    label = label_of(rows.model)
    found = list(rows.order_by("pk").values_list("pk", "version"))
    targets = [_Named(Ref(label, str(key))) for key, _version in found]
    if len(targets) == 1:
        ((target,), (_key, version)) = targets, found[0]
        _publish(_actor(rows.model, target), verb, targets, using, version=version)
        return
    actor = _actor(rows.model, None)
    for some in _portions(targets):
        _publish(actor, verb, some, using)


def _actor(model: type[models.Model], target: Any) -> Any:
    """Who acts; where it isn't known the one object of ``model`` that it is about, which then reads "x was changed"."""
    actor = who_acts()
    if actor is not UNKNOWN:
        return actor
    kinds = {kind._meta.label_lower for kind in (model, *model._meta.get_parent_list())}
    return None if settings.AUTH_USER_MODEL.lower() in kinds else target


def _portions(targets: Iterable[_Named]) -> Iterator[list[_Named]]:
    """As many at a time as one action may be about, and one event may hold."""
    some: list[_Named] = []
    size, most = 0, conf.MAX_EVENT_BYTES - BESIDE
    for target in targets:
        more = len(msgspec.json.encode(target.footfall_ref)) + 1
        if some and (len(some) == MAX_REFS or size + more > most):
            yield some
            some, size = [], 0
        some.append(target)
        size += more
    if some:
        yield some


def _publish(actor: Any, verb: str, targets: Sequence[Any], using: str, **data: Any) -> None:
    """Where actions are kept elsewhere than the objects on ``using``, it waits for the commits of both."""
    try:
        home = router.db_for_write(Action)
        publish = partial(publish_action, actor, verb, targets, timestamp=timezone.now(), using=home, **data)
        if home == using:
            publish()
        else:
            transaction.on_commit(publish, using=using, robust=True)
    except Exception:  # nothing may raise into somebody's save
        logger.exception("That %d objects were %s could not be published.", len(targets), verb)
