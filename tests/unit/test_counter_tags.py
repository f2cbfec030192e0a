"""Counters in templates: one query a tag, and errors where a name is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article, ArticleDaily, ArticleTotals, Column, Topic

pytestmark = pytest.mark.django_db

TODAY = date(2026, 6, 15)
DAILY = 'dataset="newsroom.ArticleDaily"'


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with time_machine.travel(datetime(2026, 6, 15, 12, tzinfo=UTC), tick=False):
        yield


@pytest.fixture
def articles() -> list[Article]:
    """Three, the later ones with more views; yesterday's are the first one's."""
    made = [Article.objects.create(title=f"<b>{n}") for n in range(3)]
    for n, article in enumerate(made):
        key = {"object_type": "newsroom.article", "object_id": str(article.pk)}
        ArticleTotals.objects.create(**key, views=10 * n + 1)
        ArticleDaily.objects.create(**key, collected_during=TODAY, views=n + 1)
    key = {"object_type": "newsroom.article", "object_id": str(made[0].pk)}
    ArticleDaily.objects.create(**key, collected_during=TODAY - timedelta(days=1), views=4)
    return made


def render(text: str, queries: int = 1, **context: Any) -> str:
    """The text that ``text`` comes to, which has to ask ``queries`` times."""
    template = Template("{% load footfall_counters %}" + text)
    with CaptureQueriesContext(connection) as asked:
        rendered = template.render(Context(context))
    assert len(asked) == queries
    return rendered


def test_a_total_is_a_number(articles: list[Article]) -> None:
    """Of the first dataset or of another; from a day on; of a proxy, too."""
    article = articles[0]

    assert render('{% counter_total article "views" %}', article=articles[2]) == "21"
    assert render(f'{{% counter_total article "views" {DAILY} %}}', article=article) == "5"
    assert render(f'{{% counter_total article "views" since=day {DAILY} %}}', article=article, day=TODAY) == "1"
    assert render('{% counter_total article "views" %}', article=Column.objects.get(pk=article.pk)) == "1"
    assert render('{% counter_total article "views" as n %}{{ n|add:1 }}', article=article) == "2"


def test_a_series_is_pairs_to_loop_over(articles: list[Article]) -> None:
    """Oldest first, without gaps."""
    loop = '{% for day, n in points %}{{ day|date:"d" }}={{ n }} {% endfor %}'
    text = f'{{% counter_series article "views" last=3 {DAILY} as points %}}{loop}'

    assert render(text, article=articles[0]) == "13=0 14=4 15=1 "


def test_a_ranking_is_asked_for_when_it_is_looped_over(articles: list[Article]) -> None:
    """And not before; what objects call themselves is escaped as ever."""
    top = '{% counter_top "newsroom.Article" "views" 2 as ranked %}'
    loop = "{% for article in ranked %}{{ article }}={{ article.total }} {% endfor %}"

    assert render(top, queries=0) == ""
    assert render(top + loop) == "&lt;b&gt;2=21 &lt;b&gt;1=11 "
    among = Article.objects.exclude(pk=articles[2].pk)
    limited = top.replace('"views" 2', '"views" 2 among=among')
    assert render(limited + loop, among=among) == "&lt;b&gt;1=11 &lt;b&gt;0=1 "
    since = top.replace('"views" 2', f'"views" 2 since=day {DAILY}')
    assert render(since + loop, day=TODAY) == "&lt;b&gt;2=3 &lt;b&gt;1=2 "
    assert render(top.replace("Article", "Topic") + loop) == ""


def test_a_trend_halves_in_days_or_in_what_is_given(articles: list[Article]) -> None:
    """A day's half-life makes two of yesterday's four."""
    loop = '{% for article in ranked %}{{ article.pk }}:{{ article.score|floatformat:"0" }} {% endfor %}'
    text = f'{{% counter_trending "newsroom.article" "views" half_life=length {DAILY} as ranked %}}{loop}'

    found = render(text, length=1)

    assert found == render(text, length=timedelta(days=1))
    assert found.split()[0] == f"{articles[0].pk}:2"
    assert render(text.replace(" half_life=length", "")).split()[0].startswith(f"{articles[0].pk}:")


@pytest.mark.parametrize(
    ("tag", "error", "text"),
    [
        ('counter_total 7 "views"', TypeError, "not a model instance"),
        ('counter_total article "view"', ValueError, "Did you mean 'views'"),
        ('counter_total article "views" dataset="newsroom.nothing"', LookupError, "counted in newsroom.articletotals"),
        ('counter_total article "views" dataset="auth.user"', LookupError, "is not registered for newsroom.Article"),
        ('counter_series article "views"', TypeError, "ArticleTotals has no slots"),
        ('counter_top "newsroom.article" "views" since=day', TypeError, "no slots"),
        ('counter_top "newsroom.nothing" "views"', LookupError, "nothing"),
        ('counter_top "article" "views"', ValueError, "named .app_label.model., not 'article'"),
        ('counter_top article "views"', ValueError, "A model is named"),
        ('counter_top "auth.user" "views"', LookupError, "No dataset is registered for auth.User"),
        ('counter_trending "newsroom.topic" "views"', TypeError, "no slots"),
    ],
)
def test_a_wrong_name_is_an_error(articles: list[Article], tag: str, error: type[Exception], text: str) -> None:
    """Nothing is shown in its place."""
    with pytest.raises(error, match=text):
        render(f"{{% {tag} %}}", article=articles[0], day=TODAY)


def test_keys_of_text_are_ranked_too(articles: list[Article]) -> None:
    """A topic with the key 1 is no article."""
    topic = Topic.objects.create(slug=str(articles[0].pk))
    ArticleTotals.objects.create(object_type="newsroom.topic", object_id=topic.pk, views=99)

    text = '{% counter_top "newsroom.topic" "views" as ranked %}{% for one in ranked %}{{ one.total }}{% endfor %}'
    assert render(text) == "99"


def test_nothing_was_counted_of_no_object() -> None:
    """Of one that is missing from the context, or not saved yet."""
    tags = '{% counter_total article "views" %}{% counter_series article "views" as days %}{{ days }}'
    template = Template("{% load footfall %}" + tags)
    for context in ({}, {"article": None}, {"article": Article(title="a preview")}):
        assert template.render(Context(context)) == "0[]"
