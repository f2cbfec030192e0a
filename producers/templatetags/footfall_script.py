"""``{% load footfall_script %}{% footfall_script %}`` puts the script that counts clicks into a page."""

from __future__ import annotations

from typing import Any

from django import template
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.template import Context
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.functional import LazyObject
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from footfall.producers.provenance import page_token

register = template.Library()


@register.simple_tag(takes_context=True)
def footfall_script(context: Context, nonce: str = "") -> SafeString:
    """The script, with the address it sends to and the page's token; for staff the heat map's script as well.

    ``nonce`` is that of a Content-Security-Policy. Raises ImproperlyConfigured where the URLconf has no
    ``footfall:track``. A visitor without a session cookie is no staff, and nobody is asked; for others it is
    ``request.user`` that is asked, which queries where the page hasn't done so already; in an async view nobody is
    staff but who was asked for by ``await request.auser()``.
    """
    try:
        url = reverse("footfall:track")
    except NoReverseMatch:
        remedy = 'path("footfall/", include("footfall.storage.urls")), or include("footfall.producers.urls")'
        raise ImproperlyConfigured(
            f"footfall_script finds no URL footfall:track. The URLconf needs {remedy}."
        ) from None
    scripts = [_script("footfall.js", {"data-url": url, "data-token": page_token()}, nonce)]
    stats = _stats_url()
    if stats and _is_staff(context):
        scripts.append(_script("heatmap.js", {"data-url": stats}, nonce))
    return SafeString("\n".join(scripts))


def _script(name: str, data: dict[str, str], nonce: str) -> SafeString:
    attributes = {"src": static(f"footfall/{name}"), **data} | ({"nonce": nonce} if nonce else {})
    return format_html("<script defer{}></script>", format_html_join("", ' {}="{}"', attributes.items()))


def _stats_url() -> str | None:
    try:
        return reverse("footfall:stats")
    except NoReverseMatch:  # this host only publishes
        return None


def _is_staff(context: Context) -> bool:
    request = context.get("request")
    user: Any = getattr(request, "_acached_user", None)  # by request.auser()
    if user is None:  # asked so, a lazy user stays unknown
        user = getattr(request, "user", None)
    if user is None:
        user = context.get("user")
    cookies = getattr(request, "COOKIES", {django_settings.SESSION_COOKIE_NAME: ""})
    if isinstance(user, LazyObject) and django_settings.SESSION_COOKIE_NAME not in cookies:
        return False
    try:
        return bool(getattr(user, "is_active", False) and getattr(user, "is_staff", False))
    except SynchronousOnlyOperation:
        return False
