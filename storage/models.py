"""What Footfall keeps: marks, statistics, actions; and its books: the ledger, tallies, dead letters, spool positions.

Objects are named by their `Ref` in two text columns (``*_type``, ``*_id``), so that any primary key fits and no row
depends on a content-type number or on a table's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models, router, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from footfall.producers.messages import Ref
from footfall.producers.reasons import DEADLY
from footfall.storage import loading, readerflags
from footfall.storage.actionlists import ActionQuerySet
from footfall.storage.handlers import ActionHandler, handler_of
from footfall.storage.trackerrules import TempTracker as TempTracker
from footfall.storage.trackerrules import TrackerRules

TYPE_LENGTH = 100
KEY_LENGTH = 255

REASONS = [(reason.value, reason.value.replace("_", " ")) for reason in DEADLY]


class ViewMark(models.Model):
    """``user`` has seen everything up to ``at`` in a scope: one object, one model, or (both blank) everything.

    The row of an object may say the contrary (``seen`` is False): marked as unseen at ``at``. Of the rows of the three
    scopes the latest decides.
    """

    # What a deleted user leaves is deleted by `footfall.storage.forgetting`: this table may be in another database.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    object_type = models.CharField(max_length=TYPE_LENGTH, blank=True, default="")
    object_id = models.CharField(max_length=KEY_LENGTH, blank=True, default="")
    at = models.DateTimeField()
    # Also in the database: a worker of the version before, still running during a deploy, does not know the column.
    seen = models.BooleanField(default=True, db_default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "object_type", "object_id"], name="footfall_viewmark_key")
        ]
        indexes = [
            models.Index(fields=["object_type", "object_id"], name="footfall_viewmark_object"),
            models.Index(
                fields=["user", "object_type", "object_id"],
                condition=models.Q(seen=False),
                name="footfall_viewmark_unseen",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.object_type or 'everything'} {self.object_id} {self.at:%Y-%m-%d %H:%M}"


class Statistic(models.Model):
    """How often a label was hit on one day."""

    label = models.CharField(max_length=250)
    category = models.CharField(max_length=30, default="None")
    dom_id = models.CharField(max_length=50, default="None")
    day = models.DateField()
    counter = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-day"]
        get_latest_by = "day"
        verbose_name_plural = _("Statistics")
        constraints = [
            models.UniqueConstraint(fields=["label", "category", "dom_id", "day"], name="footfall_statistic_key")
        ]
        indexes = [
            models.Index(fields=["day", "dom_id"], name="footfall_statistic_day_dom"),
            models.Index(fields=["-day", "-id"], name="footfall_statistic_recent"),
            models.Index(fields=["category", "-day"], name="footfall_statistic_category"),
        ]

    def __str__(self) -> str:
        return self.label

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and know the label: workers do both themselves, a site that takes over old counts saves rows."""
        super().save(*args, **kwargs)
        key = {"label": self.label, "category": self.category, "dom_id": self.dom_id}
        KnownLabel.objects.using(self._state.db).get_or_create(**key, defaults={"first_day": self.day})


class KnownLabel(models.Model):
    """A label, category and element that was ever counted, and on which day first: how many are new is bounded."""

    label = models.CharField(max_length=250)
    category = models.CharField(max_length=30)
    dom_id = models.CharField(max_length=50)
    first_day = models.DateField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["label", "category", "dom_id"], name="footfall_knownlabel_key")]
        indexes = [
            models.Index(fields=["first_day"], name="footfall_knownlabel_first"),
            models.Index(fields=["category"], name="footfall_knownlabel_category"),
        ]

    def __str__(self) -> str:
        return f"{self.label}:{self.category}:{self.dom_id}"


class CountedOnce(models.Model):
    """A visitor was counted for one counter in one window of time; the token tells neither who nor where."""

    token = models.UUIDField(primary_key=True)
    at = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["until"], name="footfall_countedonce_until")]

    def __str__(self) -> str:
        return str(self.token)


class Action(models.Model):
    """``actor`` did ``verb``. The id is the published event's; whom it is about stands in `ActionObject` rows.

    ``timestamp`` is when it happened, for what was grouped the earliest. ``renewed`` is when it last gained an object.
    ``changed`` is when it was stored in this form: it rises with each commit (see `ActionStamp`), so what is committed
    later is never taken for read by a mark that was set before.
    """

    id = models.UUIDField(primary_key=True)
    actor_type = models.CharField(max_length=TYPE_LENGTH, blank=True, default="")
    actor_id = models.CharField(max_length=KEY_LENGTH, blank=True, default="")
    verb = models.CharField(max_length=255)
    level = models.PositiveSmallIntegerField(default=30)
    data = models.JSONField(default=dict, blank=True)
    timestamp = models.DateTimeField()
    # Also in the database: a worker of the version before, still running during a deploy, does not know the columns.
    renewed = models.DateTimeField(default=timezone.now, db_default=Now())
    changed = models.DateTimeField(default=timezone.now, db_default=Now())

    objects = ActionQuerySet.as_manager()

    class Meta:
        ordering = ["-timestamp", "-id"]
        indexes = [
            models.Index(fields=["actor_type", "actor_id", "verb", "-timestamp"], name="footfall_action_group"),
            models.Index(fields=["-timestamp", "-id"], name="footfall_action_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_type}:{self.actor_id} {self.verb}"

    def __getstate__(self) -> dict[str, Any]:
        """Without what it knows of its readers: a cache is for all of them."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != readerflags.FLAGS}

    def refresh_from_db(self, using: str | None = None, fields: Any = None, from_queryset: Any = None) -> None:
        """Read it again; whom it is about, and whether it is unread, are asked anew then."""
        super().refresh_from_db(using=using, fields=fields, from_queryset=from_queryset)
        if fields is None:  # deferred fields are loaded by this, too
            loading.forget(self)
            readerflags.forget(self)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete it with its entries and everybody's marks on it; see `ActionQuerySet.delete`."""
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            list(Action.objects.using(using).filter(pk=self.pk).select_for_update().values_list("pk"))
            return super().delete(*args, **kwargs)

    @property
    def handler(self) -> ActionHandler:
        """The handler of this action's verb, for this action."""
        return handler_of(self.verb)(self)

    # -- Whom it is about: loaded for all actions that came out of the same queryset, one query per type

    @property
    def actor(self) -> Any:
        """Who did it: an object, its `DeletedItem`, or None."""
        return loading.objects_of(self).actor

    @property
    def targets(self) -> list[Any]:
        """What it was done to: objects, models (as classes) and `DeletedItem`, in the order in which they came."""
        return loading.objects_of(self).targets

    @property
    def related(self) -> list[Any]:
        """What it stands in relation to; as `targets`."""
        return loading.objects_of(self).related

    # -- As text

    def render(self, user: Any = None, context: Mapping[str, Any] | None = None) -> str:
        """The action as text for ``user``, who has read it then where AUTO_READ is on. See `bulk_render`."""
        return self.bulk_render([self], user, context)[0]

    @classmethod
    def bulk_render(
        cls, actions: Iterable[Action] = (), user: Any = None, context: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Each of ``actions`` as text; ``context`` is handed to their handlers, with ``unread`` where a user is given.

        With AUTO_READ the user has read them then: that is published, not written, so it costs no query.
        """
        from footfall.storage import rendering

        return rendering.bulk_render(actions, user, context)

    # -- Read and unread

    def is_unread_for(self, user: Any) -> bool:
        """Whether ``user`` follows it, can read it (READABLE_LEVEL), and has not read it since it last grew."""
        return self.bulk_is_unread_for(user, [self])[0]

    def mark_read_for(self, user: Any, force: bool = False) -> bool:
        """``user`` has read it, if AUTO_READ is on or ``force`` is given. Returns whether it was unread. Writes now."""
        return self.bulk_mark_read_for(user, [self], force)[0]

    def mark_unread_for(self, user: Any) -> None:
        """It is unread for ``user`` until it is marked as read, whether or not they follow it. Writes now."""
        from footfall.storage import unread

        unread.mark_unread(user, [self])

    @classmethod
    def bulk_is_unread_for(cls, user: Any, actions: Iterable[Action]) -> list[bool]:
        """`is_unread_for` of each of ``actions``, in two queries."""
        from footfall.storage import unread

        return unread.bulk_is_unread(user, actions)

    @classmethod
    def bulk_mark_read_for(cls, user: Any, actions: Iterable[Action], force: bool = False) -> list[bool]:
        """`mark_read_for` of each of ``actions``."""
        from footfall.storage import unread

        return unread.bulk_mark_read(user, actions, force=force)

    @classmethod
    def mark_all_read(cls, user: Any, up_to: datetime | None = None) -> None:
        """``user`` has read what is stored by now (or had ``changed`` by ``up_to``). What comes later is unread."""
        from footfall.storage import unread

        unread.mark_all_read(user, up_to)

    @classmethod
    def unread_count(cls, user: Any) -> int:
        """How many actions are unread for ``user``. One query; none for an anonymous user."""
        from footfall.storage import feeds

        return feeds.unread_count_of(user)


class ActionObject(models.Model):
    """An object that an action was about: its actor, a target, or one that it stands in relation to.

    What feeds are chosen and sorted by stands here a second time, so that one index finds them: it follows the action.
    """

    class Role(models.TextChoices):
        ACTOR = "a", _("actor")
        TARGET = "t", _("target")
        RELATED = "r", _("related")

    action = models.ForeignKey(Action, models.CASCADE, db_constraint=False, db_index=False, related_name="refs")
    role = models.CharField(max_length=1, choices=Role.choices)
    object_type = models.CharField(max_length=TYPE_LENGTH)
    object_id = models.CharField(max_length=KEY_LENGTH, blank=True, default="")
    verb = models.CharField(max_length=255, default="", db_default="")
    level = models.PositiveSmallIntegerField(default=30, db_default=30)
    timestamp = models.DateTimeField(default=timezone.now, db_default=Now())
    renewed = models.DateTimeField(default=timezone.now, db_default=Now())
    changed = models.DateTimeField(default=timezone.now, db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["action", "role", "object_type", "object_id"], name="footfall_actionobject_key"
            )
        ]
        indexes = [
            # What one object, or any of a model, did or had done to it: in the order of a feed, what is new, and what
            # gained an object later. Verb and level are there for rare ones: no row is read to be passed over.
            models.Index(
                fields=["object_type", "object_id", "role", "-timestamp", "-action", "verb", "level"],
                name="footfall_actionobject_feed",
            ),
            models.Index(fields=["object_type", "object_id", "role", "-changed"], name="footfall_actionobject_new"),
            models.Index(
                fields=["object_type", "object_id", "role", "-renewed"],
                name="footfall_actionobject_grown",
                condition=models.Q(renewed__gt=models.F("timestamp")),
            ),
            models.Index(fields=["object_type", "role", "-timestamp", "-action"], name="footfall_actionobject_tfeed"),
            models.Index(fields=["object_type", "role", "-changed"], name="footfall_actionobject_tnew"),
            models.Index(
                fields=["object_type", "role", "-renewed"],
                name="footfall_actionobject_tgrown",
                condition=models.Q(renewed__gt=models.F("timestamp")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.object_type}:{self.object_id}"


class ActionStamp(models.Model):
    """The one row that whoever stores actions holds until the commit: ``at`` is the last ``changed`` that was given.

    So actions become visible in the order of their stamps, and grouping sees all that was committed before.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"


class Tracker(TrackerRules, models.Model):
    """``user`` follows an object, or (``tracked_id`` blank) all of a model.

    ``verbs`` are those followed, all where the list is empty, but for those ``excluded``. With ``actor_only`` only what
    the object itself does. What happened before ``last_updated`` is never unread by this tracker.
    """

    # As in ViewMark: what a deleted user leaves is deleted by `footfall.storage.forgetting`.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    tracked_type = models.CharField(max_length=TYPE_LENGTH)
    tracked_id = models.CharField(max_length=KEY_LENGTH, blank=True, default="")
    verbs = models.JSONField(default=list, blank=True)
    excluded = models.JSONField(default=list, blank=True)
    actor_only = models.BooleanField(default=True)
    last_updated = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "tracked_type", "tracked_id"], name="footfall_tracker_key")
        ]
        indexes = [models.Index(fields=["tracked_type", "tracked_id"], name="footfall_tracker_tracked")]

    def __str__(self) -> str:
        return f"{self.user_id} follows {self.tracked_type}:{self.tracked_id}"


class DeletedItem(models.Model):
    """What is left of a deleted object: how it described itself, and what its site wanted to keep of it."""

    object_type = models.CharField(max_length=TYPE_LENGTH)
    object_id = models.CharField(max_length=KEY_LENGTH)
    description = models.TextField(blank=True, default="")
    serialization = models.JSONField(default=dict, blank=True)
    deleted_at = models.DateTimeField(default=timezone.now)
    # Of an object whose model keeps account of changes: the transaction that deleted it. See `changestamps`.
    change_stamp = models.BigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        ordering = ["-deleted_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["object_type", "object_id"], name="footfall_deleteditem_key")]
        indexes = [
            models.Index(fields=["-deleted_at", "-id"], name="footfall_deleteditem_recent"),
            models.Index(fields=["object_type", "change_stamp"], name="footfall_deleteditem_changed"),
        ]

    def __str__(self) -> str:
        return self.description

    # It may be made of a softly deleted row, without being stored

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DeletedItem) and self.pk is None and other.pk is None:
            return self.footfall_ref == other.footfall_ref
        return super().__eq__(other)

    def __hash__(self) -> int:
        return hash(self.footfall_ref) if self.pk is None else super().__hash__()

    @property
    def footfall_ref(self) -> Ref:
        """Whom it stands for: an action that is logged about it is one about the object."""
        return Ref(self.object_type, self.object_id)

    @property
    def status(self) -> str:
        """As that of a row which is deleted softly."""
        return "deleted"

    @property
    def updated(self) -> datetime:
        """When it was deleted."""
        return self.deleted_at


class ChangeCounter(models.Model):
    """On SQLite, the latest stamp: raised each time rows that keep account of changes are written.

    It begins at a random multiple of 2**36, so that cursors of a counter that was lost are known.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.number)


class AppliedMessage(models.Model):
    """The ledger: a message whose id stands here was applied, so a second delivery of it changes nothing."""

    id = models.UUIDField(primary_key=True)
    applied_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["applied_at"], name="footfall_appliedmessage_at")]

    def __str__(self) -> str:
        return str(self.id)


class Tally(models.Model):
    """The books: how many deliveries and events of a kind came in during an hour, and what became of the events.

    For each hour and kind: received = applied + filtered + duplicate + dead.
    """

    class Name(models.TextChoices):
        DELIVERIES = "deliveries", _("deliveries")
        RECEIVED = "received", _("received")
        APPLIED = "applied", _("applied")
        FILTERED = "filtered", _("filtered")
        DUPLICATE = "duplicate", _("duplicate")
        DEAD = "dead", _("dead")
        REPLAYED = "replayed", _("replayed")

    hour = models.DateTimeField()
    kind = models.CharField(max_length=16)
    name = models.CharField(max_length=16, choices=Name.choices)
    count = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-hour", "kind", "name"]
        verbose_name_plural = _("tallies")
        constraints = [models.UniqueConstraint(fields=["hour", "kind", "name"], name="footfall_tally_key")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h {self.kind} {self.name}: {self.count}"


class SpiderTally(models.Model):
    """How many events of one spider were filtered on one day; also ``(none)`` (no agent) and ``(gone)`` (object)."""

    day = models.DateField()
    spider = models.CharField(max_length=200)
    count = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-day", "-count"]
        verbose_name_plural = _("spider tallies")
        constraints = [models.UniqueConstraint(fields=["day", "spider"], name="footfall_spidertally_key")]

    def __str__(self) -> str:
        return f"{self.day} {self.spider}: {self.count}"


class DeadLetter(models.Model):
    """An event, or a whole delivery, that could not be applied: its bytes, why, and what became of it.

    Written in the transaction that settles its batch. ``message_id`` and ``position`` say what it was: the position
    is that of the event in its message, or -1 for the whole delivery. A delivery without a valid id is known by the
    first sixteen bytes of the SHA-256 of its body.
    """

    class State(models.TextChoices):
        OPEN = "open", _("open")
        REPLAYED = "replayed", _("replayed")
        DISCARDED = "discarded", _("discarded")

    class Stage(models.TextChoices):
        DECODE = "decode", _("decode")
        FOLD = "fold", _("fold")
        WRITE = "write", _("write")
        WORKER = "worker", _("worker")

    message_id = models.UUIDField()
    position = models.IntegerField(default=-1)
    event_id = models.UUIDField(null=True, blank=True)
    kind = models.CharField(max_length=16, blank=True, default="")
    queue = models.CharField(max_length=100, blank=True, default="")
    stage = models.CharField(max_length=10, choices=Stage.choices)
    reason = models.CharField(max_length=32, choices=REASONS)
    error = models.TextField(blank=True, default="")
    body = models.BinaryField()
    edited_body = models.BinaryField(null=True, blank=True)
    edited_by = models.CharField(max_length=KEY_LENGTH, blank=True, default="")
    edited_at = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    attempts = models.PositiveIntegerField(default=1)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-last_seen", "-id"]
        constraints = [models.UniqueConstraint(fields=["message_id", "position"], name="footfall_deadletter_key")]
        indexes = [
            models.Index(fields=["state", "reason", "-last_seen"], name="footfall_deadletter_open"),
            models.Index(fields=["-last_seen"], name="footfall_deadletter_seen"),
        ]
        permissions = [
            ("replay_deadletter", _("Can replay dead letters")),
            ("discard_deadletter", _("Can discard dead letters")),
        ]

    def __str__(self) -> str:
        return f"{self.reason} {self.message_id}/{self.position}"

    @property
    def whole(self) -> bool:
        """True where the letter is a whole delivery, False where it is one event of a message."""
        return self.position == -1

    @property
    def current_body(self) -> bytes:
        """The bytes a replay takes: the edited ones where a person mended them, else the original."""
        return bytes(self.body if self.edited_body is None else self.edited_body)


class SpoolPosition(models.Model):
    """How far the embedded worker has applied a journal, stored in the batch's own transaction."""

    journal = models.CharField(max_length=100, primary_key=True)
    offset = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.journal} {self.offset}"


class Attempt(models.Model):
    """A suspect that was started and not yet settled: who started it, and how many workers it took down with it."""

    key = models.CharField(max_length=150, primary_key=True)
    owner = models.CharField(max_length=64)
    count = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.key} ({self.count})"
