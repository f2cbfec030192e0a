"""For the roll-out on a site that has users already: what is old is not new to them."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.core.management.base import BaseCommand, CommandError
from django.db import models, router, transaction
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from footfall.storage.marks import KEYS, label_of, raise_marks
from footfall.storage.modelnames import model_named
from footfall.storage.models import ViewMark
from footfall.storage.progress import Progress
from footfall.storage.viewtracker import watermark

EPILOG = """
WHEN is a date (its first moment counts) or a date and time, in the site's time zone unless it says another. Whoever
has a later mark already keeps it. Users are done in batches, each in a transaction of its own: a run that was stopped
can be run again.

examples:
  set_watermark --dry-run                        how many would be marked
  set_watermark 2026-06-01 --model blog.Article  articles that changed before June are seen
"""


class Command(BaseCommand):
    help = "Marks everything before WHEN as seen, for all users who are active."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EPILOG
        # Django's own formatter would run the lines of the examples together.
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument("when", nargs="?", metavar="WHEN", help="an ISO date or time (default: now)")
        parser.add_argument("--model", metavar="app.Model", help="only the objects of this model")
        parser.add_argument("--users", choices=["active", "all"], default="active", help="default: active")
        parser.add_argument("--dry-run", action="store_true", help="only count who would be marked")
        parser.add_argument("--no-progress", action="store_true", help="show no progress on stderr")

    def handle(self, **options: Any) -> None:
        at = _time(options["when"])
        label = label_of(model_named(options["model"])) if options["model"] else ""
        users = _users(active=options["users"] == "active")
        progress = None if options["no_progress"] else Progress(self.stderr, users.count(), "users")
        done = marked = 0
        try:
            for keys in _batches(users):
                marked += _raise(keys, label, at, write=not options["dry_run"])
                done += len(keys)
                if progress is not None:
                    progress(done)
        finally:
            if progress is not None:
                progress.close()
        self.stdout.write(f"marked:        {marked}")
        self.stdout.write(f"later already: {done - marked}")
        if options["dry_run"]:
            self.stdout.write("Dry run: nothing was written.")


def _time(given: str | None) -> datetime:
    try:
        when = timezone.now() if given is None else _parsed(given)
        return watermark(when)
    except (ValueError, OverflowError) as wrong:
        raise CommandError(str(wrong)) from None


def _parsed(text: str) -> datetime:
    day: date | None = parse_date(text)
    when = parse_datetime(text) if day is None else datetime.combine(day, time())
    if when is None:
        raise ValueError(f"{text!r} is not an ISO date or time, as 2026-06-01 or 2026-06-01T08:30.")
    return timezone.make_aware(when, timezone.get_default_timezone()) if timezone.is_naive(when) else when


def _users(*, active: bool) -> models.QuerySet[Any]:
    model = get_user_model()
    users: models.QuerySet[Any] = model._base_manager.order_by("pk")
    try:
        model._meta.get_field("is_active")
    except FieldDoesNotExist:
        return users  # a user model without the field knows active users only
    return users.filter(is_active=True) if active else users


def _batches(users: models.QuerySet[Any]) -> Iterator[list[Any]]:
    """The users' keys, by the primary key: users who come or go meanwhile shift nothing."""
    keys = list(users.values_list("pk", flat=True)[:KEYS])
    while keys:
        yield keys
        keys = list(users.filter(pk__gt=keys[-1]).values_list("pk", flat=True)[:KEYS])


def _raise(users: list[Any], label: str, at: datetime, *, write: bool) -> int:
    """Raise the users' marks, and return how many were older than ``at`` or missing."""
    using = router.db_for_write(ViewMark)
    with transaction.atomic(using=using):
        standing = ViewMark.objects.using(using).filter(user_id__in=users, object_type=label, object_id="", at__gte=at)
        later = set(standing.values_list("user_id", flat=True))
        older = [user for user in users if user not in later]
        if write:
            raise_marks({(user, label, ""): at for user in older}, using)
    return len(older)
