"""Slots of time, by the clock of the site's zone. Pure: no test here asks for a database."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from newsroom.models import ArticleByDevice, ArticleDaily, ArticleHourly, ArticleMonthly, ArticleTotals, ArticleWeekly

from footfall.storage.slots import RULES, backwards, day_of, first_slot, hour_of, last_slot, month_of, start_of, week_of

ZONES = ["Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia", "UTC"]

any_time = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
moments = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


def utc(*at: int) -> datetime:
    return datetime(*at, tzinfo=UTC)  # type: ignore[misc,arg-type]  # the parts of a time, in their order


def minutes(first: datetime, last: datetime) -> list[datetime]:
    return [first + timedelta(minutes=n) for n in range(int((last - first).total_seconds() // 60))]


# -- Which slot


@pytest.mark.parametrize(
    ("at", "day", "week", "month"),
    [
        (utc(2026, 6, 14, 21, 59), date(2026, 6, 14), date(2026, 6, 8), date(2026, 6, 1)),
        (utc(2026, 6, 14, 22, 0), date(2026, 6, 15), date(2026, 6, 15), date(2026, 6, 1)),
        (utc(2025, 12, 31, 23, 0), date(2026, 1, 1), date(2025, 12, 29), date(2026, 1, 1)),
        (utc(2028, 2, 29, 12, 0), date(2028, 2, 29), date(2028, 2, 28), date(2028, 2, 1)),
    ],
)
def test_tb_06_a_slot_is_the_sites_not_the_worlds(at: datetime, day: date, week: date, month: date) -> None:
    """A week begins on Monday; the tests' site is in Berlin."""
    assert (day_of(at), week_of(at), month_of(at)) == (day, week, month)


@pytest.mark.parametrize("zone", ZONES)
@given(at=moments)
@any_time
def test_a_slot_depends_on_the_moment_not_on_the_zone_it_is_written_in(settings: Any, zone: str, at: datetime) -> None:
    """Also of an hour that comes twice: its slots differ as dict keys, which two times of one zone would not."""
    settings.TIME_ZONE = "Europe/Berlin"
    elsewhere = at.astimezone(ZoneInfo(zone))

    for rule in RULES.values():
        assert rule(elsewhere) == rule(at)
        assert hash(rule(elsewhere)) == hash(rule(at))


@pytest.mark.parametrize("zone", ZONES)
@given(at=moments)
@any_time
def test_a_slot_holds_its_start_and_what_follows(settings: Any, zone: str, at: datetime) -> None:
    """It begins no later than what is in it, and the one before it is an earlier one."""
    settings.TIME_ZONE = zone
    for rule in RULES.values():
        slot = rule(at)

        assert start_of(slot) <= at
        assert rule(start_of(slot)) == slot
        _, before = islice(backwards(rule, slot), 2)
        assert before < slot
        assert start_of(before) < start_of(slot)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "America/Havana", "UTC"])
@given(at=moments)
@any_time
def test_an_hour_begins_when_the_clock_shows_a_full_one(settings: Any, zone: str, at: datetime) -> None:
    """And has sixty minutes where clocks are put forward and back by whole hours."""
    settings.TIME_ZONE = zone

    slot = hour_of(at)

    assert slot.astimezone(ZoneInfo(zone)).minute == 0
    assert timedelta() <= at - slot < timedelta(hours=1)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_time_without_a_zone_has_no_slot(rule: Any) -> None:
    """It could be anybody's."""
    with pytest.raises(ValueError, match="has no time zone"):
        rule(datetime(2026, 6, 15))


# -- Days of 23 and 25 hours


@pytest.mark.parametrize(
    ("first", "hours"),
    [(utc(2026, 3, 28, 23), 23), (utc(2025, 10, 25, 22), 25), (utc(2026, 6, 14, 22), 24)],
    ids=["clocks go forward", "clocks go back", "an ordinary day"],
)
def test_a_day_has_as_many_hours_as_the_clock_shows(first: datetime, hours: int) -> None:
    """Each of sixty minutes, and the minutes around it are other days'."""
    day = minutes(first, first + timedelta(hours=hours))

    assert {day_of(at) for at in day} == {day_of(first)}
    assert day_of(day[0] - timedelta(minutes=1)) < day_of(first) < day_of(day[-1] + timedelta(minutes=1))
    assert sorted(Counter(map(hour_of, day)).values()) == [60] * hours


def test_the_hour_that_comes_twice_is_two_slots() -> None:
    """Both are two o'clock."""
    first, second = hour_of(utc(2025, 10, 26, 0, 30)), hour_of(utc(2025, 10, 26, 1, 30))
    berlin = ZoneInfo("Europe/Berlin")

    assert (first, second) == (utc(2025, 10, 26, 0), utc(2025, 10, 26, 1))
    assert first.astimezone(berlin).hour == second.astimezone(berlin).hour == 2


def test_a_half_hours_zone_has_its_own_hours(settings: Any) -> None:
    """In Kolkata it is full when it is half elsewhere."""
    settings.TIME_ZONE = "Asia/Kolkata"

    assert hour_of(utc(2026, 6, 15, 12, 29)) == utc(2026, 6, 15, 11, 30)
    assert hour_of(utc(2026, 6, 15, 12, 30)) == utc(2026, 6, 15, 12, 30)


def test_a_clock_put_back_by_half_an_hour_makes_one_hour_longer(settings: Any) -> None:
    """On Lord Howe Island 1:30 to 2:00 comes twice; in spring 2:00 to 2:30 never."""
    settings.TIME_ZONE = "Australia/Lord_Howe"
    autumn = Counter(map(hour_of, minutes(utc(2026, 4, 4, 14), utc(2026, 4, 4, 16, 30))))
    spring = Counter(map(hour_of, minutes(utc(2026, 10, 3, 14, 30), utc(2026, 10, 3, 17))))

    assert autumn == {utc(2026, 4, 4, 14): 90, utc(2026, 4, 4, 15, 30): 60}
    assert spring == {utc(2026, 10, 3, 14, 30): 60, utc(2026, 10, 3, 15, 30): 30, utc(2026, 10, 3, 16): 60}


def test_a_day_that_a_zone_left_out_is_no_slot(settings: Any) -> None:
    """Samoa had no 30th of December in 2011."""
    settings.TIME_ZONE = "Pacific/Apia"

    assert list(islice(backwards(day_of, date(2011, 12, 31)), 2)) == [date(2011, 12, 31), date(2011, 12, 29)]


# -- Bounds


def test_a_day_as_a_bound_is_all_of_its_hours() -> None:
    """A moment is the hour that holds it; for longer slots it is the one in which the day lies."""
    long_day = date(2025, 10, 26)

    assert first_slot(hour_of, long_day) == utc(2025, 10, 25, 22)
    assert last_slot(hour_of, long_day) == utc(2025, 10, 26, 22)
    assert first_slot(hour_of, utc(2025, 10, 26, 0, 30)) == last_slot(hour_of, utc(2025, 10, 26, 0, 30))
    assert first_slot(week_of, date(2026, 6, 17)) == last_slot(week_of, date(2026, 6, 21)) == date(2026, 6, 15)
    assert first_slot(month_of, date(2026, 6, 30)) == last_slot(month_of, date(2026, 6, 1)) == date(2026, 6, 1)


def test_slots_end_at_the_beginning_of_the_calendar() -> None:
    """Whoever asks for too many gets those that there are."""
    assert list(backwards(day_of, date(1, 1, 2)))[-1].year == 1


# -- Datasets


def test_tb_07_each_dataset_has_its_rule() -> None:
    """Day is the default; totals have no slot; an own rule may have more to its key."""
    at = utc(2026, 6, 17, 12, 40)

    assert ArticleTotals.slot_of(at) == ()
    assert ArticleHourly.slot_of(at) == (utc(2026, 6, 17, 12),)
    assert ArticleDaily.slot_of(at) == (date(2026, 6, 17),)
    assert ArticleWeekly.slot_of(at) == (date(2026, 6, 15),)
    assert ArticleMonthly.slot_of(at) == (date(2026, 6, 1),)
    assert ArticleByDevice.slot_of(at, device="phone") == (date(2026, 6, 17), "phone")


def test_options_that_a_dataset_has_no_use_for_change_nothing() -> None:
    """One event's options may go to any dataset."""
    assert ArticleDaily.slot_of(utc(2026, 6, 17, 12), device="phone") == (date(2026, 6, 17),)


def test_without_time_zones_an_hour_is_what_the_clock_shows(settings: Any) -> None:
    """The column can't tell the two hours apart."""
    settings.USE_TZ = False

    slots = [ArticleHourly.slot_of(utc(2025, 10, 26, hour, 30)) for hour in (0, 1)]

    assert slots == [(datetime(2025, 10, 26, 2),)] * 2
