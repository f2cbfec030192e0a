"""Models of every kind of primary key, and the datasets that count them."""

import os
import signal
import uuid
from datetime import datetime
from typing import Any

from django.db import models

from footfall.storage.datasets import TrackableData, TrackableHourlyData, TrackableTimeSeriesData, operation
from footfall.storage.references import HandleRefModel, unique_undeleted


class Article(models.Model):
    title = models.CharField(max_length=100)
    updated = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.title


class Column(Article):
    class Meta:
        proxy = True

    def get_absolute_url(self) -> str:
        return f"/columns/{self.pk}/"


class Page(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title


class Topic(models.Model):
    slug = models.CharField(max_length=50, primary_key=True)

    def __str__(self) -> str:
        return self.slug


class Note(models.Model):
    """Goes with its article, and leaves no trace: its actions and trackers go with it."""

    title = models.CharField(max_length=100)
    article = models.ForeignKey(Article, models.CASCADE, null=True, blank=True)

    def __str__(self) -> str:
        return self.title


class ArticleTotals(TrackableData):
    views = models.PositiveIntegerField(default=0)
    score = models.IntegerField(default=0)
    peak = models.IntegerField(default=0)

    class Meta(TrackableData.Meta):
        pass

    @operation
    def record_peak(self, field: str, value: int) -> None:
        """Keep the highest value seen."""
        setattr(self, field, max(getattr(self, field), value))

    @operation
    def kill_worker(self, field: str, value: int) -> None:
        """Take the whole process down, as a fault in a native library would."""
        os.kill(os.getpid(), signal.SIGKILL)

    @operation
    def explode(self, field: str, value: int) -> None:
        """Fail, as a site's code may."""
        raise RuntimeError("this operation always fails")


class ArticleDaily(TrackableTimeSeriesData):
    views = models.PositiveIntegerField(default=0)
    clicks = models.PositiveBigIntegerField(default=0)

    class Meta(TrackableTimeSeriesData.Meta):
        constraints = [
            *TrackableTimeSeriesData.Meta.constraints,
            # A rule that only the database knows: Python lets the value through, the row is refused.
            models.CheckConstraint(condition=~models.Q(clicks=666), name="newsroom_not_666"),
        ]


class ArticleHourly(TrackableHourlyData):
    views = models.PositiveIntegerField(default=0)
    score = models.BigIntegerField(default=0)

    class Meta(TrackableHourlyData.Meta):
        pass


class ArticleWeekly(TrackableTimeSeriesData):
    views = models.PositiveIntegerField(default=0)

    slot = "week"

    class Meta(TrackableTimeSeriesData.Meta):
        pass


class ArticleMonthly(TrackableTimeSeriesData):
    views = models.PositiveIntegerField(default=0)

    slot = "month"

    class Meta(TrackableTimeSeriesData.Meta):
        pass


class ArticleByDevice(TrackableTimeSeriesData):
    """A rule of its own: a row for each day and device."""

    device = models.CharField(max_length=20, editable=False)
    views = models.PositiveIntegerField(default=0)

    key_fields = (*TrackableTimeSeriesData.key_fields, "device")

    class Meta(TrackableTimeSeriesData.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["object_type", "object_id", "collected_during", "device"], name="newsroom_articlebydevice_key"
            )
        ]

    @classmethod
    def slot_of(cls, at: datetime, **options: Any) -> tuple[Any, ...]:
        """The day, and the device, which has to be given."""
        device = options["device"]
        if not isinstance(device, str):
            raise TypeError(f"a device is a text, not {device!r}")
        return (*super().slot_of(at), device)


class Publisher(HandleRefModel):
    """Two levels hang below it."""

    name = models.CharField(max_length=100)
    note = models.TextField(blank=True, default="")

    class HandleRef:
        tag = "org"
        delete_cascade = ["magazines"]
        kind = "company"

    class Meta(HandleRefModel.Meta):
        constraints = [unique_undeleted("name", name="newsroom_publisher_name")]

    def __str__(self) -> str:
        return self.name


class Magazine(HandleRefModel):
    title = models.CharField(max_length=100)
    publisher = models.ForeignKey(Publisher, models.CASCADE, related_name="magazines")

    class HandleRef:
        delete_cascade = ["issues"]

    def __str__(self) -> str:
        return self.title


class Issue(HandleRefModel):
    number = models.IntegerField(default=1)
    magazine = models.ForeignKey(Magazine, models.CASCADE, related_name="issues")

    def __str__(self) -> str:
        return f"{self.number}"


class Supplement(Issue):
    """A table of its own beside that of the issue."""

    theme = models.CharField(max_length=100)


class SpecialIssue(Issue):
    class Meta:
        proxy = True


class Desk(HandleRefModel):
    """A tree of any depth."""

    name = models.CharField(max_length=100)
    above = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="below")

    class HandleRef:
        tag = "desk_2"
        delete_cascade = ["below"]

    def __str__(self) -> str:
        return self.name


class Photo(HandleRefModel):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    caption = models.CharField(max_length=100, blank=True, default="")

    class HandleRef:
        skip_unchanged = True

    def __str__(self) -> str:
        return self.caption


class Masthead(HandleRefModel):
    slug = models.CharField(max_length=50, primary_key=True)

    def __str__(self) -> str:
        return self.slug


class Story(HandleRefModel):
    """Tells its readers what becomes of it: each change is an action."""

    title = models.CharField(max_length=100)
    body = models.TextField(blank=True, default="")
    words = models.IntegerField(null=True, blank=True)
    desk = models.ForeignKey(Desk, models.SET_NULL, null=True, blank=True, related_name="stories")
    photos = models.ManyToManyField(Photo, blank=True)

    class HandleRef:
        publish_actions = True

    def __str__(self) -> str:
        return self.title

    def deleted_item_description(self) -> str:
        return f"the story {self.title}"
