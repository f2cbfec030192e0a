"""Deleted objects take the marks on them along, and deleted users theirs, in the same transaction.

Django tells of each object that it is about to delete before the first row goes. The keys are gathered then, and their
marks are deleted together when the first row is gone: a few statements for a deletion of thousands. They are gathered
among the transaction's commit hooks, which Django itself drops with whatever is rolled back: what was not deleted
after all is never taken for deleted later.

Where the marks are kept in another database than the objects they are deleted after the commit (a cascade of Django's
would look for them where the user is). What goes past
Django's signals (``_raw_delete``, the database's own cascades, SQL) leaves its marks behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.db.models.signals import post_delete, pre_delete

from footfall.storage.datasets import TrackableData
from footfall.storage.marks import KEYS, in_chunks, label_of
from footfall.storage.models import ViewMark
from footfall.storage.naming import key_of, model_of

#: Apps whose objects nobody looks at.
INTERNAL = {"django.contrib.admin", "django.contrib.contenttypes", "django.contrib.sessions", "django_dramatiq"}
PERMISSION = "auth.permission"

#: How many times KEYS objects are deleted at once where rows are locked. A statement has fewer than 65,536 parameters.
LOCKED = 50

#: Set on a connection while keys may be gathered on it, so that its hooks are searched once a deletion.
GATHERED = "_footfall_doomed"


def connect(labels: Sequence[str] | None) -> None:
    """Listen to the deletion of users and the models named by ``labels`` (None: all of the site's), and of proxies.

    A model that is listened to is no longer deleted by one blind statement: Django fetches its objects first. Raises
    ImproperlyConfigured for a label that is not an installed model's.
    """
    for model in marked_models(labels):
        listen_to(model)


def listen_to(model: type[models.Model]) -> None:
    """Take the marks on objects of ``model``, as just this class, along with them."""
    pre_delete.connect(_gather, sender=model, dispatch_uid="footfall_marks_gather")
    post_delete.connect(_forget, sender=model, dispatch_uid="footfall_marks_forget")


def marked_models(labels: Sequence[str] | None) -> list[type[models.Model]]:
    """The models whose deletion takes marks along: those named, and users in any case. Raises like `connect`."""
    users = label_of(get_user_model())
    if labels is None:
        return [model for model in apps.get_models() if _is_the_site_s(model) or label_of(model) == users]
    if isinstance(labels, str):
        raise ImproperlyConfigured(f'FOOTFALL["MARKED_MODELS"] is a list of labels, not {labels!r}.')
    chosen = {users, *(label_of(_named(label)) for label in labels)}
    return [model for model in apps.get_models() if label_of(model) in chosen]


def delete_marks(objects: Iterable[tuple[str, str]], using: str) -> None:
    """Delete everybody's marks on ``objects`` (label, id), and those of users among them.

    One statement for 500 objects of a model, two for 500 users; on PostgreSQL one for the lot, up to 25,000.
    """
    marks = ViewMark.objects.using(using)
    for some in in_chunks(_conditions(objects), LOCKED if connections[using].features.has_select_for_update else 1):
        # Locked in the order in which workers write them: two that meet must not wait in a circle.
        doomed = marks.filter(Q(*some, _connector=Q.OR)).order_by("user_id", "object_type", "object_id")
        marks.filter(pk__in=doomed.select_for_update().values("pk")).delete()


def _conditions(objects: Iterable[tuple[str, str]]) -> Iterator[Q]:
    by_label: dict[str, set[str]] = defaultdict(set)
    for label, key in objects:
        by_label[label].add(key)
    users = label_of(get_user_model())
    for label, keys in by_label.items():
        for some in in_chunks(keys, KEYS):
            yield Q(object_type=label, object_id__in=some)
            if label == users:
                yield Q(user_id__in=some)


@dataclass(frozen=True, eq=False)
class _Doomed:
    """An object that is about to be deleted. As a commit hook it does nothing: it is only kept there."""

    label: str
    key: str

    def __call__(self) -> None:
        pass


def _gather(sender: type[models.Model], instance: models.Model, using: str, **kwargs: Any) -> None:
    key = key_of(instance)
    if key:  # a blank one would stand for the whole model
        setattr(connections[using], GATHERED, True)
        transaction.on_commit(_Doomed(label_of(sender), key), using=using)


def _forget(sender: type[models.Model], using: str, **kwargs: Any) -> None:
    connection = connections[using]
    if not getattr(connection, GATHERED, False):
        return
    setattr(connection, GATHERED, False)
    doomed = list(_taken_from(connection))
    home = router.db_for_write(ViewMark)
    if home == using:
        delete_marks(doomed, using)
    else:
        # Robust: it is committed, and nobody's page is to fail for marks that stay.
        transaction.on_commit(partial(delete_marks, doomed, home), using=using, robust=True)


def _taken_from(connection: BaseDatabaseWrapper) -> Iterator[tuple[str, str]]:
    hooks = connection.run_on_commit
    yield from ((hook.label, hook.key) for _, hook, *_ in hooks if isinstance(hook, _Doomed))
    connection.run_on_commit = [hook for hook in hooks if not isinstance(hook[1], _Doomed)]


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
