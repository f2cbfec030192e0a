"""Objects in the admin: deletion is soft and tells what goes, restoration is by POST, and for ever is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.sites import AdminSite
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from newsroom.models import Article, Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement
from unit.versionsite import site

from footfall.storage.admin import HandleRefAdmin
from footfall.storage.references import DELETED, HandleRefModel

pytestmark = [pytest.mark.django_db, pytest.mark.urls("unit.versionsite")]

#: What a form says of the magazines on the page of a publisher: nothing.
NO_MAGAZINES = {"magazines-TOTAL_FORMS": "0", "magazines-INITIAL_FORMS": "0"}

XSS = "<script>alert('x')</script>\u202e"

Login = Callable[..., Client]


@pytest.fixture
def login() -> Login:
    """A client signed in as a member of the staff with these permissions on the newsroom's objects."""

    def login(*codes: str) -> Client:
        user = User.objects.create(username=f"staff {User.objects.count()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codes))
        client = Client()
        client.force_login(user)
        return client

    return login


@pytest.fixture
def chief(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("chief"))
    return client


@pytest.fixture
def publisher() -> Publisher:
    """With two magazines of two issues each."""
    publisher: Publisher = Publisher.objects.create(name="Northern Press")
    for title in ("Tide", "Ebb"):
        magazine = Magazine.objects.create(title=title, publisher=publisher)
        for number in (1, 2):
            Issue.objects.create(number=number, magazine=magazine)
    return publisher


def page(obj: models.Model | type[models.Model], name: str, *args: Any) -> str:
    key = [] if isinstance(obj, type) else [quote(str(obj.pk))]
    return reverse(f"newsdesk:newsroom_{obj._meta.model_name}_{name}", args=[*key, *args])


def act(client: Client, action: str, *objs: HandleRefModel, deleted: str = "all", **data: str) -> Any:
    at = page(objs[0].__class__, "changelist")
    keys = [str(obj.pk) for obj in objs]
    return client.post(f"{at}?deleted={deleted}", {"action": action, "_selected_action": keys, **data}, follow=True)


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def statuses(*models: type[HandleRefModel]) -> list[list[str]]:
    return [[obj.status for obj in model.objects.order_by("pk")] for model in models]


def text(response: Any) -> str:
    content: str = response.content.decode()
    return content


# -- Deleting


def test_hr_43_the_button_deletes_softly_with_what_goes_with_it(chief: Client, publisher: Publisher) -> None:
    """In the admin as elsewhere."""
    done = chief.post(page(publisher, "delete"), {"post": "yes"}, follow=True)

    assert said(done) == ["The publisher “Northern Press” was deleted successfully."]
    assert statuses(Publisher, Magazine, Issue) == [[DELETED], [DELETED] * 2, [DELETED] * 4]


def test_hr_43_the_bulk_action_deletes_softly(chief: Client, publisher: Publisher) -> None:
    """After its question."""
    asked = act(chief, "delete_selected", publisher)
    before = statuses(Publisher, Issue)
    act(chief, "delete_selected", publisher, post="yes")

    assert "stays to be restored" in text(asked)
    assert before == [[""], [""] * 4]
    assert statuses(Publisher, Magazine, Issue) == [[DELETED], [DELETED] * 2, [DELETED] * 4]


def test_the_question_tells_what_goes_softly_level_by_level(chief: Client, publisher: Publisher) -> None:
    """Counted by model; what is deleted already does not go again, and is not named."""
    Magazine.objects.get(title="Ebb").delete()

    asked = chief.get(page(publisher, "delete"))

    assert list(asked.context["model_count"]) == [("publishers", 1), ("magazines", 1), ("issues", 2)]
    assert "Tide" in text(asked) and "Ebb" not in text(asked)
    assert "can be restored together" in text(asked)


def test_the_question_names_some_and_counts_all(chief: Client, publisher: Publisher) -> None:
    """Its length, and its queries, do not grow with the objects."""
    magazine = Magazine.objects.get(title="Tide")
    with CaptureQueriesContext(connection) as few:
        chief.get(page(publisher, "delete"))
    Issue.objects.bulk_create(Issue(number=n, magazine=magazine) for n in range(300))

    with CaptureQueriesContext(connection) as many:
        asked = chief.get(page(publisher, "delete"))

    assert dict(asked.context["model_count"])["issues"] == 304
    assert "and 284 more" in text(asked)
    assert len(many) == len(few)


def test_the_question_ends_in_trees_that_bite_their_tail(chief: Client) -> None:
    """Each object is counted once."""
    top = Desk.objects.create(name="Top")
    below = Desk.objects.create(name="Below", above=top)
    Desk.objects.filter(pk=top.pk).update(above=below)

    asked = chief.get(page(top, "delete"))

    assert dict(asked.context["model_count"]) == {"desks": 2}


STOPPED = "counting has stopped here"


@pytest.mark.parametrize(
    ("counted", "shown"),
    [
        (1, {"publishers": 1}),
        (2, {"publishers": 1, "magazines": "at least 1"}),
        (3, {"publishers": 1, "magazines": 2}),
        (6, {"publishers": 1, "magazines": 2, "issues": "at least 3"}),
        (7, {"publishers": 1, "magazines": 2, "issues": 4}),
    ],
)
def test_the_question_stops_counting(
    chief: Client, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, counted: int, shown: dict[str, Any]
) -> None:
    """And says so, wherever it stops; a number that is told plainly is all of it."""
    monkeypatch.setattr("footfall.storage.deletionpreview.COUNTED", counted)

    asked = chief.get(page(publisher, "delete"))

    assert dict(asked.context["model_count"]) == shown
    assert (STOPPED in text(asked)) == (counted < 7)


@pytest.mark.parametrize("queries", [1, 2, 3])
def test_the_question_stops_asking_the_database(
    chief: Client, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, queries: int
) -> None:
    """And says so where a level is left."""
    monkeypatch.setattr("footfall.storage.deletionpreview.QUERIES", queries)

    asked = chief.get(page(publisher, "delete"))

    assert (STOPPED in text(asked)) == (queries < 3)
    assert dict(asked.context["model_count"])["publishers"] == 1


def test_the_question_counts_what_comes_after_rows_that_are_known(
    chief: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a tree bites its tail."""
    monkeypatch.setattr("footfall.storage.deletionpreview.COUNTED", 3)
    first, second = (Desk.objects.create(name=name) for name in "ab")
    third = Desk.objects.create(name="c", above=second)
    Desk.objects.filter(pk__in=[first.pk, second.pk]).update(above=third)

    for desk in (first, second, third):
        assert dict(chief.get(page(desk, "delete")).context["model_count"])["desks"] == 1 + 2 * (desk != first)
    fourth = Desk.objects.create(name="d", above=third)
    asked = chief.get(page(second, "delete"))

    assert dict(asked.context["model_count"]) == {"desks": "at least 3"}
    assert fourth.pk and STOPPED in text(asked)


def test_nothing_soft_is_refused_for_what_points_at_it(chief: Client) -> None:
    """A story points at its desk: it stays, and goes on pointing."""
    desk = Desk.objects.create(name="Home")
    story = Story.objects.create(title="Rain", desk=desk)

    chief.post(page(desk, "delete"), {"post": "yes"})

    story.refresh_from_db()
    assert (story.status, story.desk_id) == ("", desk.pk)


def test_who_may_not_delete_what_goes_along_is_told_of_what(login: Login, publisher: Publisher) -> None:
    """As Django's own pages do."""
    client = login("delete_publisher", "view_publisher")

    asked = client.get(page(publisher, "delete"))
    refused = client.post(page(publisher, "delete"), {"post": "yes"})

    assert "magazine" in text(asked) and asked.context["perms_lacking"] == {"magazine", "issue"}
    assert refused.status_code == 403
    assert statuses(Publisher) == [[""]]


@pytest.mark.parametrize(("name", "number"), [("COUNTED", 1), ("COUNTED", 3), ("QUERIES", 1), ("QUERIES", 2)])
def test_who_may_not_delete_what_was_not_counted_is_told_of_it_too(
    login: Login, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """Whatever the cascade can lead to is asked for where counting has stopped."""
    monkeypatch.setattr(f"footfall.storage.deletionpreview.{name}", number)
    client = login("delete_publisher", "delete_magazine", "view_publisher")

    asked = client.get(page(publisher, "delete"))
    refused = client.post(page(publisher, "delete"), {"post": "yes"})

    assert asked.context["perms_lacking"] == {"issue"}
    assert refused.status_code == 403
    assert statuses(Publisher, Magazine, Issue) == [[""], [""] * 2, [""] * 4]


def test_models_that_nothing_goes_of_are_not_asked_for(login: Login) -> None:
    """A publisher without magazines takes the permission to delete publishers."""
    publisher = Publisher.objects.create(name="Empty")
    client = login("delete_publisher", "view_publisher")

    client.post(page(publisher, "delete"), {"post": "yes"})

    assert statuses(Publisher) == [[DELETED]]


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the admin of a model refuse to one object what it allows for others, and in general."""

    def lock(obj: HandleRefModel, verb: str = "delete") -> None:
        admin = site.get_model_admin(obj.__class__)
        monkeypatch.setattr(
            admin,
            f"has_{verb}_permission",
            lambda request, asked=None: asked is None or asked.pk != obj.pk,
        )

    return lock


def test_the_action_deletes_nothing_where_one_object_may_not_be_deleted(
    chief: Client, publisher: Publisher, lock: Callable[..., None]
) -> None:
    """The permission is asked for each; without the locked one the others go."""
    locked = Publisher.objects.create(name="Locked")
    lock(locked)

    asked = act(chief, "delete_selected", publisher, locked)
    refused = act(chief, "delete_selected", publisher, locked, post="yes")
    before = statuses(Publisher)
    act(chief, "delete_selected", publisher, post="yes")

    assert asked.context["perms_lacking"] == {"publisher"}
    assert refused.status_code == 403
    assert before == [["", ""]]
    assert statuses(Publisher) == [[DELETED, ""]]


@pytest.mark.parametrize("counted", [1, 10_000])
def test_no_object_goes_along_that_may_not_be_deleted(
    chief: Client, publisher: Publisher, lock: Callable[..., None], monkeypatch: pytest.MonkeyPatch, counted: int
) -> None:
    """Each is asked for, however many there are."""
    monkeypatch.setattr("footfall.storage.deletionpreview.COUNTED", counted)
    monkeypatch.setattr("footfall.storage.deletionpreview.QUERIES", counted)
    monkeypatch.setattr("footfall.storage.deletionpreview.AT_ONCE", 2)
    lock(Issue.objects.order_by("pk")[3])

    asked = chief.get(page(publisher, "delete"))
    by_button = chief.post(page(publisher, "delete"), {"post": "yes"})
    by_action = act(chief, "delete_selected", publisher, post="yes")

    assert asked.context["perms_lacking"] == {"issue"}
    assert dict(asked.context["model_count"]) == {"publishers": 1, "magazines": 2, "issues": 4}
    assert by_button.status_code == by_action.status_code == 403
    assert statuses(Publisher, Magazine, Issue) == [[""], [""] * 2, [""] * 4]
    Issue.objects.order_by("pk")[3].delete()
    chief.post(page(publisher, "delete"), {"post": "yes"})
    assert statuses(Publisher) == [[DELETED]]


def test_what_is_live_below_a_deleted_object_is_told_before_it_goes(
    chief: Client, login: Login, publisher: Publisher
) -> None:
    """Its deletion takes it along, and the permission for it; the object itself doesn't go again."""
    Magazine.objects.get(title="Ebb").delete()
    Publisher.objects.filter(pk=publisher.pk).update(status=DELETED)
    few = login("delete_publisher", "view_publisher")

    asked = chief.get(page(publisher, "delete"))
    refused = few.post(page(publisher, "delete"), {"post": "yes"})
    before = statuses(Magazine)
    chief.post(page(publisher, "delete"), {"post": "yes"})

    assert dict(asked.context["model_count"]) == {"magazines": 1, "issues": 2}
    assert "is deleted already. Are you sure" in text(asked)
    assert few.get(page(publisher, "delete")).status_code == 200 and refused.status_code == 403
    assert before == [["", DELETED]]
    assert statuses(Magazine, Issue) == [[DELETED] * 2, [DELETED] * 4]


def test_the_action_leaves_what_is_live_below_deleted_objects(chief: Client, publisher: Publisher) -> None:
    """As its question says, which tells nothing of it."""
    Publisher.objects.filter(pk=publisher.pk).update(status=DELETED)

    asked = act(chief, "delete_selected", publisher)
    act(chief, "delete_selected", publisher, post="yes")

    assert dict(asked.context["model_count"]) == {}
    assert statuses(Magazine, Issue) == [[""] * 2, [""] * 4]


def test_a_deleted_object_offers_no_deletion_again(chief: Client, publisher: Publisher) -> None:
    """Neither a link to it, nor a question."""
    publisher.delete()

    assert "deletelink" not in text(chief.get(page(publisher, "change")))
    assert "is deleted already" in text(chief.get(page(publisher, "delete")))


def test_names_are_escaped_and_printable_wherever_they_stand(chief: Client) -> None:
    """On every page that names objects."""
    publisher = Publisher.objects.create(name=XSS)
    Magazine.objects.create(title=XSS, publisher=publisher)
    at = page(Publisher, "changelist")

    for url in (page(publisher, "delete"), page(publisher, "hard_delete"), page(publisher, "change"), at):
        assert "<script>alert(" not in text(chief.get(url)), url
    assert "\\u202e" in text(chief.get(page(publisher, "delete")))


# -- Restoring


def test_what_went_together_comes_back_by_one_button(chief: Client, publisher: Publisher) -> None:
    """And nothing that went before."""
    Magazine.objects.get(title="Ebb").delete()
    publisher.delete()

    done = chief.post(page(publisher, "restore"), follow=True)

    assert said(done) == ["4 objects were restored."]
    assert statuses(Publisher, Magazine, Issue) == [[""], ["", DELETED], ["", "", DELETED, DELETED]]
    assert LogEntry.objects.latest("pk").get_change_message() == "Restored."


def test_hr_45_restoring_under_a_deleted_parent_is_refused_by_a_message(chief: Client, publisher: Publisher) -> None:
    """By the button and by the action."""
    publisher.delete()
    magazine = Magazine.objects.get(title="Tide")

    by_button = chief.post(page(magazine, "restore"), follow=True)
    by_action = act(chief, "restore_selected", magazine)

    for response in (by_button, by_action):
        assert response.status_code == 200
        (message,) = said(response)
        assert publisher.handle in message and "deleted" in message
    assert statuses(Magazine) == [[DELETED] * 2]


def test_hr_46_restoring_what_has_a_successor_is_refused_by_a_message(chief: Client) -> None:
    """The name is in use again."""
    publisher = Publisher.objects.create(name="Tide")
    publisher.delete()
    Publisher.objects.create(name="Tide")

    done = chief.post(page(publisher, "restore"), follow=True)

    assert said(done) == ["This can't be restored: a unique value is in use again (publisher: name)."]
    assert statuses(Publisher) == [[DELETED, ""]]


def test_the_action_restores_nothing_where_one_object_may_not_be_changed(
    chief: Client, lock: Callable[..., None]
) -> None:
    """The permission is asked for each of them."""
    open_one, locked = (Desk.objects.create(name=name) for name in ("Open", "Locked"))
    Desk.objects.all().delete()
    lock(locked, "change")

    refused = act(chief, "restore_selected", open_one, locked)
    before = statuses(Desk)
    act(chief, "restore_selected", open_one)

    assert refused.status_code == 403
    assert before == [[DELETED] * 2]
    assert statuses(Desk) == [["", DELETED]]


def test_the_action_restores_those_that_are_deleted(chief: Client) -> None:
    """And says when there is none."""
    gone, live = Desk.objects.create(name="Gone"), Desk.objects.create(name="Live")
    gone.delete()

    assert said(act(chief, "restore_selected", gone, live)) == ["1 object was restored."]
    assert said(act(chief, "restore_selected", gone, live)) == ["Nothing to restore: none of them is deleted."]


@pytest.mark.parametrize("method", ["get", "head", "put"])
def test_nothing_is_restored_but_by_post(chief: Client, publisher: Publisher, method: str) -> None:
    """A link restores nothing."""
    publisher.delete()

    assert getattr(chief, method)(page(publisher, "restore")).status_code == 405
    assert statuses(Publisher) == [[DELETED]]


def test_restoring_takes_the_permission_to_change(login: Login, publisher: Publisher) -> None:
    """The button is there for no one else."""
    publisher.delete()
    viewer, editor = login("view_publisher"), login("view_publisher", "change_publisher")

    assert viewer.post(page(publisher, "restore")).status_code == 403
    assert "Restore</button>" not in text(viewer.get(page(publisher, "change")))
    assert "Restore</button>" in text(editor.get(page(publisher, "change")))
    assert editor.post(page(publisher, "restore")).status_code == 302
    assert statuses(Publisher) == [[""]]


def test_forms_of_the_buttons_are_guarded_against_forgery(publisher: Publisher) -> None:
    """As all of Django's admin is."""
    publisher.delete()
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("chief"))

    assert client.post(page(publisher, "restore")).status_code == 403
    assert client.post(page(publisher, "hard_delete"), {"post": "yes"}).status_code == 403
    assert statuses(Publisher) == [[DELETED]]


# -- Deleting for ever


def test_for_ever_is_asked_first_with_all_that_goes(chief: Client, publisher: Publisher) -> None:
    """The page shows what Django would delete, softly deleted rows too; a GET deletes nothing."""
    publisher.delete()

    asked = chief.get(page(publisher, "hard_delete"))
    done = chief.post(page(publisher, "hard_delete"), {"post": "yes"}, follow=True)

    assert dict(asked.context["model_count"]) == {"publishers": 1, "magazines": 2, "issues": 4}
    assert said(done) == ["1 publisher was deleted for ever."]
    assert statuses(Publisher, Magazine, Issue) == [[], [], []]


def test_a_post_without_the_answer_only_asks(chief: Client, publisher: Publisher) -> None:
    """Nothing is deleted by a stray POST."""
    assert "Nothing of this can be restored" in text(chief.post(page(publisher, "hard_delete")))
    assert statuses(Publisher) == [[""]]


def test_many_are_deleted_for_ever_by_the_action(chief: Client, publisher: Publisher) -> None:
    """After its question, which remembers what was selected."""
    other = Publisher.objects.create(name="Southern Press")

    asked = act(chief, "hard_delete_selected", publisher, other)
    before = Publisher.objects.count()
    done = act(chief, "hard_delete_selected", publisher, other, post="yes")

    assert text(asked).count('name="_selected_action"') == 2
    assert before == 2
    assert said(done) == ["2 publishers were deleted for ever."]
    assert statuses(Publisher, Magazine, Issue) == [[], [], []]


def test_for_ever_takes_the_permission_to_delete_and_the_hook(login: Login, publisher: Publisher) -> None:
    """By default superusers only: others see neither button nor action."""
    codes = [f"{verb}_{name}" for verb in ("view", "change", "delete") for name in ("publisher", "magazine", "issue")]
    client = login(*codes)

    assert client.get(page(publisher, "hard_delete")).status_code == 403
    assert client.post(page(publisher, "hard_delete"), {"post": "yes"}).status_code == 403
    assert "for ever" not in text(client.get(page(publisher, "change")))
    assert "for ever" not in text(client.get(page(Publisher, "changelist")))
    act(client, "hard_delete_selected", publisher, post="yes")
    assert Publisher.objects.exists()


def everything(*names: str) -> list[str]:
    return [f"{verb}_{name}" for verb in ("view", "change", "delete") for name in names]


@pytest.fixture
def for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only superusers may delete publishers for ever."""
    admin = site.get_model_admin(Publisher)
    monkeypatch.setattr(admin, "has_hard_delete_permission", lambda request, obj=None: True)


@pytest.mark.usefixtures("for_all")
def test_for_ever_takes_the_permission_for_all_that_goes_along(login: Login, publisher: Publisher) -> None:
    """The page tells what is lacking; neither the button nor the action goes past it."""
    client = login(*everything("publisher", "magazine"))

    asked = client.get(page(publisher, "hard_delete"))
    by_button = client.post(page(publisher, "hard_delete"), {"post": "yes"})
    by_action = act(client, "hard_delete_selected", publisher, post="yes")

    assert asked.context["perms_lacking"] == {"issue"} and "no permission to delete" in text(asked)
    assert by_button.status_code == by_action.status_code == 403
    assert statuses(Publisher, Magazine, Issue) == [[""], [""] * 2, [""] * 4]
    able = login(*everything("publisher", "magazine", "issue"))
    able.post(page(publisher, "hard_delete"), {"post": "yes"})
    assert statuses(Publisher, Magazine, Issue) == [[], [], []]


@pytest.mark.usefixtures("for_all")
def test_for_ever_takes_the_permission_to_delete(login: Login, publisher: Publisher) -> None:
    """The hook alone is not enough, for an object and for a list."""
    client = login("view_publisher", "change_publisher", *everything("magazine", "issue"))

    assert client.get(page(publisher, "hard_delete")).status_code == 403
    assert client.post(page(publisher, "hard_delete"), {"post": "yes"}).status_code == 403
    assert "for ever" not in text(client.get(page(publisher, "change")))
    assert "for ever" not in text(client.get(page(Publisher, "changelist")))
    act(client, "hard_delete_selected", publisher, post="yes")
    assert statuses(Publisher) == [[""]]


@pytest.mark.parametrize("verb", ["delete", "hard_delete"])
def test_for_ever_each_object_is_asked_for(
    chief: Client, publisher: Publisher, lock: Callable[..., None], verb: str
) -> None:
    """Whether it may be deleted, and whether for ever."""
    locked = Publisher.objects.create(name="Locked")
    lock(locked, verb)

    asked = act(chief, "hard_delete_selected", publisher, locked)
    refused = act(chief, "hard_delete_selected", publisher, locked, post="yes")

    assert asked.context["perms_lacking"] == {"publisher"}
    assert refused.status_code == 403
    assert chief.post(page(locked, "hard_delete"), {"post": "yes"}).status_code == 403
    assert Publisher.objects.count() == 2


# -- Lists


def test_deleted_objects_are_listed_by_the_filter_only(chief: Client) -> None:
    """No, yes, all; no is the default."""
    live, gone = Desk.objects.create(name="Live"), Desk.objects.create(name="Gone")
    gone.delete()
    at = page(Desk, "changelist")

    def listed(query: str) -> set[Any]:
        return set(chief.get(at + query).context["cl"].result_list)

    assert listed("") == listed("?deleted=no") == {live}
    assert listed("?deleted=yes") == {gone}
    assert listed("?deleted=all") == {live, gone}


def test_the_filter_refuses_what_it_does_not_offer(chief: Client) -> None:
    """As Django's filters do; and counts when asked to."""
    Desk.objects.create(name="Live")
    at = page(Desk, "changelist")

    assert chief.get(f"{at}?deleted=perhaps\0").headers["Location"] == f"{at}?e=1"
    assert "No (1)" in text(chief.get(f"{at}?_facets=True"))


def test_lists_show_the_account_unless_told_otherwise(chief: Client, publisher: Publisher) -> None:
    """A site's own columns, filters and actions stand."""
    Publisher.objects.create(name="Southern Press")
    default = chief.get(page(Publisher, "changelist")).context["cl"]
    own = chief.get(page(Magazine, "changelist"))

    assert [*default.list_display[1:]] == ["__str__", "handle", "status", "version", "updated"]
    assert [*own.context["cl"].list_display[1:]] == ["title", "handle", "publisher"]
    assert [spec.title for spec in own.context["cl"].filter_specs] == ["deleted", "publisher"]
    for action in ("shout", "restore_selected", "hard_delete_selected", "delete_selected"):
        assert f'value="{action}"' in text(own)
    assert publisher.handle in text(chief.get(page(Publisher, "changelist")))


# -- The page of an object


def test_the_page_shows_the_account_read_only(chief: Client, publisher: Publisher) -> None:
    """Handle, version, created and updated; nothing of it on the page that adds."""
    shown = chief.get(page(publisher, "change")).context["adminform"]
    added = chief.get(page(Publisher, "add")).context["adminform"]

    names = {"handle", "version", "created", "updated"}
    assert names <= set(shown.readonly_fields) and names <= {
        name for _, given in shown.fieldsets for name in given["fields"]
    }
    assert not names & {name for _, given in added.fieldsets for name in given["fields"]}


def test_the_page_of_a_deleted_object_says_so(chief: Client, publisher: Publisher) -> None:
    """And offers what can be done."""
    before = text(chief.get(page(publisher, "change")))
    publisher.delete()
    after = text(chief.get(page(publisher, "change")))

    assert "This publisher is deleted" in after and "Restore</button>" in after and "Delete for ever</a>" in after
    assert "This publisher is deleted" not in before and "Restore</button>" not in before


def test_hr_45_a_form_restores_nothing_below_a_deleted_object(chief: Client, publisher: Publisher) -> None:
    """The field says why; below a live one the same form restores."""
    other = Publisher.objects.create(name="Southern Press")
    publisher.delete()
    magazine = Magazine.objects.get(title="Tide")
    data = {"title": "Tide", "status": "", "publisher": str(publisher.pk)}

    refused = chief.post(page(magazine, "change"), data)
    done = chief.post(page(magazine, "change"), {**data, "publisher": str(other.pk)})

    assert refused.status_code == 200
    assert "deleted" in refused.context["adminform"].form.errors["status"][0]
    assert done.status_code == 302
    magazine.refresh_from_db()
    assert (magazine.status, magazine.publisher_id) == ("", other.pk)


def test_a_deleted_object_is_changed_and_stays_deleted(chief: Client, publisher: Publisher) -> None:
    """Its other fields are open, whatever is above it."""
    publisher.delete()
    magazine = Magazine.objects.get(title="Tide")

    chief.post(page(magazine, "change"), {"title": "High Tide", "status": DELETED, "publisher": str(publisher.pk)})

    magazine.refresh_from_db()
    assert (magazine.title, magazine.status) == ("High Tide", DELETED)


BY_STATUS = "use Delete, which takes along what goes with it"


def test_nothing_is_deleted_by_its_status(chief: Client, publisher: Publisher) -> None:
    """Neither on its page, nor when it is added: the field leads to the button, which takes along what is below."""
    data = {"name": "Northern Press", "status": DELETED, **NO_MAGAZINES}

    changed = chief.post(page(publisher, "change"), data)
    added = chief.post(page(Publisher, "add"), {**data, "name": "Southern Press"})

    for refused in (changed, added):
        assert refused.status_code == 200
        assert BY_STATUS in refused.context["adminform"].form.errors["status"][0]
    assert statuses(Publisher, Magazine) == [[""], [""] * 2]
    assert chief.post(page(publisher, "change"), {**data, "status": "archived"}).status_code == 302
    assert statuses(Publisher) == [["archived"]]


def test_nothing_is_deleted_by_its_status_in_a_list(chief: Client, publisher: Publisher) -> None:
    """Where the status is a column that can be edited."""
    at = page(Issue, "changelist")
    rows = chief.get(at).context["cl"].result_list
    data = {"form-TOTAL_FORMS": str(len(rows)), "form-INITIAL_FORMS": str(len(rows)), "_save": "Save"}
    for n, row in enumerate(rows):
        data |= {f"form-{n}-id": str(row.pk), f"form-{n}-status": DELETED, f"form-{n}-number": "77"}

    refused = chief.post(at, data)

    assert BY_STATUS in text(refused)
    assert not Issue.objects.filter(number=77).exists() and statuses(Issue) == [[""] * 4]


def test_nothing_is_deleted_by_its_status_within_the_page_of_another(
    chief: Client, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an inline has the field."""
    (inline,) = site.get_model_admin(Publisher).inlines
    monkeypatch.setattr(inline, "fields", ("title", "status"))
    tide = Magazine.objects.get(title="Tide")
    row = {"id": str(tide.pk), "publisher": str(publisher.pk), "title": "Tide", "status": DELETED}
    data = {"name": "Northern Press", "magazines-TOTAL_FORMS": "1", "magazines-INITIAL_FORMS": "1"}
    data |= {f"magazines-0-{name}": value for name, value in row.items()}

    refused = chief.post(page(publisher, "change"), data)

    assert refused.status_code == 200 and BY_STATUS in text(refused)
    assert statuses(Magazine) == [[""] * 2]


def test_what_is_deleted_is_not_within_the_page_of_another(chief: Client, publisher: Publisher) -> None:
    """An inline lists what lists do; what has been deleted meanwhile is not changed by it."""
    tide = Magazine.objects.get(title="Tide")
    row = {"id": str(tide.pk), "publisher": str(publisher.pk), "title": "High Tide"}
    data = {"name": "Northern Press", "magazines-TOTAL_FORMS": "1", "magazines-INITIAL_FORMS": "1"}
    data |= {f"magazines-0-{name}": value for name, value in row.items()}
    tide.delete()

    shown = text(chief.get(page(publisher, "change")))
    done = chief.post(page(publisher, "change"), data)

    assert 'value="Ebb"' in shown and "Tide" not in shown
    assert done.status_code == 200 and "This was deleted meanwhile." in text(done)
    tide.refresh_from_db()
    assert (tide.title, tide.status) == ("Tide", DELETED)


def test_a_deleted_object_is_not_viewed_on_the_site(chief: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not shown."""
    monkeypatch.setattr(Desk, "get_absolute_url", lambda self: f"/desks/{self.pk}/", raising=False)
    desk = Desk.objects.create(name="Home")

    before = text(chief.get(page(desk, "change")))
    desk.delete()

    assert "View on site" in before
    assert "View on site" not in text(chief.get(page(desk, "change")))


def test_hr_45_what_is_refused_deep_in_a_page_is_a_message_and_changes_nothing(
    chief: Client, publisher: Publisher
) -> None:
    """As when the object above is deleted between the form's look and the save, or a row in the list is changed."""
    magazine = Magazine.objects.get(title="Tide")
    publisher.delete()
    at = f"{page(Issue, 'changelist')}?deleted=all"
    issue = magazine.issues.order_by("pk")[0]
    rows = chief.get(at).context["cl"].result_list
    data = {"form-TOTAL_FORMS": str(len(rows)), "form-INITIAL_FORMS": str(len(rows)), "_save": "Save"}
    for n, row in enumerate(rows):
        status = "" if row == issue else row.status
        data |= {f"form-{n}-id": str(row.pk), f"form-{n}-status": status, f"form-{n}-number": "77"}

    done = chief.post(at, data, follow=True)

    assert done.status_code == 200 and "deleted" in said(done)[0]
    assert not Issue.objects.filter(number=77).exists()


# -- Any key


@pytest.mark.parametrize("slug", ['a/b"c', "_5F", "restore/", "delete-for-ever", "'; --", "ä ö%2F", "..", "history/1"])
def test_any_text_may_be_the_key(chief: Client, slug: str) -> None:
    """In every address."""
    masthead = Masthead.objects.create(slug=slug)

    assert chief.get(page(masthead, "change")).status_code == 200
    assert chief.post(page(masthead, "delete"), {"post": "yes"}).status_code == 302
    assert statuses(Masthead) == [[DELETED]]
    assert chief.post(page(masthead, "restore")).headers["Location"] == page(masthead, "change")
    assert statuses(Masthead) == [[""]]
    assert chief.post(page(masthead, "hard_delete"), {"post": "yes"}).status_code == 302
    assert not Masthead.objects.exists()


def test_objects_of_every_kind_go_and_come_back(chief: Client) -> None:
    """A UUID as key, a table beside another, a proxy."""
    publisher = Publisher.objects.create(name="Press")
    magazine = Magazine.objects.create(title="Tide", publisher=publisher)
    objs: list[HandleRefModel] = [
        Photo.objects.create(caption="Waves"),
        Supplement.objects.create(theme="Harbours", magazine=magazine),
        SpecialIssue.objects.create(magazine=magazine),
    ]
    for obj in objs:
        assert chief.get(page(obj, "change")).status_code == 200
        assert dict(chief.get(page(obj, "delete")).context["model_count"]) == {obj._meta.verbose_name_plural: 1}
        chief.post(page(obj, "delete"), {"post": "yes"})
        obj.refresh_from_db()
        assert obj.is_deleted
        chief.post(page(obj, "restore"))
        obj.refresh_from_db()
        assert not obj.is_deleted


@pytest.mark.parametrize("key", ["999999", "9" * 30, "-1", "x", "_00", "\0", "%00", "1_2F2", "٣"])
@pytest.mark.parametrize("name", ["restore", "delete-for-ever"])
def test_an_object_that_is_not_there_is_404(chief: Client, key: str, name: str) -> None:
    """Whatever its key."""
    at = page(Publisher, "changelist")

    assert chief.post(f"{at}{key}/{name}/", {"post": "yes"}).status_code == 404


def test_it_is_for_objects_that_keep_account_of_themselves() -> None:
    """Registered for another model, it says so at once."""
    with pytest.raises(ImproperlyConfigured, match="not for Article"):
        HandleRefAdmin(Article, AdminSite())
