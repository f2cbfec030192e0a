"""Migrations that move data: what stood before them stands after them."""

from datetime import UTC, date, datetime
from uuid import UUID

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


@pytest.mark.django_db(transaction=True)
def test_actions_of_before_have_their_actor_and_order_beside_their_objects() -> None:
    """So that feeds find them; what nobody did has no actor there."""
    executor = MigrationExecutor(connection)
    before = executor.migrate([("footfall_storage", "0003_known_labels")]).apps
    old = before.get_model("footfall_storage", "Action")
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    acted = old.objects.create(
        id=UUID(int=1), actor_type="auth.user", actor_id="7", verb="read", level=40, timestamp=at
    )
    old.objects.create(id=UUID(int=2), verb="rain", timestamp=at)
    before.get_model("footfall_storage", "ActionObject").objects.create(
        action=acted, role="t", object_type="newsroom.article", object_id="3"
    )

    executor = MigrationExecutor(connection)
    after = executor.migrate(executor.loader.graph.leaf_nodes("footfall_storage")).apps

    beside = after.get_model("footfall_storage", "ActionObject").objects.order_by("role")
    fields = ("action_id", "role", "object_type", "object_id", "verb", "level", "timestamp", "renewed", "changed")
    assert list(beside.values_list(*fields)) == [
        (acted.id, "a", "auth.user", "7", "read", 40, at, at, at),
        (acted.id, "t", "newsroom.article", "3", "read", 40, at, at, at),
    ]
    times = after.get_model("footfall_storage", "Action").objects.values_list("renewed", "changed")
    assert set(times) == {(at, at)}
    assert after.get_model("footfall_storage", "ActionStamp").objects.get().at == at
