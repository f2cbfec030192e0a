"""The registry of datasets, and counting at once."""

import threading
from datetime import UTC, date, datetime

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models
from django.test.utils import isolate_apps
from newsroom.models import Article, ArticleDaily, ArticleTotals, Column, Page, Topic

from footfall.storage.datasets import (
    AlreadyRegistered,
    NotRegistered,
    TrackableData,
    TrackableRegistry,
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
    """By the base or by a proxy of it."""
    for model in (Article, Column):
        with pytest.raises(AlreadyRegistered, match="ArticleTotals is registered for"):
            registry.register(model, ArticleTotals)
    assert registry.datasets_of(Article) == (ArticleTotals, ArticleDaily)


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


def test_a_dataset_gets_into_the_admin_only_when_asked() -> None:
    """With the given class."""
    assert not admin.site.is_registered(ArticleTotals)
    try:
        TrackableRegistry().register(Article, ArticleTotals, admin.ModelAdmin)
        assert admin.site.is_registered(ArticleTotals)
    finally:
        admin.site.unregister(ArticleTotals)


def test_trackabledata_modules_are_found_and_known_to_the_producers() -> None:
    """The newsroom's is, and the app's registry is the site's."""
    assert site.datasets_of(Article) == (ArticleTotals, ArticleDaily)
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


@pytest.mark.parametrize("field", ["likes", "id", "object_id", "__class__"])
def test_an_unknown_field_is_refused(row: ArticleTotals, field: str) -> None:
    """Nothing is changed."""
    with pytest.raises(ValueError, match="no counter field"):
        row.incr(field)
    assert stored(row) == (5, 1, 0)


def test_a_row_knows_its_object(row: ArticleTotals) -> None:
    """Until that is gone."""
    assert row.parent == Article.objects.get()
    Article.objects.all().delete()
    assert row.parent is None


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
