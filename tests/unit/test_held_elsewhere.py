"""What fold_messages sets aside, where a site has several databases."""

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, connections
from newsroom.models import Article, ArticleDaily, ArticleTotals

from footfall.producers import publish_action, publish_increment, scope
from footfall.spiders.matcher import forget_spiders
from footfall.storage.models import Action, DeadLetter


class ArchiveRouter:
    """The daily series is kept on another database."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "archive" if model._meta.model_name == "articledaily" else None

    db_for_read = db_for_write


@pytest.fixture
def archive(django_db_setup: None, django_db_blocker: Any, settings: Any, tmp_path: Path) -> Iterator[str]:
    """A second database, a copy of the empty first one. It is gone after the test."""
    with django_db_blocker.unblock():
        connection.ensure_connection()
        with closing(sqlite3.connect(tmp_path / "archive.sqlite3")) as copy:
            connection.connection.backup(copy)
        connections.settings["archive"] = {**connections.settings["default"], "NAME": str(tmp_path / "archive.sqlite3")}
        settings.DATABASE_ROUTERS = [ArchiveRouter()]
        forget_spiders()
        yield "archive"
        connections["archive"].close()
        del connections["archive"]
        del connections.settings["archive"]
        settings.DATABASE_ROUTERS = []
        call_command("flush", verbosity=0, interactive=False)
        connection.close()


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
