"""Migrations that move data: what stood before them stands after them."""

from datetime import date

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


@pytest.mark.django_db(transaction=True)
def test_labels_counted_before_there_was_a_list_of_them_are_known() -> None:
    """With the day on which each was first counted, and only once."""
    executor = MigrationExecutor(connection)
    before = executor.migrate([("footfall_storage", "0002_seen_labels_once")]).apps
    for day in (date(2026, 6, 2), date(2026, 6, 1)):
        before.get_model("footfall_storage", "Statistic").objects.create(label="read", category="nav", day=day)
    before.get_model("footfall_storage", "KnownLabel").objects.create(
        label="new", category="None", dom_id="None", first_day=date(2026, 6, 3)
    )

    executor = MigrationExecutor(connection)
    after = executor.migrate(executor.loader.graph.leaf_nodes("footfall_storage")).apps

    known = after.get_model("footfall_storage", "KnownLabel").objects.order_by("first_day")
    assert list(known.values_list("label", "category", "dom_id", "first_day")) == [
        ("read", "nav", "None", date(2026, 6, 1)),
        ("new", "None", "None", date(2026, 6, 3)),
    ]
