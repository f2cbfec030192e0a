"""fold_messages on the embedded transport: what it applies, what it sets aside, and the numbers that it prints."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import Article, ArticleDaily, ArticleTotals
from processes import Process

from footfall.producers import publish_action, publish_increment, publish_labels, publish_view, scope
from footfall.producers.settings import conf
from footfall.producers.spool import current_spool
from footfall.producers.tail import SpoolLock, journals
from footfall.storage.models import Action, Attempt, DeadLetter, SpoolPosition, Statistic, Tally, ViewMark
from footfall.workers import foldrun, pipeline
from footfall.workers.embedded import LOCK_NAME
from footfall.workers.foldrun import FoldRun
from footfall.workers.held import count_held, replay_held
from footfall.workers.pipeline import Delivery

pytestmark = pytest.mark.django_db(transaction=True)

TOTALS, DAILY = "newsroom.ArticleTotals", "newsroom.ArticleDaily"


@pytest.fixture(autouse=True)
def embedded(settings: Any) -> None:
    """The embedded transport, whichever database the run is on."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": "embedded"}


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="Read by many")


@pytest.fixture
def user() -> User:
    return User.objects.create(username="reader")


def fold(*arguments: object) -> dict[str, int]:
    """Run the command, and return the numbers that it prints."""
    return numbers(said(*arguments))


def said(*arguments: object) -> str:
    out = io.StringIO()
    call_command("fold_messages", *map(str, arguments), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def numbers(text: str) -> dict[str, int]:
    """The numbers of a report, without those that are zero."""
    pairs = (line.split(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): count for name, text in pairs if (count := int(text.split()[0].strip(",")))}


def publish_everything(article: Article, user: User) -> None:
    """One unit of work with one event of each sort: six of them."""
    with scope():
        publish_view(user, article)
        publish_increment(article, "views", dataset=ArticleTotals)
        publish_increment(article, "views", dataset=ArticleDaily)
        publish_increment(article, "clicks", 2, dataset=ArticleDaily)
        publish_labels("home")
        publish_action(user, "read", article)


def totals() -> int:
    return sum(ArticleTotals.objects.values_list("views", flat=True))


def days() -> tuple[int, int]:
    rows = ArticleDaily.objects.values_list("views", "clicks")
    return sum(views for views, _ in rows), sum(clicks for _, clicks in rows)


def held() -> int:
    return DeadLetter.objects.filter(state="open", reason="held").count()


# -- Everything


def test_everything_that_is_queued_is_applied_and_counted(article: Article, user: User) -> None:
    """Views, increments, labels and actions; a second run finds nothing."""
    for _ in range(3):
        publish_everything(article, user)

    assert fold() == {"applied": 18}
    assert (totals(), days(), ViewMark.objects.count()) == (3, (3, 6), 1)
    assert (Statistic.objects.get().counter, Action.objects.count()) == (3, 3)
    assert fold() == {}
    assert Attempt.objects.count() == 0


def test_a_journal_whose_writer_is_gone_is_removed(article: Article) -> None:
    """Where no worker ever runs, the spool must not grow for ever."""
    publish_increment(article, "views", dataset=ArticleTotals)
    fold()
    current_spool().close()

    fold()

    assert journals(conf.spool_dir) == []
    assert not SpoolPosition.objects.exists()


def test_tb_11_each_end_of_an_event_is_counted(article: Article) -> None:
    """Filtered and dead beside applied."""
    publish_increment(article, "views", dataset=ArticleTotals)
    gone = Article.objects.create(title="Soon gone")
    publish_increment(gone, "views", dataset=ArticleTotals)
    gone.delete()
    publish_increment(article, "clicks", 666, dataset=ArticleDaily)  # the database refuses it
    assert current_spool().append(b"{nonsense")

    assert fold() == {"applied": 1, "filtered": 1, "dead": 2}
    assert totals() == 1


def test_what_comes_in_during_the_run_is_left_for_the_next(
    article: Article, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """A site that never rests doesn't keep the command running for ever."""
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 2}
    for _ in range(7):
        publish_increment(article, "views", dataset=ArticleTotals)
    apply = pipeline.apply

    def busy_site(*args: Any, **kwargs: Any) -> pipeline.Totals:
        publish_increment(article, "views", dataset=ArticleTotals)
        return apply(*args, **kwargs)

    monkeypatch.setattr(foldrun.pipeline, "apply", busy_site)

    assert fold() == {"applied": 7}
    monkeypatch.undo()
    assert fold() == {"applied": 4}
    assert totals() == 11


def test_without_a_spool_there_is_nothing_to_do() -> None:
    """And none is made."""
    assert fold() == {}
    assert not conf.spool_dir.exists()


# -- Some datasets


def test_tb_13_only_the_datasets_that_were_named_are_applied(article: Article, user: User) -> None:
    """The other events of the same message are neither applied nor lost."""
    publish_everything(article, user)

    assert fold(TOTALS) == {"applied": 1, "set aside": 5}
    assert (totals(), days()) == (1, (0, 0))
    assert not ViewMark.objects.exists() and not Statistic.objects.exists() and not Action.objects.exists()
    assert held() == 5


def test_tb_14_two_datasets_in_one_call_are_both_applied_and_the_number_is_that_of_both(
    article: Article, user: User
) -> None:
    """No class filter eats the messages of the next one."""
    for _ in range(2):
        publish_everything(article, user)

    assert fold(TOTALS, DAILY) == {"applied": 6, "set aside": 6}
    assert (totals(), days()) == (2, (2, 4))


def test_tb_14_two_calls_do_what_one_does(article: Article, user: User) -> None:
    """What the first set aside, the second takes from there; the last one takes the rest."""
    publish_everything(article, user)

    assert fold(TOTALS) == {"applied": 1, "set aside": 5}
    assert fold(DAILY) == {"replayed": 2}
    assert fold() == {"replayed": 3}
    assert fold() == {}
    assert (totals(), days(), ViewMark.objects.count()) == (1, (1, 2), 1)
    assert (Statistic.objects.get().counter, Action.objects.count()) == (1, 1)


def test_what_is_set_aside_stands_in_the_books(article: Article, user: User) -> None:
    """Received = applied + filtered + duplicate + dead; and then replayed."""
    publish_everything(article, user)
    fold(TOTALS)
    fold()

    sums: dict[str, int] = {}
    for name, count in Tally.objects.values_list("name", "count"):
        sums[name] = sums.get(name, 0) + count
    assert sums == {"deliveries": 1, "received": 6, "applied": 1, "dead": 5, "replayed": 5}


def test_a_label_and_a_case_of_letters(article: Article) -> None:
    """Upper and lower case of the model don't matter; a label hit belongs to no dataset."""
    publish_increment(article, "views", dataset=ArticleTotals)
    publish_labels("home")

    assert fold("newsroom.articletotals") == {"applied": 1, "set aside": 1}


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("ArticleTotals", "'ArticleTotals' is not of the form app.Model."),
        ("newsroom.Article.Totals", "is not of the form app.Model."),
        (".ArticleTotals", "is not of the form app.Model."),
        ("newsroom.ArticleTotal", "newsroom.ArticleTotal is not a registered dataset. Did you mean"),
        ("newsroom.Topic", "newsroom.Topic is not a registered dataset."),
    ],
)
def test_tb_13_a_name_that_is_no_dataset_is_refused(article: Article, label: str, told: str) -> None:
    """With the one that was meant, and before anything is applied."""
    publish_increment(article, "views", dataset=ArticleTotals)

    with pytest.raises(CommandError, match=told):
        fold(TOTALS, label)

    assert totals() == 0


# -- At most so many


def test_tb_25_at_most_so_many_events_are_applied(article: Article) -> None:
    """Exactly so many, where there are as many; in the order in which they came."""
    for _ in range(5):
        publish_increment(article, "views", dataset=ArticleTotals)

    assert fold("--max", 3) == {"applied": 3}
    assert totals() == 3
    assert fold("--max", 3) == {"applied": 2}
    assert held() == 0


def test_tb_25_the_rest_of_a_message_that_is_cut_is_set_aside_and_counts_next_time(
    article: Article, user: User
) -> None:
    """A message is settled as a whole."""
    publish_everything(article, user)
    publish_everything(article, user)

    assert fold("--max", 2) == {"applied": 2, "set aside": 4}
    assert fold("--max", 3) == {"replayed": 3}
    assert fold("--max", 3) == {"replayed": 1, "applied": 2, "set aside": 4}
    assert fold() == {"replayed": 4}
    assert (totals(), days(), Action.objects.count()) == (2, (2, 4), 2)


def test_what_is_not_applied_takes_nothing_from_the_number(article: Article) -> None:
    """Filtered and dead events make room for others, those set aside too."""
    gone = Article.objects.create(title="Soon gone")
    with scope():
        publish_increment(gone, "views", dataset=ArticleTotals)
        publish_increment(article, "clicks", 666, dataset=ArticleDaily)
        publish_increment(article, "views", dataset=ArticleTotals)
        publish_increment(article, "views", dataset=ArticleTotals)
    gone.delete()

    assert fold("--max", 2) == {"filtered": 1, "applied": 1, "dead": 1, "set aside": 1, "replayed": 1}
    assert totals() == 2


@pytest.mark.parametrize("number", [0, -1])
def test_less_than_one_is_refused(number: int) -> None:
    with pytest.raises(CommandError, match="at least 1"):
        fold(f"--max={number}")


def test_a_limit_is_reached_in_few_batches(article: Article, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of one event and lines of many: as many of them at once as there is room for."""
    batches: list[int] = []
    apply = FoldRun.apply

    def counting(run: FoldRun, deliveries: Sequence[Delivery], also: Any = None) -> None:
        batches.append(len(deliveries))
        apply(run, deliveries, also)

    monkeypatch.setattr(FoldRun, "apply", counting)
    for _ in range(40):
        publish_increment(article, "views")
    with scope():
        for _ in range(20):
            publish_increment(article, "views")

    assert fold("--max", 50) == {"applied": 50, "set aside": 10}
    assert batches == [40, 1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    units=st.lists(st.lists(st.sampled_from(["totals", "views", "label"]), min_size=1, max_size=5), max_size=6),
    runs=st.lists(
        st.tuples(st.sampled_from([(), (TOTALS,), (DAILY,), (TOTALS, DAILY)]), st.integers(1, 7) | st.none()),
        max_size=6,
    ),
)
def test_no_sequence_of_runs_loses_or_doubles_an_event(
    article: Article, units: list[list[str]], runs: list[tuple[tuple[str, ...], int | None]]
) -> None:
    """Whatever is asked for in between: the sum of all that is applied is what was published."""
    before = (totals(), days()[0], sum(Statistic.objects.values_list("counter", flat=True)))
    for unit in units:
        with scope():
            for what in unit:
                if what == "label":
                    publish_labels("home")
                else:
                    publish_increment(article, "views", dataset=ArticleTotals if what == "totals" else ArticleDaily)
    printed = 0
    for datasets, limit in [*runs, ((), None)]:
        done = fold(*datasets, *([] if limit is None else ["--max", limit]))
        assert limit is None or done.get("applied", 0) + done.get("replayed", 0) <= limit
        printed += done.get("applied", 0) + done.get("replayed", 0)

    flat = [what for unit in units for what in unit]
    after = (totals(), days()[0], sum(Statistic.objects.values_list("counter", flat=True)))
    assert [new - old for new, old in zip(after, before, strict=True)] == [
        flat.count(what) for what in ("totals", "views", "label")
    ]
    assert (printed, held()) == (len(flat), 0)


# -- Only looking


def test_a_dry_run_says_what_waits_and_changes_nothing(article: Article, user: User) -> None:
    """Lines, bytes, and events by kind and dataset."""
    publish_everything(article, user)
    fold(TOTALS)
    publish_everything(article, user)
    assert current_spool().append(b"{nonsense")
    before = list(SpoolPosition.objects.values())

    lines = said("--dry-run").splitlines()

    assert lines[0].startswith("spool: 2 lines, ")
    assert [line.strip() for line in lines[1:-2]] == [
        "action: 1",
        "increment newsroom.articledaily: 2",
        "increment newsroom.articletotals: 1",
        "increment of a label: 1",
        "unknown: 1",
        "view: 1",
    ]
    assert lines[-2:] == ["set aside: 5 events", "Dry run: nothing was applied."]
    assert (list(SpoolPosition.objects.values()), totals(), held()) == (before, 1, 5)


# -- Trouble


def test_beside_a_worker_it_says_who_is_at_work(article: Article) -> None:
    """The worker applies all that is queued by itself."""
    publish_increment(article, "views", dataset=ArticleTotals)
    lock = SpoolLock(conf.spool_dir / LOCK_NAME)
    assert lock.acquire()

    with pytest.raises(CommandError, match=f"Process {os.getpid()} reads the spool"):
        fold()

    lock.release()
    assert fold() == {"applied": 1}


def test_an_error_of_the_database_says_what_was_done_and_a_second_run_does_the_rest(
    article: Article, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Nothing is lost, nothing applied twice."""
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 2}
    for _ in range(5):
        publish_increment(article, "views", dataset=ArticleTotals)
    apply, calls = pipeline.apply, []

    def second_fails(*args: Any, **kwargs: Any) -> pipeline.Totals:
        calls.append(1)
        if len(calls) == 2:
            raise OperationalError("the server went away")
        return apply(*args, **kwargs)

    monkeypatch.setattr(foldrun.pipeline, "apply", second_fails)
    with pytest.raises(CommandError) as caught:
        fold()
    assert "the server went away" in str(caught.value) and "It can be run again" in str(caught.value)
    assert numbers(str(caught.value).split("\n", 1)[1].rsplit("\n", 1)[0]) == {"applied": 2}

    monkeypatch.undo()
    assert fold() == {"applied": 3}
    assert (totals(), Attempt.objects.count()) == (5, 0)


def test_a_signal_ends_it_in_order_after_the_batch_at_hand(
    article: Article, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """The numbers are printed, the rest stays in the spool."""
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 2}
    for _ in range(5):
        publish_increment(article, "views", dataset=ArticleTotals)
    apply = pipeline.apply

    def interrupted(*args: Any, **kwargs: Any) -> pipeline.Totals:
        os.kill(os.getpid(), signal.SIGTERM)
        return apply(*args, **kwargs)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(foldrun.pipeline, "apply", interrupted)
    text = said()
    monkeypatch.undo()

    assert "Stopped as asked" in text and numbers(text.rsplit("\n", 2)[0]) == {"applied": 2}
    assert signal.getsignal(signal.SIGTERM) == before
    assert fold() == {"applied": 3}


def dies(process: Process) -> None:
    assert process.wait() == -signal.SIGKILL, process.output()


def test_tb_10_what_kills_the_command_is_found_and_its_neighbours_are_applied(
    article: Article, processes: Callable[..., Process]
) -> None:
    """Some runs die of it; the one that finds it alone makes it a dead letter."""
    for value in range(1, 41):
        op = "kill_worker" if value == 20 else "incr"
        publish_increment(article, "score", value, dataset=ArticleTotals, op=op)

    for _ in range(4):
        dies(processes("fold_messages"))
    last = processes("fold_messages")

    assert last.wait() == 0, last.output()
    assert ArticleTotals.objects.get().score == sum(range(1, 41)) - 20
    assert DeadLetter.objects.get().reason == "killed_worker"


def test_a_held_event_that_kills_does_not_stand_in_the_way_for_ever(
    article: Article, processes: Callable[..., Process]
) -> None:
    """It is set aside unread, kills two runs that replay it, and is left alone from then on."""
    with scope():
        publish_increment(article, "views", dataset=ArticleDaily)
        for value in range(1, 6):
            op = "kill_worker" if value == 3 else "incr"
            publish_increment(article, "score", value, dataset=ArticleTotals, op=op)
    assert fold(DAILY) == {"applied": 1, "set aside": 5}

    for _ in range(2):
        dies(processes("fold_messages"))

    assert fold() == {"replayed": 2, "dead": 1}
    assert ArticleTotals.objects.get().score == 1 + 2 + 4 + 5
    assert (DeadLetter.objects.get(state="open").reason, Attempt.objects.count()) == ("killed_worker", 0)


# -- Replaying what was set aside


def test_a_worker_may_replay_what_is_held(article: Article, user: User) -> None:
    """By and by: so many at most."""
    publish_everything(article, user)
    fold(TOTALS)

    assert (replay_held(2).replayed, count_held()) == (2, 3)
    assert (replay_held(100).replayed, count_held()) == (3, 0)
    assert days() == (1, 2)


def test_a_held_event_that_dies_is_a_dead_letter_like_others(article: Article) -> None:
    """With the reason that it died of."""
    with scope():
        publish_increment(article, "views", dataset=ArticleTotals)
        publish_increment(article, "clicks", 666, dataset=ArticleDaily)
    fold(TOTALS)

    assert fold() == {"dead": 1}
    assert DeadLetter.objects.get().reason == "refused"
    assert fold() == {}


def test_more_held_events_than_are_read_at_once(article: Article) -> None:
    """Page by page, and only those of the dataset that is asked for."""
    for _ in range(3):
        with scope():
            for number in range(400):
                publish_increment(article, "views", dataset=ArticleDaily if number % 2 else ArticleTotals)
    assert fold(DAILY, "--max", 1) == {"applied": 1, "set aside": 399}

    assert fold(TOTALS) == {"replayed": 200, "applied": 400, "set aside": 400}
    assert fold() == {"replayed": 599}
    assert (totals(), days()[0]) == (600, 600)


def test_the_progress_of_a_run_is_written_to_stderr(article: Article, tmp_path: Path) -> None:
    """Nothing of it is in the report."""
    publish_increment(article, "views", dataset=ArticleTotals)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, err = io.StringIO(), Terminal()
    call_command("fold_messages", stdout=out, stderr=err, no_color=True)

    assert "#" * 40 in err.getvalue() and "#" not in out.getvalue()
