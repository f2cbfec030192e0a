"""Whether a visitor may be counted: the site's own rule, and what the visitor's browser asks for."""

import logging
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string

from footfall.producers.settings import conf

logger = logging.getLogger("footfall.consent")


def may_count(request: HttpRequest) -> bool:
    """Whether the visitor behind ``request`` may be counted.

    No, where RESPECT_DO_NOT_TRACK or RESPECT_GLOBAL_PRIVACY_CONTROL is on and the browser sends ``DNT: 1`` or
    ``Sec-GPC: 1``; else what CONSENT says. It says no too where it raises, or answers neither True nor False, which
    is logged. Never raises; queries only what CONSENT queries.
    """
    if conf.RESPECT_DO_NOT_TRACK and request.META.get("HTTP_DNT") == "1":
        return False
    if conf.RESPECT_GLOBAL_PRIVACY_CONTROL and request.META.get("HTTP_SEC_GPC") == "1":
        return False
    return conf.CONSENT is None or _consents(request)


def consent_rule() -> Callable[[HttpRequest], Any]:
    """The callable that CONSENT, which is not None, names. Raises ImportError or TypeError where it names none."""
    rule = import_string(conf.CONSENT) if isinstance(conf.CONSENT, str) else conf.CONSENT
    if not callable(rule):
        raise TypeError(f"{rule!r} can't be called")
    return rule  # type: ignore[no-any-return]  # a setting has any type


def _consents(request: HttpRequest) -> bool:
    try:
        answer = consent_rule()(request)
        if not isinstance(answer, bool):  # a coroutine that nobody awaits is true as well
            raise TypeError(f"CONSENT answers True or False, not {type(answer).__name__}")
    except Exception:
        logger.exception('FOOTFALL["CONSENT"] failed: the visitor is not counted.')
        return False
    return answer
