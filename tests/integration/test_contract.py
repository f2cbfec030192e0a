"""What both transports and both databases promise: run under settings.embedded and under settings.stack."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Sum
from django.test import Client
from newsroom.models import Article, ArticleDaily, ArticleTotals, Page, Topic
from processes import eventually

from footfall.producers import publish_increment, publish_view, scope
from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Increment, LabelKey, Ref, View, encode_event, encode_message, new_id
from footfall.producers.queues import ACTIONS, INCREMENTS, VIEWS
from footfall.producers.reasons import Reason
from footfall.storage.models import Action, ActionObject, AppliedMessage, DeadLetter, Statistic, Tally, ViewMark
from footfall.workers.replay import replay

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.fixture
def reader() -> User:
    return User.objects.create(username="reader")


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="On counting")


def message(queue: str, *events: Any, message_id: uuid.UUID | None = None) -> bytes:
    raws = [event if isinstance(event, bytes) else encode_event(event) for event in events]
    return encode_message(queue, message_id or new_id(), int(time.time() * 1000), raws)


def increment(article: Article, value: int = 1, **changes: Any) -> Increment:
    fields: dict[str, Any] = {
        "id": new_id(),
        "at": datetime.now(UTC),
        "dataset": "newsroom.articledaily",
        "object": Ref("newsroom.article", str(article.pk)),
        "field": "views",
        "value": value,
    }
    return Increment(**{**fields, **changes})


def views_of(article: Article) -> int:
    rows = ArticleDaily.objects.filter(object_id=str(article.pk))
    return rows.aggregate(total=Sum("views"))["total"] or 0


def assert_balanced() -> None:
    """For each kind: received = applied + filtered + duplicate + dead."""
    sums: Counter[tuple[str, str]] = Counter()
    for kind, name, count in Tally.objects.values_list("kind", "name", "count"):
        sums[kind, name] += count
    for kind in {kind for kind, _ in sums}:
        settled = sum(sums[kind, name] for name in ("applied", "filtered", "duplicate", "dead"))
        assert sums[kind, "received"] == settled, f"{kind}: {dict(sums)}"


def test_what_a_view_publishes_arrives_as_rows(transport: Any, reader: User, article: Article) -> None:
    """All three kinds, from a real view of a signed-in reader, through a real worker process."""
    transport.start()
    client = Client(headers={"user-agent": BROWSER})
    client.force_login(reader)

    for _ in range(3):
        assert client.get(f"/articles/{article.pk}/").status_code == 200

    eventually(
        lambda: (
            views_of(article) == 3
            and Action.objects.count() == 3
            and ViewMark.objects.exists()
            and Statistic.objects.exists()
        )
    )
    assert ViewMark.objects.get().user == reader
    assert Statistic.objects.get().counter == 3
    assert {action.verb for action in Action.objects.all()} == {"read"}
    assert ActionObject.objects.filter(object_type="newsroom.article", object_id=str(article.pk)).count() == 3
    assert_balanced()


def test_spiders_are_filtered_and_tallied(transport: Any, reader: User, article: Article) -> None:
    """A spider's requests change no counter, and are counted apart."""
    from django.core.management import call_command

    call_command("loaddata", "spiders", verbosity=0)
    transport.start()
    Client(headers={"user-agent": BROWSER}).get(f"/articles/{article.pk}/")
    Client(headers={"user-agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}).get(f"/articles/{article.pk}/")

    eventually(lambda: Tally.objects.filter(name="filtered").aggregate(n=Sum("count"))["n"] == 2)
    eventually(lambda: views_of(article) == 1)
    assert_balanced()


def test_any_primary_key_fits(transport: Any, reader: User) -> None:
    """Integer, UUID and text keys are marked and counted."""
    transport.start()
    page, topic = Page.objects.create(title="p"), Topic.objects.create(slug="café/été")
    with scope():
        for thing in (page, topic):
            publish_view(reader, thing)
            publish_increment(thing, "score", -2)

    eventually(lambda: ArticleTotals.objects.count() == 2 and ViewMark.objects.count() == 2)
    assert set(ViewMark.objects.values_list("object_id", flat=True)) == {str(page.pk), "café/été"}
    assert set(ArticleTotals.objects.values_list("score", flat=True)) == {-2}


def test_three_deliveries_in_any_order_count_once(transport: Any, reader: User, article: Article) -> None:
    """Marks, counters and actions are those of one delivery each."""
    now = datetime.now(UTC)
    bodies: list[tuple[bytes, str]] = []
    for n in range(30):
        ref = Ref("newsroom.article", str(article.pk))
        at = now - timedelta(minutes=n)
        view = View(id=new_id(), at=at, user=str(reader.pk), object=ref)
        action = ActionEvent(id=new_id(), at=at, verb="liked", actor=Ref("auth.user", str(reader.pk)), targets=[ref])
        bodies += [
            (message(VIEWS, view), VIEWS),
            (message(INCREMENTS, increment(article, 2), increment(article, 3)), INCREMENTS),
            (message(ACTIONS, action), ACTIONS),
        ]
    deliveries = bodies * 3
    random.Random(20).shuffle(deliveries)
    for body, queue in deliveries:
        transport.put(body, queue)

    transport.start_worker()
    eventually(lambda: Tally.objects.filter(name="received").aggregate(n=Sum("count"))["n"] == 360)

    assert views_of(article) == 150
    assert ViewMark.objects.get().at == now
    assert Action.objects.count() == 30
    assert AppliedMessage.objects.count() == 90
    assert_balanced()


AT = '"at":"2026-01-01T00:00:00Z"'
ID = '"id":"01a1f975-758e-76d0-abbc-ebbf8991f421"'


def event(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "kind": "increment",
        "id": str(new_id()),
        "at": datetime.now(UTC).isoformat(),
        "dataset": "newsroom.articledaily",
        "object": {"type": "newsroom.article", "id": "1"},
        "field": "views",
    }
    return json.dumps({**fields, **changes}).encode()


def action(**changes: Any) -> bytes:
    fields = {"kind": "action", "id": str(new_id()), "at": datetime.now(UTC).isoformat(), "verb": "liked"}
    return json.dumps({**fields, **changes}).encode()


def envelope(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "queue_name": INCREMENTS,
        "actor_name": INCREMENTS,
        "args": [[]],
        "kwargs": {},
        "options": {},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": int(time.time() * 1000),
    }
    return json.dumps({**fields, **changes}).encode()


HTML, SQL = "<script>alert(1)</script>", "'; DROP TABLE auth_user; --"

BAD_BODIES = {
    "not UTF-8": (b'{"queue_name":"\xff\xfe"}', Reason.NOT_UTF8),
    "not JSON": (b"hello", Reason.NOT_JSON),
    "truncated": (envelope()[:-9], Reason.NOT_JSON),
    "null": (b"null", Reason.BAD_ENVELOPE),
    "list": (b"[]", Reason.BAD_ENVELOPE),
    "string": (b'"x"', Reason.BAD_ENVELOPE),
    "nested": (b"[" * 200_000 + b"]" * 200_000, Reason.NOT_JSON),
    "options null": (envelope(options=None), Reason.BAD_ENVELOPE),
    "actor 5": (envelope(actor_name=5), Reason.BAD_ENVELOPE),
    "other actor": (envelope(actor_name="site.actor"), Reason.UNKNOWN_ACTOR),
    "no args": (envelope(args=None), Reason.BAD_ENVELOPE),
    "id no UUID": (envelope(message_id="seven"), Reason.BAD_ENVELOPE),
    "10 MB": (b'{"x":"' + b"a" * 10_000_000 + b'"}', Reason.TOO_LARGE),
    "a million keys": (envelope(args=[[{"data": {str(n): n for n in range(1_000_000)}}]]), Reason.TOO_LARGE),
    "expired": (envelope(message_timestamp=1_500_000_000_000), Reason.EXPIRED),
}
BAD_EVENTS = {
    "unknown kind": (event(kind="teapot"), Reason.UNKNOWN_KIND),
    "unknown version": (event(version=99), Reason.UNKNOWN_VERSION),
    "unknown type": (event(object={"type": "no.such", "id": "1"}), Reason.UNKNOWN_TYPE),
    "dunder type": (event(object={"type": "__class__", "id": "1"}), Reason.UNKNOWN_TYPE),
    "unknown field": (event(field="no_such"), Reason.UNKNOWN_FIELD),
    "dunder field": (event(field="__class__"), Reason.UNKNOWN_FIELD),
    "SQL field": (event(field=SQL), Reason.UNKNOWN_FIELD),
    "HTML field": (event(field=HTML), Reason.UNKNOWN_FIELD),
    "unknown dataset": (event(dataset="auth.user"), Reason.UNKNOWN_DATASET),
    "unknown operation": (event(op="delete"), Reason.UNKNOWN_OPERATION),
    "dunder label": (event(dataset=None, object=None, field=None, label={"label": "__class__"}), Reason.BAD_TEXT),
    "SQL label": (event(dataset=None, object=None, field=None, label={"label": SQL}), Reason.BAD_TEXT),
    "HTML label": (event(dataset=None, object=None, field=None, label={"label": HTML}), Reason.BAD_TEXT),
    "dunder verb": (action(verb="__class__"), Reason.BAD_TEXT),
    "SQL verb": (action(verb=SQL), Reason.BAD_TEXT),
    "HTML verb": (action(verb=HTML), Reason.BAD_TEXT),
    "NaN": (action(data={"x": float("nan")}), Reason.BAD_NUMBER),
    "1e999": (event().replace(b'"field"', b'"value":1e999,"field"'), Reason.BAD_NUMBER),
    "big integer": (event(value=2**70), Reason.BAD_NUMBER),
    "NUL": (action(data={"x": "a\0b"}), Reason.BAD_TEXT),
    "lone surrogate": (action(data={"x": "\ud800"}), Reason.BAD_TEXT),
    "many keys": (action(data={str(n): n for n in range(100_000)}), Reason.TOO_LARGE),
    "1970": (event(at="1970-01-01T00:00:00Z"), Reason.BAD_TIME),
    "9999": (event(at="9999-12-31T23:59:59Z"), Reason.BAD_TIME),
    "bad key": (event(object={"type": "newsroom.article", "id": "seven"}), Reason.BAD_KEY),
    "bad user": (
        json.dumps({"kind": "view", "id": str(new_id()), "at": "2026-01-01T00:00:00Z", "user": "x"}).encode(),
        Reason.BAD_KEY,
    ),
}


def test_each_bad_input_is_one_dead_letter_with_its_reason(transport: Any, article: Article) -> None:
    """Its bytes are kept, and the good events before, after and between are applied."""
    expected: Counter[str] = Counter()
    for body, reason in BAD_BODIES.values():
        transport.put(body, INCREMENTS)
        transport.put(message(INCREMENTS, increment(article)), INCREMENTS)
        expected[reason] += 1
    for raw, reason in BAD_EVENTS.values():
        transport.put(message(INCREMENTS, increment(article), raw, increment(article)), INCREMENTS)
        expected[reason] += 1
    refused = increment(article, 666, field="clicks")
    raising = increment(article, dataset="newsroom.articletotals", field="peak", op="explode")
    transport.put(message(INCREMENTS, increment(article), refused, raising, increment(article)), INCREMENTS)
    expected += Counter({Reason.REFUSED: 1, Reason.HANDLER_ERROR: 1})
    good = len(BAD_BODIES) + 2 * len(BAD_EVENTS) + 2

    transport.start_worker()
    eventually(lambda: views_of(article) == good, 60)
    eventually(lambda: DeadLetter.objects.count() == expected.total())

    assert Counter(DeadLetter.objects.values_list("reason", flat=True)) == expected
    kept = {bytes(letter.body) for letter in DeadLetter.objects.all()}
    assert {body for body, _ in BAD_BODIES.values()} <= kept
    assert encode_event(refused) in kept
    assert_balanced()


def test_a_mended_letter_is_applied_once(transport: Any, article: Article) -> None:
    """However often it is replayed, and delivered again."""
    body = message(INCREMENTS, increment(article, field="veiws"))
    transport.put(body, INCREMENTS)
    transport.start_worker()
    eventually(DeadLetter.objects.exists)
    letter = DeadLetter.objects.get()
    letter.edited_body = bytes(letter.body).replace(b"veiws", b"views")
    letter.save()

    assert replay(DeadLetter.objects.all()).replayed == 1
    assert replay(DeadLetter.objects.all()).replayed == 0
    transport.put(body, INCREMENTS)

    eventually(lambda: Tally.objects.filter(name="duplicate").exists())
    assert views_of(article) == 1


def test_a_killed_worker_loses_and_doubles_nothing(transport: Any, article: Article) -> None:
    """SIGKILL in the middle of the work, three times; the next worker finishes it exactly."""
    for _ in range(3):
        for _ in range(200):
            transport.put(message(INCREMENTS, *(increment(article) for _ in range(20))), INCREMENTS)
        worker = transport.start_worker()
        before = views_of(article)
        eventually(lambda before=before: views_of(article) > before)
        worker.kill_all()
    transport.start_worker()

    eventually(lambda: views_of(article) == 12_000, 60)
    assert not DeadLetter.objects.exists()
    assert_balanced()


def test_a_message_that_kills_its_worker_ends_as_one_dead_letter(transport: Any, article: Article) -> None:
    """Every neighbour that was taken along with it is applied."""
    poison = message(INCREMENTS, increment(article, dataset="newsroom.articletotals", field="peak", op="kill_worker"))
    for n in range(40):
        transport.put(message(INCREMENTS, increment(article)), INCREMENTS)
        if n == 20:
            transport.put(poison, INCREMENTS)

    deadline = time.monotonic() + 120
    worker = transport.start_worker()
    while time.monotonic() < deadline and not DeadLetter.objects.exists():
        if not worker.is_running():
            worker = transport.start_worker()  # what supervisord does
        time.sleep(0.2)

    eventually(lambda: views_of(article) == 40, 60)
    letter = DeadLetter.objects.get()
    assert letter.reason == Reason.KILLED_WORKER
    assert bytes(letter.body) == poison
    assert_balanced()


def test_labels_are_counted_per_category_element_and_day(transport: Any) -> None:
    """The day is the event's, in the site's time zone: 23:30 in UTC is tomorrow in Berlin."""
    at = datetime(2026, 6, 1, 23, 30, tzinfo=UTC)
    for category in ("nav", "nav", "footer"):
        hit = Increment(id=new_id(), at=at, label=LabelKey("home", category, "top"))
        transport.put(message(INCREMENTS, hit), INCREMENTS)
    transport.start_worker()

    eventually(lambda: Statistic.objects.aggregate(n=Sum("counter"))["n"] == 3)
    rows = set(Statistic.objects.values_list("category", "counter", "day"))
    assert {(c, n, str(day)) for c, n, day in rows} == {("nav", 2, "2026-06-02"), ("footer", 1, "2026-06-02")}


def test_a_worker_ends_with_its_master(transport: Any, article: Article) -> None:
    """SIGKILL of the master leaves no orphan behind that would consume unsupervised."""
    worker = transport.start_worker()
    transport.put(message(INCREMENTS, increment(article)), INCREMENTS)
    eventually(lambda: views_of(article) == 1)
    (child,) = [pid for pid in worker.children() if is_python(pid)]

    os.kill(worker.pid, signal.SIGKILL)

    eventually(lambda: not is_python(child), 30)


def is_python(pid: int) -> bool:
    """Whether a process with this id runs, and is no helper of the interpreter."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"dramatiq" in command and b"resource_tracker" not in command
