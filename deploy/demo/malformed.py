"""Messages that no publisher of ours would send, each with the reason that its dead letter must give."""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple


class Malformed(NamedTuple):
    """A message's body, one line of bytes, and why it can't be applied."""

    name: str
    body: bytes
    reason: str


def malformed_messages() -> list[Malformed]:
    """A handful of them, new ones at each call. None is a message that could ever be applied."""
    view, increment, action = _view(), _increment(), _action()
    return [
        Malformed("not UTF-8", b'{"queue_name": "\xff\xfe"}', "not_utf8"),
        Malformed("not JSON", b"GET / HTTP/1.1", "not_json"),
        Malformed("truncated", _message("footfall.views", view)[:-40], "not_json"),
        Malformed("null", b"null", "bad_envelope"),
        Malformed("options: null", _message("footfall.views", view, options=None), "bad_envelope"),
        Malformed("unknown kind", _message("footfall.views", view | {"kind": "purchase"}), "unknown_kind"),
        Malformed("unknown version", _message("footfall.views", view | {"version": 99}), "unknown_version"),
        Malformed("a time in 1970", _message("footfall.views", view | {"at": "1970-01-01T00:00:00Z"}), "bad_time"),
        Malformed(
            "unknown field", _message("footfall.increments", increment | {"field": "__class__"}), "unknown_field"
        ),
        Malformed("NaN", _message("footfall.increments", increment | {"value": float("nan")}), "bad_number"),
        Malformed("70 bits", _message("footfall.increments", increment | {"value": 2**70}), "bad_number"),
        Malformed("NUL", _message("footfall.actions", action | {"data": {"note": "a\0b"}}), "bad_text"),
        Malformed("markup as verb", _message("footfall.actions", action | {"verb": "<script>"}), "bad_text"),
    ]


def _message(queue: str, event: dict[str, Any], **changes: Any) -> bytes:
    message = {
        "queue_name": queue,
        "actor_name": queue,
        "args": [[event]],
        "kwargs": {},
        "options": {},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": int(time.time() * 1000),
    }
    return json.dumps(message | changes).encode()


def _event(kind: str) -> dict[str, Any]:
    return {"kind": kind, "id": str(uuid.uuid4()), "at": datetime.now(UTC).isoformat()}


def _view() -> dict[str, Any]:
    return _event("view") | {"user": "1", "object": {"type": "articles.article", "id": "1"}}


def _increment() -> dict[str, Any]:
    counted = {"dataset": "articles.articletotals", "object": {"type": "articles.article", "id": "1"}}
    return _event("increment") | counted | {"field": "views"}


def _action() -> dict[str, Any]:
    return _event("action") | {"verb": "commented", "actor": {"type": "auth.user", "id": "1"}}
