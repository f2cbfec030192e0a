"""Articles, what readers do with them, and the datasets in which that is counted."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from footfall.storage.actions import connect
from footfall.storage.datasets import TrackableData, TrackableTimeSeriesData
from footfall.storage.references import HandleRefModel, unique_undeleted


class Section(models.TextChoices):
    CITY = "city", "City"
    CULTURE = "culture", "Culture"
    SCIENCE = "science", "Science"
    SPORT = "sport", "Sport"


@connect
class Article(HandleRefModel):
    """Something to read. By its ``updated``, one that was edited is new again to those who have seen it."""

    slug = models.SlugField(max_length=100)
    title = models.CharField(max_length=120)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="articles"
    )
    section = models.CharField(max_length=10, choices=Section.choices)
    summary = models.CharField(max_length=250)
    body = models.TextField()
    published = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta(HandleRefModel.Meta):
        ordering = ("-published", "-id")
        # What is deleted leaves its slug to others.
        constraints: ClassVar = [unique_undeleted("slug", name="articles_article_slug")]

    class HandleRef:
        tag = "article"
        delete_cascade: ClassVar = ["comments"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("article", args=[self.pk])

    def deleted_item_description(self) -> str:
        """What readers see of it where something was done with it."""
        return f"{self.title} (withdrawn)"


class Comment(HandleRefModel):
    """What a reader wrote under an article. The form's ticket is unique: a form that is sent twice counts once."""

    article = models.ForeignKey(Article, models.CASCADE, related_name="comments")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="comments")
    text = models.CharField(max_length=500)
    ticket = models.UUIDField(unique=True)
    written = models.DateTimeField(default=timezone.now)

    class Meta(HandleRefModel.Meta):
        ordering = ("-written", "-id")

    class HandleRef:
        tag = "comment"

    def __str__(self) -> str:
        return self.text[:60]

    def deleted_item_description(self) -> str:
        """It was removed for what it says."""
        return "(a comment that was removed)"


class Like(models.Model):
    """A reader likes an article."""

    article = models.ForeignKey(Article, models.CASCADE, related_name="likes")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="likes")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["article", "user"], name="articles_like_once")]

    def __str__(self) -> str:
        return f"{self.user_id} likes {self.article_id}"


class ArticleDaily(TrackableTimeSeriesData):
    """An article's numbers, day by day."""

    views = models.PositiveBigIntegerField(default=0)
    comments = models.PositiveBigIntegerField(default=0)
    # Each visitor once a day.
    readers = models.PositiveBigIntegerField(default=0)

    class Meta(TrackableTimeSeriesData.Meta):
        verbose_name = "article's day"


class ArticleTotals(TrackableData):
    """An article's numbers since it was published."""

    views = models.PositiveBigIntegerField(default=0)
    comments = models.PositiveBigIntegerField(default=0)
    # Signed: a positive field stops at zero, and an unlike may be applied before the like that it takes back.
    likes = models.BigIntegerField(default=0)

    class Meta(TrackableData.Meta):
        verbose_name = "article's totals"
        verbose_name_plural = "articles' totals"
