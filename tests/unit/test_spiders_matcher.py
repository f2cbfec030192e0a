"""The module-level questions, asked of the Spider table."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from footfall.spiders.matcher import (
    RECHECK_SECONDS,
    SpiderMatcher,
    SpiderTable,
    forget_spiders,
    is_spider,
    which_spider,
)
from footfall.spiders.models import Spider
from footfall.spiders.patterns import BROWSERS

CHROME = BROWSERS[1]
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


class Clock:
    """Monotonic seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _read_the_table_anew(db: None) -> Iterator[None]:
    forget_spiders()
    yield
    forget_spiders()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        pytest.param(GOOGLEBOT, True, id="TB-22 a known bot"),
        pytest.param(GOOGLEBOT + " and more " + "x" * 2000, True, id="TB-22 a known bot with text after it"),
        pytest.param("something before " + GOOGLEBOT, True, id="TB-22 a known bot with text before it"),
        pytest.param("curl/7.64.1", True, id="TB-22 a program"),
        pytest.param("python-requests/2.31", True, id="TB-22 a library"),
        pytest.param("", False, id="TB-22 an empty user agent"),
        pytest.param(CHROME, False, id="TB-22 a browser"),
        pytest.param("Mozilla/5.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", False, id="TB-22 an old one"),
        pytest.param("Mozilla/5.0", False, id="TB-22 a bare Mozilla/5.0"),
        pytest.param("M", False, id="TB-22 one letter"),
        pytest.param("\ud800\x00\n", False, id="TB-22 nothing that can be encoded"),
    ],
)
def test_tb_22_bots_are_spiders_and_browsers_are_not(user_agent: str, expected: bool) -> None:
    """TB-22: with the fixture, bots are found whatever surrounds them, people never, and nothing raises."""
    call_command("loaddata", "spiders", verbosity=0)

    assert is_spider(user_agent) is expected
    assert (which_spider(user_agent) is not None) is expected


def test_the_table_keeps_a_spiders_name() -> None:
    """The tally gets the name in the table, not the pattern."""
    Spider.objects.create(pattern="Googlebot\\/", name="Google's searcher")

    assert which_spider(GOOGLEBOT) == "Google's searcher"


def test_with_an_empty_table_nothing_is_a_spider() -> None:
    """A site that loads no fixture counts everyone."""
    assert not is_spider(GOOGLEBOT)


def test_without_the_table_nothing_is_a_spider() -> None:
    """Before the first migrate a question is answered, and the transaction it was asked in goes on."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Spider._meta.db_table} RENAME TO put_away")

    assert not is_spider(GOOGLEBOT)
    assert connection.introspection.table_names()


def test_a_saved_spider_counts_at_once() -> None:
    """In the process where an operator saves, switches off or deletes a spider, the next question knows."""
    assert not is_spider("mybot/1")

    spider = Spider.objects.create(pattern="mybot")
    assert is_spider("mybot/1")

    spider.active = False
    spider.save(update_fields=["active"])
    assert not is_spider("mybot/1")

    spider.active = True
    spider.save()
    assert is_spider("mybot/1")

    spider.delete()
    assert not is_spider("mybot/1")


def test_operators_spiders_name_the_visit_before_the_packages_then_the_longest_pattern() -> None:
    """Several spiders match: the name depends on neither primary keys nor the order of loading."""
    for pattern, custom in (("bot", False), ("Aabot", False), ("Bbbot", False), ("2", True)):
        Spider.objects.create(pattern=pattern, custom=custom)

    assert which_spider("bot") == "bot"
    assert which_spider("bot Bbbot") == "Bbbot"
    assert which_spider("Bbbot Aabot") == "Aabot"
    assert which_spider("Bbbot Aabot/2") == "2"


def test_a_broken_row_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A pattern that got past validation is logged and skipped."""
    Spider.objects.create(pattern="broken(")
    Spider.objects.create(pattern="mybot")

    assert is_spider("mybot")
    assert "broken(" in caplog.text


def test_questions_within_a_minute_make_no_query(
    clock: Clock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """One query a minute asks whether the table changed; an unchanged table is not read."""
    table = SpiderTable(clock)
    matcher = table.matcher()

    with django_assert_num_queries(0):
        clock.now += RECHECK_SECONDS - 1
        assert table.matcher() is matcher
    with django_assert_num_queries(1):
        clock.now += 1
        assert table.matcher() is matcher


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda: Spider.objects.bulk_create([Spider(pattern="mybot", name="it")]), id="added"),
        pytest.param(
            lambda: Spider.objects.filter(pattern="other").update(
                pattern="mybot", updated=timezone.now() + timedelta(seconds=1)
            ),
            id="changed",
        ),
        pytest.param(lambda: Spider.objects.filter(pattern="mybo").update(active=True), id="switched on"),
    ],
)
def test_a_change_from_elsewhere_is_seen_within_a_minute(change: Callable[[], object], clock: Clock) -> None:
    """What another process wrote sends no signal here; the fingerprint of the table tells."""
    Spider.objects.create(pattern="other")
    Spider.objects.create(pattern="mybo", active=False)
    table = SpiderTable(clock)
    assert table.matcher().match("mybot") is None

    change()
    assert table.matcher().match("mybot") is None
    clock.now += RECHECK_SECONDS
    assert table.matcher().match("mybot") is not None


def test_forgetting_reads_the_table_whatever_its_fingerprint(clock: Clock) -> None:
    """A change that leaves no trace is seen when told of."""
    Spider.objects.create(pattern="other")
    table = SpiderTable(clock)
    table.matcher()
    Spider.objects.update(pattern="mybot")

    clock.now += RECHECK_SECONDS
    assert table.matcher().match("mybot") is None
    table.forget()
    assert table.matcher().match("mybot") == "other"


def test_a_change_while_the_table_is_read_is_not_lost(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matcher of rows read before a change is not taken for one read after it."""
    table = SpiderTable(clock)

    def read_and_forget() -> list[tuple[str, str]]:
        table.forget()
        return []

    monkeypatch.setattr("footfall.spiders.matcher._spiders", read_and_forget)
    table.matcher()
    monkeypatch.setattr("footfall.spiders.matcher._spiders", lambda: [("mine", "mybot")])

    assert table.matcher().match("mybot") == "mine"


def test_a_table_that_cant_be_read_is_asked_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is the caller's to see, and no answer is made up from it."""
    table = SpiderTable(clock)
    Spider.objects.create(pattern="mybot")

    def outage() -> None:
        raise OperationalError

    with monkeypatch.context() as patched:
        patched.setattr("footfall.spiders.matcher._fingerprint", outage)
        with pytest.raises(OperationalError):
            table.matcher()

    assert table.matcher().match("mybot") == "mybot"


def test_threads_that_ask_at_once_read_the_table_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thread reads, the others wait for its matcher instead of getting an empty one."""
    reads: list[None] = []
    started = threading.Event()

    def slowly() -> list[tuple[str, str]]:
        reads.append(None)
        started.wait(0.2)
        return [("mine", "mybot")]

    monkeypatch.setattr("footfall.spiders.matcher._table_exists", lambda: True)
    monkeypatch.setattr("footfall.spiders.matcher._fingerprint", lambda: (1,))
    monkeypatch.setattr("footfall.spiders.matcher._spiders", slowly)
    table = SpiderTable(clock)
    answers: list[str | None] = []

    def ask() -> None:
        answers.append(table.matcher().match("mybot"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == ["mine"] * 8
    assert len(reads) == 1


def test_the_pure_matcher_is_offered_beside_the_questions() -> None:
    """`footfall.spiders.matcher.SpiderMatcher` takes pairs and needs no table."""
    assert SpiderMatcher([("mine", "mybot")]).match("mybot/1") == "mine"
