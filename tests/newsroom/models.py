"""Models of every kind of primary key, and the datasets that count them."""

import os
import signal
import uuid

from django.db import models

from footfall.storage.datasets import TrackableData, TrackableTimeSeriesData, operation


class Article(models.Model):
    title = models.CharField(max_length=100)
    updated = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.title


class Column(Article):
    class Meta:
        proxy = True


class Page(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title


class Topic(models.Model):
    slug = models.CharField(max_length=50, primary_key=True)

    def __str__(self) -> str:
        return self.slug


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
