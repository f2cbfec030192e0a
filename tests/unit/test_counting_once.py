"""One visitor counts once in a window of time: at the door without a query, in the worker whatever comes twice."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
import time_machine
import wire
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path
from newsroom.models import Article, ArticleByDevice, ArticleDaily, ArticleHourly, ArticleTotals

from footfall.producers import publish_increment, scope
from footfall.producers.messages import Event, Increment, encode_event
from footfall.producers.once import LONGEST, SHORTEST, window
from footfall.producers.queues import INCREMENTS
from footfall.producers.testing import captured_messages
from footfall.spiders.matcher import forget_spiders
from footfall.storage.models import CountedOnce, DeadLetter
from footfall.workers import upkeep
from footfall.workers.folding import once
from footfall.workers.pipeline import Delivery, Totals, apply
from footfall.workers.testing import drain

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
in_database = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    forget_spiders()
    with time_machine.travel(NOW, tick=False):
        yield
    forget_spiders()


def get(address: str = "192.0.2.7", user_agent: str = BROWSER) -> HttpRequest:
    return RequestFactory(REMOTE_ADDR=address, HTTP_USER_AGENT=user_agent).get("/")


def named(pk: int) -> HttpRequest:
    request = get()
    request.user = User.from_db("default", ["id"], [pk])
    return request


ARTICLE = Article.from_db("default", ["id"], [7])


def event_of(request: HttpRequest | None, article: Article = ARTICLE, field: str = "views", **more: Any) -> Increment:
    """What a publish that counts once puts into the spool."""
    with captured_messages() as captured:
        publish_increment(article, field, request=request, **({"once_per": DAY, "dataset": ArticleDaily} | more))
    event = captured[0].event
    assert isinstance(event, Increment) and event.once is not None
    return event


def token_of(request: HttpRequest | None, *arguments: Any, **more: Any) -> uuid.UUID:
    mark = event_of(request, *arguments, **more).once
    assert mark is not None
    return mark.token


# -- At the door


def test_a_token_is_a_visitors_for_one_counter_and_window() -> None:
    """The same for the same, another one where anything differs: nothing can be linked by it."""
    other = Article.from_db("default", ["id"], [8])
    same = {token_of(get()) for _ in range(3)} | {token_of(get(), at=NOW - timedelta(hours=13, minutes=59))}
    different = [
        token_of(get("192.0.2.8")),
        token_of(get(user_agent="Chrome")),
        token_of(named(42)),
        token_of(named(43)),
        token_of(get(), other),
        token_of(get(), field="clicks"),
        token_of(get(), dataset=ArticleTotals),
        token_of(get(), value=2),
        token_of(get(), once_per=2 * DAY),
        token_of(get(), at=NOW - DAY),
        token_of(get(), dataset=ArticleByDevice, options={"device": "phone"}),
        token_of(get(), dataset=ArticleByDevice, options={"device": "tablet"}),
    ]

    assert len(same) == 1
    assert len({*same, *different}) == 1 + len(different)


def test_the_order_of_options_makes_no_other_token() -> None:
    """Only what they say."""
    one = token_of(get(), dataset=ArticleByDevice, options={"device": "phone", "n": 1})
    other = token_of(get(), dataset=ArticleByDevice, options={"n": 1, "device": "phone"})

    assert one == other


def test_the_key_is_the_sites(settings: Any) -> None:
    """Nobody else can make the token of a visitor."""
    first = token_of(get())
    settings.SECRET_KEY = "another"

    assert token_of(get()) != first


def test_a_user_is_one_visitor_wherever_he_reads() -> None:
    """On any address and with any browser; for longer than a day."""
    at_home, away = named(42), get("198.51.100.1", "Chrome")
    away.user = User.from_db("default", ["id"], [42])

    assert token_of(at_home, once_per=LONGEST) == token_of(away, once_per=LONGEST, at=NOW - 3 * DAY)


def test_nothing_of_the_visitor_travels() -> None:
    """Neither address nor agent (but where it is sent for telling spiders), nor who it is."""
    request = named(987654)
    raw = encode_event(event_of(request))

    event = json.loads(raw)
    assert event["once"].keys() == {"token", "until"}
    assert event.keys() == {"kind", "id", "at", "dataset", "object", "field", "user_agent", "once"}
    assert b"987654" not in raw and b"192.0.2.7" not in raw


def test_the_request_is_the_scopes_where_none_is_given() -> None:
    """What is given wins."""
    with scope(request=named(42)):
        inherited, given = token_of(None), token_of(named(43))

    assert inherited == token_of(named(42))
    assert given == token_of(named(43))


@pytest.mark.parametrize(
    ("once_per", "error", "text"),
    [
        (SHORTEST - timedelta(microseconds=1), ValueError, "between a second and 366 days"),
        (timedelta(0), ValueError, "between a second and 366 days"),
        (-DAY, ValueError, "between a second and 366 days"),
        (LONGEST + timedelta(microseconds=1), ValueError, "between a second and 366 days"),
        (timedelta.max, ValueError, "between a second and 366 days"),
        (86400, TypeError, "once_per is a timedelta"),
        ("day", TypeError, "once_per is a timedelta"),
        (True, TypeError, "once_per is a timedelta"),
    ],
    ids=repr,
)
def test_a_window_is_a_second_to_366_days(once_per: Any, error: type[Exception], text: str) -> None:
    """Both limits are windows."""
    assert token_of(get(), once_per=SHORTEST) and token_of(get(), once_per=LONGEST)

    with captured_messages() as captured, pytest.raises(error, match=text):
        publish_increment(ARTICLE, "views", request=get(), once_per=once_per)
    assert captured == []


def test_what_can_t_count_once_is_refused_at_the_door() -> None:
    """Nobody to count; an operation that is no sum; a number that falls."""
    with captured_messages() as captured:
        with pytest.raises(ValueError, match="give the request"):
            publish_increment(ARTICLE, "views", once_per=DAY)
        with scope("Firefox"), pytest.raises(ValueError, match="give the request"):
            publish_increment(ARTICLE, "views", once_per=DAY)
        for op in ("decr", "record_peak"):
            with pytest.raises(ValueError, match=f"not with '{op}'"):
                publish_increment(ARTICLE, "peak", request=get(), once_per=DAY, op=op)
        with pytest.raises(ValueError, match="from 0 up"):
            publish_increment(ARTICLE, "score", -1, request=get(), once_per=DAY)
    assert captured == []


def test_tb_04_zero_counts_once_too() -> None:
    """It adds 0."""
    assert event_of(get(), value=0).value == 0


# -- Windows


@pytest.mark.parametrize(
    ("length", "one", "other", "same"),
    [
        pytest.param(DAY, "2026-06-14T22:00:00Z", "2026-06-15T21:59:59.999999Z", True, id="a summer day"),
        pytest.param(DAY, "2026-06-14T21:59:59.999999Z", "2026-06-14T22:00:00Z", False, id="midnight in summer"),
        pytest.param(DAY, "2026-01-14T22:59:59Z", "2026-01-14T23:00:00Z", False, id="midnight in winter"),
        pytest.param(DAY, "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", True, id="the day of 23 hours"),
        pytest.param(DAY, "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z", False, id="midnight after it"),
        pytest.param(DAY, "2025-10-25T22:00:00Z", "2025-10-26T22:59:59Z", True, id="the day of 25 hours"),
        pytest.param(DAY, "2025-10-26T22:59:59Z", "2025-10-26T23:00:00Z", False, id="midnight after that"),
        pytest.param(DAY / 2, "2026-06-14T22:00:00Z", "2026-06-15T09:59:59Z", True, id="a summer morning"),
        pytest.param(DAY / 2, "2026-06-15T09:59:59Z", "2026-06-15T10:00:00Z", False, id="noon"),
        pytest.param(DAY / 2, "2025-10-25T22:00:00Z", "2025-10-26T10:59:59Z", True, id="a morning of 13 hours"),
        pytest.param(DAY / 24, "2026-06-15T10:00:00Z", "2026-06-15T10:59:59Z", True, id="an hour"),
        pytest.param(DAY / 24, "2026-06-15T10:59:59Z", "2026-06-15T11:00:00Z", False, id="the next hour"),
        pytest.param(DAY / 24, "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", False, id="an hour that comes twice"),
        pytest.param(DAY / 24, "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", False, id="over the hour that is not"),
        pytest.param(DAY / 1440, "2025-10-26T00:30:10Z", "2025-10-26T01:30:10Z", False, id="a minute, an hour later"),
        pytest.param(7 * DAY, "2026-06-12T22:00:00Z", "2026-06-19T21:59:59Z", True, id="seven days"),
        pytest.param(7 * DAY, "2026-06-12T21:59:59Z", "2026-06-12T22:00:00Z", False, id="the next seven"),
        pytest.param(DAY, "2026-06-15T07:00:00+09:00", "2026-06-14T23:59:00-00:00", True, id="another zone"),
    ],
)
def test_windows_follow_the_sites_clock(length: timedelta, one: str, other: str, same: bool) -> None:
    """A window of a day is a calendar day; where the clock is put back, an hour is no longer than an hour."""
    first, second = datetime.fromisoformat(one), datetime.fromisoformat(other)

    assert (window(first, length)[0] == window(second, length)[0]) is same
    with time_machine.travel(max(first, second), tick=False):
        assert (token_of(named(1), at=first, once_per=length) == token_of(named(1), at=second, once_per=length)) is same


@pytest.mark.parametrize("length", [SHORTEST, DAY / 24, DAY / 2, DAY, 7 * DAY, LONGEST], ids=str)
@pytest.mark.parametrize("at", ["2026-06-15T12:00:00Z", "2025-10-26T00:59:59Z", "2026-03-29T00:59:59Z"])
def test_a_token_outlives_its_window(length: timedelta, at: str) -> None:
    """By a day; that of an old event lives from its publishing on, for others like it may come now."""
    moment = datetime.fromisoformat(at)
    with time_machine.travel(moment, tick=False):
        fresh, old = event_of(get(), at=moment, once_per=length), event_of(get(), at=moment - 900 * DAY)

    assert fresh.once is not None and old.once is not None
    assert moment + DAY <= fresh.once.until <= moment + length + DAY + timedelta(hours=1)
    assert old.once.until == moment + DAY


# -- Through the middleware, without a query

urlpatterns: list[Any] = []


def read(request: HttpRequest, pk: int) -> HttpResponse:
    """A page that counts its visitors; it asks who is there first, if the address says so."""
    if parse_qs(request.META["QUERY_STRING"]).get("ask"):
        str(request.user)
    with CaptureQueriesContext(connection) as queries:
        publish_increment(Article.from_db("default", ["id"], [pk]), "views", dataset=ArticleDaily, once_per=DAY)
    return HttpResponse(str(len(queries)))


urlpatterns += [path("read/<int:pk>", read)]


@pytest.mark.django_db(transaction=True)
def test_visitors_count_once_and_publishing_makes_no_query(settings: Any) -> None:
    """Real sessions and users, through the middleware, the spool and the pipeline: two users and two strangers."""
    settings.ROOT_URLCONF = __name__
    article = Article.objects.create(title="News")
    visits = []
    for name in ("ada", "bob"):
        browser = Client(HTTP_USER_AGENT=BROWSER)
        browser.force_login(User.objects.create(username=name))
        visits += [browser.get(f"/read/{article.pk}?ask=1") for _ in range(3)]
    for address in ("192.0.2.1", "192.0.2.2"):
        stranger = Client(HTTP_USER_AGENT=BROWSER, REMOTE_ADDR=address)
        visits += [stranger.get(f"/read/{article.pk}") for _ in range(3)]

    assert [visit.content for visit in visits] == [b"0"] * 12
    assert drain() > 0
    assert ArticleDaily.objects.get().views == 4
    assert CountedOnce.objects.count() == 4


# -- In the worker


@pytest.fixture
def article(db: None) -> Article:
    return Article.objects.create(title="News")


def send(*events: Any, now: datetime = NOW, **envelope: Any) -> Totals:
    """Apply one message of events, as structs or dicts."""
    raws = [encode_event(event) if isinstance(event, Event) else event for event in events]
    return apply([Delivery(wire.body(raws, **envelope), INCREMENTS)], now=now)


def visit(article: Article, token: uuid.UUID, at: str | datetime = NOW, **more: Any) -> wire.Event:
    """A visit as another program writes it."""
    until = (datetime.fromisoformat(at) if isinstance(at, str) else at) + 2 * DAY
    mark = {"token": str(token), "until": until.isoformat()}
    return wire.increment(article, at=at, **({"dataset": "newsroom.articledaily", "once": mark} | more))


def days() -> dict[date, int]:
    return dict(ArticleDaily.objects.filter(views__gt=0).values_list("collected_during", "views"))


TOKEN = uuid.UUID(int=7)


def test_repeats_change_nothing(article: Article) -> None:
    """In one message, in one batch, in later ones; they are applied, for nothing is wrong with them."""
    assert send(*(visit(article, TOKEN) for _ in range(3)), visit(article, uuid.uuid4())) == Totals(applied=4)
    bodies = [wire.body([visit(article, TOKEN)]) for _ in range(3)]
    assert apply([Delivery(body, INCREMENTS) for body in bodies], now=NOW) == Totals(applied=3)
    assert apply([Delivery(body, INCREMENTS) for body in bodies], now=NOW) == Totals(duplicate=3)

    assert days() == {NOW.date(): 2}
    assert CountedOnce.objects.count() == 2


def test_what_was_published_counts_once_a_window(article: Article) -> None:
    """Two visitors, over midnight, whatever comes again."""
    for hours in (0, 1, 9, 11, 23):
        with time_machine.travel(NOW + timedelta(hours=hours), tick=False):
            for _ in range(2):
                send(event_of(named(1), article), event_of(named(2), article), now=NOW + timedelta(hours=hours))

    assert days() == {date(2026, 6, 15): 2, date(2026, 6, 16): 2}


EVENING, NIGHT = "2026-06-14T21:00:00Z", "2026-06-14T23:00:00Z"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in their order", "the later one first"])
@pytest.mark.parametrize("apart", [True, False], ids=["two batches", "one batch"])
def test_the_earliest_counts(order: tuple[int, int], apart: bool, article: Article) -> None:
    """In the slot that it belongs to: the count moves there where the later one came first."""
    events = [visit(article, TOKEN, EVENING, value=3), visit(article, TOKEN, NIGHT, value=3)]
    chosen = [events[n] for n in order]
    for batch in [[one] for one in chosen] if apart else [chosen]:
        assert send(*batch) == Totals(applied=len(batch))

    assert days() == {date(2026, 6, 14): 3}
    assert CountedOnce.objects.get().at == datetime.fromisoformat(EVENING)


def test_a_count_moves_as_often_as_it_has_to(article: Article) -> None:
    """Of many visitors at once, and with other counts in the same rows."""
    tokens = [uuid.uuid4() for _ in range(40)]
    for hours in (20, 10, 0, 30):
        events = [visit(article, token, NOW - timedelta(hours=hours)) for token in tokens]
        plain = wire.increment(article, dataset="newsroom.articledaily", at=NOW - timedelta(hours=hours))
        assert send(*events, plain) == Totals(applied=41)

    assert days() == {date(2026, 6, 14): 42, date(2026, 6, 15): 2}


def test_within_one_slot_only_the_time_is_lowered(article: Article) -> None:
    """No row is touched for that."""
    send(visit(article, TOKEN, NOW))
    send(visit(article, TOKEN, NOW - timedelta(minutes=1)))
    send(visit(article, TOKEN, NOW - timedelta(minutes=2), dataset="newsroom.articledaily"))

    assert days() == {NOW.date(): 1}
    assert CountedOnce.objects.get().at == NOW - timedelta(minutes=2)


def test_a_dataset_without_slots_counts_once_too(article: Article) -> None:
    send(visit(article, TOKEN, NIGHT, dataset="newsroom.articletotals"))
    send(visit(article, TOKEN, EVENING, dataset="newsroom.articletotals"))

    assert ArticleTotals.objects.get().views == 1


def test_options_go_along_when_a_count_moves(article: Article) -> None:
    """To the row of the same options, an hour or a day before."""
    phone = {"dataset": "newsroom.articlebydevice", "options": {"device": "phone"}}
    send(visit(article, TOKEN, NIGHT, **phone))
    send(visit(article, TOKEN, EVENING, **phone))
    send(visit(article, uuid.uuid4(), NIGHT, dataset="newsroom.articlehourly"))

    rows = ArticleByDevice.objects.filter(views__gt=0).values_list("collected_during", "device", "views")
    assert list(rows) == [(date(2026, 6, 14), "phone", 1)]
    assert ArticleHourly.objects.get().views == 1


def test_what_the_database_refuses_leaves_no_token(article: Article) -> None:
    """Another visit of the same visitor counts in its place; neighbours count as well."""
    series = {"field": "clicks"}
    bad = visit(article, TOKEN, NOW - timedelta(hours=1), value=666, **series)
    good = visit(article, TOKEN, NOW, value=1, **series)

    assert send(bad, visit(article, uuid.uuid4())) == Totals(applied=1, dead=1)
    assert send(good) == Totals(applied=1)

    assert ArticleDaily.objects.get().clicks == 1
    assert DeadLetter.objects.get().reason == "refused"


def test_spiders_are_no_visitors(article: Article) -> None:
    """What is filtered enters no token."""
    assert send(visit(article, TOKEN, user_agent="")) == Totals(filtered=1)
    assert send(visit(article, TOKEN, user_agent=BROWSER)) == Totals(applied=1)

    assert days() == {NOW.date(): 1}


@in_database
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"once": {"token": str(TOKEN), "until": "2027-08-01T00:00:00Z"}}, "bad_time"),
        ({"once": {"token": str(TOKEN), "until": "2026-06-15T11:59:59Z"}}, "bad_time"),
        ({"once": {"token": str(TOKEN), "until": "9999-12-31T23:59:59Z"}}, "bad_time"),
        ({"once": {"token": str(TOKEN), "until": "2026-06-16T00:00:00"}}, "bad_event"),
        ({"once": {"token": "7", "until": "2026-06-16T00:00:00Z"}}, "bad_event"),
        ({"once": {"token": str(TOKEN)}}, "bad_event"),
        ({"op": "decr"}, "bad_event"),
        ({"op": "record_peak", "field": "peak"}, "bad_event"),
        ({"value": -1}, "bad_event"),
        ({"dataset": None, "object": None, "field": None, "label": {"label": "a"}}, "bad_event"),
        ({"options": {"device": 1.5}}, "bad_event"),
        ({"options": {"device": "x" * 256}}, "bad_event"),
        ({"options": {"device": "a\0"}}, "bad_text"),
        ({"options": ["device"]}, "bad_event"),
        ({"options": {"at": 1}}, "handler_error"),
        ({"dataset": "newsroom.articlebydevice"}, "handler_error"),
        ({"dataset": "newsroom.articlebydevice", "options": {"device": 7}}, "handler_error"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_what_another_program_writes_wrong_is_its_own_dead_letter(
    fields: dict[str, Any], reason: str, article: Article
) -> None:
    """With a reason; its neighbours count."""
    base = {"dataset": "newsroom.articletotals"}
    events = [visit(article, uuid.uuid4(), **base), visit(article, TOKEN, **(base | fields))]

    assert send(*events, visit(article, uuid.uuid4(), **base)) == Totals(applied=2, dead=1)

    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.position) == (reason, 1) and letter.error
    assert ArticleTotals.objects.get().views == 2
    assert not CountedOnce.objects.filter(token=TOKEN).exists()


def test_a_great_many_bad_options_are_as_many_dead_letters(article: Article) -> None:
    """With a text that says whose rule refused them, with a mark to count once or without."""
    bad = {"dataset": "newsroom.articlebydevice", "options": {"device": 7}}
    events = [wire.increment(article, **bad) for _ in range(300)] + [visit(article, TOKEN, **bad) for _ in range(300)]

    assert send(wire.increment(article), *events, wire.hit("a")) == Totals(applied=2, dead=600)

    errors = set(DeadLetter.objects.values_list("reason", "error"))
    assert errors == {("handler_error", "ArticleByDevice.slot_of: TypeError: a device is a text, not 7")}


def test_tokens_are_forgotten_when_no_late_message_can_come(article: Article) -> None:
    """LEDGER_DAYS and a day after their window, a bounded number at a time, the oldest first."""
    ages = [-1, 0, 29, 30.9, 31.1, 60, 400]
    for n, age in enumerate(ages):
        CountedOnce.objects.create(token=uuid.UUID(int=n), at=NOW - 999 * DAY, until=NOW - age * DAY)

    assert once.prune(NOW, "default", limit=1) == 1
    assert CountedOnce.objects.order_by("until")[0].until == NOW - 60 * DAY
    assert upkeep.tidy_up(NOW) == 2
    assert CountedOnce.objects.count() == 4
    assert not CountedOnce.objects.filter(until__lt=NOW - 31 * DAY).exists()


@in_database
def test_a_round_of_upkeep_takes_many_transactions_for_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message holds many events: more of them grow old than of messages. Still, a round ends."""
    monkeypatch.setattr(upkeep, "AT_ONCE", 2)
    monkeypatch.setattr(upkeep, "TOKEN_ROUNDS", 3)
    rows = [CountedOnce(token=uuid.UUID(int=n), at=NOW, until=NOW - 99 * DAY) for n in range(9)]
    CountedOnce.objects.bulk_create(rows)

    assert [upkeep.tidy_up(NOW) for _ in range(3)] == [6, 3, 0]


@in_database
def test_a_site_without_time_zones_counts_once_too(settings: Any) -> None:
    """Times are stored as its clock shows them."""
    settings.USE_TZ = False
    article = Article.objects.create(title="News")

    for at in (NIGHT, EVENING, NIGHT):
        assert send(visit(article, TOKEN, at)) == Totals(applied=1)

    assert days() == {date(2026, 6, 14): 1}
