"""How objects and actions read, in the language that is active: as plain text, or as HTML in which nothing stored is
trusted. The patterns have named places, so that a translation may put them in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.db import models
from django.urls import NoReverseMatch
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

#: Puts named parts into a pattern: ``str.format`` for text, Django's ``format_html`` for HTML.
Fill = Callable[..., str]

#: Schemes that a link may have. What an object calls its address may be a stranger's words: not ``javascript:``.
LINKED = ("", "http", "https")


def sentence(
    verb: str, actor: str | None, targets: Sequence[str], related: Sequence[str], fill: Fill = str.format
) -> str:
    """``actor verb targets in relation to related``, as far as there are any; without an actor the targets "were" verb.

    The objects come as they read. The verb is translated here, as the site's own catalogues have it.
    """
    told = gettext(verb) if verb else ""
    aimed_at = enumeration(targets, fill)
    if actor is None and targets:
        # Translators: nobody in particular did it, as in "the house was built".
        passive = ngettext("{targets} was {verb}", "{targets} were {verb}", len(targets))
        text = fill(passive, targets=aimed_at, verb=told)
    elif actor is None:
        text = fill("{verb}", verb=told)
    elif targets:
        text = fill(gettext("{actor} {verb} {targets}"), actor=actor, verb=told, targets=aimed_at)
    else:
        text = fill(gettext("{actor} {verb}"), actor=actor, verb=told)
    if not related:
        return text
    return fill(gettext("{action} in relation to {related}"), action=text, related=enumeration(related, fill))


def enumeration(names: Sequence[str], fill: Fill = str.format) -> str:
    """``a``, ``a and b``, ``a, b and c``, and of four or more ``a, b and 2 others``; nothing of none."""
    if not names:
        return ""
    if len(names) == 1:
        return fill("{name}", name=names[0])
    if len(names) == 2:
        return fill(gettext("{first} and {second}"), first=names[0], second=names[1])
    if len(names) == 3:
        return fill(gettext("{first}, {second} and {third}"), first=names[0], second=names[1], third=names[2])
    others = len(names) - 2
    pattern = ngettext("{first}, {second} and {others} other", "{first}, {second} and {others} others", others)
    return fill(pattern, first=names[0], second=names[1], others=others)


def name_of(obj: Any) -> str:
    """How an object reads: as its ``str()``, and a model as its plural name."""
    is_model = isinstance(obj, type) and issubclass(obj, models.Model)
    return str(obj._meta.verbose_name_plural if is_model else obj)


def link_to(obj: Any) -> SafeString:
    """How an object reads in HTML: its name, as a link where it has an address. Always escaped, whatever it says."""
    name, url = escape(name_of(obj)), url_of(obj)
    return format_html('<a href="{}">{}</a>', url, name) if url else name


def url_of(obj: Any) -> str:
    """The address of an object, from its ``get_absolute_url()``; "" where it has none that could be opened.

    What is deleted, or hidden from the viewer, has none.
    """
    from footfall.storage.models import DeletedItem

    if not isinstance(obj, models.Model) or isinstance(obj, DeletedItem) or not hasattr(obj, "get_absolute_url"):
        return ""
    try:
        url = str(obj.get_absolute_url() or "")
    except NoReverseMatch:
        return ""
    return url if _opens(url) else ""


def first_url(objects: Iterable[Any]) -> str:
    """The address of the first of ``objects`` that has one, else ""."""
    return next(filter(None, map(url_of, objects)), "")


def _opens(url: str) -> bool:
    try:
        return urlsplit(url).scheme in LINKED
    except ValueError:
        return False
