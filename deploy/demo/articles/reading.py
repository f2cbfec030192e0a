"""What the pages read back from what Footfall recorded."""

import datetime
from collections.abc import Iterable
from typing import NamedTuple

from django.contrib.auth.models import User
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Cast

from articles.models import Article, ArticleDaily, ArticleTotals
from footfall.storage.models import Action, ViewMark

ARTICLE = Article._meta.label_lower


class Read(NamedTuple):
    """An article and how often it was read."""

    article: Article
    views: int


class Happening(NamedTuple):
    """An action, with its actor and its article; None where either is gone."""

    action: Action
    actor: User | None
    article: Article | None


def most_read_on(day: datetime.date, limit: int = 10) -> list[Read]:
    """The articles that were read most on ``day``."""
    rows = ArticleDaily.objects.filter(object_type=ARTICLE, collected_during=day)
    return _reads(rows.order_by("-views").values_list("object_id", "views")[:limit])


def most_read_ever(limit: int = 10) -> list[Read]:
    """The articles that were read most since they were published."""
    rows = ArticleTotals.objects.filter(object_type=ARTICLE)
    return _reads(rows.order_by("-views").values_list("object_id", "views")[:limit])


def _reads(rows: Iterable[tuple[str, int]]) -> list[Read]:
    counted = {int(key): views for key, views in rows}
    articles = Article.objects.in_bulk(counted)
    return [Read(articles[key], views) for key, views in counted.items() if key in articles]


def totals_of(article: Article) -> ArticleTotals:
    """The article's totals, zero where nothing was counted yet."""
    key = {"object_type": ARTICLE, "object_id": str(article.pk)}
    return ArticleTotals.objects.filter(**key).first() or ArticleTotals(**key)


def unseen_by(user: User) -> QuerySet[Article]:
    """The articles that ``user`` has not seen since they were published."""
    one = Q(object_type=ARTICLE, object_id=Cast(OuterRef("pk"), CharField()))
    wider = Q(object_type=ARTICLE, object_id="") | Q(object_type="")
    marks = ViewMark.objects.filter(one | wider, user=user, at__gte=OuterRef("published"))
    return Article.objects.filter(~Exists(marks))


def latest_happenings(limit: int = 30) -> list[Happening]:
    """The latest actions of readers on articles."""
    actions = list(Action.objects.prefetch_related("refs")[:limit])
    targets = {action.pk: int(ref.object_id) for action in actions for ref in action.refs.all() if ref.role == "t"}
    articles = Article.objects.in_bulk(set(targets.values()))
    actors = User.objects.in_bulk({int(action.actor_id) for action in actions if action.actor_id})
    return [
        Happening(
            action,
            actors.get(int(action.actor_id)) if action.actor_id else None,
            articles.get(targets.get(action.pk, 0)),
        )
        for action in actions
    ]
