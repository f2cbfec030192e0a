"""Decides, before anything is written, which events can't be applied and which are left out on purpose."""

from __future__ import annotations

from collections.abc import Iterable

from footfall.producers.messages import Action, Event, Increment, Ref, View
from footfall.producers.reasons import Reason
from footfall.producers.rules import Malformed
from footfall.producers.settings import conf
from footfall.spiders.matcher import which_spider
from footfall.workers.folding import actions, increments, views
from footfall.workers.folding.references import missing
from footfall.workers.outcomes import Outcome, Parcel, dead, filtered, undecided


def screen(parcels: Iterable[Parcel]) -> None:
    """Give an outcome to what comes from spiders, what this site doesn't know, and what is about objects now gone.

    Reads the database (the spiders once in a while; one query per model and 500 objects), writes nothing.
    """
    wanted: dict[Parcel, tuple[Ref, ...]] = {}
    verdicts: dict[str | None, Outcome | None] = {None: None}  # no user agent: not from a request, always kept
    for parcel in undecided(parcels):
        assert parcel.event is not None  # a parcel without an event is dead from the start
        try:
            wanted[parcel] = check(parcel.event)
        except Malformed as error:
            parcel.outcome = dead(error.reason, str(error), "fold")
            continue
        user_agent = parcel.event.user_agent
        if user_agent not in verdicts:
            verdicts[user_agent] = _verdict(user_agent or "")
        parcel.outcome = verdicts[user_agent]
    open_ones = {parcel: refs for parcel, refs in wanted.items() if parcel.outcome is None}
    gone = missing({ref for refs in open_ones.values() for ref in refs})
    for parcel, refs in open_ones.items():
        if not gone.isdisjoint(refs):
            parcel.outcome = filtered(Reason.GONE, "(gone)")


def check(event: Event) -> tuple[Ref, ...]:
    """Hold an event against what this site knows; returns the objects that must exist. Raises Malformed. No query."""
    match event:
        case View():
            return views.check(event)
        case Increment():
            return increments.check(event)
        case Action():
            return actions.check(event)


def _verdict(user_agent: str) -> Outcome | None:
    if not conf.FILTER_SPIDERS:
        return None
    if not user_agent.strip():
        return filtered(Reason.NO_USER_AGENT, "(none)") if conf.MISSING_USER_AGENT == "filter" else None
    spider = which_spider(user_agent)
    return None if spider is None else filtered(Reason.SPIDER, spider)
