"""The publish helpers: what a view calls to say that something happened.

Each checks its arguments, builds one event and hands it to the current scope. No call touches the network or queries
a database; what a call can't mean raises here, where the programmer made it. Each returns the event's id, also when
publishing is switched off, or None where there is nothing to record (an anonymous user's view).
"""

import difflib
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.apps import apps
from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, connections, models, router
from django.http import HttpRequest
from django.utils import timezone, translation
from django.utils.functional import Promise

from footfall.producers import messages, rules
from footfall.producers.messages import (
    KIND_OF,
    MAX_REFS,
    Action,
    Increment,
    LabelKey,
    Ref,
    View,
)
from footfall.producers.scoping import current_scope, submit
from footfall.producers.settings import conf

Instance = models.Model


def publish_view(user: Any, obj: Instance, at: datetime | None = None) -> uuid.UUID | None:
    """Say that ``user`` has seen ``obj`` (at ``at``, default now).

    Returns the event's id; None for an anonymous user, for whom everything counts as seen. Raises ValueError for an
    unsaved user or object or an impossible time, TypeError for what is not a model instance.
    """
    return _publish_view(user, _ref(obj), _alias_of(obj), at)


def publish_model_view(user: Any, model: type[Instance], at: datetime | None = None) -> uuid.UUID | None:
    """Say that ``user`` has seen every object of ``model``. Returns and raises like `publish_view`."""
    if not (isinstance(model, type) and issubclass(model, Instance)):
        raise TypeError(f"publish_model_view takes a model class, not {model!r}.")
    return _publish_view(user, Ref(_type_of(model)), router.db_for_write(model), at)


def publish_all_viewed(user: Any, at: datetime | None = None) -> uuid.UUID | None:
    """Say that ``user`` has seen everything. Returns and raises like `publish_view`."""
    return _publish_view(user, None, None, at)


def _publish_view(user: Any, ref: Ref | None, using: str | None, at: datetime | None) -> uuid.UUID | None:
    if user is None or getattr(user, "is_anonymous", False):
        return None
    viewer = _ref(user)
    user_type = django_settings.AUTH_USER_MODEL.lower()
    if viewer.type != user_type:
        raise TypeError(f"{user!r} is not a {user_type}.")
    assert viewer.id is not None  # of an instance
    event = View(id=messages.new_id(), at=_time(at), user=viewer.id, object=ref, user_agent=_user_agent(None))
    return _submit(event, using or _alias_of(user))


def publish_increment(
    obj: Instance,
    field: str,
    value: int = 1,
    dataset: type[Instance] | None = None,
    request: HttpRequest | None = None,
    at: datetime | None = None,
    *,
    op: str = "incr",
) -> uuid.UUID:
    """Add ``value`` to the counter ``field`` of ``obj``, in ``dataset`` or in the first one registered for its model.

    ``value`` is a whole number of 64 bits (a numeric string is taken; 0 adds 0). ``request`` gives the user agent
    where there is no scope. ``op`` names a custom operation of the dataset. Raises LookupError for an object or
    dataset that is not registered, ValueError for an unknown field, operation or value, an unsaved object or an
    impossible time.
    """
    ref = _ref(obj)
    counted = _dataset_of(obj, dataset)
    if field not in counted.get_trackable_fields():
        raise ValueError(_unknown("counter field", field, counted.get_trackable_fields(), counted.__name__))
    if not counted.is_operation(op):
        raise ValueError(f"{counted.__name__} has no operation {op!r}.")
    event = Increment(
        id=messages.new_id(),
        at=_time(at),
        dataset=counted._meta.label_lower,
        object=ref,
        field=field,
        op=op,
        value=_whole(value, counted.greatest_of(field)),
        user_agent=_user_agent(request),
    )
    return _submit(event, _alias_of(obj))


def publish_decrement(
    obj: Instance,
    field: str,
    value: int = 1,
    dataset: type[Instance] | None = None,
    request: HttpRequest | None = None,
    at: datetime | None = None,
) -> uuid.UUID:
    """Take ``value`` from a counter; a positive field stops at zero. Otherwise like `publish_increment`."""
    return publish_increment(obj, field, value, dataset, request, at, op="decr")


def publish_labels(query: str, request: HttpRequest | None = None, at: datetime | None = None) -> list[uuid.UUID]:
    """Count one hit for each label of ``"label:category:dom_id|label|…"``; returns an id for each.

    Category and dom_id may be left out. Raises ValueError for an empty label, more than three parts, a part that is
    too long (250, 30, 50 characters) or has a character that a label can't have; then nothing is counted.
    """
    keys = [_label_key(item) for item in query.split("|")]
    when, user_agent = _time(at), _user_agent(request)
    hits = [Increment(id=messages.new_id(), at=when, label=key, user_agent=user_agent) for key in keys]
    return [_submit(hit, DEFAULT_DB_ALIAS) for hit in hits]


def publish_action(
    actor: Instance | None,
    verb: Any,
    targets: Any = (),
    related: Any = (),
    timestamp: datetime | None = None,
    level: int | None = None,
    grouping_delay: int | None = None,
    using: str | None = None,
    request: HttpRequest | None = None,
    **data: Any,
) -> uuid.UUID:
    """Say that ``actor`` (or nobody: None) did ``verb`` to ``targets``, in relation to ``related``.

    ``targets`` and ``related`` are one object or any iterable of objects; ``data`` is whatever else the action should
    remember, as JSON. ``verb`` may be lazily translated and is stored untranslated. ``using`` is the database alias,
    default the objects'; ``grouping_delay`` in seconds (-1 off). With ``request`` the action is filtered like a view
    when a spider sent it. Returns the event's id, which is the stored action's primary key unless the action is
    merged into another. Raises ValueError or TypeError for what can't be stored.
    """
    aimed_at, related_to = _instances(targets), _instances(related)
    known = None if actor is None or getattr(actor, "is_anonymous", False) else actor
    scope = current_scope()
    event = Action(
        id=messages.new_id(),
        at=_time(timestamp),
        verb=_verb(verb),
        actor=None if known is None else _ref(known),
        targets=_refs(aimed_at),
        related=_refs(related_to),
        level=level,
        data=data,
        grouping_delay=grouping_delay,
        using=_known_alias(using),
        unit=scope.id if scope is not None else None,
        user_agent=user_agent_of(request) if request is not None else None,
    )
    rules.check_data(data)
    holder = next((one for one in (known, *aimed_at, *related_to) if one is not None), None)
    return _submit(event, using or (DEFAULT_DB_ALIAS if holder is None else _alias_of(holder)))


log = publish_action


def user_agent_of(request: HttpRequest) -> str:
    """The request's user agent as it travels: at most 512 characters of clean text, "" without the header."""
    return rules.clean_user_agent(str(request.META.get("HTTP_USER_AGENT", "")))


def _submit(event: messages.Event, using: str) -> uuid.UUID:
    try:
        raw = messages.encode_event(event)
    except UnicodeEncodeError:
        raise ValueError("A text holds a lone surrogate, which can't be stored.") from None
    if len(raw) > conf.MAX_EVENT_BYTES:
        raise ValueError(f"The event has {len(raw)} bytes, more than MAX_EVENT_BYTES ({conf.MAX_EVENT_BYTES}).")
    if b"\\u0000" in raw:
        rules.check_data(msgspec.json.decode(raw))
    _refuse_too_long(event)
    submit(KIND_OF[type(event)], event, raw, using)
    return event.id


def _refuse_too_long(event: messages.Event) -> None:
    # Structs check their constraints only when they are decoded; these are the ones a caller can break.
    refs = [*event.targets, *event.related, event.actor] if isinstance(event, Action) else [event.object]
    for ref in refs:
        if ref is not None and ref.id is not None and not 0 < len(ref.id) <= 255:
            raise ValueError(f"The primary key of {ref.type} is empty or has more than 255 characters.")
    if isinstance(event, Action):
        if len(event.targets) > MAX_REFS or len(event.related) > MAX_REFS:
            raise ValueError(f"An action has at most {MAX_REFS} targets and {MAX_REFS} related objects.")
        if event.level is not None and not (type(event.level) is int and 0 <= event.level <= 32767):
            raise ValueError(f"level is a whole number from 0 to 32767, not {event.level!r}.")
        delay = event.grouping_delay
        if delay is not None and not (type(delay) is int and -1 <= delay <= messages.INT64_MAX):
            raise ValueError(f"grouping_delay is -1 or a number of seconds, not {event.grouping_delay!r}.")


def _type_of(model: type[Instance]) -> str:
    # A proxy is what its base is; a deferred or swapped class never travels.
    return (model._meta.concrete_model or model)._meta.label_lower


def _ref(obj: Any) -> Ref:
    if not isinstance(obj, Instance):
        raise TypeError(f"{obj!r} is not a model instance.")
    if obj.pk is None or obj._state.adding:
        raise ValueError(f"{obj._meta.label} instance is not saved: it has no identity yet.")
    return Ref(_type_of(obj.__class__), str(obj.pk))


def _instances(objects: Any) -> list[Any]:
    if isinstance(objects, Instance):
        return [objects]
    if isinstance(objects, (str, bytes)) or not isinstance(objects, Iterable):
        raise TypeError(f"targets and related take a model instance or an iterable of them, not {objects!r}.")
    return list(objects)


def _refs(objects: Iterable[Any]) -> list[Ref]:
    return list(dict.fromkeys(map(_ref, objects)))


def _alias_of(obj: Instance) -> str:
    # Where a save() of it would write: an object read from a replica is changed on the primary.
    return router.db_for_write(obj.__class__, instance=obj)


def _known_alias(using: str | None) -> str | None:
    if using is not None and using not in connections:
        raise ValueError(_unknown("database alias", using, tuple(connections), "DATABASES"))
    if using is not None and not router.allow_migrate(using, "footfall_storage"):
        raise ValueError(f"The database router keeps Footfall's tables off {using!r}.")
    return using


def _time(at: datetime | None) -> datetime:
    now = datetime.now(UTC)
    if at is None:
        return now
    if not isinstance(at, datetime):
        raise TypeError(f"A time is a datetime, not {at!r}.")
    if timezone.is_naive(at):
        if django_settings.USE_TZ:
            raise ValueError(f"{at.isoformat()} has no time zone.")
        at = timezone.make_aware(at, timezone.get_default_timezone())
    rules.check_time(at, now, timedelta(seconds=conf.MAX_CLOCK_SKEW_SECONDS))
    return at


def _user_agent(request: HttpRequest | None) -> str | None:
    if request is not None:
        return user_agent_of(request)
    scope = current_scope()
    return scope.user_agent if scope is not None else None


def _verb(verb: Any) -> str:
    text = _untranslated(verb) if isinstance(verb, Promise) else str(verb)
    if len(text) > 255:
        raise ValueError("A verb has at most 255 characters.")
    rules.check_verb(text)
    return text


def _untranslated(verb: Promise) -> str:
    with translation.override(None):
        return str(verb)


def _whole(value: Any, greatest: int) -> int:
    if isinstance(value, str):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"A counter changes by a whole number, not by {value!r}.")
    if abs(value) > greatest:
        raise ValueError(f"{value} does not fit into the counter, which holds up to {greatest}.")
    return value


def _label_key(item: str) -> LabelKey:
    label, *rest = item.split(":")
    if not label.strip() or len(rest) > 2:
        raise ValueError(f"{item[:80]!r} is not a label: it reads label[:category[:dom_id]].")
    for part, limit in zip((label, *rest), (250, 30, 50), strict=False):
        if len(part) > limit:
            raise ValueError(f"{part[:80]!r}… has more than {limit} characters.")
    key = LabelKey(label, *(part or "None" for part in rest))
    rules.check_label(key)
    return key


def _dataset_of(obj: Instance, dataset: type[Instance] | None) -> Any:
    try:
        registry: Any = apps.get_app_config("footfall_storage")
    except LookupError:
        raise LookupError('"footfall.storage" is not in INSTALLED_APPS: it knows the datasets.') from None
    datasets = registry.datasets.datasets_of(obj.__class__)
    if not datasets:
        raise LookupError(f"No dataset is registered for {obj._meta.label}.")
    if dataset is None:
        return datasets[0]
    if dataset not in datasets:
        names = ", ".join(one.__name__ for one in datasets)
        raise LookupError(f"{dataset!r} is not registered for {obj._meta.label}, which is counted in {names}.")
    return dataset


def _unknown(what: str, name: str, known: Sequence[str], where: str) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" It has {', '.join(map(repr, known))}."
    return f"{where} has no {what} {name!r}.{hint}"
