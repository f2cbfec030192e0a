"""The registry of datasets, and counting at once."""

import math
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps
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

from footfall.storage.datasets import (
    AlreadyRegistered,
    NotRegistered,
    TrackableData,
    TrackableHourlyData,
    TrackableRegistry,
    TrackableTimeSeriesData,
    clamps_at_zero,
    operation,
    site,
)


@pytest.fixture
def registry() -> TrackableRegistry:
    """A registry of its own, with the newsroom's articles counted twice."""
    made = TrackableRegistry()
    made.register([Article, Page], ArticleTotals)
    made.register(Article, ArticleDaily)
    return made


# -- The registry


def test_the_first_dataset_of_a_model_is_its_default(registry: TrackableRegistry) -> None:
    """TB-08: the others follow in their order."""
    assert registry.datasets_of(Article) == (ArticleTotals, ArticleDaily)
    assert registry.datasets_of(Page) == (ArticleTotals,)
    assert registry.datasets_of(User) == ()


def test_a_proxy_shares_the_datasets_of_its_base(registry: TrackableRegistry) -> None:
    """Whichever of the two was registered."""
    assert registry.datasets_of(Column) == registry.datasets_of(Article)
    other = TrackableRegistry()
    other.register(Column, ArticleTotals)
    assert other.datasets_of(Article) == (ArticleTotals,)


def test_a_dataset_is_found_by_its_label_only_while_it_is_registered(registry: TrackableRegistry) -> None:
    """That is what a message may name."""
    assert registry.by_label("newsroom.articledaily") is ArticleDaily
    assert registry.by_label("newsroom.ArticleDaily") is None
    assert registry.by_label("auth.user") is None

    registry.unregister(Article)

    assert registry.by_label("newsroom.articledaily") is None
    assert registry.by_label("newsroom.articletotals") is ArticleTotals


def test_the_parent_of_a_dataset_is_the_first_model_it_counts(registry: TrackableRegistry) -> None:
    """And NotRegistered where it counts none."""
    assert registry.get_parent(ArticleTotals) is Article
    assert registry.get_parent(ArticleDaily) is Article
    registry.unregister(Article)
    assert registry.get_parent(ArticleTotals) is Page
    with pytest.raises(NotRegistered, match="ArticleDaily"):
        registry.get_parent(ArticleDaily)


def test_the_same_pair_twice_is_an_error(registry: TrackableRegistry) -> None:
    """TB-28: by the base or by a proxy of it, in two calls or in one."""
    for model in (Article, Column):
        with pytest.raises(AlreadyRegistered, match="ArticleTotals is registered for"):
            registry.register(model, ArticleTotals)
    with pytest.raises(AlreadyRegistered):
        registry.register([Topic, Topic], ArticleTotals)
    assert registry.datasets_of(Article) == (ArticleTotals, ArticleDaily)
    assert registry.datasets_of(Topic) == ()


def test_registering_several_models_is_all_or_nothing(registry: TrackableRegistry) -> None:
    """One that stands already leaves the others unregistered."""
    with pytest.raises(AlreadyRegistered):
        registry.register([Topic, Article], ArticleTotals)

    assert registry.datasets_of(Topic) == ()


def test_unregistering_what_is_not_registered_is_an_error_and_changes_nothing(registry: TrackableRegistry) -> None:
    """Also for the other models of the call."""
    with pytest.raises(NotRegistered, match="Topic has no dataset"):
        registry.unregister([Article, Topic])

    assert registry.datasets_of(Article) == (ArticleTotals, ArticleDaily)
    assert registry.by_label("newsroom.articledaily") is ArticleDaily


@isolate_apps("newsroom")
def test_a_dataset_whose_meta_does_not_inherit_is_refused(registry: TrackableRegistry) -> None:
    """It would have no unique key to count under."""

    class Keyless(TrackableData):
        views = models.IntegerField(default=0)

        class Meta:
            app_label = "newsroom"

    with pytest.raises(ImproperlyConfigured, match="no unique constraint on \\(object_type, object_id\\)"):
        registry.register(Topic, Keyless)


@isolate_apps("newsroom")
def test_a_dataset_without_counters_is_refused(registry: TrackableRegistry) -> None:
    """There would be nothing to count in."""

    class Empty(TrackableData):
        class Meta(TrackableData.Meta):
            app_label = "newsroom"

    with pytest.raises(ImproperlyConfigured, match="no counter"):
        registry.register(Topic, Empty)


@isolate_apps("newsroom")
def test_a_counter_that_hides_a_method_is_refused(registry: TrackableRegistry) -> None:
    """The question ``total()`` could not be asked any more."""

    class Sums(TrackableData):
        total = models.IntegerField(default=0)  # type: ignore[assignment]  # what a site may well write

        class Meta(TrackableData.Meta):
            app_label = "newsroom"

    with pytest.raises(ImproperlyConfigured, match=r"Sums\.total hides"):
        registry.register(Topic, Sums)


class PlainAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # the class is no generic one when it runs
    pass


def test_tb_28_a_dataset_gets_into_the_admin_only_when_asked() -> None:
    """With the given class, until nothing is counted in it any more; a second class for it is an error."""
    registry = TrackableRegistry()
    assert not admin.site.is_registered(ArticleTotals)

    registry.register(Article, ArticleTotals, PlainAdmin)
    registry.register(Page, ArticleTotals, PlainAdmin)
    assert type(admin.site.get_model_admin(ArticleTotals)) is PlainAdmin
    with pytest.raises(AlreadyRegistered, match="in the admin already, with another class"):
        registry.register(Topic, ArticleTotals, admin.ModelAdmin)
    assert registry.datasets_of(Topic) == ()

    registry.unregister(Article)
    assert admin.site.is_registered(ArticleTotals)
    registry.unregister(Page)
    assert not admin.site.is_registered(ArticleTotals)


def wrong(value: Any) -> Any:
    """A value that the annotations already forbid."""
    return value


@pytest.mark.parametrize(
    ("register", "text"),
    [
        (lambda r: r.register(Topic, wrong(Article)), "A dataset is a subclass of TrackableData, not"),
        (lambda r: r.register(Topic, wrong("newsroom.ArticleTotals")), "A dataset is a subclass"),
        (lambda r: r.register(Topic, TrackableTimeSeriesData), "TrackableTimeSeriesData is abstract"),
        (lambda r: r.register(wrong(str), ArticleTotals), "Only models with a table"),
        (lambda r: r.register([Topic, wrong("newsroom.Page")], ArticleTotals), "Only models with a table"),
        (lambda r: r.register(TrackableData, ArticleTotals), "Only models with a table"),
        (lambda r: r.register(Topic, ArticleTotals, wrong(Topic)), "admin_cls is a subclass of ModelAdmin"),
        (lambda r: r.register(Topic, ArticleTotals, wrong("PlainAdmin")), "admin_cls is a subclass of ModelAdmin"),
    ],
)
def test_what_can_t_be_registered_is_refused_whole(
    registry: TrackableRegistry, register: Callable[[TrackableRegistry], None], text: str
) -> None:
    """In words; nothing of the call is kept."""
    with pytest.raises(ImproperlyConfigured, match=text):
        register(registry)
    assert registry.datasets_of(Topic) == ()


def test_an_unknown_keyword_is_an_error(registry: TrackableRegistry) -> None:
    """A misspelt one would be lost otherwise."""
    with pytest.raises(TypeError, match="admin_class"):
        registry.register(Topic, ArticleTotals, admin_class=PlainAdmin)  # type: ignore[call-arg]  # that is the mistake


@isolate_apps("newsroom")
def test_a_slot_that_does_not_fit_its_column_is_refused(registry: TrackableRegistry) -> None:
    """An hour is no date, a day is no moment; and an unknown slot is none."""

    class Hourly(TrackableTimeSeriesData):
        views = models.IntegerField(default=0)
        slot = "hour"

        class Meta(TrackableTimeSeriesData.Meta):
            app_label = "newsroom"

    class Daily(TrackableHourlyData):
        views = models.IntegerField(default=0)
        slot = "day"

        class Meta(TrackableHourlyData.Meta):
            app_label = "newsroom"

    class Quarterly(TrackableTimeSeriesData):
        views = models.IntegerField(default=0)
        slot = "quarter"

        class Meta(TrackableTimeSeriesData.Meta):
            app_label = "newsroom"

    with pytest.raises(ImproperlyConfigured, match="is a DateField: subclass TrackableHourlyData"):
        registry.register(Topic, Hourly)
    with pytest.raises(ImproperlyConfigured, match="is a DateTimeField: subclass TrackableTimeSeriesData"):
        registry.register(Topic, Daily)
    with pytest.raises(ImproperlyConfigured, match="one of 'hour', 'day', 'week', 'month', not 'quarter'"):
        registry.register(Topic, Quarterly)
    assert registry.datasets_of(Topic) == ()


def test_trackabledata_modules_are_found_and_known_to_the_producers() -> None:
    """The newsroom's is, and the app's registry is the site's."""
    datasets = site.datasets_of(Article)
    assert datasets == (ArticleTotals, ArticleDaily, ArticleHourly, ArticleWeekly, ArticleMonthly, ArticleByDevice)
    assert apps.get_app_config("footfall_storage").datasets is site  # type: ignore[attr-defined]


# -- What a dataset says of itself


def test_counters_are_the_integer_fields_but_the_key() -> None:
    """And operations those that are marked."""
    assert ArticleTotals.get_trackable_fields() == ("views", "score", "peak")
    assert all(ArticleTotals.is_operation(name) for name in ("incr", "decr", "record_peak"))
    assert not any(
        ArticleTotals.is_operation(name) for name in ("delete", "save", "__class__", "parent", "objects", "", "x")
    )


def test_an_operation_stays_a_method() -> None:
    """The mark changes nothing else."""

    @operation
    def double(row: TrackableData, field: str, value: int) -> None:
        setattr(row, field, getattr(row, field) * value)

    row = ArticleTotals(score=3)
    double(row, "score", 2)
    assert row.score == 6


def test_positive_fields_stop_at_zero() -> None:
    """The others are signed."""
    stops = {f.name: clamps_at_zero(f) for model in (ArticleTotals, ArticleDaily) for f in model._meta.concrete_fields}

    assert (stops["views"], stops["clicks"], stops["score"]) == (True, True, False)


def test_a_series_has_a_slot_a_day_in_the_sites_zone() -> None:
    """Totals have none."""
    assert ArticleTotals.slot_of(datetime(2026, 6, 14, 22, tzinfo=UTC)) == ()
    assert ArticleDaily.slot_of(datetime(2026, 6, 14, 21, 59, tzinfo=UTC)) == (date(2026, 6, 14),)
    assert ArticleDaily.slot_of(datetime(2026, 6, 14, 22, 0, tzinfo=UTC)) == (date(2026, 6, 15),)


# -- Counting at once


@pytest.fixture
def row(db: None) -> ArticleTotals:
    """Five views and a score of one."""
    article = Article.objects.create(title="News")
    return ArticleTotals.objects.create(object_type="newsroom.article", object_id=str(article.pk), views=5, score=1)


def stored(row: ArticleTotals) -> tuple[int, int, int]:
    return ArticleTotals.objects.values_list("views", "score", "peak").get(pk=row.pk)


def test_incr_and_decr_touch_only_their_field(row: ArticleTotals) -> None:
    """Another instance's fresh values are not overwritten with stale ones."""
    ArticleTotals.objects.filter(pk=row.pk).update(peak=9, score=4)

    row.incr("views", 2)
    row.decr("score")

    assert stored(row) == (7, 3, 9)
    assert (row.views, row.score, row.peak) == (7, 3, 0)


def test_tb_16_counting_leaves_a_number_and_not_an_expression(row: ArticleTotals) -> None:
    """A later save, or a second count, doesn't count again."""
    row.incr("views")
    row.save()
    row.incr("views")
    row.incr("score")

    assert row.views == 7 and stored(row)[:2] == (7, 2)


def test_a_positive_counter_stops_at_zero(row: ArticleTotals) -> None:
    """Decremented, or incremented by a negative number."""
    row.decr("views", 9)
    assert row.views == 0
    row.incr("views", 3)
    row.incr("views", -5)
    row.decr("score", 5)

    assert stored(row)[:2] == (0, -4)


def test_tb_16_each_of_three_counts_once(row: ArticleTotals) -> None:
    """incr, incr(views), incr(score) on one object are two views and one score."""
    row.incr("views")
    row.incr("views")
    row.incr("score")
    row.save()

    assert stored(row) == (7, 2, 0)


@pytest.mark.parametrize("field", ["likes", "id", "object_id", "__class__"])
def test_tb_18_an_unknown_field_is_refused(row: ArticleTotals, field: str) -> None:
    """Nothing is changed."""
    for change in (row.incr, row.decr):
        with pytest.raises(ValueError, match="no counter field"):
            change(field)
    assert stored(row) == (5, 1, 0)


def test_tb_04_and_05_a_row_takes_what_the_door_takes(row: ArticleTotals) -> None:
    """0 adds 0, a numeric text is its number."""
    row.incr("views", 0)
    assert stored(row) == (5, 1, 0)
    row.incr("views", wrong("7"))
    row.decr("score", wrong("7"))

    assert stored(row) == (12, -6, 0) and (row.views, row.score) == (12, -6)


@pytest.mark.parametrize("value", [2.9, 2.0, None, True, "", "2.9", math.nan, Decimal(1), 2**31, [], b"7"], ids=repr)
def test_tb_05_anything_else_is_refused_by_a_row(row: ArticleTotals, value: Any) -> None:
    """Nothing is changed, in the row or on the object."""
    for change in (row.incr, row.decr):
        with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, and `int()` writes some of them
            change("score", value)
    assert stored(row) == (5, 1, 0) and row.score == 1


@pytest.mark.parametrize(("field", "value"), [("views", 2**31 - 1), ("score", 2**31 - 1), ("score", -(2**31) + 1)])
def test_a_sum_that_does_not_fit_is_refused(row: ArticleTotals, field: str, value: int) -> None:
    """In words, on every database; a transaction around it goes on."""
    ArticleTotals.objects.filter(pk=row.pk).update(**{field: 1 if value > 0 else -1})

    with transaction.atomic():
        with pytest.raises(ValueError, match=f"do not fit into {field}: it holds {2**31 - 1}"):
            row.incr(field, value)
        row.incr("peak")

    assert abs(getattr(row, field)) == 1 and row.peak == 1


def test_a_counter_of_64_bits_stays_a_whole_number(db: None) -> None:
    """SQLite would make a float of it."""
    row = ArticleDaily.objects.create(object_type="newsroom.article", object_id="1", collected_during="2026-06-15")
    row.incr("clicks", 2**63 - 1)

    with pytest.raises(ValueError, match="do not fit"):
        row.incr("clicks")

    assert row.clicks == ArticleDaily.objects.get().clicks == 2**63 - 1


def test_a_row_that_is_not_saved_can_t_be_counted_in() -> None:
    """Without a query."""
    for row in (ArticleTotals(), ArticleTotals(pk=7)):
        with pytest.raises(ValueError, match="not saved"):
            row.incr("views")
        with pytest.raises(ValueError, match="not saved"):
            row.decr("views")


def test_a_row_that_is_gone_says_so(row: ArticleTotals) -> None:
    """Instead of counting nowhere."""
    ArticleTotals.objects.all().delete()

    with pytest.raises(ArticleTotals.DoesNotExist):
        row.incr("views")


def test_counting_at_once_takes_two_queries(row: ArticleTotals) -> None:
    """The change, and what came of it."""
    with transaction.atomic(), CaptureQueriesContext(connection) as asked:
        row.incr("views")

    assert len([query for query in asked if "SAVEPOINT" not in query["sql"]]) == 2


def test_a_row_knows_its_object(row: ArticleTotals) -> None:
    """Until that is gone."""
    assert row.parent == Article.objects.get()
    Article.objects.all().delete()
    assert row.parent is None
    assert ArticleTotals(object_type="newsroom.weather", object_id="1").parent is None
    assert ArticleTotals(object_type="newsroom.article", object_id="a slug").parent is None
    assert ArticleTotals(object_type="newsroom.page", object_id="1").parent is None


@pytest.mark.django_db(transaction=True)
def test_tb_15_two_workers_count_in_one_row() -> None:
    """Neither loses the other's, in one field or in two."""
    row = ArticleTotals.objects.create(object_type="newsroom.article", object_id="1")

    def work() -> None:
        mine = ArticleTotals.objects.get(pk=row.pk)
        for _ in range(20):
            mine.incr("views")
            mine.incr("score")
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert stored(row) == (40, 40, 0)


def test_integer_fields_that_do_not_begin_at_zero_are_no_counters() -> None:
    """What a batch adds up to would depend on what else is in it; NULL plus one stays NULL."""

    class Rated(TrackableData):
        views = models.PositiveIntegerField(default=0)
        rating = models.IntegerField(default=100)
        maybe = models.IntegerField(null=True)
        bare = models.IntegerField()

        class Meta(TrackableData.Meta):
            app_label = "newsroom"

    assert Rated.get_trackable_fields() == ("views",)
