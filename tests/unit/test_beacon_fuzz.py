"""Whatever strangers throw at `track/`: no 500, nothing counted by halves or malformed, no byte of it in any page."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from footfall.producers.beacon import MAX_LABELS
from footfall.producers.messages import Event, Increment, encode_event
from footfall.producers.rules import check_label
from footfall.producers.testing import captured_messages
from footfall.storage.models import DeadLetter, Statistic
from footfall.workers.decoding import decode_event
from footfall.workers.testing import drain

URL = "/footfall/track/"
FORM = "application/x-www-form-urlencoded"

#: All that the end-point ever answers.
STATUSES = {200, 400, 403, 405, 413, 414, 415}

fuzzed = settings(
    max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

XSS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'\"><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "</textarea><script>alert(1)</script>",
    "{{ constructor.constructor('alert(1)')() }}",
    "{% debug %}",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "\u2028<b>",
    "\uff1cscript\uff1e",
    "%3Cscript%3E",
    "+ADw-script+AD4-",
    "a<b",
    "`alert(1)`",
    "${7*7}",
]

CSV = [
    "=1+1",
    "=HYPERLINK(\"http://elsewhere.example\",\"x\")",
    "+1+1",
    "-1+1",
    "@SUM(1,1)",
    "\t=1+1",
    "\r=1+1",
    "=cmd|' /C calc'!A0",
    "\"a\",\"b\"",
    "a;b",
    "a\nb",
]  # fmt: skip

SQL_AND_PATHS = [
    "'; DROP TABLE x; --",
    "1 OR 1=1",
    "../../etc/passwd",
    "__class__",
    "a\0b",
    "\x7f",
    "\ufeffa",
    "\ud800",
    "%00",
]

PAYLOADS = [*XSS, *CSV, *SQL_AND_PATHS]


@pytest.fixture(autouse=True)
def _no_limit(settings: Any) -> Iterator[None]:
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_LABELS_PER_MINUTE": 10**9, "FILTER_SPIDERS": False}
    caches["default"].clear()
    yield
    caches["default"].clear()


def sent(method: str, body: bytes, content_type: str, query: str = "", headers: dict[str, str] | None = None) -> Any:
    """One request, checked for all that holds of every answer; what is counted is whole, and a worker would take it."""
    client = Client(raise_request_exception=False, headers=headers)
    with captured_messages() as captured:
        response = client.generic(method, URL, body, content_type, QUERY_STRING=query)
    assert response.status_code in STATUSES, (response.status_code, response.content)
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert len(response.content) < 4200 and not set(response.content) & set(b"<>&")
    assert bool(captured) == (response.content == b"ok") and len(captured) <= MAX_LABELS
    for one in captured:
        assert_well_formed(one.event)
    return response


def assert_well_formed(event: Event) -> None:
    assert isinstance(event, Increment) and event.label is not None
    decoded = decode_event(encode_event(event))
    assert decoded == event
    check_label(event.label)


content_types = st.one_of(
    st.sampled_from(
        [FORM, "text/plain", "application/json", "multipart/form-data; boundary=x", "", "a/b; charset=rot13"]
    ),
    st.text(st.characters(codec="latin-1", categories=["L", "N", "P", "S", "Zs"]), max_size=30),
)
some_labels = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(["a", "a:b", "a:b:c", *PAYLOADS])), max_size=25)


@fuzzed
@given(st.binary(max_size=300), content_types)
def test_random_bytes(body: bytes, content_type: str) -> None:
    """As any type."""
    sent("POST", body, content_type)
    sent("POST", b"labels=" + body, content_type)
    sent("GET", b"", "", query="labels=" + body.decode("latin-1"))


@fuzzed
@given(some_labels, st.sampled_from(["form", "text", "json", "list", "get"]))
def test_random_labels(labels: list[str], how: str) -> None:
    """Good and bad ones together, in each way to say it."""
    query = "|".join(labels)
    raw = query.encode("utf-8", "surrogatepass")
    if how == "get":
        response = sent("GET", b"", "", query="labels=" + quote(raw))
    elif how == "form":
        response = sent("POST", b"labels=" + quote(raw).encode(), FORM)
    elif how == "text":
        response = sent("POST", raw, "text/plain")
    else:
        response = sent("POST", json.dumps({"labels": query if how == "json" else labels}).encode(), "application/json")

    if query.count("|") + 1 > MAX_LABELS:
        assert response.status_code == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10) | st.sampled_from(PAYLOADS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@fuzzed
@given(json_values, st.booleans())
def test_random_json(value: Any, named: bool) -> None:
    """Of any shape, under the right name and without."""
    sent("POST", json.dumps({"labels": value} if named else value).encode(), "application/json")


header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
header_names = st.sampled_from(
    ["Origin", "Referer", "Sec-Fetch-Site", "Host", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "Cookie",
     "Content-Encoding", "Transfer-Encoding", "Accept-Language", "Authorization", "DNT", "Sec-GPC", "Forwarded"]
)  # fmt: skip


@fuzzed
@given(st.dictionaries(header_names, header_values, max_size=6), st.sampled_from(["GET", "POST", "HEAD", "PUT", "X-Y"]))
def test_random_headers(headers: dict[str, str], method: str) -> None:
    """Whatever a client writes there."""
    sent(method, b"labels=a", FORM, query="labels=b", headers=headers)


@pytest.mark.parametrize("size", [250, 251, 5_000, 16_000, 16_385, 1_000_000])
@pytest.mark.parametrize("letter", ["x", "é", "中", "\U0001f600", "|", ":", "%", "<", " "])
def test_huge_labels(size: int, letter: str) -> None:
    """Refused by length or by form, at once."""
    text = letter * size
    for response in (
        sent("POST", text.encode(), "text/plain"),
        sent("POST", urlencode({"labels": text}).encode(), FORM),
        sent("POST", json.dumps({"labels": text}).encode(), "application/json"),
        sent("GET", b"", "", query=urlencode({"labels": text})),
    ):
        assert (response.status_code == 200) == (size == 250 and letter in "xé中")


@pytest.mark.parametrize("opening", ["[", '{"labels":', '{"labels":[', '{"a":'])
@pytest.mark.parametrize("depth", [100, 1_000, 16_000])
def test_deep_json(opening: str, depth: int) -> None:
    """It ends no process."""
    assert sent("POST", (opening * depth).encode()[:16_384], "application/json").status_code == 400


@pytest.mark.parametrize(
    "origin", ["http://elsewhere.example", "null", "", "http://testserver.elsewhere.example", "file://"]
)
@pytest.mark.parametrize("payload", ["good", *XSS[:3]])
def test_wrong_origins(origin: str, payload: str) -> None:
    """They are refused before anything of the body is looked at."""
    response = sent("POST", urlencode({"labels": payload}).encode(), FORM, headers={"Origin": origin})

    assert response.status_code == 403


@pytest.fixture
def pages(db: None, django_capture_on_commit_callbacks: Callable[..., Any]) -> Callable[[str], list[Any]]:
    """Send a payload in all the ways there are, apply what was taken, and open every page that shows labels."""
    client = Client()
    client.force_login(User.objects.create(username="editor", is_staff=True, is_superuser=True))

    def open_all(payload: str) -> list[Any]:
        raw = payload.encode("utf-8", "replace")
        with django_capture_on_commit_callbacks(execute=True):
            for labels in (raw, b"a:" + raw, b"a:b:" + raw, raw + b"|b"):
                answers = [
                    client.generic("POST", URL, labels, "text/plain"),
                    client.get(f"{URL}?labels={quote(labels)}"),
                ]
                assert {answer.status_code for answer in answers} <= {200, 400}
        drain()
        admin = "/admin/footfall_storage"
        addresses = [
            f"{admin}/statistic/",
            f"{admin}/statistic/?q={quote(raw[:50])}",
            f"{admin}/statistic/?all=&label={quote(raw)}&category={quote(raw)}",
            f"{admin}/deadletter/",
            "/footfall/stats/?" + urlencode({"dom_ids": f"b|None|{payload[:40]}"}, errors="replace"),
        ]
        return [client.get(address, follow=True) for address in addresses]

    return open_all


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_is_in_a_page_as_it_was_sent(payload: str, pages: Callable[[str], list[Any]]) -> None:
    """Neither one that is refused nor one that is a label: what is stored is told in escaped letters."""
    for response in pages(payload):
        assert response.status_code in (200, 400)
        kind, text = response.headers["Content-Type"].partition(";")[0], response.content.decode()
        if kind == "text/html" and html.escape(payload) != payload:
            assert not _stands_in(payload, text), response.request
        assert kind in ("text/html", "application/json", "text/plain")
    assert not DeadLetter.objects.exists()
    for row in Statistic.objects.all():
        assert not set(f"{row.label}{row.category}{row.dom_id}") & set("<>\"'`{}=;\t\r\n\0\\")


def _stands_in(payload: str, page: str) -> bool:
    # Its own markup, without what any page has.
    return payload in page and payload not in ("<!--", "]]>", "{% debug %}")


def test_a_label_with_an_ampersand_is_escaped(pages: Callable[[str], list[Any]]) -> None:
    """The only mark of HTML's that a label may have."""
    statistics, *_ = pages("x&copy")

    assert re.search(r"x&amp;copy\b", statistics.content.decode())
    assert "x&copy" not in statistics.content.decode()
