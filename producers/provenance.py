"""Whether a request to an open end-point comes from a page of this site.

A browser says so itself, and a page can't make it lie: by ``Sec-Fetch-Site`` (Fetch Metadata), else by ``Origin``, else
by ``Referer``. Where all it says is ``Origin: null`` (a strict referrer policy, over plain HTTP), the page has a token.
Who sends none of the three is no browser of today, and could have written anything: that is the rate limit's business.
Over plain HTTP it may be a browser, though: there is no Fetch Metadata then, and an image of a page that wants no
referrer tells nothing else.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare, salted_hmac

DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port, as browsers compare them."""

    scheme: str
    host: str
    port: int


def is_from_here(request: HttpRequest, token: str = "") -> bool:
    """Whether ``request`` comes from a page of this site, or of one in CSRF_TRUSTED_ORIGINS. No query; never raises.

    What a person types by hand (``Sec-Fetch-Site: none``) comes from no page. ``token`` is a `page_token`: it speaks
    where the browser doesn't, never against it.
    """
    said, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin is not None and _is_trusted(_origin(origin)):
        return True
    if said is not None:
        return said == "same-origin"
    if origin == "null":
        return is_page_token(token)
    if origin is not None:
        return _is_own(_origin(origin), request)
    referer = request.headers.get("Referer")
    if referer is None:
        return True
    page = _origin(referer)
    return is_page_token(token) if page is None else _is_trusted(page) or _is_own(page, request)


def page_token(day: date | None = None) -> str:
    """A token for the pages of ``day`` (UTC, default today): the same for every visitor, so that pages stay cacheable.

    Whoever reads a page knows it: it says where a request comes from, not who sends it.
    """
    chosen = day or datetime.now(UTC).date()
    return salted_hmac("footfall.beacon", chosen.isoformat(), algorithm="sha256").hexdigest()[:32]


def is_page_token(token: str) -> bool:
    """Whether ``token`` is that of a page of today or yesterday."""
    today = datetime.now(UTC).date()
    made = [page_token(today), page_token(today - timedelta(days=1))]
    return token.isascii() and any(constant_time_compare(token, one) for one in made)


def _is_own(origin: Origin | None, request: HttpRequest) -> bool:
    try:
        return origin is not None and origin == _origin(f"{request.scheme}://{request.get_host()}")
    except DisallowedHost:
        return False


def _is_trusted(origin: Origin | None) -> bool:
    """Whether CSRF_TRUSTED_ORIGINS names it, or a wildcard there stands for it."""
    return origin is not None and any(_stands_for(entry, origin) for entry in django_settings.CSRF_TRUSTED_ORIGINS)


def _stands_for(entry: str, origin: Origin) -> bool:
    trusted = _origin(entry)
    if trusted is None or (trusted.scheme, trusted.port) != (origin.scheme, origin.port):
        return False
    if not trusted.host.startswith("*."):
        return trusted.host == origin.host
    parent = trusted.host[2:]
    return origin.host == parent or origin.host.endswith(f".{parent}")


def _origin(url: str) -> Origin | None:
    """The origin of ``url``; None where it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return Origin(parts.scheme, parts.hostname, port) if parts.hostname and port else None
