"""Objects that keep account of themselves, as Django REST framework shows them (the extra ``rest``).

An end-point that many poll, each from where it has come to::

    class PublisherSerializer(HandleRefSerializer):
        class Meta:
            model = Publisher
            fields = ["id", "name", *HandleRefSerializer.Meta.fields, "version"]

    class PublisherChanges(APIView):
        def get(self, request):
            rows, cursor = Publisher.handleref.since(cursor=request.query_params.get("cursor", ""))
            return Response({"rows": PublisherSerializer(rows, many=True).data, "cursor": cursor})

What was deleted comes with its key, its status and when that was; its content does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q

from footfall.storage.handlerefoptions import keeps_account
from footfall.storage.references import DELETED, HandleRefModel

try:
    from rest_framework import serializers
except ImportError as error:
    raise ImproperlyConfigured(
        "footfall.storage.serializers needs Django REST framework: pip install 'footfall[rest]'."
    ) from error

#: The condition of a constraint that `unique_undeleted` makes.
UNDELETED = ~Q(status=DELETED)

#: What Footfall keeps of rows for itself: shown only where it is asked for by name.
TECHNICAL = {"change_stamp", "change_batch", "former_status"}

if TYPE_CHECKING:
    _ModelSerializer = serializers.ModelSerializer[Any]
else:
    _ModelSerializer = serializers.ModelSerializer


class _Nesting(_ModelSerializer):
    """Shows objects within objects, where ``Meta.depth`` says so, with each `HandleRefModel` as what it is."""

    def build_nested_field(self, field_name: str, relation_info: Any, nested_depth: int) -> Any:
        """A serializer of what the relation leads to, however far down."""
        made: Any
        made, arguments = super().build_nested_field(field_name, relation_info, nested_depth)
        base = HandleRefSerializer if keeps_account(relation_info.related_model) else _Nesting
        return type("NestedSerializer", (base,), {"Meta": made.Meta}), arguments


class HandleRefSerializer(_Nesting):
    """Shows a `HandleRefModel`; ``status``, ``version``, ``created`` and ``updated`` can be read only.

    ``Meta.fields`` has all of these but the version, which a subclass adds where it wants it. What is deleted, a row as
    well as a tombstone, alone, among many or within another object, is shown by its key (under the name that it has in
    the serializer, else ``id``), ``status`` and ``updated``, and by nothing else. Reading writes nothing.

    With ``"__all__"``, ``exclude`` or ``depth``, what Footfall keeps of rows for itself is left out.
    """

    created = serializers.DateTimeField(read_only=True)
    updated = serializers.DateTimeField(read_only=True)
    status = serializers.CharField(read_only=True)
    version = serializers.IntegerField(read_only=True)

    class Meta:
        fields = ["created", "updated", "status"]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """``instance``, a row or a tombstone, in plain types."""
        if getattr(instance, "status", None) != DELETED:
            shown: dict[str, Any] = super().to_representation(instance)
            return shown
        column = self._key_column()
        name, field = self._key_field(column)
        key = column.to_python(_key_of(instance))
        return {
            name: key if field is None or isinstance(field, serializers.RelatedField) else field.to_representation(key),
            "status": DELETED,
            "updated": serializers.DateTimeField().to_representation(instance.updated),
        }

    def get_default_field_names(self, declared_fields: Any, model_info: Any) -> list[str]:
        """All of the model's fields but `TECHNICAL` ones that aren't declared; with those that ``exclude`` names, which
        are taken out afterwards."""
        named = {*declared_fields, *(getattr(self.Meta, "exclude", None) or ())}
        names: list[str] = super().get_default_field_names(declared_fields, model_info)
        return [name for name in names if name in named or name not in TECHNICAL]

    def get_unique_together_constraints(self, model: Any) -> Iterator[Any]:
        """Those of `unique_undeleted`, too: held against what isn't deleted, as clients don't give the status."""
        constraints: Iterator[Any] = super().get_unique_together_constraints(model)
        for fields, rows, asked, condition, *others in constraints:
            if condition == UNDELETED:
                yield fields, rows.filter(condition), [], None, *others
            else:
                yield fields, rows, asked, condition, *others

    def _key_column(self) -> Any:
        return self.Meta.model._meta.pk  # type: ignore[attr-defined]  # which a subclass names

    def _key_field(self, key: Any) -> tuple[str, Any]:
        """The name of the field that shows the key, and the field; where there is none, ``id`` and None."""
        for name, field in self.fields.items():
            if field.source in ("pk", key.name, key.attname):
                return name, field
        return "id", None


def _key_of(gone: Any) -> Any:
    """The key of a row, of a tombstone or of a `DeletedItem`."""
    return gone.pk if isinstance(gone, HandleRefModel) else getattr(gone, "object_id", None) or gone.id
