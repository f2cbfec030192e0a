"""Where a request to an open end-point comes from, by all that a browser may say about it."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
import time_machine
from django.test import RequestFactory
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.producers.provenance import is_from_here, is_page_token, page_token

fuzzed = settings(deadline=None, database=None)


def asked(host: str = "testserver", *, secure: bool = False, token: str = "", **headers: Any) -> bool:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = RequestFactory(headers={"Host": host, **named}).post("/footfall/track/", secure=secure)
    return is_from_here(request, token)


@pytest.mark.parametrize(
    ("said", "passes"),
    [("same-origin", True), ("same-site", False), ("cross-site", False), ("none", False), ("", False), ("x", False)],
)
def test_a_browser_that_says_it_is_believed(said: str, passes: bool) -> None:
    """Sec-Fetch-Site; what a person types by hand comes from no page."""
    assert asked(Sec_Fetch_Site=said) is passes


@pytest.mark.parametrize("said", ["same-site", "cross-site", "none"])
def test_no_token_speaks_against_the_browser(said: str) -> None:
    """Whoever reads a page has its token."""
    assert not asked(Sec_Fetch_Site=said, token=page_token())
    assert not asked(Sec_Fetch_Site=said, Origin="null", token=page_token())
    assert not asked(Sec_Fetch_Site=said, Origin="http://testserver")
    assert not asked(Origin="http://elsewhere.example", token=page_token())
    assert not asked(Referer="http://elsewhere.example/page", token=page_token())


@pytest.mark.parametrize("header", ["Origin", "Referer"])
@pytest.mark.parametrize(
    ("host", "secure", "from_", "passes"),
    [
        ("testserver", False, "http://testserver", True),
        ("testserver", False, "http://TESTSERVER", True),
        ("testserver", False, "http://testserver:80", True),
        ("testserver:80", False, "http://testserver", True),
        ("testserver:8000", False, "http://testserver:8000", True),
        ("testserver", True, "https://testserver", True),
        ("testserver", True, "https://testserver:443", True),
        ("[::1]:8000", False, "http://[::1]:8000", True),
        ("testserver", True, "http://testserver", False),
        ("testserver", False, "https://testserver", False),
        ("testserver", False, "http://testserver:8000", False),
        ("testserver:8000", False, "http://testserver", False),
        ("testserver", False, "http://www.testserver", False),
        ("testserver", False, "http://testserver.example", False),
        ("testserver", False, "http://testserver@elsewhere.example", False),
        ("testserver", False, "ftp://testserver", False),
        ("testserver", False, "//testserver", False),
        ("testserver", False, "testserver", False),
        ("testserver", False, "http://[", False),
        ("testserver", False, "http://testserver:x", False),
        ("testserver", False, "", False),
    ],
)
def test_else_origin_or_referer_is_this_sites_own(
    header: str,
    host: str,
    secure: bool,
    from_: str,
    passes: bool,
) -> None:
    """Scheme, host and port, as browsers compare them."""
    page = f"{from_}/articles/7/?q=1" if header == "Referer" and from_ else from_

    assert asked(host, secure=secure, **{header: page}) is passes


def test_origin_counts_before_referer() -> None:
    """A browser writes both; a page may change the one."""
    assert not asked(Origin="http://elsewhere.example", Referer="http://testserver/")
    assert asked(Origin="http://testserver", Referer="http://elsewhere.example/")


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("https://shop.example", True),
        ("https://shop.example:443", True),
        ("https://a.blogs.example", True),
        ("https://a.b.blogs.example", True),
        ("https://blogs.example", True),
        ("http://local.example:8000", True),
        ("http://shop.example", False),
        ("https://shop.example:8443", False),
        ("https://a.shop.example", False),
        ("https://evilblogs.example", False),
        ("http://a.blogs.example", False),
        ("https://a.blogs.example:8443", False),
    ],
)
@pytest.mark.parametrize("said", [None, "same-site", "cross-site"])
def test_trusted_origins_pass(
    origin: str,
    passes: bool,
    said: str | None,
    settings: Any,
) -> None:
    """Those of CSRF_TRUSTED_ORIGINS, with its wildcards, whatever Fetch Metadata calls them."""
    settings.CSRF_TRUSTED_ORIGINS = ["https://shop.example", "https://*.blogs.example", "http://local.example:8000"]

    fetched: dict[str, Any] = {} if said is None else {"Sec_Fetch_Site": said}

    assert asked(Origin=origin, **fetched) is passes
    if said is None:
        assert asked(Referer=f"{origin}/page") is passes


def test_a_browser_that_says_nothing_is_none_of_today() -> None:
    """It could have said anything: the rate limit bounds it."""
    assert asked()


def test_a_page_without_an_origin_needs_the_pages_token() -> None:
    """A strict referrer policy over plain HTTP leaves nothing else."""
    assert not asked(Origin="null")
    assert not asked(Origin="null", token="x" * 32)
    assert asked(Origin="null", token=page_token())
    assert asked(Referer="about:blank", token=page_token())
    assert not asked(Referer="about:blank")


def test_a_token_is_good_for_its_day_and_the_next() -> None:
    """A page may be cached overnight; the day is that of UTC."""
    with time_machine.travel(datetime(2026, 11, 20, 23, 59, tzinfo=UTC)):
        token = page_token()
        assert token == page_token(date(2026, 11, 20)) and is_page_token(token)
    with time_machine.travel(datetime(2026, 11, 21, 23, 59, tzinfo=UTC)):
        assert is_page_token(token)
    with time_machine.travel(datetime(2026, 11, 22, 0, 0, tzinfo=UTC)):
        assert not is_page_token(token)
    with time_machine.travel(datetime(2026, 11, 19, 12, 0, tzinfo=UTC)):
        assert not is_page_token(token)


def test_a_token_is_this_sites_own(settings: Any) -> None:
    """Keyed by SECRET_KEY."""
    token = page_token()
    settings.SECRET_KEY = "another"

    assert not is_page_token(token)


@fuzzed
@given(st.text())
def test_nothing_else_is_a_token(text: str) -> None:
    """Whatever its characters."""
    assert not is_page_token(text)


def test_a_host_that_is_not_allowed_is_nobodys_own(settings: Any) -> None:
    """And no error."""
    settings.ALLOWED_HOSTS = ["testserver"]

    assert not asked("elsewhere.example", Origin="http://elsewhere.example")
    assert not asked("_", Origin="http://_")


@fuzzed
@given(st.text(st.characters(codec="latin-1"), max_size=60), st.sampled_from(["Origin", "Referer", "Sec-Fetch-Site"]))
def test_no_header_is_an_error(garbage: str, header: str) -> None:
    """Nor does garbage pass."""
    for value, passes in ((f"http://{garbage}.example", False), (garbage, None)):
        headers: dict[str, Any] = {header: value}
        assert asked(**headers) is passes or passes is None
