"""What was counted, read back: right as a plain sum in Python is, and one query each."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
import wire
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from newsroom.models import (
    Article,
    ArticleByDevice,
    ArticleDaily,
    ArticleHourly,
    ArticleMonthly,
    ArticleTotals,
    ArticleWeekly,
    Column,
    Page,
    Topic,
)
from wire import NOW

from footfall.producers.queues import INCREMENTS
from footfall.storage.datasets import NotRegistered, TrackableData, TrackableHourlyData
from footfall.workers.pipeline import Delivery, Totals, apply

pytestmark = pytest.mark.django_db

SERIES = {"hour": ArticleHourly, "day": ArticleDaily, "week": ArticleWeekly, "month": ArticleMonthly}
TODAY = date(2026, 6, 15)

generated = hypothesis_settings(
    max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def news() -> SimpleNamespace:
    """Five articles, a page and two topics."""
    return SimpleNamespace(
        articles=[Article.objects.create(title=f"News {n}") for n in range(5)],
        page=Page.objects.create(title="About"),
        topics=[Topic.objects.create(slug=slug) for slug in ("django", "7")],
    )


def count(dataset: type[TrackableData], obj: models.Model, *slot: Any, **counters: int) -> None:
    key = dict(zip(dataset.key_fields, (obj._meta.label_lower, str(obj.pk), *slot), strict=True))
    dataset._base_manager.create(**key, **counters)


def wrong(value: Any) -> Any:
    """A value that the annotations already forbid."""
    return value


def days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@contextmanager
def one_query() -> Iterator[None]:
    """The block asks the database once."""
    with CaptureQueriesContext(connection) as captured:
        yield
    assert len(captured) == 1, [query["sql"] for query in captured]


@contextmanager
def rolled_back() -> Iterator[None]:
    """What is done in the block is undone at its end: an example leaves nothing to the next."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# -- total


def test_a_total_is_the_sum_of_all_slots_or_of_some(news: SimpleNamespace) -> None:
    """From the slot of ``since`` to that of ``until``, both counted."""
    article, other = news.articles[:2]
    for days in range(5):
        count(ArticleDaily, article, days_ago(days), views=10**days)
    count(ArticleDaily, other, TODAY, views=7)

    with one_query():
        assert ArticleDaily.total(article, "views") == 11111
    with one_query():
        assert ArticleDaily.total(article, "views", since=days_ago(3), until=days_ago(1)) == 1110
    assert ArticleDaily.total(article, "views", since=days_ago(1)) == 11
    assert ArticleDaily.total(article, "views", until=NOW - timedelta(days=3)) == 11000
    assert ArticleDaily.total(article, "views", since=TODAY, until=days_ago(1)) == 0
    assert ArticleDaily.total(article, "clicks") == 0


@pytest.mark.parametrize("dataset", SERIES.values())
def test_bounds_at_the_edge_of_the_calendar_leave_nothing_out(news: SimpleNamespace, dataset: Any) -> None:
    """Days, and moments that a zone puts beyond it."""
    count(dataset, news.articles[0], dataset.slot_of(NOW)[0], views=3)
    days, moments = (date.min, date.max), (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))

    for since, until in (days, moments):
        assert dataset.total(news.articles[0], "views", since=since, until=until) == 3
        assert [row.total for row in dataset.top("views", since=since, until=until)] == [3]


def test_a_total_without_slots_is_the_row(news: SimpleNamespace) -> None:
    """0 where there is none, also for a new object."""
    count(ArticleTotals, news.page, views=3, score=-2)

    with one_query():
        assert ArticleTotals.total(news.page, "score") == -2
    assert ArticleTotals.total(news.articles[0], "views") == 0


def test_a_total_is_found_under_any_writing_of_the_key(news: SimpleNamespace) -> None:
    """A proxy is its base, and an object that was made with text for a UUID has that UUID."""
    number = uuid.uuid4()
    page = Page.objects.create(id=number.hex, title="Text for a UUID")
    count(ArticleTotals, Page.objects.get(pk=number), views=4)
    count(ArticleTotals, news.articles[0], views=5)

    assert ArticleTotals.total(page, "views") == 4
    assert ArticleTotals.total(Column.objects.get(pk=news.articles[0].pk), "views") == 5


def test_a_total_is_a_whole_number_also_of_64_bits(news: SimpleNamespace) -> None:
    """PostgreSQL adds them up as decimals."""
    for days in range(2):
        count(ArticleDaily, news.articles[0], days_ago(days), clicks=2**61)

    total = ArticleDaily.total(news.articles[0], "clicks")

    assert total == 2**62 and type(total) is int


def test_rows_of_an_own_rule_add_up(news: SimpleNamespace) -> None:
    """All devices together, by day."""
    article = news.articles[0]
    for device, views in (("phone", 3), ("desk", 4)):
        count(ArticleByDevice, article, TODAY, device, views=views)

    assert ArticleByDevice.total(article, "views") == 7
    assert ArticleByDevice.series(article, "views", last=2) == [(days_ago(1), 0), (TODAY, 7)]
    assert [(one.pk, one.total) for one in ArticleByDevice.top("views")] == [(article.pk, 7)]


# -- series


def test_a_series_ends_with_now_and_has_no_gaps(news: SimpleNamespace) -> None:
    """Oldest first; what lies outside is left out."""
    article = news.articles[0]
    for days, views in ((0, 1), (2, 3), (4, 100)):
        count(ArticleDaily, article, days_ago(days), views=views)

    with one_query():
        points = ArticleDaily.series(article, "views", last=4)

    assert points == [(days_ago(3), 0), (days_ago(2), 3), (days_ago(1), 0), (TODAY, 1)]
    assert len(ArticleDaily.series(article, "views")) == 30


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (ArticleWeekly, [date(2026, 6, 1), date(2026, 6, 8), date(2026, 6, 15)]),
        (ArticleMonthly, [date(2026, 4, 1), date(2026, 5, 1), date(2026, 6, 1)]),
        (ArticleHourly, [datetime(2026, 6, 15, hour, tzinfo=UTC) for hour in (10, 11, 12)]),
    ],
)
def test_a_series_steps_by_its_slots(news: SimpleNamespace, dataset: Any, expected: list[Any]) -> None:
    """Weeks, months and hours."""
    count(dataset, news.articles[0], expected[1], views=2)

    assert dataset.series(news.articles[0], "views", last=3) == list(zip(expected, (0, 2, 0), strict=True))


def test_a_series_may_have_bounds_of_its_own(news: SimpleNamespace) -> None:
    """``since`` instead of a number; ``until`` with either; none in reverse."""
    article = news.articles[0]
    count(ArticleDaily, article, days_ago(9), views=2)

    with one_query():
        points = ArticleDaily.series(article, "views", since=days_ago(10), until=days_ago(8))

    assert points == [(days_ago(10), 0), (days_ago(9), 2), (days_ago(8), 0)]
    assert points == ArticleDaily.series(article, "views", last=3, until=days_ago(8))
    assert [slot for slot, _ in ArticleDaily.series(article, "views", since=days_ago(1))] == [days_ago(1), TODAY]
    assert ArticleDaily.series(article, "views", since=TODAY, until=days_ago(1)) == []
    weeks = ArticleWeekly.series(article, "views", since=date(2026, 6, 14), until=TODAY)
    assert weeks == [(date(2026, 6, 8), 0), (TODAY, 0)]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2025, 10, 26), 25), (TODAY, 24)], ids=["23", "25", "24"]
)
def test_a_days_series_has_as_many_hours_as_the_day(news: SimpleNamespace, day: date, hours: int) -> None:
    """And its sum is the day's."""
    article = news.articles[0]
    slots = [slot for slot, _ in ArticleHourly.series(article, "views", since=day, until=day)]
    for n, slot in enumerate(slots):
        count(ArticleHourly, article, slot, views=n + 1)

    assert len(slots) == hours and {b - a for a, b in pairwise(slots)} == {timedelta(hours=1)}
    assert [n for _, n in ArticleHourly.series(article, "views", since=day, until=day)] == list(range(1, hours + 1))
    assert ArticleHourly.total(article, "views", since=day, until=day) == hours * (hours + 1) // 2


def test_nothing_that_was_counted_is_left_out_where_the_zone_was_another_once(news: SimpleNamespace) -> None:
    """An hour that began at half past stands between the full ones."""
    half_past = datetime(2026, 6, 15, 11, 30, tzinfo=UTC)
    count(ArticleHourly, news.articles[0], half_past, views=1)

    points = ArticleHourly.series(news.articles[0], "views", last=2)

    assert [n for _, n in points] == [0, 1, 0] and points[1][0] == half_past


# -- top


def quarter_of(dataset: Any, at: datetime, **options: Any) -> tuple[date]:
    day = at.date()
    return (date(day.year, (day.month - 1) // 3 * 3 + 1, 1),)


def ends_of_quarters(dataset: Any, at: datetime, **options: Any) -> tuple[date]:
    (start,) = quarter_of(dataset, at)
    return (start + timedelta(days=89),)


def test_tb_07_answers_follow_a_rule_of_ones_own(news: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset that counts by quarters is asked for quarters."""
    monkeypatch.setattr(ArticleDaily, "slot_of", classmethod(quarter_of))
    article = news.articles[0]
    for slot, views in ((date(2025, 10, 1), 2), (date(2026, 1, 1), 3), (date(2026, 4, 1), 4)):
        count(ArticleDaily, article, slot, views=views)

    assert ArticleDaily.series(article, "views", last=3) == [
        (date(2025, 10, 1), 2), (date(2026, 1, 1), 3), (date(2026, 4, 1), 4)
    ]  # fmt: skip
    assert len(ArticleDaily.series(article, "views", since=date(2025, 2, 3))) == 6
    assert ArticleDaily.total(article, "views", since=date(2026, 2, 20)) == 7
    assert ArticleDaily.total(article, "views", until=date(2026, 2, 20)) == 5
    assert [row.total for row in ArticleDaily.top("views", since=date(2026, 5, 1))] == [4]
    assert [round(row.score) for row in ArticleDaily.trending("views", half_life=timedelta(days=36500))] == [9]


def test_a_rule_that_does_not_know_slots_by_their_start_has_no_series(
    news: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps back would never end."""
    monkeypatch.setattr(ArticleDaily, "slot_of", classmethod(ends_of_quarters))

    with pytest.raises(ValueError, match="known by its start"):
        ArticleDaily.series(news.articles[0], "views", since=date(2025, 2, 3))


def test_the_best_come_first_each_with_its_total(news: SimpleNamespace) -> None:
    """One query, when it is looked at; equal ones in the order of their keys; what was not counted is not there."""
    for article, views in zip(news.articles, (5, 9, 0, 9, 1), strict=True):
        count(ArticleDaily, article, TODAY, views=views)
        count(ArticleDaily, article, days_ago(3), views=views, clicks=1)

    with CaptureQueriesContext(connection) as asked:
        ranked = ArticleDaily.top("views", 3)
    assert len(asked) == 0
    with one_query():
        found = [(article.title, article.total) for article in ranked]

    assert found == [("News 1", 18), ("News 3", 18), ("News 0", 10)]
    assert [article.total for article in ArticleDaily.top("views", since=days_ago(2))] == [9, 9, 5, 1]
    assert list(ArticleDaily.top("views", until=days_ago(4))) == []


def test_a_list_has_its_totals_in_its_own_query(news: SimpleNamespace) -> None:
    """Of any kind of key, from a queryset or a manager, under the name that is wanted, 0 where nothing was counted."""
    count(ArticleDaily, news.articles[0], TODAY, views=3)
    count(ArticleDaily, news.articles[0], days_ago(9), views=4)
    count(ArticleTotals, news.page, score=-2)

    with one_query():
        totals = [one.total for one in ArticleDaily.annotate(Article.objects.order_by("pk"), "views")]
    assert totals == [7, 0, 0, 0, 0]
    week = ArticleDaily.annotate(Column.objects.order_by("pk"), "views", since=days_ago(6), name="this_week")
    assert [one.this_week for one in week] == [3, 0, 0, 0, 0]
    assert [one.total for one in ArticleTotals.annotate(Page.objects, "score")] == [-2]
    with pytest.raises(LookupError, match="not counted in ArticleDaily"):
        ArticleDaily.annotate(Topic.objects.all(), "views")
    with pytest.raises(ValueError, match="no counter field"):
        ArticleDaily.annotate(Article.objects.all(), "veiws")


def test_only_what_stands_above_zero_is_ranked(news: SimpleNamespace) -> None:
    """Ups and downs of a signed counter cancel each other."""
    hour = datetime(2026, 6, 15, 12, tzinfo=UTC)
    for article, scores in zip(news.articles, ((3, -3), (-1, -1), (2, -1), (0, 0), (1, 1)), strict=True):
        for n, score in enumerate(scores):
            count(ArticleHourly, article, hour - timedelta(hours=n), score=score)

    assert [article.total for article in ArticleHourly.top("score")] == [2, 1]
    assert ArticleHourly.total(news.articles[1], "score") == -2


def test_a_ranking_is_a_queryset_of_the_objects(news: SimpleNamespace) -> None:
    """To be filtered, counted, cut and looked through."""
    for n, article in enumerate(news.articles):
        count(ArticleTotals, article, views=n)

    ranked = ArticleTotals.top("views", 3)

    assert ranked.model is Article and ranked.count() == 3
    assert [article.total for article in ranked.exclude(title="News 3")] == [4, 2]
    assert [article.total for article in ranked[:1]] == [4]


def test_objects_that_are_gone_take_nobodys_place(news: SimpleNamespace) -> None:
    """Neither do those that are not asked for, nor rows whose key is none."""
    for n, article in enumerate(news.articles):
        count(ArticleTotals, article, views=n + 1)
    ArticleTotals.objects.create(object_type="newsroom.article", object_id="no number", views=99)
    ArticleTotals.objects.create(object_type="newsroom.article", object_id="9" * 30, views=99)
    news.articles[4].delete()

    assert [article.title for article in ArticleTotals.top("views", 2)] == ["News 3", "News 2"]
    few = Article.objects.filter(title__in=["News 0", "News 1"])
    with one_query():
        assert [article.title for article in ArticleTotals.top("views", 2, among=few)] == ["News 1", "News 0"]
    assert list(ArticleTotals.top("views", among=Article.objects.none())) == []


def test_tb_08_each_of_several_models_has_its_own_ranking(news: SimpleNamespace) -> None:
    """The first is the default; the same key in another model's table is another object."""
    count(ArticleTotals, news.articles[0], views=1)
    count(ArticleTotals, news.page, views=2)
    for n, topic in enumerate(news.topics):
        count(ArticleTotals, topic, views=n + 3)

    assert list(ArticleTotals.top("views")) == [news.articles[0]]
    assert list(ArticleTotals.top("views", model=Page)) == [news.page]
    assert list(ArticleTotals.top("views", model=Topic)) == news.topics[::-1]
    assert list(ArticleTotals.top("views", among=Topic.objects)) == news.topics[::-1]
    assert [type(one) for one in ArticleTotals.top("views", model=Column)] == [Column]


def test_a_ranking_keeps_what_its_queryset_brings(news: SimpleNamespace) -> None:
    """Annotations stay; the order is the ranking's."""
    for n, article in enumerate(news.articles):
        count(ArticleTotals, article, views=n + 1)
    among = Article.objects.annotate(twice=models.F("id") * 2).order_by("title")

    ranked = list(ArticleTotals.top("views", 2, among=among))

    assert [article.twice for article in ranked] == [2 * news.articles[n].pk for n in (4, 3)]


# -- trending


def test_what_was_counted_lately_weighs_more(news: SimpleNamespace) -> None:
    """A slot of one half-life ago weighs half; one that is ten ago nothing."""
    old, fresh, ancient = news.articles[:3]
    count(ArticleDaily, old, days_ago(7), views=100)
    count(ArticleDaily, fresh, TODAY, views=60)
    count(ArticleDaily, ancient, days_ago(71), views=10**6)
    midnight = datetime(2026, 6, 14, 22, tzinfo=UTC)

    with one_query():
        ranked = list(ArticleDaily.trending("views", now=midnight))

    assert [(article.pk, round(article.score, 6)) for article in ranked] == [(fresh.pk, 60), (old.pk, 50)]
    assert [article.pk for article in ArticleDaily.top("views", 3)] == [ancient.pk, old.pk, fresh.pk]


def test_a_trend_of_another_time_knows_nothing_of_later_ones(news: SimpleNamespace) -> None:
    """``now`` may be any moment."""
    count(ArticleDaily, news.articles[0], TODAY, views=9)
    count(ArticleDaily, news.articles[1], days_ago(2), views=1)

    ranked = ArticleDaily.trending("views", now=NOW - timedelta(days=1))

    assert list(ranked) == [news.articles[1]]


def test_a_half_life_much_shorter_than_a_slot_is_no_error(news: SimpleNamespace) -> None:
    """The weights are next to nothing, and still a number."""
    count(ArticleMonthly, news.articles[0], date(2026, 6, 1), views=2**31 - 1)

    (only,) = ArticleMonthly.trending("views", half_life=timedelta(seconds=1))

    assert 0 < only.score < 1e-200


# -- What it can't mean


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda a: ArticleTotals.series(a, "views"), TypeError, "ArticleTotals has no slots"),
        (lambda a: ArticleTotals.total(a, "views", since=TODAY), TypeError, "no slots"),
        (lambda a: ArticleTotals.top("views", since=TODAY), TypeError, "no slots"),
        (lambda a: ArticleTotals.trending("views"), TypeError, "no slots"),
        (lambda a: ArticleDaily.total(a, "view"), ValueError, "Did you mean 'views'"),
        (lambda a: ArticleDaily.series(a, "id"), ValueError, "no counter field 'id'"),
        (lambda a: ArticleDaily.top("title"), ValueError, "no counter field"),
        (lambda a: ArticleDaily.trending("object_id"), ValueError, "no counter field"),
        (lambda a: ArticleDaily.total(wrong(Article), "views"), TypeError, "not a model instance"),
        (lambda a: ArticleDaily.total(Article(pk=1), "views"), ValueError, "not saved"),
        (lambda a: ArticleDaily.total(ArticleTotals.objects.create(), "views"), LookupError, "is not counted in"),
        (lambda a: ArticleDaily.top("views", model=Page), LookupError, "newsroom.Page is not counted in ArticleDaily"),
        (lambda a: ArticleDaily.top("views", among=Article.objects.all(), model=Page), TypeError, "objects of"),
        (lambda a: ArticleDaily.total(a, "views", since=wrong("2026-06-01")), TypeError, "days or moments"),
        (lambda a: ArticleDaily.total(a, "views", since=datetime(2026, 6, 1)), ValueError, "no time zone"),
        (lambda a: ArticleDaily.top("views", 0), ValueError, "n is a whole number"),
        (lambda a: ArticleDaily.top("views", True), ValueError, "n is a whole number"),  # noqa: FBT003 - the mistake
        (lambda a: ArticleDaily.series(a, "views", last=-1), ValueError, "last is a whole number"),
        (lambda a: ArticleDaily.trending("views", half_life=timedelta()), ValueError, "half_life"),
        (lambda a: ArticleDaily.trending("views", half_life=wrong(7)), ValueError, "half_life"),
        (lambda a: ArticleDaily.top("views", among=Article.objects.all()[:3]), TypeError, "slice"),
    ],
)
def test_a_question_without_an_answer_is_an_error(
    news: SimpleNamespace, ask: Callable[[Article], Any], error: type[Exception], text: str
) -> None:
    """Where it is asked, in words."""
    with pytest.raises(error, match=text):
        ask(news.articles[0])


def test_a_dataset_that_counts_nothing_has_no_ranking(news: SimpleNamespace) -> None:
    """There is no model to rank."""

    class Uncounted(TrackableData):
        views = models.IntegerField(default=0)

        class Meta(TrackableData.Meta):
            app_label = "newsroom"

    with pytest.raises(NotRegistered, match="Uncounted is not registered"):
        Uncounted.top("views")


# -- Without time zones


def test_without_time_zones_slots_are_naive(news: SimpleNamespace, settings: Any) -> None:
    """Bounds, too; the hour that comes twice comes once."""
    settings.USE_TZ = False
    article = news.articles[0]
    long_day = date(2025, 10, 26)

    hours = [slot for slot, _ in ArticleHourly.series(article, "views", since=long_day, until=long_day)]

    assert hours == [datetime(2025, 10, 26, hour) for hour in range(24)]
    assert len(ArticleHourly.series(article, "views", last=30, until=long_day)) == 30
    assert ArticleHourly.series(article, "views", last=1) == [(datetime(2026, 6, 15, 14), 0)]
    assert ArticleDaily.total(article, "views", since=datetime(2026, 6, 1)) == 0


# -- As a plain model has it


SLOTS: dict[str, list[Any]] = {
    "hour": [datetime(2026, 6, 15, 12, tzinfo=UTC) - timedelta(hours=n) for n in range(12)],
    "day": [days_ago(n) for n in range(12)],
    "week": [days_ago(7 * n) for n in range(12)],
    "month": [date(2026, month, 1) for month in range(1, 7)],
}


@st.composite
def counted(draw: st.DrawFn) -> tuple[str, dict[tuple[int, Any], int]]:
    kind = draw(st.sampled_from(sorted(SLOTS)))
    keys = st.tuples(st.integers(0, 4), st.sampled_from(SLOTS[kind]))
    return kind, draw(st.dictionaries(keys, st.integers(0, 3), max_size=25))


@given(drawn=counted(), n=st.integers(1, 6), gone=st.sets(st.integers(0, 4), max_size=2), data=st.data())
@generated
def test_answers_are_those_of_a_plain_model(
    news: SimpleNamespace, drawn: tuple[str, dict[tuple[int, Any], int]], n: int, gone: set[int], data: st.DataObject
) -> None:
    """total, series, top and trending, whatever was counted and whoever is gone."""
    kind, rows = drawn
    dataset: Any = SERIES[kind]
    since = data.draw(st.sampled_from(SLOTS[kind]))
    articles = news.articles
    with rolled_back():
        for (place, slot), views in rows.items():
            count(dataset, articles[place], slot, views=views)
        Article.objects.filter(pk__in=[articles[place].pk for place in gone]).delete()

        for place, article in enumerate(articles):
            own = {slot: views for (of, slot), views in rows.items() if of == place}
            assert dataset.total(article, "views") == sum(own.values())
            assert dataset.total(article, "views", since) == sum(v for slot, v in own.items() if slot >= since)
            expected = sorted((slot, own.get(slot, 0)) for slot in SLOTS[kind] if slot >= since)
            assert dataset.series(article, "views", since=since) == expected
            assert dataset.series(article, "views", last=len(expected)) == expected

        sums: Counter[int] = Counter()
        scores: dict[int, float] = defaultdict(float)
        for (place, slot), views in rows.items():
            if place not in gone:
                sums[place] += views if slot >= since else 0
                scores[place] += views * 0.5 ** (age(slot) / timedelta(days=30))
        listed = {one.pk: one.total for one in dataset.annotate(Article.objects.all(), "views", since)}
        assert listed == {one.pk: sums[place] for place, one in enumerate(articles) if place not in gone}
        best = sorted(((-total, articles[place].pk) for place, total in sums.items() if total))[:n]
        assert [(-one.total, one.pk) for one in dataset.top("views", n, since)] == best
        trend = {one.pk: one.score for one in dataset.trending("views", n, timedelta(days=30))}
        highest = sorted((score for score in scores.values() if score), reverse=True)[:n]
        assert list(trend.values()) == pytest.approx(highest)
        assert trend == pytest.approx({pk: scores[place] for place in range(5) if (pk := articles[place].pk) in trend})


def age(slot: Any) -> timedelta:
    """By the clock on the wall for dates: it is two o'clock in Berlin."""
    if isinstance(slot, datetime):
        return NOW - slot
    return datetime(2026, 6, 15, 14) - datetime.combine(slot, datetime.min.time())


# -- Through the pipeline

DST = [datetime(2026, 3, 29, tzinfo=UTC), datetime(2025, 10, 26, tzinfo=UTC)]
NAMES = ("articlehourly", "articledaily", "articleweekly", "articlemonthly", "articlebydevice", "articletotals")

happenings = st.lists(
    st.tuples(
        st.sampled_from(DST).flatmap(lambda day: st.integers(-180, 1800).map(lambda n: day + timedelta(minutes=n))),
        st.integers(0, 1),
        st.sampled_from(NAMES),
        st.integers(0, 9),
        st.sampled_from(["phone", "desk"]),
    ),
    max_size=20,
)


@given(happened=happenings, data=st.data())
@generated
def test_no_order_and_no_split_into_batches_changes_a_sum(
    news: SimpleNamespace, happened: list[tuple[datetime, int, str, int, str]], data: st.DataObject
) -> None:
    """In every kind of slot, on days of 23 and 25 hours."""
    events = [
        wire.increment(news.articles[place], dataset=f"newsroom.{name}", value=views, at=at, options={"device": device})
        for at, place, name, views, device in happened
    ]
    order = data.draw(st.permutations(events))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(events)), max_size=5)) | {0, len(events)})

    with rolled_back():
        assert send(*events) == Totals(applied=len(events))
        together = everything(news)
    with rolled_back():
        applied = [send(*order[first:last]).applied for first, last in pairwise(cuts)]
        assert sum(applied) == len(events)
        assert everything(news) == together

    by_dataset: Counter[str] = Counter()
    for _, _, name, views, _ in happened:
        by_dataset[name] += views
    assert {name: sum(rows.values()) for name, rows in together.items()} == {name: by_dataset[name] for name in NAMES}
    for dataset in (ArticleHourly, ArticleDaily):
        expected: Counter[Any] = Counter()
        for at, place, name, views, _ in happened:
            if name == dataset._meta.model_name:
                expected[str(news.articles[place].pk), slot_by_hand(dataset, at)] += views
        assert {key: n for key, n in together[dataset._meta.model_name or ""].items() if n} == +expected


def slot_by_hand(dataset: Any, at: datetime) -> Any:
    """Berlin is one hour ahead, and two in summer: from the last Sunday of March to that of October, at 1:00 UTC."""
    if issubclass(dataset, TrackableHourlyData):
        return at.replace(minute=0)
    summer = DST[0] + timedelta(hours=1) <= at or at < DST[1] + timedelta(hours=1)
    return (at + timedelta(hours=2 if summer else 1)).date()


def send(*events: Any) -> Totals:
    return apply([Delivery(wire.body(events), INCREMENTS)], now=NOW) if events else Totals()


def everything(news: SimpleNamespace) -> dict[str, dict[Any, int]]:
    found: dict[str, dict[Any, int]] = {}
    for dataset in (*SERIES.values(), ArticleByDevice, ArticleTotals):
        names = dataset.key_fields[1:]
        rows: Any = dataset._base_manager.values_list(*names, "views")
        found[dataset._meta.model_name or ""] = {tuple(key): views for *key, views in rows}
    return found


def test_tb_07_a_row_for_each_hour_that_the_clock_shows_twice(news: SimpleNamespace) -> None:
    """In one batch or in two."""
    at = [datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    first, second = (wire.increment(news.articles[0], dataset="newsroom.articlehourly", at=moment) for moment in at)

    send(first, second)

    hours = ArticleHourly.objects.order_by("collected_during").values_list("collected_during", "views")
    assert list(hours) == [(moment.replace(minute=0), 1) for moment in at]


def test_without_time_zones_the_hour_that_comes_twice_is_one_row(news: SimpleNamespace, settings: Any) -> None:
    """The column can't tell the two apart, and nothing is lost."""
    settings.USE_TZ = False
    at = [datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1)]

    send(*(wire.increment(news.articles[0], dataset="newsroom.articlehourly", at=moment) for moment in at))

    assert ArticleHourly.series(news.articles[0], "views", last=1, until=at[1]) == [(datetime(2025, 10, 26, 2), 2)]


def test_an_event_without_the_options_that_its_row_needs_is_set_aside(news: SimpleNamespace) -> None:
    """Its neighbours count."""
    good = wire.increment(news.articles[0], dataset="newsroom.articlebydevice", options={"device": "phone"})
    bad = wire.increment(news.articles[0], dataset="newsroom.articlebydevice")
    worse = wire.increment(news.articles[0], dataset="newsroom.articlebydevice", options={"device": 7})

    assert send(bad, good, worse) == Totals(applied=1, dead=2)
    assert ArticleByDevice.total(news.articles[0], "views") == 1


# -- Several databases


class ArchiveRouter:
    """The daily series is kept on another database."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "archive" if model is ArticleDaily else None

    db_for_read = db_for_write


def test_counts_in_another_database_can_t_rank_objects(news: SimpleNamespace, settings: Any) -> None:
    """It says so before it asks; a database that has both may be named."""
    settings.DATABASE_ROUTERS = [ArchiveRouter()]

    with pytest.raises(ValueError, match=r"in the database 'archive' and newsroom\.Article in 'default'"):
        ArticleDaily.top("views")
    assert list(ArticleDaily.top("views", among=Article.objects.using("default"))) == []
