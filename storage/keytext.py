"""A primary key as the text that stands in ``object_id`` columns, and back again, in SQL.

`ViewMark`, datasets and actions name an object by ``str(pk)``. A query that meets the objects' own table has to write
the key exactly as Python does, or the rows do not find each other: `key_text` goes from the key to the text (so that
an index on ``object_id`` is used), `key_from_text` from the text to the key (so that the primary key's index is used).
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func
from django.db.models.functions import Cast
from django.db.models.sql.compiler import SQLCompiler

Compiled = tuple[str, Any]


def key_text(model: type[models.Model], name: str | F = "pk") -> Cast | Func:
    """The primary key of ``model`` as text, as ``str(pk)`` writes it; ``name`` is a path to it, or an OuterRef.

    Raises TypeError for a kind of key whose text SQL can't write as Python does (all but whole numbers, texts, UUIDs).
    """
    reference = F(name) if isinstance(name, str) else name
    if isinstance(_key_field(model), models.UUIDField):
        return _TextOfUUID(reference)
    return Cast(reference, models.CharField())


def key_from_text(model: type[models.Model], name: str | F = "object_id") -> Func:
    """The primary key of ``model`` that the text ``name`` stands for; NULL where the text is no such key.

    Never an error in the database, whatever the text: rows about other models may be met before they are left out.
    Raises TypeError like `key_text`.
    """
    reference = F(name) if isinstance(name, str) else name
    field = _key_field(model)
    if isinstance(field, models.UUIDField):
        return _UUIDOfText(reference)
    return _NumberOfText(reference) if isinstance(field, models.IntegerField) else Cast(reference, models.CharField())


def _key_field(model: type[models.Model]) -> models.Field[Any, Any]:
    field: Any = model._meta.pk
    while field.remote_field is not None:
        field = field.target_field
    plain = isinstance(field, (models.IntegerField, models.CharField, models.TextField, models.UUIDField))
    if not plain or hasattr(field, "from_db_value"):  # which makes something of its own of what is stored
        raise TypeError(
            f"The primary key of {model._meta.label} is a {type(field).__name__}, which SQL can't write as str() does."
        )
    return field  # type: ignore[no-any-return]  # narrowed from Any


class _TextOfUUID(Func):
    """A UUID with its dashes; SQLite keeps it as 32 hexadecimal digits."""

    arity = 1
    output_field = models.CharField()
    template = "CAST(%(expressions)s AS varchar)"

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Compiled:
        digits, params = compiler.compile(self.source_expressions[0])
        groups = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
        sql = " || '-' || ".join(f"substr({digits}, {start}, {length})" for start, length in groups)
        return f"({sql})", [*params] * len(groups)


class _UUIDOfText(Func):
    arity = 1
    output_field = models.UUIDField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Compiled:
        text, params = compiler.compile(self.source_expressions[0])
        digits = f"replace({text}, '-', '')"
        valid = f"length({text}) = 36 AND length({digits}) = 32 AND {digits} NOT GLOB '*[^0-9a-f]*'"
        return f"CASE WHEN {valid} THEN {digits} END", [*params] * 4

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Compiled:
        text, params = compiler.compile(self.source_expressions[0])
        pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
        return f"CASE WHEN {text} ~ '{pattern}' THEN CAST({text} AS uuid) END", [*params] * 2


class _NumberOfText(Func):
    """A whole number of 64 bits: compared with a narrower key it still uses that key's index."""

    arity = 1
    output_field = models.BigIntegerField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Compiled:
        text, params = compiler.compile(self.source_expressions[0])
        number = f"CAST({text} AS integer)"
        return f"CASE WHEN CAST({number} AS text) = {text} THEN {number} END", [*params] * 3

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Compiled:
        text, params = compiler.compile(self.source_expressions[0])
        fits = f"CAST({text} AS numeric) BETWEEN {-(2**63)} AND {2**63 - 1}"
        number = f"CASE WHEN {fits} THEN CAST({text} AS bigint) END"
        return f"CASE WHEN {text} ~ '^(0|-?[1-9][0-9]{{0,18}})$' THEN {number} END", [*params] * 3
