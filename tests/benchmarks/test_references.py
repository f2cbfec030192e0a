"""What the account costs: saves of objects that keep it, each beside a plain model's with ``auto_now``.

Run with ``make bench``; nothing here asserts a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from newsroom.models import Article, Masthead, Photo, Publisher

pytestmark = pytest.mark.django_db(transaction=True)

Benchmark = Callable[..., Any]

ROWS = 1000


def in_a_transaction(work: Callable[[], Any]) -> Callable[[], None]:
    """Without what a commit costs, beside which the rest is hard to see."""

    def run() -> None:
        with transaction.atomic():
            for _ in range(50):
                work()

    return run


@pytest.mark.benchmark(group="save an object, committed")
def test_save(benchmark: Benchmark) -> None:
    one = Masthead.objects.create(slug="front")
    benchmark(one.save)


@pytest.mark.benchmark(group="save an object, committed")
def test_instead_a_plain_save(benchmark: Benchmark) -> None:
    one = Article.objects.create(title="a")
    benchmark(one.save)


@pytest.mark.benchmark(group="save an object 50 times in a transaction")
def test_saves_in_a_transaction(benchmark: Benchmark) -> None:
    one = Publisher.objects.create(name="a")
    benchmark(in_a_transaction(one.save))


@pytest.mark.benchmark(group="save an object 50 times in a transaction")
def test_saves_of_named_fields_in_a_transaction(benchmark: Benchmark) -> None:
    one = Publisher.objects.create(name="a")
    benchmark(in_a_transaction(lambda: one.save(update_fields=["name"])))


@pytest.mark.benchmark(group="save an object 50 times in a transaction")
def test_saves_that_change_nothing_in_a_transaction(benchmark: Benchmark) -> None:
    one = Photo.objects.create(caption="a")
    benchmark(in_a_transaction(one.save))


@pytest.mark.benchmark(group="save an object 50 times in a transaction")
def test_instead_plain_saves_in_a_transaction(benchmark: Benchmark) -> None:
    one = Article.objects.create(title="a")
    benchmark(in_a_transaction(one.save))


@pytest.mark.benchmark(group="update 1,000 rows in bulk")
def test_update(benchmark: Benchmark) -> None:
    Publisher.objects.bulk_create([Publisher(name=f"{number}") for number in range(ROWS)])
    assert benchmark(lambda: Publisher.objects.update(note="n")) == ROWS


@pytest.mark.benchmark(group="update 1,000 rows in bulk")
def test_instead_a_plain_update(benchmark: Benchmark) -> None:
    Article.objects.bulk_create([Article(title=f"{number}") for number in range(ROWS)])
    assert benchmark(lambda: Article.objects.update(title="n")) == ROWS


@pytest.mark.benchmark(group="bulk_update 1,000 objects")
def test_bulk_update(benchmark: Benchmark) -> None:
    rows = Publisher.objects.bulk_create([Publisher(name=f"{number}") for number in range(ROWS)])
    assert benchmark(lambda: Publisher.objects.bulk_update(rows, ["note"])) == ROWS


@pytest.mark.benchmark(group="bulk_update 1,000 objects")
def test_instead_a_plain_bulk_update(benchmark: Benchmark) -> None:
    rows = Article.objects.bulk_create([Article(title=f"{number}") for number in range(ROWS)])
    assert benchmark(lambda: Article.objects.bulk_update(rows, ["title"])) == ROWS


@pytest.mark.benchmark(group="bulk_create 1,000 objects")
def test_bulk_create(benchmark: Benchmark) -> None:
    benchmark.pedantic(  # type: ignore[attr-defined]  # the plugin has no stubs
        lambda: Photo.objects.bulk_create([Photo() for _ in range(ROWS)]), rounds=10
    )


@pytest.mark.benchmark(group="bulk_create 1,000 objects")
def test_instead_a_plain_bulk_create(benchmark: Benchmark) -> None:
    benchmark.pedantic(  # type: ignore[attr-defined]  # as above
        lambda: Article.objects.bulk_create([Article(title="a") for _ in range(ROWS)]), rounds=10
    )
