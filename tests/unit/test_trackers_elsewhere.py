"""Trackers in another database than the users and what these follow."""

import pytest
from django.contrib.auth.models import User
from django.db.utils import ConnectionDoesNotExist
from newsroom.models import Article

from footfall.storage.actions import track, untrack
from footfall.storage.models import Tracker

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"tracker", "deleteditem"}


@pytest.mark.django_db
def test_without_a_router_there_is_one_database_and_using_names_no_other() -> None:
    """An alias that is not known is refused, and nothing is stored."""
    ada, article = User.objects.create(username="ada"), Article.objects.create(title="On counting")
    for call in (track, untrack):
        with pytest.raises(ConnectionDoesNotExist, match="elsewhere"):
            call(ada, article, using="elsewhere")
    track(ada, article, using="default")
    assert Tracker.objects.using("default").count() == 1


def test_the_trackers_of_another_database(archive: str) -> None:
    """Are read there; the users who follow are found where these are."""
    ada, article = User.objects.create(username="ada"), Article.objects.create(title="On counting")
    track(ada, [article, Article])
    assert [Tracker.objects.using(alias).count() for alias in ("default", archive)] == [0, 2]
    assert list(article.trackers.users(username="ada")) == [ada]
    assert ada.trackers.tracked() == {article, Article}
    assert article.trackers.tracking().db == archive
    untrack(ada, article, log=True)
    assert ada.trackers.tracked() == {Article}
    track(ada, article, using="default")
    assert list(article.trackers.tracking().using("default").values_list("user_id", flat=True)) == [ada.pk]
