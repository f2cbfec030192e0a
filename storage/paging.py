"""Pages of a list that may be of any length: nothing counts all of it, and its pages end where the counting ends.

The templates beside the admin's (``admin/footfall_storage/``) say "more than" of a list that is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.core.paginator import Paginator
from django.db import models
from django.utils.functional import cached_property

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

#: How many rows are counted, and can be leafed through: the later ones are found by filters and search.
COUNTED = 10_000


class BoundedPaginator(_Paginator):
    """Pages over the first `COUNTED` rows of an ordered queryset. One query, which reads one row more than that."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, or `COUNTED` where there are more."""
        return min(self._found, COUNTED)

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than `count`."""
        return self._found > COUNTED

    @cached_property
    def _found(self) -> int:
        # The order stays: the index that gives the rows of a page counts them, too, without reading the table.
        return cast("models.QuerySet[Any]", self.object_list)[: COUNTED + 1].count()
