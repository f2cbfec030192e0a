"""Visitors are counted with their consent; what is no visitor's count goes on without it."""

from __future__ import annotations

import sys
import uuid
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import RequestFactory
from newsroom.models import Article

from footfall.producers import (
    publish_action,
    publish_decrement,
    publish_increment,
    publish_labels,
    publish_view,
    scope,
)
from footfall.producers.consent import may_count
from footfall.producers.testing import captured_messages


def get(**headers: str) -> HttpRequest:
    return RequestFactory(headers=headers).get("/")


def by_cookie(request: HttpRequest) -> bool:
    """A rule as a site writes it."""
    return request.COOKIES.get("consent") == "yes"


async def never_awaited(request: HttpRequest) -> bool:
    """What looks like a rule and is none."""
    return False


def broken(request: HttpRequest) -> bool:
    raise RuntimeError("192.0.2.7 can't be looked up")


def consenting(answer: str) -> HttpRequest:
    request = get()
    request.COOKIES["consent"] = answer
    return request


ARTICLE = Article.from_db("default", ["id"], [7])
READER = User.from_db("default", ["id"], [42])


# -- The question


def test_without_a_rule_everybody_is_counted() -> None:
    """By default headers are not looked at."""
    assert may_count(get(dnt="1", sec_gpc="1"))


@pytest.mark.parametrize(
    ("setting", "header"),
    [("RESPECT_DO_NOT_TRACK", "dnt"), ("RESPECT_GLOBAL_PRIVACY_CONTROL", "sec-gpc")],
)
def test_what_the_browser_asks_for_is_honoured_by_setting(setting: str, header: str, settings: Any) -> None:
    """The header counts where it says 1."""
    settings.FOOTFALL = {**settings.FOOTFALL, setting: True}

    assert not may_count(get(**{header: "1"}))
    assert may_count(get(**{header: "0"}))
    assert may_count(get())
    assert not may_count(get(dnt="1", sec_gpc="1"))


@pytest.mark.parametrize("rule", [by_cookie, "test_consent_rule.by_cookie"], ids=["callable", "import string"])
def test_the_sites_rule_decides(rule: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as it is, or by its import string."""
    module = ModuleType("test_consent_rule")
    module.by_cookie = by_cookie  # type: ignore[attr-defined]  # a module of the site's
    monkeypatch.setitem(sys.modules, "test_consent_rule", module)
    settings.FOOTFALL = {**settings.FOOTFALL, "CONSENT": rule}

    assert may_count(consenting("yes"))
    assert not may_count(consenting("no"))


def test_a_header_outweighs_the_rule(settings: Any) -> None:
    """The rule is not even asked."""
    settings.FOOTFALL = {**settings.FOOTFALL, "CONSENT": broken, "RESPECT_DO_NOT_TRACK": True}

    assert not may_count(get(dnt="1"))


@pytest.mark.parametrize(
    "rule",
    [broken, lambda request: "yes", lambda request: None, "no.such.rule", "nonsense", 7],
    ids=["raises", "answers a text", "answers nothing", "can't be imported", "is no path", "can't be called"],
)
def test_a_rule_that_fails_is_a_no_and_is_logged(rule: Any, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Never raised into a view."""
    settings.FOOTFALL = {**settings.FOOTFALL, "CONSENT": rule}

    assert may_count(get()) is False
    (record,) = caplog.records
    assert record.name == "footfall.consent" and record.exc_info is not None


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # what it is about
def test_a_coroutine_is_no_consent(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It would be true whatever it comes to."""
    settings.FOOTFALL = {**settings.FOOTFALL, "CONSENT": never_awaited}

    assert may_count(get()) is False
    assert caplog.records


# -- What it governs


@pytest.fixture
def _refused(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "CONSENT": lambda request: False}


@pytest.mark.usefixtures("_refused")
def test_refused_a_visitor_is_not_counted() -> None:
    """By labels, a request or `once_per`, with the scope's request as with one that is given; ids come back."""
    request = get()
    with captured_messages() as captured, scope(request=request):
        ids = [
            *publish_labels("a|b"),
            *publish_labels("a", request),
            publish_increment(ARTICLE, "views", request=request),
            publish_decrement(ARTICLE, "views", request=request),
            publish_increment(ARTICLE, "views", once_per=timedelta(days=1)),
        ]

    assert captured == []
    assert len(set(ids)) == 6 and all(isinstance(one, uuid.UUID) for one in ids)


@pytest.mark.usefixtures("_refused")
def test_refused_a_business_number_a_view_and_an_action_go_on() -> None:
    """A like is no visit, whoever clicked it; views and actions are no counts. Labels outside of a request neither."""
    with captured_messages() as captured, scope(request=get()):
        publish_increment(ARTICLE, "views")
        publish_decrement(ARTICLE, "views")
        publish_view(READER, ARTICLE)
        publish_action(READER, "liked", ARTICLE, request=get())
    with captured_messages() as outside:
        publish_labels("a")

    assert len(captured) == 4 and len(outside) == 1


@pytest.mark.usefixtures("_refused")
def test_refused_what_is_wrong_still_raises() -> None:
    """A fault of the site's must not hide until somebody consents."""
    with pytest.raises(ValueError, match="not a label"):
        publish_labels("", get())
    with pytest.raises(ValueError, match="no primary key"):
        publish_increment(Article.from_db("default", ["id"], ["\ud800"]), "views", request=get())


def test_granted_everything_counts(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "CONSENT": lambda request: True, "RESPECT_DO_NOT_TRACK": True}

    with captured_messages() as captured, scope(request=get()):
        publish_labels("a")
        publish_increment(ARTICLE, "views", request=get())
        publish_increment(ARTICLE, "views", once_per=timedelta(days=1))

    assert len(captured) == 3
