"""Counters, from a publish to the rows: what is bad is set aside, and nothing stands in the way of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import wire
from django.core.management import call_command
from django.http import HttpRequest
from django.test import RequestFactory
from newsroom.models import Article, ArticleDaily, ArticleTotals
from wire import NOW

from footfall.producers import publish_increment
from footfall.producers.queues import INCREMENTS
from footfall.spiders.matcher import forget_spiders
from footfall.storage.models import DeadLetter, SpiderTally
from footfall.workers.pipeline import Delivery, Totals, apply
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db(transaction=True)

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
CHROME = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


@pytest.fixture(autouse=True)
def _spiders_anew() -> Iterator[None]:
    forget_spiders()
    yield
    forget_spiders()


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="News")


def views() -> int:
    return sum(ArticleTotals.objects.values_list("views", flat=True))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"field": "likes"}, "unknown_field"),
        ({"op": "explode", "field": "peak"}, "handler_error"),
        ({"op": "save"}, "unknown_operation"),
        ({"value": "seven"}, "bad_event"),
        ({"value": None}, "bad_event"),
        ({"value": 2.9}, "bad_event"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_tb_10_a_bad_message_surfaces_and_the_others_are_processed(
    bad: dict[str, Any], reason: str, article: Article
) -> None:
    """In the place for dead letters; those before and after it count, in its message, its batch and the next."""
    events = [wire.increment(article), wire.increment(article, **bad), wire.increment(article)]
    batch = [Delivery(wire.body(events), INCREMENTS), Delivery(wire.body([wire.increment(article)]), INCREMENTS)]

    assert apply(batch, now=NOW) == Totals(applied=3, dead=1)
    assert apply([Delivery(wire.body([wire.increment(article)]), INCREMENTS)], now=NOW) == Totals(applied=1)

    assert views() == 4
    assert DeadLetter.objects.get().reason == reason


def test_tb_10_a_row_that_was_deleted_is_made_again(article: Article) -> None:
    """And what counts an object that is gone is left out, not a fault."""
    publish_increment(article, "views")
    drain()
    ArticleTotals.objects.all().delete()
    publish_increment(article, "views", 2)
    drain()
    assert views() == 2

    gone = Article.objects.create(title="Gone")
    publish_increment(gone, "views")
    gone.delete()
    publish_increment(article, "views")
    drain()
    assert views() == 3 and not DeadLetter.objects.exists()


@pytest.mark.parametrize(
    "body",
    [b"7R4CK", b"{}", b"null", b"\x80\x04\x95", b'{"magic": null}', b""],
    ids=["text", "no fields", "null", "a pickle", "another program's", "nothing"],
)
def test_tb_12_what_is_no_message_of_ours_is_removed_and_the_good_one_applied(body: bytes, article: Article) -> None:
    """It is a dead letter with its bytes, and it does not come again."""
    good = wire.body([wire.increment(article)])

    assert apply([Delivery(body, INCREMENTS), Delivery(good, INCREMENTS)], now=NOW) == Totals(applied=1, dead=1)
    assert apply([Delivery(body, INCREMENTS)], now=NOW) == Totals(duplicate=1)

    assert views() == 1
    assert DeadLetter.objects.get().current_body == body


def request(user_agent: str | None) -> HttpRequest:
    return RequestFactory(**({} if user_agent is None else {"HTTP_USER_AGENT": user_agent})).get("/")


@pytest.mark.parametrize(
    ("user_agent", "counts", "spider"),
    [
        pytest.param(GOOGLEBOT, False, "Googlebot", id="a known bot"),
        pytest.param(GOOGLEBOT + " and more " + "x" * 2000, False, "Googlebot", id="with extra text after it"),
        pytest.param("something before " + GOOGLEBOT, False, "Googlebot", id="with extra text before it"),
        pytest.param(None, False, "(none)", id="no user agent"),
        pytest.param("", False, "(none)", id="an empty one"),
        pytest.param(CHROME, True, None, id="a browser"),
        pytest.param("Mozilla/5.0", True, None, id="a bare Mozilla/5.0"),
    ],
)
def test_tb_22_a_bot_is_left_out_and_a_person_is_counted(
    user_agent: str | None, counts: bool, spider: str | None, article: Article
) -> None:
    """With the fixture, from the request through the spool to the rows; the request never fails."""
    call_command("loaddata", "spiders", verbosity=0)

    publish_increment(article, "views", request=request(user_agent), dataset=ArticleDaily)
    drain()

    assert ArticleDaily.objects.filter(views=1).exists() is counts
    tallied = list(SpiderTally.objects.values_list("spider", "count"))
    assert len(tallied) == (0 if counts else 1)
    assert counts or (spider in tallied[0][0] and tallied[0][1] == 1)


@pytest.mark.parametrize("user_agent", [None, ""], ids=["no user agent", "an empty one"])
def test_tb_22_what_has_no_user_agent_is_kept_by_setting(
    user_agent: str | None, settings: Any, article: Article
) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "MISSING_USER_AGENT": "keep"}

    publish_increment(article, "views", request=request(user_agent))
    drain()

    assert views() == 1
