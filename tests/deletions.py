"""Soft deletion and restoration held against a plain account of what they promise, on whatever database is set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import strategies as st
from newsroom.models import Desk, Issue, Magazine, Publisher, Supplement

from footfall.storage.references import HandleRefModel, UndeleteRefused
from footfall.storage.softdeletion import DELETED

#: BEGIN and COMMIT, or a savepoint and its release; one UPDATE a level; on SQLite the counter of changes.
STATEMENTS = {"postgresql": 5, "sqlite": 6}


def large_deletions() -> Iterator[list[str]]:
    """The statements of three deletions of 10,000 children in two levels: alone, in a transaction, by a queryset."""
    publisher = Publisher.objects.create(name="Press")
    Magazine.objects.bulk_create(Magazine(title=f"{n}", publisher=publisher) for n in range(100))
    below = Magazine.objects.order_by("pk")
    Issue.objects.bulk_create(Issue(number=n, magazine=magazine) for magazine in below for n in range(99))
    for around, delete in (
        (nullcontext, publisher.delete),
        (transaction.atomic, publisher.delete),
        (nullcontext, Publisher.objects.all().delete),
    ):
        with around(), CaptureQueriesContext(connection) as captured:
            delete()
        assert not Magazine.handleref.undeleted().exists() and not Issue.handleref.undeleted().exists()
        yield [query["sql"] for query in captured.captured_queries]
        publisher.undelete()


# -- Forests

#: Models, and where in the forest: each row hangs below the row of which the place is named.
PLACES: list[tuple[type[HandleRefModel], int | None]] = [
    (Publisher, None),
    (Magazine, 0),
    (Issue, 1),
    (Supplement, 1),
    (Desk, None),
    (Desk, 4),
    (Desk, 5),
    (Desk, 5),
    (Publisher, None),
]
ABOVE = {Magazine: "publisher", Issue: "magazine", Supplement: "magazine", Desk: "above"}


class Step(NamedTuple):
    """What is done, to the rows of which the places are named: to the first, or to all that are of one model."""

    kind: str
    places: tuple[int, ...]
    status: str = ""


#: Deletions and restorations are what it is about; the rest comes between.
KINDS = (
    *("delete", "undelete") * 4,
    *("delete rows", "undelete rows", "save", "update", "bulk_update"),
    *("move", "touch", "hard"),
)
steps = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(KINDS),
        places=st.lists(st.integers(0, len(PLACES) - 1), min_size=1, max_size=3, unique=True).map(tuple),
        status=st.sampled_from(["", "ok", DELETED]),
    ),
    min_size=5,
    max_size=20,
)


@dataclass(frozen=True)
class Row:
    """What is known of a row: where it hangs, its status, and in which deletion it went, None by hand."""

    model: type[HandleRefModel]
    above: int | None
    status: str = "ok"
    former: str = ""
    deletion: int | None = None
    version: int = 1

    @property
    def is_deleted(self) -> bool:
        return self.status == DELETED


class Refused(Exception):
    """A restoration below a deleted row."""


class Account:
    """The promises in plain words, one row at a time."""

    def __init__(self) -> None:
        self.rows = {place: Row(model, above) for place, (model, above) in enumerate(PLACES)}
        self._deletions = 0

    def do(self, step: Step) -> None:
        """Raises Refused, and changes nothing, where the step is to be refused."""
        before = dict(self.rows)
        try:
            getattr(self, "_" + step.kind.replace(" ", "_"))(step)
        except Refused:
            self.rows = before
            raise

    def below(self, place: int) -> list[int]:
        return [one for one, row in self.rows.items() if row.above == place]

    def _delete(self, step: Step) -> None:
        self._deletions += 1
        (place,) = step.places
        self._take(place, self._deletions)
        for one in self.below(place):
            self._take(one, self._deletions)

    def _delete_rows(self, step: Step) -> None:
        self._deletions += 1
        for place in step.places:
            self._take(place, self._deletions)

    def _take(self, place: int, deletion: int) -> None:
        row = self.rows[place]
        if not row.is_deleted:
            self._change(place, status=DELETED, former=row.status, deletion=deletion)
            for one in self.below(place):
                self._take(one, deletion)

    def _undelete(self, step: Step) -> None:
        self._undelete_rows(step)

    def _undelete_rows(self, step: Step) -> None:
        restored: set[int] = set()
        for place in step.places:
            if self.rows[place].is_deleted and place not in restored:
                self._give_back(place, self.rows[place].deletion, restored)
        for place in restored:
            self._refuse_below_deleted(place)

    def _give_back(self, place: int, deletion: int | None, restored: set[int]) -> None:
        row = self.rows[place]
        restored.add(place)
        self._change(place, status=row.former, former="")
        for one in self.below(place):
            if deletion is not None and self.rows[one].is_deleted and self.rows[one].deletion == deletion:
                self._give_back(one, deletion, restored)

    def _hard(self, step: Step) -> None:
        (place,) = step.places
        below = self.below(place)
        del self.rows[place]
        for one in below:
            if one in self.rows:
                self._hard(Step("hard", (one,)))

    def _touch(self, step: Step) -> None:
        self._change(step.places[0])

    def _move(self, step: Step) -> None:
        place, above = step.places
        self._change(place, above=above)

    def _save(self, step: Step) -> None:
        (place,) = step.places
        row = self.rows[place]
        if step.status == DELETED and not row.is_deleted:
            self._change(place, status=DELETED, former=row.status, deletion=None)
        elif row.is_deleted and step.status != DELETED:
            self._change(place, status=step.status, former="")
            self._refuse_below_deleted(place)
        else:
            self._change(place, status=step.status)

    _update = _bulk_update = _save

    def _refuse_below_deleted(self, place: int) -> None:
        above = self.rows[place].above
        if above is not None and self.rows[above].is_deleted:
            raise Refused

    def _change(self, place: int, **values: Any) -> None:
        row = self.rows[place]
        self.rows[place] = replace(row, version=row.version + 1, **values)


class Forest:
    """The same rows in the database, and the same steps."""

    def __init__(self) -> None:
        self.objects: dict[int, HandleRefModel] = {}
        for place, (model, above) in enumerate(PLACES):
            one: Any = model(
                status="ok", **({} if model not in ABOVE or above is None else {ABOVE[model]: self[above]})
            )
            if model is Publisher:
                one.name = str(place)
            one.save()
            self.objects[place] = one

    def __getitem__(self, place: int) -> HandleRefModel:
        return self.objects[place]

    def do(self, step: Step) -> None:
        """Raises UndeleteRefused where it is refused."""
        one: Any = self[step.places[0]] if step.places else None
        if one is not None:
            one.refresh_from_db()
        with transaction.atomic():
            getattr(self, "_" + step.kind.replace(" ", "_"))(one, step)

    def _delete(self, one: Any, step: Step) -> None:
        one.delete()

    def _undelete(self, one: Any, step: Step) -> None:
        one.undelete()

    def _hard(self, one: Any, step: Step) -> None:
        one.delete(hard=True)
        one.pk = None

    def _touch(self, one: Any, step: Step) -> None:
        one.save()

    def _move(self, one: Any, step: Step) -> None:
        setattr(one, ABOVE[one.__class__], self[step.places[1]])
        one.save(update_fields=[ABOVE[one.__class__]])

    def _save(self, one: Any, step: Step) -> None:
        one.status = step.status
        one.save()

    def _update(self, one: Any, step: Step) -> None:
        self._rows(step).update(status=step.status)

    def _bulk_update(self, one: Any, step: Step) -> None:
        one.status = step.status
        one.__class__.objects.bulk_update([one], ["status"])

    def _delete_rows(self, one: Any, step: Step) -> None:
        self._rows(step).delete()

    def _undelete_rows(self, one: Any, step: Step) -> None:
        self._rows(step).undelete()

    def _rows(self, step: Step) -> Any:
        keys = [self[place].pk for place in step.places]
        model: Any = self[step.places[0]].__class__ if step.places else Publisher
        return model.objects.filter(pk__in=keys)

    def stored(self) -> dict[int, tuple[str, int]]:
        """Status and version of each row."""
        rows = {
            (model, key): (status, version)
            for model in (Publisher, Magazine, Issue, Desk)
            for key, status, version in model.objects.values_list("pk", "status", "version")
        }
        kept = {
            place: (Issue if isinstance(one, Issue) else one.__class__, one.pk) for place, one in self.objects.items()
        }
        return {place: rows[key] for place, key in kept.items() if key in rows}


def play(given: list[Step]) -> None:
    """Do the steps that are possible to both, and compare them after each."""
    account, forest = Account(), Forest()
    for step in given:
        step = possible(account, step)
        refused = []
        for one, refusal in ((account, Refused), (forest, UndeleteRefused)):
            try:
                one.do(step)
            except refusal:
                refused.append(one)
        assert len(refused) != 1, f"{step}: refused by one"
        assert forest.stored() == {place: (row.status, row.version) for place, row in account.rows.items()}, step


def possible(account: Account, step: Step) -> Step:
    """The step, or what is possible of it: rows that are there, of one model, and below others of the right one."""
    there = [place for place in step.places if place in account.rows]
    if step.kind == "move":
        wanted = {model: PLACES[above][0] for model, above in PLACES if above is not None}
        fits = len(there) > 1 and wanted.get(PLACES[there[0]][0]) is PLACES[there[1]][0]
        return step._replace(places=tuple(there[:2])) if fits else Step("delete rows", ())
    alike = tuple(place for place in there if PLACES[place][0] is PLACES[there[0]][0])
    if step.kind.endswith("rows"):
        return step._replace(places=alike)
    return step._replace(places=alike[:1]) if alike else Step("delete rows", ())
