"""The pages of an object's history, and what can be done with the versions chosen there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.paginator import EmptyPage, Paginator
from django.http import Http404
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator


class HistoryActionsForm(forms.Form):
    """What to do with the chosen versions."""

    action = forms.ChoiceField(label=_("Action"), choices=[("revert", _("Revert selected versions"))])


class HistoryListing:
    """One page of ``versions``, a sequence with `count`, such as `footfall.storage.versions.ReversionHistory`.

    ``number`` is what a request asks for. Raises Http404 for a page that is not there, and for what is no number.
    One query counts the versions.
    """

    def __init__(self, versions: Any, number: str, per_page: int, page_var: str) -> None:
        self.page_var = page_var
        self.paginator: _Paginator = Paginator(versions, per_page)
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise Http404("No such page.")
        try:
            self.page = self.paginator.page(int(number))
        except EmptyPage:
            raise Http404("No such page.") from None

    @property
    def versions(self) -> Any:
        """The versions of the page, the newest first."""
        return self.page.object_list

    @property
    def number(self) -> int:
        """Which page it is, from 1."""
        return self.page.number

    @property
    def count(self) -> int:
        """How many versions there are on all pages."""
        return self.paginator.count

    @property
    def is_paged(self) -> bool:
        """Whether there is more than one page."""
        return self.paginator.num_pages > 1

    @property
    def page_range(self) -> Iterator[int | str]:
        """The numbers of the pages, with a mark for those left out."""
        return self.paginator.get_elided_page_range(self.page.number)
