"""What fold_messages sets aside, where a site has several databases."""

import io

from django.contrib.auth.models import User
from django.core.management import call_command
from newsroom.models import Article, ArticleDaily, ArticleTotals

from footfall.producers import publish_action, publish_increment, scope
from footfall.storage.models import Action, DeadLetter

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"articledaily"}


def fold(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command("fold_messages", *arguments, stdout=out, stderr=io.StringIO())
    return [line for line in out.getvalue().splitlines() if " 0" not in line]


def held(alias: str) -> int:
    return DeadLetter.objects.using(alias).filter(state="open", reason="held").count()


def test_what_is_set_aside_lies_beside_what_it_is_about_and_is_found_there(archive: str) -> None:
    """Each database has its own letters; and an action names one that nothing of its sort is routed to."""
    article, user = Article.objects.create(title="News"), User.objects.create(username="ada")
    with scope():
        publish_increment(article, "views", dataset=ArticleTotals)
        publish_increment(article, "views", dataset=ArticleDaily)
        publish_action(user, "read", article, using=archive)

    assert fold("newsroom.ArticleTotals") == ["applied:   1", "set aside: 2"]
    assert (held("default"), held(archive)) == (0, 2)
    assert fold("--max=1") == ["replayed:  1, set aside before"]
    assert fold() == ["replayed:  1, set aside before"]
    assert (ArticleDaily.objects.get().views, Action.objects.using(archive).count()) == (1, 1)
    assert held(archive) == 0


def test_a_limit_holds_over_all_databases(archive: str) -> None:
    """A batch that is split is not counted from the start on each."""
    article = Article.objects.create(title="News")
    with scope():
        for dataset in (ArticleTotals, ArticleDaily) * 3:
            publish_increment(article, "views", dataset=dataset)

    assert fold("--max=4") == ["applied:   4", "set aside: 2"]
    assert fold() == ["replayed:  2, set aside before"]
