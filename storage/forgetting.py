"""Listens to deletions, and says what follows one, in the same transaction.

- Marks on the object go, also on an action, and those of a deleted user, with the user's trackers.
- An object of a connected model leaves a `DeletedItem`, or takes its actions and trackers along: as it was connected.
- So does one of a model that keeps account of changes (`HandleRefModel`), connected or not, when it is really deleted:
  whoever polls for changes is told by it.

How objects are gathered for that, thousands at a time, is the business of `footfall.storage.deletion`. What is kept in
another database than the object follows after the commit (a cascade of Django's would look for it where the user is).
What goes past Django's signals (``_raw_delete``, the database's own cascades, SQL, the models of a migration) leaves
all behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.signals import post_delete, pre_delete

from footfall.producers.messages import Ref
from footfall.storage.connecting import connected_models, connection_of
from footfall.storage.datasets import TrackableData
from footfall.storage.deletion import Doomed, gather, take_gathered, where_kept
from footfall.storage.handlerefoptions import keeps_account
from footfall.storage.marks import label_of
from footfall.storage.models import KEY_LENGTH, Action, DeletedItem, Tracker, ViewMark
from footfall.storage.naming import key_of, model_of
from footfall.storage.purging import delete_marks, purge_actions, purge_trackers
from footfall.storage.tombstones import left_of, write_del_items

#: Apps whose objects nobody looks at.
INTERNAL = {"django.contrib.admin", "django.contrib.contenttypes", "django.contrib.sessions", "django_dramatiq"}
PERMISSION = "auth.permission"


def connect(labels: Sequence[str] | None) -> None:
    """Listen to the deletion of users, of connected models, and of those named by ``labels`` (None: all of the site's).

    Of models that keep account of changes, too, of the proxies of all, and of actions. A model that is listened to is
    no longer deleted by one blind statement: Django fetches its objects first. Raises ImproperlyConfigured for a label
    that is not an installed model's.
    """
    listen_to(Action)
    for model in [*marked_models(labels), *connected_models(), *filter(keeps_account, apps.get_models())]:
        listen_to(model)


def listen_to(model: type[models.Model]) -> None:
    """See to what follows when objects of ``model``, as just this class, are deleted; may be said again."""
    pre_delete.connect(_gather, sender=model, dispatch_uid="footfall_gather")
    post_delete.connect(_follow, sender=model, dispatch_uid="footfall_follow")


def marked_models(labels: Sequence[str] | None) -> list[type[models.Model]]:
    """The models whose deletion takes marks along: those named, and users in any case. Raises like `connect`."""
    users = label_of(get_user_model())
    if labels is None:
        return [model for model in apps.get_models() if _is_the_site_s(model) or label_of(model) == users]
    if isinstance(labels, str):
        raise ImproperlyConfigured(f'FOOTFALL["MARKED_MODELS"] is a list of labels, not {labels!r}.')
    chosen = {users, *(label_of(_named(label)) for label in labels)}
    return [model for model in apps.get_models() if label_of(model) in chosen]


def _gather(sender: type[models.Model], instance: models.Model, using: str, **kwargs: Any) -> None:
    key = key_of(instance)
    if not 0 < len(key) <= KEY_LENGTH:  # a blank one would stand for the whole model
        return
    ref, connection = Ref(label_of(sender), key), connection_of(sender)
    counted = keeps_account(sender)
    if connection is not None and not connection.use_del_items:
        gather(Doomed(ref, purged=True), using)
    elif connection is not None or counted:
        left = left_of(instance, ref, using, is_connected=connection is not None, is_counted=counted)
        gather(Doomed(ref, left=left), using)
    else:
        gather(Doomed(ref), using)


def _follow(sender: type[models.Model], using: str, **kwargs: Any) -> None:
    gone = take_gathered(using)
    if not gone:
        return
    refs = [one.ref for one in gone]
    where_kept(ViewMark, using, partial(delete_marks, refs))
    users = label_of(get_user_model())
    owners, purged = [ref for ref in refs if ref.type == users], [one.ref for one in gone if one.purged]
    if owners or purged:
        where_kept(Tracker, using, partial(purge_trackers, owners, purged))
    left = [one.left for one in gone if one.left is not None]
    if left:
        where_kept(DeletedItem, using, partial(write_del_items, left))
    if purged:
        where_kept(Action, using, partial(purge_actions, purged))


def _is_the_site_s(model: type[models.Model]) -> bool:
    options = model._meta
    app: str = options.app_config.name
    internal = app in INTERNAL or app.startswith("footfall.") or label_of(model) == PERMISSION
    internal = internal or issubclass(model, TrackableData)
    return options.managed and not options.auto_created and not internal


def _named(label: str) -> type[models.Model]:
    try:
        return model_of(label)
    except (LookupError, TypeError) as error:
        raise ImproperlyConfigured(f'FOOTFALL["MARKED_MODELS"]: {error}') from None
