"""System checks of what a publishing process needs: settings, middleware and the spool. None touches the network."""

import difflib
import inspect
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.core.exceptions import ImproperlyConfigured

from footfall.producers.consent import consent_rule
from footfall.producers.messages import MAX_LEVEL
from footfall.producers.settings import DEFAULTS, conf

MIDDLEWARE = "footfall.producers.middleware.ScopeMiddleware"

APPS = ("footfall.storage", "footfall.workers", "footfall.spiders")

#: Settings with few values, and those values.
CHOICES: dict[str, tuple[str, ...]] = {
    "TRANSPORT": ("rabbitmq", "embedded", "immediate"),
    "SHIPPER": ("thread", "daemon"),
    "MISSING_USER_AGENT": ("filter", "keep"),
}

#: Numbers below which a setting would stop the work instead of steering it.
MINIMA: dict[str, int] = {
    "MAX_CLOCK_SKEW_SECONDS": 0,
    "MAX_EVENT_BYTES": 1024,
    "SPOOL_QUOTA_BYTES": 1_048_576,
    "JOURNAL_MAX_BYTES": 4096,
    "EVENTS_PER_MESSAGE": 1,
    "CONFIRM_WINDOW": 1,
    "BATCH_MESSAGES": 1,
    "BATCH_BYTES": 1,
    "BATCH_LINGER_MS": 0,
    "MAX_MESSAGE_BYTES": 65_536,
    "DELIVERY_LIMIT": 1,
    "LEDGER_DAYS": 1,
    "GROUPING_DELAY": -1,
    "TRUSTED_PROXIES": 0,
    "TRACK_LABELS_PER_MINUTE": 20,  # what a browser may send at once
    "MAX_NEW_LABELS_PER_DAY": 1,
    "MAX_TRACKERS": 0,
}

#: Settings that are a list of texts, or None.
LISTS = ("TRACK_ALLOWED_LABELS", "MARKED_MODELS")

#: Names of attributes.
ATTRIBUTES = ("ACTIONS_ATTR", "TRACKERS_ATTR")

#: File systems on which appends and locks of several processes can't be relied on.
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.glusterfs", "ceph", "9p", "lustre")


def check_settings(**_: Any) -> list[CheckMessage]:
    """Unknown keys of FOOTFALL (with the near one) and values that can't be."""
    given = getattr(django_settings, "FOOTFALL", {})
    if not is_dict():
        return [Error("FOOTFALL is not a dict.", id="footfall.producers.E001")]
    unknown = [_unknown(name) for name in given if name not in DEFAULTS]
    wrong = [_wrong_type(name, value) for name, value in given.items() if _has_wrong_type(name, value)]
    bad = [_bad_choice(name, getattr(conf, name)) for name in CHOICES if getattr(conf, name) not in CHOICES[name]]
    return [*unknown, *wrong, *bad] or [
        *_check_minima(),
        *_check_levels(),
        *_check_attributes(),
        *_check_lists(),
        *_check_consent(),
        *_check_cache(),
    ]


def is_dict() -> bool:
    """Whether the setting FOOTFALL can be read at all."""
    return isinstance(getattr(django_settings, "FOOTFALL", {}), dict)


def _check_minima() -> list[CheckMessage]:
    low = [(name, minimum) for name, minimum in MINIMA.items() if getattr(conf, name) < minimum]
    text = "FOOTFALL[{!r}] is {}, less than {}."
    return [
        Error(text.format(name, getattr(conf, name), minimum), id="footfall.producers.E008") for name, minimum in low
    ]


def _check_levels() -> list[CheckMessage]:
    levels = conf.LEVELS
    if not isinstance(levels, dict) or not all(type(value) is int for value in levels.values()):
        return [Error('FOOTFALL["LEVELS"] is not a dict of numbers by name.', id="footfall.producers.E009")]
    names = ", ".join(map(repr, levels))
    unknown = [name for name in ("DEFAULT_LEVEL", "READABLE_LEVEL") if not _is_level(getattr(conf, name))]
    text = "FOOTFALL[{!r}] is {!r}, which is not in LEVELS."
    hint = f"It is one of {names}, or a number from 0 to {MAX_LEVEL}."
    return [Error(text.format(name, getattr(conf, name)), hint=hint, id="footfall.producers.E010") for name in unknown]


def _is_level(value: Any) -> bool:
    return value in conf.LEVELS if isinstance(value, str) else type(value) is int and 0 <= value <= MAX_LEVEL


def _check_attributes() -> list[CheckMessage]:
    wrong = [name for name in ATTRIBUTES if not str(getattr(conf, name)).isidentifier()]
    text = "FOOTFALL[{!r}] is {!r}, which is no name of an attribute."
    return [Error(text.format(name, getattr(conf, name)), id="footfall.producers.E014") for name in wrong]


def _check_lists() -> list[CheckMessage]:
    wrong = [name for name in LISTS if not _is_list_of_texts(getattr(conf, name))]
    text = "FOOTFALL[{!r}] is {!r}, which is neither None nor a list of strings."
    return [Error(text.format(name, getattr(conf, name)), id="footfall.producers.E011") for name in wrong]


def _is_list_of_texts(value: Any) -> bool:
    is_list = isinstance(value, (list, tuple, set, frozenset))
    return value is None or (is_list and all(isinstance(one, str) for one in value))


def _check_consent() -> list[CheckMessage]:
    if conf.CONSENT is None:
        return []
    hint = "It is a function of a request that returns True or False, or its import string."
    try:
        rule = consent_rule()
    except Exception as error:  # whatever the module that it names does
        text = f'FOOTFALL["CONSENT"] can\'t be used, and nobody is counted: {error}'
        return [Error(text, hint=hint, id="footfall.producers.E012")]
    if inspect.iscoroutinefunction(rule):
        text = 'FOOTFALL["CONSENT"] is a coroutine function, which nobody awaits.'
        return [Error(text, hint=hint, id="footfall.producers.E012")]
    return []


def _check_cache() -> list[CheckMessage]:
    if conf.TRACK_CACHE in list(django_settings.CACHES):
        return []
    known = ", ".join(map(repr, django_settings.CACHES))
    text = f'FOOTFALL["TRACK_CACHE"] is {conf.TRACK_CACHE!r}, which is not in CACHES.'
    return [Error(text, hint=f"It is one of {known}.", id="footfall.producers.E013")]


def _unknown(name: str) -> CheckMessage:
    near = difflib.get_close_matches(str(name).upper(), DEFAULTS, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"The keys are {', '.join(sorted(DEFAULTS))}."
    return Error(f"FOOTFALL has an unknown key {name!r}.", hint=hint, id="footfall.producers.E002")


def _has_wrong_type(name: str, value: Any) -> bool:
    default = DEFAULTS.get(name)
    if isinstance(default, bool) or isinstance(value, bool):
        return default is not None and type(value) is not type(default)
    return isinstance(default, int) and not isinstance(value, int)


def _wrong_type(name: str, value: Any) -> CheckMessage:
    wanted = type(DEFAULTS[name]).__name__
    return Error(f"FOOTFALL[{name!r}] is {value!r}, which is not of type {wanted}.", id="footfall.producers.E003")


def _bad_choice(name: str, value: Any) -> CheckMessage:
    choices = ", ".join(map(repr, CHOICES[name]))
    return Error(f"FOOTFALL[{name!r}] is {value!r}.", hint=f"It is one of {choices}.", id="footfall.producers.E004")


def check_apps(**_: Any) -> list[CheckMessage]:
    """The other rooms are installed: without them what is published is kept, and never applied."""
    missing = [name for name in APPS if not apps.is_installed(name)]
    if not missing:
        return []
    names = ", ".join(map(repr, missing))
    hint = "Add what is missing; on a host that only publishes, silence this."
    return [Caution(f"INSTALLED_APPS lacks {names}.", hint=hint, id="footfall.producers.W004")]


def check_middleware(**_: Any) -> list[CheckMessage]:
    """ScopeMiddleware is there, once, and ahead of what may publish."""
    names: Sequence[str] = django_settings.MIDDLEWARE or ()
    if MIDDLEWARE not in names:
        text = "ScopeMiddleware is not in MIDDLEWARE: a request's publishes are written one by one."
        return [Caution(text, hint=f"Put {MIDDLEWARE!r} first.", id="footfall.producers.W001")]
    ahead = [name for name in names[: names.index(MIDDLEWARE)] if not name.startswith(_MAY_STAND_AHEAD)]
    if not ahead:
        return []
    text = f"ScopeMiddleware stands behind {ahead[0]!r}: what that publishes is outside of the request's scope."
    return [Caution(text, hint=f"Put {MIDDLEWARE!r} first.", id="footfall.producers.W002")]


# They answer or rewrite a request before any view, and publish nothing.
_MAY_STAND_AHEAD = (
    "django.middleware.security.",
    "django.middleware.gzip.",
    "whitenoise.",
    "corsheaders.",
)


def check_spool(**_: Any) -> list[CheckMessage]:
    """The spool's directory can be written, is nobody else's, and lies on a disk of this host."""
    if not is_dict() or conf.TRANSPORT == "immediate" or not conf.ENABLED:
        return []
    try:
        directory = conf.spool_dir
    except (ImproperlyConfigured, TypeError) as error:
        return [Error(str(error), hint='Set FOOTFALL["SPOOL_DIR"].', id="footfall.producers.E005")]
    place = _nearest(directory)
    messages: list[CheckMessage] = []
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        text = f"The spool {directory} can't be written: {place} is not a directory that this user may write."
        messages.append(Error(text, hint="Every web and worker user needs it.", id="footfall.producers.E006"))
    kind = file_system_of(place)
    if kind in NETWORK_FILE_SYSTEMS:
        text = f"The spool {directory} lies on a network file system ({kind})."
        messages.append(Error(text, hint="Use a disk of the host's own.", id="footfall.producers.E007"))
    if directory.is_dir() and directory.stat().st_mode & stat.S_IWOTH:
        text = f"Everybody on this host may write into the spool {directory}."
        messages.append(Caution(text, hint="chmod o-w", id="footfall.producers.W003"))
    return messages


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest of its parents that exists."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def file_system_of(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The type of the file system that holds ``path``, as the kernel names it; None where it doesn't say."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    points = [(fields[1].replace("\\040", " "), fields[2]) for fields in map(str.split, lines)]
    holding = [(point, kind) for point, kind in points if path.resolve().is_relative_to(point)]
    return max(holding, key=lambda pair: len(pair[0]), default=("", None))[1]
