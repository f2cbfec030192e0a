"""Whether a tracker follows a verb, as one SQL expression; `TrackerRules.matches` is the same rule in Python."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func
from django.db.models.expressions import Combinable
from django.db.models.sql.compiler import SQLCompiler

Compiled = tuple[str, Any]


def follows_verb(
    verb: str | Combinable, verbs: Combinable | None = None, excluded: Combinable | None = None
) -> FollowsVerb:
    """The condition on rows of `Tracker` that they follow ``verb``: a field's name, an OuterRef or a Value.

    ``verbs`` and ``excluded`` say where a tracker's lists are found, where the query is about other rows.
    """
    return FollowsVerb(F("verbs") if verbs is None else verbs, F("excluded") if excluded is None else excluded, verb)


class FollowsVerb(Func):
    """Of two JSON lists and a verb: whether it is in the first, or that is empty, and it is not in the second."""

    arity = 3
    output_field = models.BooleanField()

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Compiled:
        (verbs, excluded, verb), params = self._compiled(compiler)
        value = f"to_jsonb({verb}::text)"
        return f"(({verbs} = '[]'::jsonb OR {verbs} @> {value}) AND NOT {excluded} @> {value})", params

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Compiled:
        (verbs, excluded, verb), params = self._compiled(compiler)
        among = f"{verb} IN (SELECT value FROM json_each({verbs}))"
        not_among = f"{verb} NOT IN (SELECT value FROM json_each({excluded}))"
        return f"((json_array_length({verbs}) = 0 OR {among}) AND {not_among})", params

    def _compiled(self, compiler: SQLCompiler) -> tuple[list[str], list[Any]]:
        """Each source's SQL, and the parameters in the order in which both templates have the sources."""
        (verbs, of_verbs), (excluded, of_excluded), (verb, of_verb) = map(compiler.compile, self.source_expressions)
        return [verbs, excluded, verb], [*of_verbs, *of_verbs, *of_verb, *of_excluded, *of_verb]
