"""Counting by the names that users who move over know. No test here but the last asks for the database."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.http import HttpRequest
from django.test import RequestFactory
from newsroom.models import Article, ArticleByDevice, ArticleDaily, ArticleTotals, Page

from footfall.producers.counting import send_decrement_message, send_increment_message
from footfall.producers.messages import Increment
from footfall.producers.testing import Captured, captured_messages
from footfall.workers.testing import drain

Send = Callable[..., Any]
BOTH = pytest.mark.parametrize("send", [send_increment_message, send_decrement_message])


@pytest.fixture(autouse=True)
def _no_connection(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sends, no connection may have been opened by it."""
    if "db" in request.fixturenames:
        yield
        return
    connections.close_all()
    yield
    assert all(connection.connection is None for connection in connections.all(initialized_only=True))


@pytest.fixture
def article() -> Article:
    """As if it had been read from the database."""
    return Article.from_db("default", ["id"], [7])


@pytest.fixture
def request_() -> HttpRequest:
    return RequestFactory(HTTP_USER_AGENT="Firefox").get("/")


@pytest.fixture
def sent() -> Iterator[list[Captured]]:
    with captured_messages() as captured:
        yield captured


def increments(sent: list[Captured]) -> list[Increment]:
    return [one.event for one in sent if isinstance(one.event, Increment)]


def test_tb_01_a_message_counts_one_in_the_first_dataset(
    article: Article, request_: HttpRequest, sent: list[Captured]
) -> None:
    """TB-08: the first one registered; the user agent is the request's, and the id comes back."""
    returned = send_increment_message(request_, article, "views")

    (event,) = increments(sent)
    assert (event.id, event.dataset, event.field, event.op, event.value, event.options, event.user_agent) == (
        returned,
        "newsroom.articletotals",
        "views",
        "incr",
        1,
        {},
        "Firefox",
    )


def test_tb_02_and_03_a_decrement_takes_away(article: Article, request_: HttpRequest, sent: list[Captured]) -> None:
    """The amount stays positive: the operation says which way."""
    send_decrement_message(request_, article, "score", options={"value": 3})

    (event,) = increments(sent)
    assert (event.op, event.value) == ("decr", 3)


@BOTH
@pytest.mark.parametrize(("value", "counted"), [(0, 0), (5, 5), ("7", 7), (-2, -2), ("0", 0)])
def test_tb_04_and_05_the_amount_is_an_option(
    send: Send, value: Any, counted: int, article: Article, request_: HttpRequest, sent: list[Captured]
) -> None:
    """TB-04: 0 adds 0. TB-05: a numeric text is its number."""
    send(request_, article, "score", options={"value": value})

    (event,) = increments(sent)
    assert (event.value, event.options) == (counted, {})


@BOTH
@pytest.mark.parametrize("value", [2.9, None, True, "", "2.9", math.nan, Decimal(1), 2**31, []], ids=repr)
def test_tb_05_no_amount_is_refused_at_the_door(
    send: Send, value: Any, article: Article, request_: HttpRequest, sent: list[Captured]
) -> None:
    """Never poison for the worker."""
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, and `int()` writes some of them
        send(request_, article, "score", options={"value": value})
    assert sent == []


@BOTH
def test_tb_07_other_options_are_the_datasets(
    send: Send, article: Article, request_: HttpRequest, sent: list[Captured]
) -> None:
    """For a slot rule of its own; what the dataset has no row for is refused."""
    send(request_, article, "views", ArticleByDevice, {"device": "phone", "value": 2})

    (event,) = increments(sent)
    assert (event.dataset, event.options, event.value) == ("newsroom.articlebydevice", {"device": "phone"}, 2)
    with pytest.raises(ValueError, match="ArticleByDevice has no row"):
        send(request_, article, "views", ArticleByDevice)
    assert len(sent) == 1


@BOTH
def test_tb_08_another_dataset_may_be_named(
    send: Send, article: Article, request_: HttpRequest, sent: list[Captured]
) -> None:
    """One that counts the object's model."""
    send(request_, article, "clicks", ArticleDaily)

    assert [event.dataset for event in increments(sent)] == ["newsroom.articledaily"]
    page = Page.from_db("default", ["id"], ["0" * 32])
    with pytest.raises(LookupError, match="ArticleDaily"):
        send(request_, page, "clicks", ArticleDaily)


@BOTH
def test_tb_18_an_unknown_field_is_refused(
    send: Send, article: Article, request_: HttpRequest, sent: list[Captured]
) -> None:
    """With what might have been meant."""
    with pytest.raises(ValueError, match="Did you mean 'views'"):
        send(request_, article, "view")
    assert sent == []


@BOTH
def test_tb_29_options_are_not_shared(
    send: Send, article: Article, request_: HttpRequest, sent: list[Captured]
) -> None:
    """The caller's dict stays as it is, and the next call begins anew."""
    options = {"value": 9}

    send(request_, article, "score", options=options)
    send(request_, article, "score")
    send(request_, article, "score", options=options)

    assert options == {"value": 9}
    assert [event.value for event in increments(sent)] == [9, 1, 9]


def test_without_a_request_it_counts_all_the_same(article: Article, sent: list[Captured]) -> None:
    """A command or a task has none."""
    send_increment_message(None, article, "views")

    assert [event.user_agent for event in increments(sent)] == [None]


@pytest.mark.django_db(transaction=True)
def test_tb_29_threads_don_t_disturb_each_other(db: None, request_: HttpRequest) -> None:
    """Each amount counts as itself, through spool and pipeline."""
    article = Article.objects.create(title="News")

    def work(value: int) -> None:
        for _ in range(25):
            send_increment_message(request_, article, "views", options={"value": value})
            send_decrement_message(request_, article, "score")
        connections.close_all()

    threads = [threading.Thread(target=work, args=(value,)) for value in (0, 1, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain()

    assert list(ArticleTotals.objects.values_list("views", "score")) == [(25 * 11, -75)]
