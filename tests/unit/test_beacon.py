"""The open end-point `track/`. No test here asks for the database: pytest-django's guard raises on any query."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import caches
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.test import AsyncClient, Client

from footfall.producers.beacon import MAX_BYTES, SYNTAX
from footfall.producers.messages import Increment, LabelKey, decode_unit
from footfall.producers.provenance import page_token
from footfall.producers.tail import journals, read_slice
from footfall.producers.testing import Captured, captured_messages

URL = "/footfall/track/"
FORM = "application/x-www-form-urlencoded"

Published = list[Captured]


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    caches["default"].clear()
    yield
    caches["default"].clear()


@pytest.fixture
def published() -> Iterator[Published]:
    with captured_messages() as captured:
        yield captured


def labels(published: Published) -> list[str]:
    keys = [one.event.label for one in published if isinstance(one.event, Increment)]
    return [":".join((key.label, key.category, key.dom_id)) for key in keys if key is not None]


def get(query: str, **headers: str) -> Any:
    return Client(headers=headers or None).get(f"{URL}?{query}")


def post(body: bytes | str, content_type: str = FORM, query: str = "", **headers: str) -> Any:
    return Client(headers=headers or None).generic("POST", f"{URL}?{query}", body, content_type)


def form(**fields: str) -> str:
    return urlencode(fields)


# -- What it answers


@pytest.mark.parametrize("query", ["", "labels=", "other=1"])
def test_tr_10_without_labels_it_answers_its_syntax(query: str, published: Published) -> None:
    """By GET and by POST, wherever it is asked from: it counts nothing."""
    for response in (get(query), post(""), post(query), get(query, **{"Sec-Fetch-Site": "none"})):
        assert (response.status_code, response.content.decode()) == (200, SYNTAX)
    assert published == []


def test_tr_10_good_labels_are_counted_and_answered_ok(published: Published) -> None:
    """By GET, as ever."""
    response = get("labels=home:nav:logo|read||"[:-2])

    assert (response.status_code, response.content) == (200, b"ok")
    assert labels(published) == ["home:nav:logo", "read:None:None"]


@pytest.mark.parametrize(
    "query",
    ["a:b:c:d", "|", "a|", "|a", "a||b", ":c", "!a", "a<script>", "a\nb", "a\0", " ", "a:b:c:d|e", "a'--", '"a"'],
)
@pytest.mark.parametrize("how", ["get", "post"])
def test_tr_10_bad_labels_are_a_400_and_nothing_is_counted(query: str, how: str, published: Published) -> None:
    """With the reason as plain text; also where only one of them is bad."""
    for labels_ in (query, f"good|{query}"):
        response = get(form(labels=labels_)) if how == "get" else post(form(labels=labels_))
        assert response.status_code == 400
        assert b"label" in response.content and len(response.content) < 1100
    assert published == []


@pytest.mark.parametrize("bad", ["x" * 251, "a:" + "x" * 31, "a:b:" + "x" * 51])
def test_tr_13_what_is_too_long_is_refused_at_the_door(bad: str, published: Published) -> None:
    """Never when it is folded."""
    response = post(form(labels=f"good|{bad}"))

    assert response.status_code == 400 and b"has more than" in response.content
    assert published == []


def test_tr_13_what_is_just_long_enough_is_counted(published: Published) -> None:
    """250, 30 and 50 characters, whatever they weigh in bytes."""
    query = ":".join(("é" * 250, "é" * 30, "é" * 50))

    assert post(form(labels=query)).content == b"ok"
    assert labels(published) == [query]


def test_tr_01_the_same_label_twice_counts_twice(published: Published) -> None:
    """And spaces and letters of all languages are fine."""
    assert get(form(labels="a|a|a b|größe|商品")).content == b"ok"
    assert labels(published) == [f"{label}:None:None" for label in ("a", "a", "a b", "größe", "商品")]


def test_tr_02_any_label_counts_without_an_object_or_a_user(published: Published) -> None:
    """With the user agent, by which workers know spiders."""
    get("labels=never-seen-before", **{"User-Agent": "Mozilla/5.0 (a browser)"})
    get("labels=again")

    assert [one.event.user_agent for one in published] == ["Mozilla/5.0 (a browser)", ""]


# -- How it can be said


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, "labels=a%3Ab%3Ac%7Cd&token=x"),
        (f"{FORM};charset=UTF-8", "token=&labels=a:b:c|d"),
        ("text/plain", "a:b:c|d"),
        ("text/plain;charset=UTF-8", "a:b:c|d"),
        ("", "a:b:c|d"),
        ("application/json", '{"labels": "a:b:c|d"}'),
        ("application/json", '{"labels": ["a:b:c", "d"], "token": "x", "more": {"is": "ignored"}}'),
        ("APPLICATION/JSON; charset=utf-8", '{"labels": ["a:b:c", "d"]}'),
    ],
)
def test_a_body_is_a_form_plain_text_or_json(content_type: str, body: str, published: Published) -> None:
    """What beacons, scripts and people write."""
    assert post(body, content_type).content == b"ok"
    assert labels(published) == ["a:b:c", "d:None:None"]


def test_the_body_counts_before_the_query_string(published: Published) -> None:
    """Which is read as well: a beacon of plain text has its token there."""
    post("a", "text/plain", query="labels=b")
    post("", "text/plain", query="labels=c")
    assert labels(published) == ["a:None:None", "c:None:None"]

    refused = post("a", "text/plain", Origin="null")
    passed = post("a", "text/plain", query=form(token=page_token()), Origin="null")
    assert (refused.status_code, passed.status_code) == (403, 200)


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", "7", '"a"', '{"labels": 7}', '{"labels": [7]}', '{"labels": null}', '{"labels": [["a"]]}',
     '{"labels": "a", "token": 7}', '{"labels": "a"} x', '{"labels": "\\ud800"}', "[" * 8000,
     '{"labels":' * 1500, "NaN"],
)  # fmt: skip
def test_json_that_says_something_else_is_a_400(body: str, published: Published) -> None:
    """However deep; nothing at all is no JSON, and answered with the syntax."""
    response = post(body, "application/json")

    assert response.status_code == (400 if body else 200)
    assert published == []


@pytest.mark.parametrize("content_type", ["application/xml", "multipart/mixed; boundary=x", "image/png", "x", ";"])
def test_other_types_are_a_415(content_type: str, published: Published) -> None:
    """They can't be read, so they are not."""
    response = post("labels=a", content_type)

    assert response.status_code == (400 if content_type == ";" else 415)
    assert published == []


@pytest.mark.parametrize("content_type", [FORM, "text/plain", "application/json"])
def test_what_is_not_utf_8_is_a_400(content_type: str, published: Published) -> None:
    """In a body, in an address, percent-encoded or not."""
    assert post(b'{"labels":"a\xff"}', content_type).status_code == 400
    assert post(b"labels=%ff").status_code == 400
    assert get("labels=%e9").status_code == 400
    assert Client().get(URL, QUERY_STRING="labels=\xe9").status_code == 400
    assert published == []


def test_unencoded_utf_8_in_an_address_is_read(published: Published) -> None:
    """As some programs send it, under WSGI and ASGI."""
    assert Client().get(URL, QUERY_STRING="labels=größe".encode().decode("latin-1")).content == b"ok"
    assert labels(published) == ["größe:None:None"]


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_a_405(method: str, published: Published) -> None:
    """Also those that browsers ask before they send across origins."""
    response = Client().generic(method, f"{URL}?labels=a")

    assert response.status_code == 405 and response.headers["Allow"] == "GET, POST"
    assert published == []


# -- What it bounds


def test_a_request_has_at_most_20_labels(published: Published) -> None:
    """One more, and none is counted."""
    assert post(form(labels="|".join("a" * 21))).status_code == 400
    assert post(json.dumps({"labels": ["a"] * 21}), "application/json").status_code == 400
    assert published == []

    assert post(form(labels="|".join("a" * 20))).content == b"ok"
    assert len(published) == 20


def test_a_body_has_at_most_16_kib(published: Published) -> None:
    """Counted as it is read, whatever its length is said to be."""
    fits, too_long = b"labels=a&x=" + b"x" * (MAX_BYTES - 11), b"labels=a&x=" + b"x" * (MAX_BYTES - 10)
    assert post(fits).content == b"ok"
    assert post(too_long).status_code == 413
    for length, status in (("16385", 413), ("9" * 5000, 413), ("-1", 200), ("x", 200), ("", 200), ("²", 200)):
        assert Client().generic("POST", URL, b"a", FORM, CONTENT_LENGTH=length).status_code == status
    assert len(labels(published)) == 1


def test_a_body_of_unknown_length_is_bounded_too(published: Published) -> None:
    """Under ASGI a body may come in pieces, with no length before it."""

    async def send(pieces: list[bytes]) -> int:
        scope = {
            "type": "http", "method": "POST", "path": URL, "query_string": b"", "scheme": "http",
            "headers": [(b"host", b"testserver"), (b"transfer-encoding", b"chunked"), (b"content-type", FORM.encode())],
            "server": ("testserver", 80), "client": ("192.0.2.1", 4711),
        }  # fmt: skip
        bodies = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        coming = [*bodies, {"type": "http.request", "body": b"", "more_body": False}]
        answer: list[Mapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if coming:
                return coming.pop(0)
            await asyncio.sleep(3600)
            raise AssertionError("nobody waits so long")

        async def take(message: Mapping[str, Any]) -> None:
            answer.append(message)

        await ASGIHandler()(scope, receive, take)
        return int(answer[0]["status"])

    connections.close_all()  # those of other tests: the handler looks after what is open when a request begins
    assert async_to_sync(send)([b"labels=", b"a|b"]) == 200
    assert async_to_sync(send)([b"labels=a&x=", *[b"x" * 1000] * 20]) == 413
    assert labels(published) == ["a:None:None", "b:None:None"]


def test_a_query_string_is_bounded_too(published: Published) -> None:
    """Where the server in front lets it through at all."""
    assert get("labels=a&x=" + "x" * MAX_BYTES).status_code == 414
    assert post("labels=a", query="x" * (MAX_BYTES + 1)).status_code == 414
    assert published == []


def test_too_many_fields_are_a_400(published: Published) -> None:
    """In the body and in the address."""
    many = "&".join(f"f{n}=1" for n in range(20))

    assert get(f"labels=a&{many}").status_code == 400
    assert post(f"labels=a&{many}").status_code == 400
    assert published == []


def test_a_client_counts_so_many_labels_a_minute(settings: Any, published: Published) -> None:
    """Then it is told when to come again."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_LABELS_PER_MINUTE": 5}

    assert post("a|b|c", "text/plain").status_code == 200
    refused = post("a|b|c", "text/plain")

    assert refused.status_code == 429 and 1 <= int(refused.headers["Retry-After"]) <= 60
    assert len(published) == 3


def test_labels_that_are_refused_count_along(settings: Any) -> None:
    """Nobody may try for ever."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_LABELS_PER_MINUTE": 5}

    assert [post("<b>", "text/plain").status_code for _ in range(7)] == [400] * 5 + [429] * 2


@pytest.mark.parametrize(
    ("label", "passes"),
    [
        ("home", True),
        ("nav-", True),
        ("nav-top:any:thing", True),
        ("a/x/b", True),
        ("Home", False),
        ("home2", False),
        ("navtop", False),
        ("a/x/bc", False),
        ("other:home", False),
        ("x" * 5000, False),
        ("a/" + "x" * 300 + "/b", False),
    ],
)
def test_a_site_may_say_which_labels_count(
    label: str,
    passes: bool,
    settings: Any,
    published: Published,
) -> None:
    """TRACK_ALLOWED_LABELS: a star stands for anything, a dot for a dot."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_ALLOWED_LABELS": ["home", "nav-*", "a/*/b", "v1.0"]}

    assert post(f"home|{label}", "text/plain").status_code == (200 if passes else 400)
    assert len(published) == (2 if passes else 0)
    assert post("v1x0", "text/plain").status_code == 400


def test_an_empty_list_of_labels_allows_none(settings: Any) -> None:
    """It is a list, only short."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_ALLOWED_LABELS": []}

    assert post("a", "text/plain").status_code == 400


# -- Whom it believes


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://elsewhere.example"},
        {"Referer": "http://elsewhere.example/"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_what_comes_from_elsewhere_is_a_403(headers: dict[str, str], published: Published) -> None:
    """By GET, too: an image of another site counts nothing here."""
    assert get("labels=a", **headers).status_code == 403
    assert post("labels=a", **headers).status_code == 403
    assert published == []


def test_a_page_without_an_origin_sends_its_token(published: Published) -> None:
    """In each kind of body."""
    null, token = {"Origin": "null"}, page_token()

    assert post(form(labels="a", token=token), **null).content == b"ok"
    assert post(json.dumps({"labels": "b", "token": token}), "application/json", **null).content == b"ok"
    assert post(form(labels="c", token="wrong"), **null).status_code == 403
    assert post(json.dumps({"labels": "c", "token": "é\u0000"}), "application/json", **null).status_code == 403
    assert labels(published) == ["a:None:None", "b:None:None"]


def test_a_host_that_is_not_allowed_is_no_500(settings: Any, published: Published) -> None:
    """However it is spelled."""
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client(raise_request_exception=False)

    for host in ("elsewhere.example", "a b", "", "testserver:x"):
        response = client.get(f"{URL}?labels=a", headers={"Host": host, "Origin": f"http://{host}"})
        assert response.status_code == 403
    assert published == []


# -- What it leaves alone


@pytest.mark.parametrize("query", ["", "labels=a", "labels=%3Cscript%3E"])
def test_answers_are_plain_text_that_nobody_keeps(query: str, published: Published) -> None:
    """No cookie, no header for other origins, nothing a browser would guess at."""
    response = get(query, Origin="http://testserver")

    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert not response.cookies and not [name for name in response.headers if name.lower().startswith("access-control")]


def test_a_reason_holds_no_markup(published: Published) -> None:
    """What was sent is told in letters that nothing runs."""
    response = get(form(labels="<img src=x onerror=alert(1)>&amp;"))

    assert response.status_code == 400
    assert not set(response.content) & set(b"<>&")
    assert rb"\x3cimg src=x" in response.content


def test_no_session_is_read_and_no_csrf_token_is_asked_for(published: Published) -> None:
    """A session cookie costs no query, and a page may come out of a cache."""
    client = Client(enforce_csrf_checks=True)
    client.cookies["sessionid"] = "x" * 32

    response = client.generic("POST", URL, "labels=a", FORM)

    assert response.content == b"ok" and "Vary" not in response.headers


def test_tr_10_a_form_as_form_data_sends_it_is_read(published: Published) -> None:
    """Several labels count together, files are passed over, and nothing of a broken form counts."""
    client = Client()

    assert client.post(URL, {}).content.startswith(b"syntax:")
    assert client.post(URL, {"labels": ["a:b", "c"], "labels_of": "x"}).content == b"ok"
    assert client.post(URL, {"labels": "d", "file": BytesIO(b"labels=e")}).content == b"ok"
    assert labels(published) == ["a:b:None", "c:None:None", "d:None:None"]
    for body, content_type in (
        (b"--x\r\nlabels=a", "multipart/form-data"),
        (b"\xff" * 99, "multipart/form-data; boundary=x"),
    ):
        assert client.generic("POST", URL, body, content_type).status_code in (200, 400)
    assert client.post(URL, {"labels": "a", "more": "x" * 20_000}).status_code == 413
    assert client.post(URL, {"labels": ["a"] * 2000}).status_code == 413
    assert client.get(URL, {"labels": ["f", "g"]}).content == b"ok"
    assert labels(published)[3:] == ["f:None:None", "g:None:None"]


def test_where_every_page_needs_a_login_it_is_open_still(settings: Any, published: Published) -> None:
    """The page to log in has visitors, too; and nobody's session is read."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]

    assert post("labels=a").content == b"ok"
    assert labels(published) == ["a:None:None"]


def test_switched_off_it_still_answers(settings: Any, spool_directory: Path) -> None:
    """Pages need not know."""
    settings.FOOTFALL = {**settings.FOOTFALL, "ENABLED": False}

    assert post("labels=a").content == b"ok"
    assert list(journals(spool_directory)) == []


def test_a_visitor_who_must_not_be_counted_is_answered_the_same(settings: Any, published: Published) -> None:
    """Whether by the site's rule or by the browser's wish."""
    settings.FOOTFALL = {
        **settings.FOOTFALL,
        "RESPECT_DO_NOT_TRACK": True,
        "CONSENT": lambda request: "no" not in request.COOKIES,
    }
    client = Client()

    assert post("labels=a", DNT="1").content == b"ok"
    client.cookies["no"] = "1"
    assert client.generic("POST", URL, "labels=a", FORM).content == b"ok"
    assert published == []
    assert post("labels=a").content == b"ok"
    assert len(published) == 1


@pytest.mark.parametrize("middleware", [[], ["footfall.producers.middleware.ScopeMiddleware"]], ids=["without", "with"])
def test_a_request_is_one_line_of_the_spool(middleware: list[str], settings: Any, spool_directory: Path) -> None:
    """All of it or nothing reaches the workers, with ScopeMiddleware or without."""
    settings.MIDDLEWARE = middleware

    assert post("labels=a|b|c").content == b"ok"

    slices = [read_slice(path, 0, max_lines=100, max_bytes=10**6) for path in journals(spool_directory)]
    units = [decode_unit(line) for piece in slices if piece for _, line in piece.lines]
    assert [len(unit.increments) for unit in units if unit] == [3]


def test_it_is_served_by_an_asgi_site_as_well(published: Published) -> None:
    """Addresses come decoded there."""
    client = AsyncClient()

    assert async_to_sync(client.get)(f"{URL}?labels={quote('größe')}").content == b"ok"
    response = async_to_sync(client.post)(URL, "labels=b", content_type=FORM)
    assert response.content == b"ok"
    assert [one.event.label for one in published if isinstance(one.event, Increment)] == [
        LabelKey("größe"),
        LabelKey("b"),
    ]
