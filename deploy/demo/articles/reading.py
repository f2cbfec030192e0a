"""What the page of readers' activity reads back from what Footfall recorded."""

from typing import NamedTuple

from django.contrib.auth.models import User

from articles.models import Article
from footfall.storage.models import Action

ARTICLE = Article._meta.label_lower


class Happening(NamedTuple):
    """An action, with its actor and its article; None where either is gone."""

    action: Action
    actor: User | None
    article: Article | None


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
