"""Whether a save would change anything, for kinds of fields that the newsroom has not."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, models
from django.db.models import F
from django.test.utils import isolate_apps

from footfall.storage.references import HandleRefModel

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scan(settings: Any, tmp_path: Path) -> Iterator[Any]:
    """A stored object with a file, an amount, data, bytes, a truth, and a column that the database computes."""
    settings.MEDIA_ROOT = str(tmp_path)
    with isolate_apps("newsroom"):

        class Scan(HandleRefModel):
            file = models.FileField(blank=True)
            amount = models.DecimalField(max_digits=8, decimal_places=2, default=0)
            data = models.JSONField(null=True)
            body = models.BinaryField(default=b"")
            right = models.BooleanField(null=True)
            twice = models.GeneratedField(  # type: ignore[var-annotated]  # as the stubs have it
                expression=F("amount") * 2,
                output_field=models.DecimalField(max_digits=9, decimal_places=2),
                db_persist=True,
            )

            class HandleRef:
                skip_unchanged = True

            class Meta(HandleRefModel.Meta):
                app_label = "newsroom"

            def __str__(self) -> str:
                return self.handle

        with connection.schema_editor() as editor:
            editor.create_model(Scan)
        try:
            one = Scan(amount=Decimal("1.50"), data={"a": 1, "b": [True, None]}, body=b"\0\xff", right=True)
            one.file.save("page.txt", ContentFile(b"first"))
            yield Scan.objects.get()
        finally:
            with connection.schema_editor() as editor:
                editor.delete_model(Scan)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "1.5"),
        ("amount", Decimal("1.500")),
        ("data", {"b": [True, None], "a": 1}),
        ("data", {"b": (True, None), "a": 1}),
        ("body", bytearray(b"\0\xff")),
        ("right", 1),
        ("right", "True"),
        ("file", "page.txt"),
        ("twice", Decimal("77")),
    ],
    ids=repr,
)
def test_hr_44_the_same_value_in_another_form_is_no_change(scan: Any, field: str, value: Any) -> None:
    """Numbers and truths as texts, data in another order, a column that is the database's own."""
    setattr(scan, field, value)

    scan.save()

    assert type(scan).objects.get().version == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "1.51"),
        ("data", {"a": True, "b": [True, None]}),
        ("data", {"a": 1, "b": [1, None]}),
        ("data", None),
        ("data", "text"),
        ("body", b"\0"),
        ("right", False),
        ("right", None),
        ("file", "other.txt"),
        ("file", ""),
        ("amount", F("amount")),
    ],
    ids=repr,
)
def test_hr_44_another_value_is_a_change(scan: Any, field: str, value: Any) -> None:
    """Data tell true from 1, as JSON does and Python does not; an expression is one whatever comes of it."""
    setattr(scan, field, value)

    scan.save()

    assert type(scan).objects.get().version == scan.version == 2


def test_hr_44_a_file_that_is_not_stored_yet_is_a_change(scan: Any) -> None:
    """Also under the name of the one that is."""
    scan.file = ContentFile(b"second", name="page.txt")

    scan.save()

    stored = type(scan).objects.get()
    assert stored.version == 2 and stored.file.read() == b"second"
    stored.file.close()
    stored.save()
    assert type(scan).objects.get().version == 2
