"""What the installed crawler-user-agents package says about spiders, and how that differs from the stored."""

import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from footfall.spiders import patterns
from footfall.spiders.matcher import forget_spiders
from footfall.spiders.models import Spider


class Row(NamedTuple):
    """A spider as the package knows it."""

    pattern: str
    name: str
    url: str


@dataclass(frozen=True)
class Changes:
    """What to do to make the stored spiders those of the package; each list is sorted by pattern."""

    added: list[Row]
    changed: list[Row]
    removed: list[Row]


def package_rows() -> tuple[list[Row], list[str]]:
    """Return the spiders of the installed package, sorted by pattern, and the patterns that can't be used.

    Raises ImportError when the package is not installed.
    """
    package = importlib.import_module("crawleruseragents")
    rows, refused = [], []
    for entry in sorted(package.CRAWLER_USER_AGENTS_DATA, key=lambda entry: entry["pattern"]):
        pattern = entry["pattern"]
        if patterns.fault(pattern) or patterns.browser_found_by(pattern):
            refused.append(pattern)
        else:
            rows.append(Row(pattern, patterns.readable_name(pattern), _link(entry)))
    return rows, refused


def _link(entry: Mapping[str, Any]) -> str:
    url: str = entry.get("url", "")
    return url if url.startswith(("http://", "https://")) else ""


def changes_between(stored: Iterable[Row], wanted: Iterable[Row]) -> Changes:
    """Compare two sets of spiders by pattern. Pure."""
    old = {row.pattern: row for row in stored}
    new = {row.pattern: row for row in wanted}
    return Changes(
        added=[new[pattern] for pattern in sorted(new.keys() - old.keys())],
        changed=[new[pattern] for pattern in sorted(new.keys() & old.keys()) if new[pattern] != old[pattern]],
        removed=[old[pattern] for pattern in sorted(old.keys() - new.keys())],
    )


def table_changes(wanted: Iterable[Row], using: str) -> Changes:
    """Compare the table with the package; custom spiders are left out on both sides. Two queries."""
    spiders = Spider.objects.using(using)
    stored = spiders.filter(custom=False).values_list("pattern", "name", "url")
    custom = set(spiders.filter(custom=True).values_list("pattern", flat=True))
    return changes_between((Row(*row) for row in stored), (row for row in wanted if row.pattern not in custom))


def change_table(changes: Changes, using: str) -> None:
    """Bring the table up to the package in one transaction."""
    spiders = Spider.objects.using(using)
    with transaction.atomic(using=using):
        spiders.filter(custom=False, pattern__in=[row.pattern for row in changes.removed]).delete()
        for row in changes.changed:
            spiders.filter(custom=False, pattern=row.pattern).update(name=row.name, url=row.url, updated=timezone.now())
        # A pattern that somebody else added meanwhile is theirs.
        spiders.bulk_create((Spider(custom=False, **row._asdict()) for row in changes.added), ignore_conflicts=True)
        transaction.on_commit(forget_spiders, using=using)


def fixture_changes(wanted: Iterable[Row], path: Path) -> Changes:
    """Compare a fixture file, which need not exist yet, with the package. Reads the file."""
    objects = json.loads(path.read_text("utf-8")) if path.exists() else []
    stored = [Row(*(each["fields"][field] for field in Row._fields)) for each in objects]
    return changes_between(stored, wanted)


def write_fixture(rows: Iterable[Row], path: Path) -> None:
    """Write spiders as a fixture for `loaddata`, without primary keys, one to a line."""
    objects = ({"model": Spider._meta.label_lower, "fields": {**row._asdict(), "custom": False}} for row in rows)
    path.write_text("[\n" + ",\n".join(map(json.dumps, objects)) + "\n]\n", "utf-8")
