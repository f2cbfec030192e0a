"""The end-point ``stats/``: how often the elements of a page were hit. For staff, and for the heat map's script."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.contrib.auth.decorators import login_not_required
from django.db.models import FloatField, Sum
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from footfall.producers.beacon import plain
from footfall.storage.models import Statistic

MAX_IDS = 1000
MAX_ID_LENGTH = 50
MAX_DAYS = 3660

#: The answer is bounded, too: strangers may have counted any number of labels for one id. The largest come first.
MAX_ROWS = 10_000


@login_not_required  # by LoginRequiredMiddleware: a script gets its 403, and no page to log in
def stats(request: HttpRequest) -> HttpResponse:
    """``[[dom_id, counter, label], …]``, the largest counter first, for the elements ``dom_ids=a|b`` (GET).

    Counted are the days ``day=2026-11-20``, or ``since=`` and ``until=`` (both inclusive, either may be left out), or
    the last ``days=7``; default today, in the site's time zone. ``category`` chooses one, else all are summed, up to
    2 ** 53 exactly. Only for active staff, others get a 403; 400 with a reason for what can't be. One query beside
    that for the user.
    """
    if request.method != "GET":
        return plain("GET", 405, {"Allow": "GET"})
    user = getattr(request, "user", None)
    if not (getattr(user, "is_active", False) and getattr(user, "is_staff", False)):
        return plain("For staff only.", 403)
    try:
        ids, category, (since, until) = _ids(request), _category(request), _days(request)
    except ValueError as error:
        return plain(str(error), 400)
    rows = _rows(ids, category, since, until) if ids else []
    return JsonResponse(rows, safe=False, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


def _rows(ids: set[str], category: str | None, since: date, until: date) -> list[tuple[str, int, str]]:
    found = Statistic.objects.filter(dom_id__in=ids, day__range=(since, until))
    if category is not None:
        found = found.filter(category=category)
    # Sums of integers may be too large for SQLite.
    summed = found.values("dom_id", "label").annotate(hits=Sum(Cast("counter", FloatField())))
    largest = summed.order_by("-hits", "dom_id", "label").values_list("dom_id", "hits", "label")[:MAX_ROWS]
    return [(dom_id, round(hits), label) for dom_id, hits, label in largest]


def _ids(request: HttpRequest) -> set[str]:
    ids = {one for one in request.GET.get("dom_ids", "").split("|") if one}
    if len(ids) > MAX_IDS:
        raise ValueError(f"{len(ids)} ids are more than {MAX_IDS}.")
    for one in ids:
        _check(one, MAX_ID_LENGTH)
    return ids


def _category(request: HttpRequest) -> str | None:
    category: str | None = request.GET.get("category")
    if category is not None:
        _check(category, 30)
    return category


def _check(text: str, length: int) -> None:
    if len(text) > length or "\0" in text:
        raise ValueError(f"{text[:80]!r} has more than {length} characters, or a NUL.")


def _days(request: HttpRequest) -> tuple[date, date]:
    asked = request.GET
    today = datetime.now(timezone.get_default_timezone()).date()
    if "day" in asked:
        day = _date(asked["day"])
        return day, day
    if "since" in asked or "until" in asked:
        since = _date(asked["since"]) if "since" in asked else date.min
        until = _date(asked["until"]) if "until" in asked else today
        if since > until:
            raise ValueError(f"{since} is after {until}.")
        return since, until
    days = asked.get("days", "1")
    if not (days.isdecimal() and len(days) <= 4 and 1 <= int(days) <= MAX_DAYS):
        raise ValueError(f"days is a number from 1 to {MAX_DAYS}, not {days[:80]!r}.")
    return today - timedelta(days=int(days) - 1), today


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is not a date: it reads 2026-11-20.") from None
