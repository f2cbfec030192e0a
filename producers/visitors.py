"""Who a request comes from, as far as that can be told without a query: for counting a visitor once.

Nothing that is made here is stored or sent: what travels is a token that is made of it, see `footfall.producers.once`.
"""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieSession
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.functional import LazyObject, empty

from footfall.producers.rules import clean_user_agent
from footfall.producers.settings import conf


def visitor_of(request: HttpRequest, at: datetime) -> str:
    """The visitor that ``request`` comes from, the same text for the same one. Makes no query.

    It is the first of these that is known: the user, where the site has asked for ``request.user`` already or the
    session that was read says so; that session's key, if anything is in it; else a keyed hash of the address and the
    user agent, which changes with the local day of ``at``. A cookie that nobody has verified says nothing: a stranger
    could send any number of them.
    """
    user = _user_of(request)
    if user is not None:
        return f"user:{user}"
    key = _session_key_of(request)
    if key is not None:
        return f"session:{key}"
    day = timezone.localtime(at, timezone.get_default_timezone()).date()
    user_agent = clean_user_agent(str(request.META.get("HTTP_USER_AGENT", "")))
    seen = f"{client_address(request)}\n{user_agent}"
    return "hash:" + salted_hmac(f"footfall.visitor.{day}", seen, algorithm="sha256").hexdigest()


def client_address(request: HttpRequest) -> str:
    """The client's IPv4 address, or the /64 network of its IPv6 address, which is one customer's; "" for none.

    It is the connection's own address, or behind TRUSTED_PROXIES = n proxies the n-th from the right in
    X-Forwarded-For: what stands further left was written by the client. Where that is no address, the connection's.
    """
    trusted = conf.TRUSTED_PROXIES
    if trusted > 0:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        address = _address(forwarded[-trusted]) if len(forwarded) >= trusted else ""
        if address:
            return address
    return _address(request.META.get("REMOTE_ADDR") or "")


def _address(text: str) -> str:
    try:
        address = ip_address(_without_port(text.strip()))
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return str(address) if isinstance(address, IPv4Address) else str(IPv6Network((int(address), 64), strict=False))


def _without_port(text: str) -> str:
    # Some proxies write 192.0.2.1:4711 and [2001:db8::1]:4711.
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def known_user(request: HttpRequest) -> Any:
    """The user who is logged in, where the site has asked for ``request.user`` already; else None. Makes no query."""
    for user in (vars(request).get("user"), *(getattr(request, name, None) for name in _CACHED)):
        resolved = getattr(user, "_wrapped", None) if isinstance(user, LazyObject) else user
        if resolved is not None and resolved is not empty and getattr(resolved, "is_authenticated", False):
            return resolved
    return None


def _user_of(request: HttpRequest) -> str | None:
    """The primary key of the user that is known by now, as text."""
    user, session = known_user(request), _loaded(request)
    if user is not None:
        return str(user.pk)
    return str(session[SESSION_KEY]) if SESSION_KEY in session else None


# Where Django's authentication middleware keeps the user of a request once it has been asked for.
_CACHED = ("_cached_user", "_acached_user")


def _session_key_of(request: HttpRequest) -> str | None:
    session: Any = getattr(request, "session", None)
    if not _loaded(request) or isinstance(session, CookieSession):
        return None  # the key of a session in a cookie is its content, which changes
    key: str | None = session.session_key
    return key


def _loaded(request: HttpRequest) -> dict[str, Any]:
    """What is in the session, if that was read already; reading it now may be a query."""
    content: dict[str, Any] | None = getattr(getattr(request, "session", None), "_session_cache", None)
    return content or {}
