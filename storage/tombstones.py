"""What is left of deleted objects of connected models: how each described itself, and what its site wanted to keep.

A model says so by two methods, both called just before the deletion, when the object is still whole:
``deleted_item_description() -> str``, without which ``str(obj)`` is kept, and a warning given; and
``deleted_item_serialization()``, which returns what JSON can hold (None: nothing), without which it is
``{"pk": "<key as text>"}``. Times, dates, Decimals, UUIDs and lazy texts in it become texts. One that raises, or
returns what can't be stored, is logged and does not stop the deletion: the object is then described by its model and
key. But an error of the database does stop it.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseError
from django.db import connections, models, router
from django.utils import timezone
from django.utils.functional import Promise

from footfall.producers.messages import Ref
from footfall.producers.rules import check_data
from footfall.storage.changestamps import current_stamp
from footfall.storage.marks import in_chunks, label_of
from footfall.storage.models import DeletedItem
from footfall.storage.naming import key_of
from footfall.storage.upsert import replaced, upsert

logger = logging.getLogger("footfall.tombstones")

T = TypeVar("T")

#: How many are written by one statement: a description may be long.
WRITTEN = 500

#: What a deleted instance remembers of itself: Django takes its key away.
REMEMBERED = "_footfall_left"


class DelItemDescriptionWarning(UserWarning):
    """A connected model does not say how its deleted objects are described: what ``str()`` says of them is kept.

    Given once for each model. Where warnings are errors it is logged instead: no deletion fails for it.
    """


@dataclass(frozen=True)
class Left:
    """What is to be kept of an object that is deleted from the database ``alias``; if ``counted``, with a stamp."""

    ref: Ref
    description: str
    serialization: Any
    at: datetime
    alias: str
    counted: bool = False

    def as_item(self) -> DeletedItem:
        """The row, not stored."""
        return DeletedItem(
            object_type=self.ref.type,
            object_id=self.ref.id or "",
            description=self.description,
            serialization=self.serialization,
            deleted_at=self.at,
        )

    def values(self) -> tuple[Any, ...]:
        """The row, as `upsert` takes it; without its stamp."""
        return self.ref.type, self.ref.id, self.description, self.serialization, self.at


# -- Before the deletion


def left_of(
    instance: models.Model, ref: Ref, using: str, *, is_connected: bool = True, is_counted: bool = False
) -> Left:
    """What is to be kept of ``instance``, named ``ref``, that is about to be deleted on ``using``; it remembers that.

    Calls the site's methods, which may query. One query where the instance was made by hand with just its key. A model
    that ``is_connected`` is expected to describe its objects. Raises what the database raises.
    """
    whole = instance
    if instance._state.adding:
        whole = instance.__class__._base_manager.using(using).filter(pk=instance.pk).first() or instance
    if is_connected and not hasattr(whole, "deleted_item_description"):
        _warn_of(whole.__class__)
    left = Left(ref, description_of(whole, ref), serialization_of(whole, ref), timezone.now(), using, is_counted)
    setattr(instance, REMEMBERED, left)
    return left


def description_of(instance: models.Model, ref: Ref) -> str:
    """How ``instance``, named ``ref``, describes itself. Calls the site's method; raises what the database raises."""
    by_key = f"{instance._meta.verbose_name} {ref.id}"
    if hasattr(instance, "deleted_item_description"):
        return _asked(instance, "deleted_item_description", _text, by_key)
    return _asked(instance, "__str__", _text, by_key) or by_key


def serialization_of(instance: models.Model, ref: Ref) -> Any:
    """What the site wants to keep of ``instance``, named ``ref``. Calls its method; raises what the database raises."""
    by_key = {"pk": ref.id}
    if hasattr(instance, "deleted_item_serialization"):
        return _asked(instance, "deleted_item_serialization", _json, by_key)
    return by_key


def _asked(instance: models.Model, name: str, checked: Callable[[Any], T], otherwise: T) -> T:
    """What the method ``name`` returns, ``checked``; where one of the two raises that is logged, and ``otherwise``."""
    try:
        return checked(getattr(instance, name)())
    except DatabaseError:
        raise  # on PostgreSQL the transaction is lost with it, and so is the deletion
    except Exception:
        logger.exception("%s.%s() of a deleted object: its key is kept instead.", instance._meta.label, name)
        return otherwise


def _text(value: Any) -> str:
    if not isinstance(value, (str, Promise)):
        raise TypeError(f"A description is a text, not {type(value).__name__}.")
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()  # no column can hold the others


def _json(value: Any) -> Any:
    if value is None:
        return {}
    # As it will be read, whatever becomes of ``value``.
    plain = json.loads(json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False))
    check_data(plain)
    return plain


def _warn_of(model: type[models.Model]) -> None:
    if model in _warned:
        return
    _warned.add(model)
    text = f"{model._meta.label} has no deleted_item_description(): of what is deleted, str() is kept."
    try:
        warnings.warn(text, DelItemDescriptionWarning, stacklevel=2)
    except DelItemDescriptionWarning:
        logger.warning(text)


_warned: set[type[models.Model]] = set()


# -- With the deletion


def write_del_items(left: Sequence[Left], using: str) -> None:
    """Store them, over what an earlier object of the same key has left. One statement for 500 objects.

    Those that are counted get the stamp of the transaction in which their rows go, by one statement more: none where
    that is in another database. Runs in the caller's transaction.
    """
    stamp = current_stamp(using) if any(one.counted and one.alias == using for one in left) else 0
    changes = dict.fromkeys(("description", "serialization", "deleted_at", "change_stamp"), replaced)
    rows = {one.ref: (*one.values(), stamp if one.counted and one.alias == using else 0) for one in left}
    for some in in_chunks(sorted(rows.values(), key=lambda row: row[:2]), WRITTEN):
        upsert(DeletedItem, ("object_type", "object_id"), changes, some, using)


# -- After it


def get_del_item(instance: Any) -> DeletedItem:
    """What is left of ``instance``, an object of a connected model that was deleted: to log an action about it, say.

    Known as soon as the object is deleted, also before the commit: where `DeletedItem` is kept in another database
    than the object, the instance that was deleted gives until then what it remembers, not stored yet. What another
    instance or a queryset has deleted is found by its key. One query, two where the instance still has its key.

    Of an object of a `HandleRefModel` that is deleted softly it is made from the row, connected or not, and not stored:
    that is the database's word, whatever the instance says. One query; one more than above for others of such a model.

    Raises LookupError for an object that still exists, or has left nothing since its model was not connected, or was
    with ``use_del_items=False``; TypeError for what is no model instance.
    """
    if not isinstance(instance, models.Model):
        raise TypeError(f"{instance!r} is not a model instance.")
    remembered: Left | None = getattr(instance, REMEMBERED, None) if instance.pk is None else None
    item = _of_the_row(instance) or _stored(instance, remembered)
    if item is None and remembered is not None and _is_pending(remembered):
        item = remembered.as_item()
    if item is None:
        raise LookupError(
            f"This {instance._meta.label} has left no DeletedItem: it still exists or was never saved, or its model "
            "was not connected, or only with use_del_items=False, when it was deleted."
        )
    return item


def _of_the_row(instance: models.Model) -> DeletedItem | None:
    from footfall.storage.deletedrows import is_deleted_row, item_of  # which need what stands here
    from footfall.storage.references import HandleRefModel

    if instance.pk is None or not isinstance(instance, HandleRefModel):
        return None
    home = router.db_for_write(instance.__class__, instance=instance)
    row = instance.__class__._base_manager.using(home).filter(pk=instance.pk).first()
    return item_of(row) if row is not None and is_deleted_row(row) else None


def _stored(instance: models.Model, remembered: Left | None) -> DeletedItem | None:
    if remembered is not None:
        ref = remembered.ref
    elif instance.pk is not None:
        ref = Ref(label_of(instance.__class__), key_of(instance))
    else:
        return None
    rows = DeletedItem.objects.using(router.db_for_write(DeletedItem))
    item = rows.filter(object_type=ref.type, object_id=ref.id).first()
    return item if remembered is not None or item is None or not _exists(instance) else None


def _exists(instance: models.Model) -> bool:
    home = router.db_for_write(instance.__class__, instance=instance)
    return instance.__class__._base_manager.using(home).filter(pk=instance.pk).exists()


def _is_pending(left: Left) -> bool:
    """Whether it is stored elsewhere as soon as the deletion is committed."""
    return router.db_for_write(DeletedItem) != left.alias and connections[left.alias].in_atomic_block
