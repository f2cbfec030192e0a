"""One upsert: rows are inserted or folded into those that stand, and a number never becomes something else."""

import random
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import ArticleDaily, ArticleTotals

from footfall.storage.models import Statistic, Tally, ViewMark
from footfall.storage.upsert import add, add_down_to_zero, latest, upsert

pytestmark = pytest.mark.django_db

HOUR = datetime(2026, 6, 15, 12, tzinfo=UTC)
KEY = ("object_type", "object_id")
MOST = 2**63 - 1


def count(*rows: Sequence[Any]) -> None:
    upsert(
        Tally, ("hour", "kind", "name"), {"count": add}, [(HOUR, kind, "received", n) for kind, n in rows], "default"
    )


def counts() -> dict[str, int]:
    return dict(Tally.objects.values_list("kind", "count"))


def test_a_missing_row_is_inserted_and_a_standing_one_added_to() -> None:
    """In one call and over several."""
    count(("view", 2), ("action", 3))
    count(("view", 5))

    assert counts() == {"view": 7, "action": 3}


def test_no_rows_are_no_query() -> None:
    """Also from an empty iterator."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        upsert(Tally, ("hour", "kind", "name"), {"count": add}, iter(()), "default")

    assert len(queries) == 0


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(-1000, 1000), max_size=6), max_size=5),
    st.integers(0, 2**32),
)
def test_sums_are_the_same_in_any_order(batches: list[dict[str, int]], seed: int) -> None:
    """Of rows within a call, and of calls."""
    expected: Counter[str] = Counter()
    chance = random.Random(seed)
    for batch in batches:
        for kind, number in batch.items():
            expected[kind] += number
    chance.shuffle(batches)
    with transaction.atomic():
        for batch in batches:
            rows = list(batch.items())
            chance.shuffle(rows)
            count(*rows)
        assert counts() == dict(expected)
        transaction.set_rollback(True)


def test_rows_are_written_in_the_order_of_their_key() -> None:
    """That is what keeps two batches from waiting for each other in a circle."""
    count(("c", 1), ("a", 1), ("b", 1))

    assert list(Tally.objects.order_by("pk").values_list("kind", flat=True)) == ["a", "b", "c"]


def test_the_latest_time_stays() -> None:
    """To the microsecond, with and without a fraction."""
    user = User.objects.create(username="ada")
    times = [HOUR + timedelta(microseconds=n) for n in (0, 999_999, 1, 500_000, 10)]
    for at in times:
        upsert(ViewMark, ("user", "object_type", "object_id"), {"at": latest}, [(user.pk, "", "", at)], "default")

    assert ViewMark.objects.get().at == max(times)


@pytest.mark.parametrize(
    ("stored", "given_", "left"),
    [(5, -3, 2), (5, -5, 0), (5, -9, 0), (0, 4, 4)],
)
def test_a_sum_can_stop_at_zero(stored: int, given_: int, left: int) -> None:
    """On a signed column, too."""
    rows: Callable[[int], list[Any]] = lambda n: [("newsroom.article", "1", n)]  # noqa: E731
    upsert(ArticleTotals, KEY, {"score": add}, rows(stored), "default")
    upsert(ArticleTotals, KEY, {"score": add_down_to_zero}, rows(given_), "default")

    assert ArticleTotals.objects.get().score == left


def test_what_is_not_named_takes_its_default() -> None:
    """Other counters of a new row begin at zero, and stay what they are on a standing one."""
    upsert(ArticleTotals, KEY, {"views": add}, [("newsroom.article", "1", 2)], "default")
    upsert(ArticleTotals, KEY, {"score": add}, [("newsroom.article", "1", 5)], "default")

    assert list(ArticleTotals.objects.values_list("views", "score", "peak")) == [(2, 5, 0)]


@pytest.mark.parametrize(("stored", "more"), [(MOST, 1), (MOST, MOST), (-MOST, -2), (1, MOST)])
def test_a_sum_beyond_the_column_is_refused_and_leaves_the_row(stored: int, more: int) -> None:
    """SQLite would make a float of it, and PostgreSQL an error: here both are an error."""
    count(("view", stored))

    with pytest.raises(IntegrityError), transaction.atomic():
        count(("view", more))
    assert counts() == {"view": stored}


def test_a_number_of_more_than_64_bits_is_refused() -> None:
    """Before it reaches the database."""
    with pytest.raises(OverflowError), transaction.atomic():
        count(("view", MOST + 1))
    assert counts() == {}


def test_a_row_that_breaks_a_rule_is_refused_with_all_of_its_call() -> None:
    """By its own value or by the sum that it makes."""
    key = (*KEY, "collected_during")
    row: Callable[[str, int], tuple[Any, ...]] = lambda pk, n: ("newsroom.article", pk, HOUR.date(), n)  # noqa: E731
    upsert(ArticleDaily, key, {"clicks": add}, [row("1", 600)], "default")

    for bad in (row("2", 666), row("1", 66)):
        with pytest.raises(IntegrityError, match="newsroom_not_666"), transaction.atomic():
            upsert(ArticleDaily, key, {"clicks": add}, [row("0", 1), bad, row("3", 1)], "default")
    assert list(ArticleDaily.objects.values_list("clicks", flat=True)) == [600]


def test_keys_are_compared_exactly() -> None:
    """Case, trailing spaces, quotes and percent signs make different keys."""
    key = ("label", "category", "dom_id", "day")
    labels = ["a", "A", "a ", "é", "e\u0301", "100%", "%s", "it's", '"']
    for _ in range(2):
        upsert(
            Statistic, key, {"counter": add}, [(label, "None", "None", HOUR.date(), 1) for label in labels], "default"
        )

    assert dict(Statistic.objects.values_list("label", "counter")) == dict.fromkeys(labels, 2)


def test_many_rows_are_few_statements() -> None:
    """However many parameters that makes."""
    with CaptureQueriesContext(connection) as queries:
        count(*((f"k{n:05}", n) for n in range(3000)))

    assert len(queries) == 1
    assert len(counts()) == 3000


@isolate_apps("newsroom")
def test_a_default_that_is_called_is_called_for_each_row() -> None:
    """A table whose primary key is a UUID takes several new rows at once."""

    class Keyed(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        name = models.CharField(max_length=10, unique=True)
        count = models.IntegerField(default=0)

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return self.name

    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE newsroom_keyed (id char(32) PRIMARY KEY, name text UNIQUE, count integer NOT NULL)"
        )

    upsert(Keyed, ("name",), {"count": add}, [("a", 1), ("b", 2)], "default")

    assert dict(Keyed._default_manager.values_list("name", "count")) == {"a": 1, "b": 2}
