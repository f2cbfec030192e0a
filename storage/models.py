"""What Footfall keeps: marks, statistics, actions; and its books: the ledger, tallies, dead letters, spool positions.

Objects are named by their `Ref` in two text columns (``*_type``, ``*_id``), so that any primary key fits and no row
depends on a content-type number or on a table's name.
"""

from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from footfall.producers.reasons import DEADLY

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
    """``actor`` did ``verb``. The id is the published event's; targets and related objects are `ActionObject` rows."""

    id = models.UUIDField(primary_key=True)
    actor_type = models.CharField(max_length=TYPE_LENGTH, blank=True, default="")
    actor_id = models.CharField(max_length=KEY_LENGTH, blank=True, default="")
    verb = models.CharField(max_length=255)
    level = models.PositiveSmallIntegerField(default=30)
    data = models.JSONField(default=dict, blank=True)
    timestamp = models.DateTimeField()

    class Meta:
        ordering = ["-timestamp", "-id"]
        indexes = [
            models.Index(fields=["actor_type", "actor_id", "-timestamp"], name="footfall_action_actor"),
            models.Index(fields=["-timestamp"], name="footfall_action_time"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_type}:{self.actor_id} {self.verb}"


class ActionObject(models.Model):
    """An object that an action was about: a target, or one that it stands in relation to."""

    class Role(models.TextChoices):
        TARGET = "t", _("target")
        RELATED = "r", _("related")

    action = models.ForeignKey(Action, models.CASCADE, db_constraint=False, db_index=False, related_name="refs")
    role = models.CharField(max_length=1, choices=Role.choices)
    object_type = models.CharField(max_length=TYPE_LENGTH)
    object_id = models.CharField(max_length=KEY_LENGTH, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["action", "role", "object_type", "object_id"], name="footfall_actionobject_key"
            )
        ]
        indexes = [models.Index(fields=["object_type", "object_id", "role"], name="footfall_actionobject_object")]

    def __str__(self) -> str:
        return f"{self.object_type}:{self.object_id}"


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
