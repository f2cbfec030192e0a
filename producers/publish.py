"""The publish helpers: what a view calls to say that something happened.

Each checks its arguments, builds one event and hands it to the current scope. No call touches the network or queries
a database; what a call can't mean raises here, where the programmer made it. Each returns the event's id, also when
publishing is switched off, or None where there is nothing to record (an anonymous user's view).
"""

import difflib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections, models, router
from django.http import HttpRequest
from django.utils import timezone, translation
from django.utils.functional import Promise

from footfall.producers import messages, once, rules
from footfall.producers.amounts import whole
from footfall.producers.consent import may_count
from footfall.producers.messages import (
    KIND_OF,
    MAX_LEVEL,
    MAX_REFS,
    Action,
    Increment,
    LabelKey,
    Once,
    Ref,
    View,
)
from footfall.producers.scoping import current_scope, submit
from footfall.producers.settings import conf
from footfall.producers.visitors import visitor_of

Instance = models.Model

#: More labels than these are not one visitor's clicks.
MAX_LABELS = 1000


def publish_view(user: Any, obj: Instance, at: datetime | None = None) -> uuid.UUID | None:
    """Say that ``user`` has seen ``obj`` (at ``at``, default now).

    Returns the event's id; None for an anonymous user, for whom everything counts as seen. Raises ValueError for an
    unsaved user or object or an impossible time, TypeError for what is not a model instance.
    """
    return _publish_view(user, _ref(obj), _alias_of(obj), at)


def publish_mark(user: Any, obj: Instance, at: datetime) -> uuid.UUID | None:
    """Like `publish_view`, but without the scope's user agent: no spider filter drops what a known user has seen."""
    return _publish_view(user, _ref(obj), _alias_of(obj), at, from_scope=False)


def publish_model_view(user: Any, model: type[Instance], at: datetime | None = None) -> uuid.UUID | None:
    """Say that ``user`` has seen every object of ``model``. Returns and raises like `publish_view`."""
    if not _is_model(model):
        raise TypeError(f"publish_model_view takes a model class, not {model!r}.")
    return _publish_view(user, Ref(_type_of(model)), router.db_for_write(model), at)


def publish_all_viewed(user: Any, at: datetime | None = None) -> uuid.UUID | None:
    """Say that ``user`` has seen everything. Returns and raises like `publish_view`."""
    return _publish_view(user, None, None, at)


def _publish_view(
    user: Any, ref: Ref | None, using: str | None, at: datetime | None, *, from_scope: bool = True
) -> uuid.UUID | None:
    if user is None or getattr(user, "is_anonymous", False):
        return None
    viewer = _ref(user)
    user_type = django_settings.AUTH_USER_MODEL.lower()
    if viewer.type != user_type:
        raise TypeError(f"{user!r} is no {user_type}.")
    assert viewer.id is not None  # of an instance
    user_agent = _user_agent(None) if from_scope else None
    event = View(id=messages.new_id(), at=_time(at), user=viewer.id, object=ref, user_agent=user_agent)
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
    options: Mapping[str, str | int | bool | None] | None = None,
    once_per: timedelta | None = None,
) -> uuid.UUID:
    """Add ``value`` to the counter ``field`` of ``obj``, in ``dataset`` or in the first one registered for its model.

    ``value`` is a whole number of 64 bits (a numeric string is taken; 0 adds 0). ``op`` names a custom operation of
    the dataset; ``options`` are for a dataset with a rule of its own for the key of its rows.

    ``request`` gives the user agent where there is no scope, and says that a visitor is counted, which takes consent:
    see `footfall.producers.consent.may_count`. Without it, and without ``once_per``, it is a number of the business
    (a like, an order), which counts whoever did it.

    ``once_per``, from a second to 366 days, counts each visitor (see `footfall.producers.visitors.visitor_of`) once
    in such a window of time: windows follow each other on the clock of the site's time zone, one of a day is a
    calendar day. The request is then ``request`` or that of the scope. A visitor who is known by address and user
    agent only is another one each day. Of several amounts each counts once. It takes consent as well.

    Raises LookupError for an object or dataset that is not registered, ValueError for an unknown field, operation or
    value, options that the dataset doesn't take, an unsaved object, an impossible time, or a visitor to be counted
    once of whom there is no request; TypeError for what is not of its type.
    """
    ref = _ref(obj)
    counted = _dataset_of(obj, dataset)
    when = _time(at)
    if field not in counted.get_trackable_fields():
        raise ValueError(_unknown("counter field", field, counted.get_trackable_fields(), counted.__name__))
    if not counted.is_operation(op):
        raise ValueError(f"{counted.__name__} has no operation {op!r}.")
    if options is not None or _has_a_rule_of_its_own(counted):
        _check_options(counted, when, options or {})
    visited = request if once_per is None else _request_to_count_once(request, once_per, op)
    event = Increment(
        id=messages.new_id(),
        at=when,
        dataset=counted._meta.label_lower,
        object=ref,
        field=field,
        op=op,
        value=whole(value, counted.greatest_of(field)),
        user_agent=_user_agent(request),
        options={} if options is None else dict(options),
    )
    if once_per is not None and visited is not None:
        event = _counted_once(event, visited, once_per)
    return _submit(event, _alias_of(obj), counts=visited is None or may_count(visited))


def publish_decrement(
    obj: Instance,
    field: str,
    value: int = 1,
    dataset: type[Instance] | None = None,
    request: HttpRequest | None = None,
    at: datetime | None = None,
    *,
    options: Mapping[str, str | int | bool | None] | None = None,
) -> uuid.UUID:
    """Take ``value`` from a counter; a positive field stops at zero. Otherwise like `publish_increment`."""
    return publish_increment(obj, field, value, dataset, request, at, op="decr", options=options)


def publish_labels(query: str, request: HttpRequest | None = None, at: datetime | None = None) -> list[uuid.UUID]:
    """Count one hit for each label of ``"label:category:dom_id|label|…"``; returns an id for each.

    Category and dom_id may be left out or blank: then they are "None". A visitor who may not be counted, by
    ``request`` or the scope's, is not: see `footfall.producers.consent`. Raises ValueError for an empty label, more
    than three parts, a part that is too long (250, 30, 50 characters) or has a character that a label can't have, and
    for more than 1000 labels; then nothing is counted.
    """
    if not isinstance(query, str):
        raise TypeError(f"publish_labels takes a text, several labels with | between them, not {query!r}.")
    keys = _label_keys(query)
    when, user_agent, visited = _time(at), _user_agent(request), request or _request_of_scope()
    hits = [Increment(id=messages.new_id(), at=when, label=key, user_agent=user_agent) for key in keys]
    counts = visited is None or may_count(visited)
    return [_submit(hit, DEFAULT_DB_ALIAS, counts=counts) for hit in hits]


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

    ``targets`` and ``related`` are one object or any iterable of objects; an object may also be a model (all of it), or
    what is left of a deleted one (`footfall.storage.actions.get_del_item`). ``data`` is whatever else the action should
    remember, as JSON. ``verb`` may be lazily translated and is stored untranslated. ``using`` is the database alias,
    default the objects'; ``grouping_delay`` in seconds (-1 off). With ``request`` the action is filtered like a view
    when a spider sent it. Returns the event's id, which is the stored action's primary key unless the action is
    merged into another. Raises ValueError or TypeError for what can't be stored.
    """
    _refuse_objects_as_data(data)
    aimed_at, related_to = _instances(targets), _instances(related)
    known = None if actor is None or getattr(actor, "is_anonymous", False) else actor
    scope = current_scope()
    event = Action(
        id=messages.new_id(),
        at=_time(timestamp),
        verb=verb_text(verb),
        actor=None if known is None else _acting(known),
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


def _submit(event: messages.Event, using: str, *, counts: bool = True) -> uuid.UUID:
    """Check and hand over ``event``; where it doesn't count it is only checked."""
    try:
        raw = messages.encode_event(event)
    except UnicodeEncodeError:
        raise ValueError("A text holds a lone surrogate, which can't be stored.") from None
    if len(raw) > conf.MAX_EVENT_BYTES:
        raise ValueError(f"The event has {len(raw)} bytes, more than MAX_EVENT_BYTES ({conf.MAX_EVENT_BYTES}).")
    if b"\\u0000" in raw:
        rules.check_data(msgspec.json.decode(raw))
    _refuse_too_long(event)
    if counts:
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
        if event.level is not None and not (type(event.level) is int and 0 <= event.level <= MAX_LEVEL):
            raise ValueError(f"level is a whole number from 0 to {MAX_LEVEL}, not {event.level!r}.")
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
        raise ValueError(
            f"{obj._meta.label} instance is not saved: it has no identity yet. (One that was deleted is named by "
            "what get_del_item() of footfall.storage.actions returns for it.)"
        )
    return Ref(_type_of(obj.__class__), _key_of(obj))


def _key_of(obj: Instance) -> str:
    field: Any = obj._meta.pk
    if isinstance(field, models.CompositePrimaryKey):
        raise TypeError(f"{obj._meta.label} has a composite primary key, which no event can name.")
    try:
        # An object that was made with the text of its key still has that, however it was written.
        return str(field.to_python(obj.pk))
    except ValidationError:
        raise ValueError(f"{str(obj.pk)[:80]!r} is no primary key of a {obj._meta.label}.") from None


def _acting(obj: Any) -> Ref:
    """The Ref of an object as an action names it: also of a model, and of what is left of a deleted object."""
    left = getattr(obj, "footfall_ref", None)
    if isinstance(left, Ref):
        return left
    if not _is_model(obj):
        return _ref(obj)
    if obj._meta.abstract:
        raise TypeError(f"{obj.__name__} is abstract: it has no objects.")
    return Ref(_type_of(obj))


def _refuse_objects_as_data(data: Mapping[str, Any]) -> None:
    for name, value in data.items():
        if isinstance(value, Instance) or _is_model(value):
            near = difflib.get_close_matches(name, ("targets", "related", "actor"), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{name!r} is an object ({value._meta.label}), which data can't hold.{hint}")


def _is_model(obj: Any) -> bool:
    return isinstance(obj, type) and issubclass(obj, Instance)


def _instances(objects: Any) -> list[Any]:
    if isinstance(objects, Instance) or _is_model(objects):
        return [objects]
    if isinstance(objects, (str, bytes)) or not isinstance(objects, Iterable):
        raise TypeError(f"targets and related take a model instance or an iterable of them, not {objects!r}.")
    return list(objects)


def _refs(objects: Iterable[Any]) -> list[Ref]:
    return list(dict.fromkeys(map(_acting, objects)))


def _alias_of(obj: Instance | type[Instance]) -> str:
    # Where a save() of it would write: an object read from a replica is changed on the primary.
    if isinstance(obj, type):
        return router.db_for_write(obj)
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


def _request_of_scope() -> HttpRequest | None:
    scope = current_scope()
    return scope.request if scope is not None else None


def _request_to_count_once(request: HttpRequest | None, once_per: timedelta, op: str) -> HttpRequest:
    once.check_length(once_per)
    if op != "incr":
        raise ValueError(f"once_per goes with incr, not with {op!r}.")
    found = request or _request_of_scope()
    if found is None:
        raise ValueError("once_per counts a visitor: give the request, or publish in a request with ScopeMiddleware.")
    return found


def _counted_once(event: Increment, request: HttpRequest, once_per: timedelta) -> Increment:
    if event.value < 0:
        raise ValueError(f"A visitor counts once for a number from 0 up, not for {event.value}.")
    assert event.object is not None  # a counter's event
    options = sorted(event.options.items())
    counter = (event.dataset, event.object.type, event.object.id, event.field, event.value, options)
    mark: Once = once.once(visitor_of(request, event.at), counter, event.at, once_per)
    return msgspec.structs.replace(event, once=mark)


@lru_cache(maxsize=1024)
def _has_a_rule_of_its_own(counted: Any) -> bool:
    # Footfall's own slots refuse nothing.
    return not counted.slot_of.__module__.startswith("footfall.")


def _check_options(counted: Any, at: datetime, options: Mapping[str, Any]) -> None:
    if not isinstance(options, Mapping):
        raise TypeError(f"options is a dict, not {options!r}.")
    for name, value in options.items():
        rules.check_option(name, value)
    try:
        counted.slot_of(at, **options)
    except Exception as error:
        text = f"{counted.__name__} has no row for the options {dict(options)!r}: {type(error).__name__}: {error}"
        raise ValueError(text) from error


def verb_text(verb: Any) -> str:
    """A verb as it is stored: untranslated. Raises TypeError for what is no text, ValueError for what is no verb."""
    if not isinstance(verb, (str, Promise)):
        raise TypeError(f"A verb is a text, not {verb!r}.")
    text = _untranslated(verb) if isinstance(verb, Promise) else str(verb)
    if len(text) > 255:
        raise ValueError("A verb has at most 255 characters.")
    rules.check_verb(text)
    return text


def _untranslated(verb: Promise) -> str:
    with translation.override(None):
        return str(verb)


def _label_keys(query: str) -> list[LabelKey]:
    items = query.split("|", MAX_LABELS)
    if len(items) > MAX_LABELS:
        raise ValueError(f"More than {MAX_LABELS} labels at once.")
    return [_label_key(item) for item in items]


def _label_key(item: str) -> LabelKey:
    label, *rest = item.split(":")
    if not label.strip() or len(rest) > 2:
        raise ValueError(f"{item[:80]!r} is not a label: it reads label[:category[:dom_id]].")
    for part, limit in zip((label, *rest), (250, 30, 50), strict=False):
        if len(part) > limit:
            raise ValueError(f"{part[:80]!r}… has more than {limit} characters.")
    key = LabelKey(label, *(part if part.strip() else "None" for part in rest))
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
    if not isinstance(dataset, type):
        raise TypeError(f"A dataset is a class, not {dataset!r}.")
    if dataset not in datasets:
        names = ", ".join(one.__name__ for one in datasets)
        raise LookupError(f"{dataset!r} is not registered for {obj._meta.label}, which is counted in {names}.")
    return dataset


def _unknown(what: str, name: str, known: Sequence[str], where: str) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" It has {', '.join(map(repr, known))}."
    return f"{where} has no {what} {name!r}.{hint}"
