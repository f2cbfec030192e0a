"""Tables of counts as a site may have them from before."""

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from newsroom.models import Article


class OldHits(models.Model):
    """Hits of a page and day; nothing about them is certain."""

    page = models.ForeignKey(Article, models.SET_NULL, null=True, db_constraint=False)
    slug = models.CharField(max_length=100, default="")
    day = models.DateField(null=True)
    at = models.DateTimeField(null=True)
    hits = models.BigIntegerField(null=True)
    weight = models.FloatField(default=0)
    device = models.CharField(max_length=100, default="")

    def __str__(self) -> str:
        return f"{self.slug} {self.day} {self.hits}"


class OldTrackable(models.Model):
    """Counts of any object, by its content type and number."""

    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=100)
    parent = GenericForeignKey()
    views = models.IntegerField(default=0)
    score = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.object_id} {self.views}"


class OldDetail(models.Model):
    """More about hits: its object is two steps away."""

    of = models.ForeignKey(OldHits, models.CASCADE)
    generic = models.ForeignKey(OldTrackable, models.CASCADE, null=True)
    views = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.of_id} {self.views}"
