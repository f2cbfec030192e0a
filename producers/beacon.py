"""The open end-point ``track/``: browsers say here which labels were hit. Anybody may call it, so it believes nobody.

What comes is bounded before it is read, comes from a page of this site as far as a browser can tell, and is counted
whole or not at all. Nothing of it is executed, and what goes back is plain text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import SuspiciousOperation
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from footfall.producers.provenance import is_from_here
from footfall.producers.publish import publish_labels, user_agent_of
from footfall.producers.ratelimit import seconds_to_wait
from footfall.producers.scoping import scope
from footfall.producers.settings import conf

#: Of the body, and of the query string.
MAX_BYTES = 16_384
MAX_LABELS = 20
MAX_FIELDS = 10

SYNTAX = "syntax: ?labels=label:category:dom_id|label2"

# Escapes as repr() writes them: not even a browser that guesses types finds markup in an answer.
_HARMLESS = {ord(character): f"\\x{ord(character):02x}" for character in "<>&"}


class Sent(msgspec.Struct):
    """What a request says: labels, and the page's token."""

    labels: str | list[str] = ""
    token: str = ""

    @property
    def query(self) -> str:
        return self.labels if isinstance(self.labels, str) else "|".join(self.labels)


class Refused(Exception):
    """The request is not taken: the HTTP status, and the reason for a person."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@login_not_required  # by LoginRequiredMiddleware, which would read the session
@csrf_exempt  # is_from_here asks where it comes from: a beacon can't carry a CSRF token, nor a cached page
@transaction.non_atomic_requests
def track(request: HttpRequest) -> HttpResponse:
    """Count the ``labels`` of a query string (GET) or of a body (POST: a form, plain text or JSON); answer ``ok``.

    Without labels it answers its syntax. 400 for what is no label or not allowed, 403 for what comes from elsewhere,
    411 for a body without a length that can't be read, 413 and 414 for too much, 415 for a type it can't read, 429
    beyond the rate; then nothing is counted. Makes no query and sets no cookie.
    """
    if request.method not in ("GET", "POST"):
        return plain("GET or POST", 405, {"Allow": "GET, POST"})
    try:
        sent = _read(request)
        if not sent.query:
            return plain(SYNTAX)
        return _count(request, sent)
    except Refused as refusal:
        return plain(str(refusal), refusal.status)


def plain(text: str, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """An answer of plain text that no browser takes for anything else and no cache keeps."""
    fixed = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    safe = text[:1000].translate(_HARMLESS)
    return HttpResponse(safe, content_type="text/plain; charset=utf-8", status=status, headers=fixed | (headers or {}))


def _count(request: HttpRequest, sent: Sent) -> HttpResponse:
    if not is_from_here(request, sent.token):
        raise Refused(403, "This does not come from a page of this site.")
    number = sent.query.count("|") + 1
    if number > MAX_LABELS:
        raise Refused(400, f"{number} labels are more than {MAX_LABELS}.")
    wait = seconds_to_wait(request, number)
    if wait:
        return plain("Too many labels.", 429, {"Retry-After": str(wait)})
    _check_allowed(sent.query)
    try:
        with scope(user_agent_of(request), request):
            publish_labels(sent.query, request)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    return plain("ok")


def _check_allowed(query: str) -> None:
    patterns = conf.TRACK_ALLOWED_LABELS
    if patterns is None:
        return
    allowed = _allowed(tuple(patterns))
    for item in query.split("|"):
        label = item.partition(":")[0]
        if len(label) > 250 or allowed.fullmatch(label) is None:
            raise Refused(400, f"{label[:80]!r} is not a label of this site.")


@lru_cache(maxsize=16)
def _allowed(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns) or r"(?!)")


# -- Reading


def _read(request: HttpRequest) -> Sent:
    """What the request says, bounded. Raises Refused for what can't be read."""
    in_address = _read_form(_query_string(request))
    if request.method == "GET":
        return in_address
    body = _body(request)
    in_body = _read_body(request, body) if body else Sent()
    return Sent(in_body.query or in_address.query, in_body.token or in_address.token)


def _query_string(request: HttpRequest) -> bytes:
    text: str = request.META.get("QUERY_STRING", "")
    if len(text) > MAX_BYTES:
        raise Refused(414, f"The query string has more than {MAX_BYTES} bytes.")
    # WSGI passes bytes as Latin-1, ASGI decoded them already.
    return text.encode("latin-1" if hasattr(request, "environ") else "utf-8", "replace")


def _body(request: HttpRequest) -> bytes:
    length = str(request.META.get("CONTENT_LENGTH") or "")
    said = int(length[:10]) if length.isdecimal() else 0  # ten digits are too many already
    if said > MAX_BYTES:
        raise Refused(413, f"The body has more than {MAX_BYTES} bytes.")
    try:
        body = request.read(MAX_BYTES + 1)
    except UnreadablePostError:
        raise Refused(400, "The body can't be read.") from None
    if len(body) > MAX_BYTES:
        raise Refused(413, f"The body has more than {MAX_BYTES} bytes.")
    if len(body) < said:
        raise Refused(400, "The body ends early.")
    if not body and not length and "HTTP_TRANSFER_ENCODING" in request.META:
        # Under WSGI Django reads nothing then: an answer of 200 would be a lie.
        raise Refused(411, "The body has no Content-Length.")
    return body


def _read_body(request: HttpRequest, body: bytes) -> Sent:
    match request.content_type or "text/plain":
        case "application/x-www-form-urlencoded":
            return _read_form(body)
        case "multipart/form-data":
            return _read_parts(request, body)
        case "application/json":
            return _read_json(body)
        case "text/plain":
            return Sent(_text(body))
    raise Refused(415, "The body is a form, text/plain or application/json.")


def _read_form(form: bytes) -> Sent:
    try:
        pairs = parse_qsl(
            _text(form), keep_blank_values=True, max_num_fields=MAX_FIELDS, encoding="utf-8", errors="strict"
        )
    except UnicodeDecodeError:
        raise Refused(400, "This is not UTF-8.") from None
    except ValueError:
        raise Refused(400, f"There are more than {MAX_FIELDS} fields.") from None
    return _sent(pairs)


def _read_parts(request: HttpRequest, body: bytes) -> Sent:
    """A form as ``FormData`` sends it. Files in it are passed over."""
    described = {"CONTENT_TYPE": request.META.get("CONTENT_TYPE", ""), "CONTENT_LENGTH": len(body)}
    try:
        fields, _ = MultiPartParser(described, BytesIO(body), [], "utf-8").parse()
    except (MultiPartParserError, SuspiciousOperation):
        raise Refused(400, "The form can't be read.") from None
    return _sent([(name, value) for name, values in fields.lists() for value in values])


def _sent(fields: Sequence[tuple[str, Any]]) -> Sent:
    """What the fields say; several of ``labels`` count together."""
    labels = [str(value) for name, value in fields if name == "labels"]
    token = [str(value) for name, value in fields if name == "token"]
    return Sent("|".join(labels), token[-1] if token else "")


def _read_json(body: bytes) -> Sent:
    try:
        return msgspec.json.decode(body, type=Sent)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Refused(400, 'The JSON is not {"labels": "label|label2"} or {"labels": ["label", …]}.') from None


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Refused(400, "This is not UTF-8.") from None
