"""Unique values of softly deleted rows can be used again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.forms import modelform_factory
from newsroom.models import Publisher

from footfall.storage.references import UndeleteRefused, unique_undeleted

pytestmark = pytest.mark.django_db

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def press() -> Publisher:
    return Publisher.objects.create(name="Press", status="ok")


def test_hr_46_the_value_of_a_deleted_row_is_free(press: Publisher) -> None:
    """However often it was used and deleted."""
    press.delete()
    Publisher.objects.create(name="Press").delete()

    again = Publisher.objects.create(name="Press")

    assert list(Publisher.handleref.undeleted()) == [again]
    assert Publisher.objects.count() == 3


def test_hr_46_live_rows_stay_unique(press: Publisher) -> None:
    """Whatever their status."""
    with pytest.raises(IntegrityError), transaction.atomic():
        Publisher.objects.create(name="Press", status="pending")


def test_hr_46_a_deleted_row_isn_t_restored_where_its_value_is_used(press: Publisher) -> None:
    """Neither alone nor with others; the transaction around can go on, and once the value is free it is restored."""
    press.delete()
    again = Publisher.objects.create(name="Press")

    with transaction.atomic():
        with pytest.raises(UndeleteRefused) as alone:
            press.undelete()
        with pytest.raises(UndeleteRefused):
            Publisher.objects.all().undelete()
        assert press.is_deleted and Publisher.objects.get(pk=press.pk).is_deleted

    assert alone.value.code == "value_in_use"
    again.delete()
    press.undelete()
    assert Publisher.objects.get(pk=press.pk).status == "ok"


def test_of_two_deleted_rows_with_one_value_both_at_once_are_refused(press: Publisher) -> None:
    """And neither is restored."""
    press.delete()
    Publisher.objects.create(name="Press").delete()

    with pytest.raises(UndeleteRefused):
        Publisher.objects.all().undelete()

    assert not Publisher.handleref.undeleted().exists()


def test_a_status_set_by_hand_meets_the_constraint_too(press: Publisher) -> None:
    """As any save does."""
    press.delete()
    Publisher.objects.create(name="Press")
    press.status = "ok"

    with pytest.raises(IntegrityError), transaction.atomic():
        press.save()


def test_validation_knows_which_rows_count(press: Publisher) -> None:
    """Live ones, beside a live object; the error is the field's."""
    twin = Publisher(name="Press")
    with pytest.raises(ValidationError) as refused:
        twin.full_clean()
    assert refused.value.message_dict == {"name": ["Publisher with this Name already exists."]}

    Publisher(name="Press", status="deleted").full_clean()
    press.full_clean()
    press.delete()
    twin.full_clean()
    twin.save()
    press.full_clean()


def test_forms_without_the_status_know_it_as_well(press: Publisher) -> None:
    """A form for the name alone says what is wrong, instead of a failure when it is saved."""
    form = modelform_factory(Publisher, fields=["name"])

    refused = form({"name": "Press"})
    assert refused.errors == {"name": ["Publisher with this Name already exists."]}
    assert form({"name": "Press"}, instance=press).is_valid()
    press.delete()
    assert form({"name": "Press"}).is_valid()


def test_forms_without_the_field_leave_it_alone(press: Publisher) -> None:
    """As with Django's constraints."""
    twin = Publisher(name="Press")

    assert modelform_factory(Publisher, fields=["note"])({"note": "n"}, instance=twin).is_valid()


def test_migrations_hold_django_s_own_constraint() -> None:
    """They need nothing of Footfall, and nothing is left to be migrated."""
    constraint = unique_undeleted("name", "note", name="both")

    path, _args, kwargs = constraint.deconstruct()

    assert path == "django.db.models.UniqueConstraint"
    assert models.UniqueConstraint(**kwargs) == constraint == constraint.clone()
    assert kwargs["fields"] == ("name", "note")
    # In a process of its own: models that other tests have made are no site's.
    command = [sys.executable, "-m", "django", "makemigrations", "newsroom", "--check", "--dry-run"]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60, cwd=TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
