"""History in the admin: what changed, the way back, who may walk it, and that no request breaks it."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
import reversion
from django.contrib.admin.sites import AdminSite
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import (
    Article,
    Desk,
    Magazine,
    Masthead,
    Photo,
    Publisher,
    SpecialIssue,
    Story,
    Supplement,
)
from reversion.models import Revision
from reversion.models import Version as Stored
from unit import versionsite

from footfall.storage.admin import VersionAdmin
from footfall.storage.historylisting import HistoryActionsForm, HistoryListing
from footfall.storage.references import DELETED, HandleRefModel
from footfall.storage.versions import register

pytestmark = [pytest.mark.django_db, pytest.mark.urls("unit.versionsite")]

XSS = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'\u202e"
FUZZED = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def registered() -> None:
    """Other tests may have taken models out again."""
    for model in versionsite.site._registry:
        register(model)


@pytest.fixture
def chief(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("chief"))
    return client


@pytest.fixture
def story() -> Story:
    """In three versions: only a title; another title, and text; the number of words."""
    return told({"title": "Rain"}, {"title": "Flood", "body": "All\nnight"}, {"words": 2})


def told(*versions: dict[str, Any]) -> Story:
    """A story with these values, one version after the other."""
    story = Story()
    for n, values in enumerate(versions, start=1):
        for name, value in values.items():
            setattr(story, name, value)
        keep(story, f"take {n}")
    return story


def keep(obj: HandleRefModel, comment: str = "") -> None:
    with reversion.create_revision():
        obj.save()
        reversion.set_comment(comment)


def keys(obj: models.Model) -> list[int]:
    """Of its versions, the first one first."""
    return list(Stored.objects.get_for_object(obj).order_by("pk").values_list("pk", flat=True))


def page(obj: models.Model | type[models.Model], name: str, *args: Any) -> str:
    key = [] if isinstance(obj, type) else [quote(str(obj.pk))]
    return reverse(f"newsdesk:newsroom_{obj._meta.model_name}_{name}", args=[*key, *args])


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def text(response: Any) -> str:
    content: str = response.content.decode()
    return content


def fresh(obj: Any) -> Any:
    return obj.__class__.objects.get(pk=obj.pk)


# -- The list


def test_hr_26_the_history_lists_versions_newest_first_with_what_they_changed(chief: Client, story: Story) -> None:
    """Against the one before; the first changed nothing."""
    shown = chief.get(page(story, "history"))

    entries = shown.context["history"]
    assert [entry["id"] for entry in entries] == keys(story)[::-1]
    assert [entry["comment"] for entry in entries] == ["take 3", "take 2", "take 1"]
    changes = [dict(entry["fields"])["version_changes"] for entry in entries]
    assert [[(one.label, one.old.brief, one.new.brief) for one in each] for each in changes] == [
        [("Words", "none", "2")],
        [("Title", "Rain", "Flood"), ("Body", "empty", "All night")],
        [],
    ]
    assert [dict(entry["fields"])["version"] for entry in entries] == ["3", "2", "1"]
    assert {
        "object_id",
        "instance",
        "history",
        "listing",
        "version_list_fields",
        "title",
    } <= set(shown.context.keys())
    assert (shown.context["title"], shown.context["instance"]) == ("Version History", story)


def test_columns_are_versions_properties_or_what_the_snapshot_holds(chief: Client, story: Story) -> None:
    """The default ones, and those that a site adds."""
    shown = chief.get(page(story, "history"))

    default = ("version_id", "version", "version_date", "version_user", "status", "version_changes")
    assert VersionAdmin.version_list_fields == default
    assert [name for name, _label in shown.context["version_list_fields"]] == [
        *default,
        "title",
        "version_changed_fields",
    ]
    newest = dict(shown.context["history"][0]["fields"])
    assert (newest["title"], newest["version_changed_fields"], newest["version_user"]) == ("Flood", "Words", "")


def test_hr_27_the_history_has_pages_of_a_hundred(chief: Client) -> None:
    """The parameter `p`; the last version of a page knows the one before it, which is on the next page."""
    story = told(*({"title": f"Take {n}"} for n in range(101)))

    first, second = (chief.get(page(story, "history"), {"p": str(n)}) for n in (1, 2))

    assert [len(shown.context["history"]) for shown in (first, second)] == [100, 1]
    (change,) = dict(first.context["history"][-1]["fields"])["version_changes"]
    assert (change.old.brief, change.new.brief) == ("Take 0", "Take 1")
    assert '<a href="?p=2" class="end">' in text(first) and "101 versions" in text(first)


def test_the_history_of_any_length_asks_as_much(chief: Client) -> None:
    """At most eight queries, session and user counted in, for 1, 100 and 350 versions."""
    story, asked = told({"title": "Take 0"}), []
    chief.get(page(story, "history"))  # content types are looked up once for a process
    for number in (1, 100, 350):
        for n in range(len(keys(story)), number):
            story.title = f"Take {n}"
            keep(story)
        with CaptureQueriesContext(connection) as queries:
            shown = chief.get(page(story, "history"))
        assert len(shown.context["history"]) == min(number, 100)
        asked.append(len(queries))

    assert len(set(asked)) == 1 and asked[0] <= 8


def test_the_history_of_a_model_in_two_tables_asks_as_much(chief: Client) -> None:
    """A snapshot of each table makes one version."""
    magazine = Magazine.objects.create(title="Tide", publisher=Publisher.objects.create(name="Press"))
    supplement, asked = Supplement(theme="Harbours", magazine=magazine), []
    for number in (1, 100):
        for n in range(len(keys(supplement)) if supplement.pk else 0, number):
            supplement.number, supplement.theme = n, f"Theme {n}"
            keep(supplement)
        chief.get(page(supplement, "history"))
        with CaptureQueriesContext(connection) as queries:
            shown = chief.get(page(supplement, "history"))
        asked.append(len(queries))

    labels = {one.label for one in dict(shown.context["history"][0]["fields"])["version_changes"]}
    assert labels == {"Number", "Theme"}
    assert len(set(asked)) == 1 and asked[0] <= 8


def test_an_object_without_versions_has_an_empty_history(chief: Client) -> None:
    """It was made before anything was recorded."""
    shown = chief.get(page(Story.objects.create(title="Old"), "history"))

    assert shown.status_code == 200 and "no versions of this object" in text(shown)


def test_what_differs_far_within_a_long_text_can_be_seen_in_the_list(chief: Client) -> None:
    """What is shown of it begins near there."""
    same = "word " * 100
    story = told({"body": f"{same}old {same}"}, {"body": f"{same}new {same}"})

    entry = dict(chief.get(page(story, "history")).context["history"][0]["fields"])

    (change,) = entry["version_changes"]
    assert change.old.brief.startswith("…") and change.old.brief[:40].endswith("old word word word ")
    assert change.new.brief.startswith("…") and "new" in change.new.brief[:40] and len(change.new.brief) == 80


def test_a_text_is_told_from_nothing(chief: Client) -> None:
    """By its marks: the words may be the same."""
    story = told({"body": "empty"}, {"body": ""})

    listed, shown = (text(chief.get(page(story, *at))) for at in (("history",), ("version", keys(story)[1])))

    assert "<del>empty</del> → <ins><em>empty</em></ins>" in listed
    assert '<span class="value">empty</span>' in shown and '<em class="value">empty</em>' in shown


def test_each_way_back_has_a_name_of_its_own(chief: Client, story: Story) -> None:
    """By the number that people know."""
    shown = text(chief.get(page(story, "history")))

    for number in (1, 2, 3):
        assert (
            f'aria-label="Rollback to version {number}"' in shown and f'aria-label="Select version {number}"' in shown
        )


def test_listing_and_form_are_there_to_be_used(chief: Client, story: Story) -> None:
    """By templates of a site."""
    shown = chief.get(page(story, "history"))

    assert isinstance(shown.context["listing"], HistoryListing)
    assert shown.context["listing"].count == 3
    assert [value for value, _name in HistoryActionsForm().fields["action"].choices] == ["revert"]  # type: ignore[attr-defined]  # a choice field


# -- One version


def test_hr_28_details_show_changes_and_snapshot(chief: Client, story: Story) -> None:
    """Texts of several lines in a box, the change against the one before."""
    shown = chief.get(page(story, "version", keys(story)[1]))

    assert "Version Details" in text(shown) and "Snapshot" in text(shown)
    assert '<span class="value long">All\nnight</span>' in text(shown)
    assert [(one.name, one.old.full) for one in shown.context["changes"]] == [("title", "Rain"), ("body", "empty")]
    assert shown.context["version"].id == keys(story)[1] and shown.context["previous"].id == keys(story)[0]
    assert dict(shown.context["snapshot"])["Title"].full == "Flood"
    assert text(shown).count('<span class="value">Flood</span>') == 2
    assert "This is the first version" in text(chief.get(page(story, "version", keys(story)[0])))


def test_long_values_are_cut_in_the_list_and_shown_in_the_details(chief: Client) -> None:
    """Up to a limit, too, which is told."""
    story = told({"body": ""}, {"body": "x" * 5_000}, {"body": "y" * 100_000})

    listed = text(chief.get(page(story, "history")))
    second, third = (text(chief.get(page(story, "version", key))) for key in keys(story)[1:])

    assert "x" * 100 not in listed and "x" * 50 in listed
    assert "x" * 5_000 in second
    assert "y" * 65_536 in third and "y" * 65_537 not in third
    assert "[cut: 65536 of 100000 characters are shown]" in third


def test_a_broken_snapshot_is_shown_as_unreadable(chief: Client, story: Story) -> None:
    """Everywhere; nothing can be taken from it."""
    for broken in ("[{", '[{"model": "newsroom.story", "pk": 1}]', "null", '"\\u0000"', json.dumps([[[]]])):
        Stored.objects.filter(pk=keys(story)[1]).update(serialized_data=broken)
        for name in ("version", "version_rollback"):
            assert "This version can&#x27;t be read." in text(chief.get(page(story, name, keys(story)[1]))).replace(
                "can't", "can&#x27;t"
            )
        assert "unreadable" in text(chief.get(page(story, "history")))
        assert "nothing to revert" in text(chief.get(page(story, "version_revert"), {"version_id": keys(story)[1]}))
        refused = chief.post(page(story, "version_rollback_process", keys(story)[1]))
        assert refused.status_code == 200 and "be read" in refused.context["errors"][0]
        assert fresh(story).version == 3


# -- Reverting fields


def preview(chief: Client, story: Story, *versions: int) -> Any:
    return chief.get(page(story, "version_revert"), {"version_id": [keys(story)[n] for n in versions]})


def test_hr_29_the_preview_offers_what_each_field_was_before(chief: Client, story: Story) -> None:
    """Before each of the chosen versions; what it was before all of them is proposed."""
    keep_title(story, "Storm")

    shown = preview(chief, story, 1, 3)

    first, _second, third, _fourth = keys(story)
    offered = {
        one.name: (
            one.current.brief,
            [(choice.key, choice.number, choice.value.brief, choice.is_chosen) for choice in one.choices],
        )
        for one in shown.context["changes"]
    }
    assert "Preview Reversion" in text(shown) and '<span class="value">Rain</span>' in text(shown)
    assert offered == {
        "title": ("Storm", [(str(third), 3, "Flood", False), (str(first), 1, "Rain", True)]),
        "body": ("All night", [(str(first), 1, "empty", True)]),
    }
    assert [one.id for one in shown.context["versions"]] == [keys(story)[3], keys(story)[1]]


def keep_title(story: Story, title: str) -> None:
    story.title = title
    keep(story)


def test_the_preview_is_reached_by_the_list_too(chief: Client, story: Story) -> None:
    """By its action; by POST to its own address as well."""
    data = {"action": "revert", "version_id": [str(keys(story)[1])]}

    by_list = chief.post(page(story, "history"), data)
    by_post = chief.post(page(story, "version_revert"), data)

    for shown in (by_list, by_post):
        assert shown.status_code == 200
        assert [one.name for one in shown.context["changes"]] == ["title", "body"]


def test_the_preview_offers_each_value_once(chief: Client) -> None:
    """As the earliest of the versions that hold it."""
    story = told(*({"title": "Rain" if n % 2 else "Flood"} for n in range(20)))

    shown = chief.get(page(story, "version_revert"), {"version_id": keys(story)})

    (title,) = shown.context["changes"]
    assert [(one.number, one.value.brief, one.is_chosen) for one in title.choices] == [
        (2, "Rain", False),
        (1, "Flood", True),
    ]
    assert '<legend class="visually-hidden">Revert Title to</legend>' in text(shown)


def test_as_many_versions_are_previewed_as_a_page_holds(
    chief: Client, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that is more than a hundred."""
    monkeypatch.setattr(versionsite.StoryAdmin, "version_list_per_page", 101)
    for n in range(98):
        keep_title(story, f"Take {n}")

    assert chief.get(page(story, "version_revert"), {"version_id": keys(story)}).status_code == 200


@pytest.mark.parametrize("data", [{}, {"action": ""}, {"action": "explode", "version_id": "1"}, {"action": "revert"}])
def test_an_action_without_a_choice_leads_back_with_a_message(chief: Client, story: Story, data: Any) -> None:
    """As in Django's lists."""
    done = chief.post(page(story, "history"), data, follow=True)

    assert done.redirect_chain == [(page(story, "history"), 302)]
    assert said(done)[0] in ("No action selected.", "No version selected.")


def test_hr_30_chosen_fields_are_reverted_and_others_left(chief: Client, story: Story) -> None:
    """As a new version, of this user, with a comment; then the history is shown."""
    first, second, _third = keys(story)
    data = {"version_id": str(second), "field_title": str(first), "field_body": "0"}

    done = chief.post(page(story, "version_revert_process"), data, follow=True)

    assert done.redirect_chain == [(page(story, "history"), 302)]
    assert said(done) == ["Reverted: Title."]
    now = fresh(story)
    assert (now.title, now.body, now.words, now.version) == ("Rain", "All\nnight", 2, 4)
    newest = dict(done.context["history"][0]["fields"])
    assert newest["version_user"] == "chief"
    assert done.context["history"][0]["comment"] == "reverted some fields via versions: 1"


def test_a_reversion_of_nothing_changes_nothing(chief: Client, story: Story) -> None:
    """It is said."""
    for data in ({}, {"field_title": "0", "field_body": ""}):
        done = chief.post(page(story, "version_revert_process"), data, follow=True)

        assert said(done) == ["Nothing was chosen to be reverted."]
    assert fresh(story).version == 3


def test_hr_47_there_is_nothing_to_revert_in_the_first_version(chief: Client, story: Story) -> None:
    """That is a page, also without any version."""
    for shown in (preview(chief, story, 0), preview(chief, story)):
        assert shown.status_code == 200 and "nothing to revert" in text(shown)


def test_hr_48_an_unknown_field_is_a_message_on_the_preview(chief: Client, story: Story) -> None:
    """With what was chosen still chosen, and nothing reverted."""
    first, second, _third = keys(story)
    for name in ("nothing", "", "version", "id", "created", "change_stamp", "handle", "title__icontains", XSS):
        data = {"version_id": str(second), f"field_{name}": str(first), "field_title": "0"}

        shown = chief.post(page(story, "version_revert_process"), data)

        assert shown.status_code == 200 and len(shown.context["errors"]) == 1, name
        assert [one.is_left for one in shown.context["changes"]] == [True, False]
        assert "<script>alert(" not in text(shown)
    assert fresh(story).version == 3


def test_validation_errors_are_shown_on_the_preview(chief: Client) -> None:
    """A publisher of that name is there meanwhile; a desk is gone."""
    publisher = Publisher(name="Tide")
    keep(publisher)
    publisher.name = "Ebb"
    keep(publisher)
    Publisher.objects.create(name="Tide")
    first, second = keys(publisher)
    desk = Desk.objects.create(name="Home")
    story = told({"title": "Rain", "desk": desk}, {"desk": None})
    desk.delete(hard=True)

    taken = chief.post(page(publisher, "version_revert_process"), {"version_id": second, "field_name": first})
    gone = chief.post(
        page(story, "version_revert_process"), {"version_id": keys(story)[1], "field_desk_id": keys(story)[0]}
    )

    for shown in (taken, gone):
        assert shown.status_code == 200 and shown.context["errors"] and "Preview Reversion" in text(shown)
    assert (fresh(publisher).name, fresh(story).desk) == ("Ebb", None)


def test_hr_45_a_reversion_restores_nothing_below_a_deleted_object(chief: Client) -> None:
    """Neither does a rollback."""
    publisher = Publisher.objects.create(name="Press")
    magazine = Magazine(title="Tide", publisher=publisher)
    keep(magazine)
    with reversion.create_revision():
        publisher.delete()
    first, second = keys(magazine)

    reverted = chief.post(page(magazine, "version_revert_process"), {"version_id": second, "field_status": first})
    rolled_back = chief.post(page(magazine, "version_rollback_process", first))

    for shown in (reverted, rolled_back):
        assert shown.status_code == 200 and "deleted" in shown.context["errors"][0]
    assert fresh(magazine).status == DELETED


# -- Rolling back


def test_hr_31_a_rollback_is_asked_first(chief: Client, story: Story) -> None:
    """With what it will change; nothing is done by a GET."""
    shown = chief.get(page(story, "version_rollback", keys(story)[0]))

    assert "Confirm Rollback" in text(shown)
    assert {(one.label, one.old.brief, one.new.brief) for one in shown.context["changes"]} == {
        ("Body", "All night", "empty"),
        ("Title", "Flood", "Rain"),
        ("Words", "2", "none"),
    }
    assert fresh(story).version == 3
    assert "as it was in this version" in text(chief.get(page(story, "version_rollback", keys(story)[2])))


def test_what_the_database_refuses_is_said(chief: Client, story: Story) -> None:
    """A rule that only the database knows."""
    connection.check_constraints()
    with connection.cursor() as cursor:
        cursor.execute("CREATE UNIQUE INDEX newsroom_story_one_title ON newsroom_story (title)")
    Story.objects.create(title="Rain")

    refused = chief.post(page(story, "version_rollback_process", keys(story)[0]))

    assert refused.status_code == 200 and "The database refused these values" in refused.context["errors"][0]
    assert '<div role="alert">' in text(refused)
    assert (fresh(story).title, len(keys(story))) == ("Flood", 3)


def test_what_is_refused_is_said_in_characters_that_can_be_seen(chief: Client, story: Story) -> None:
    """It may repeat what a snapshot holds."""
    stored = Stored.objects.get(pk=keys(story)[1])
    (row,) = json.loads(stored.serialized_data)
    row["fields"]["words"] = "\u202emany"
    Stored.objects.filter(pk=stored.pk).update(serialized_data=json.dumps([row]))

    (error,) = chief.post(page(story, "version_rollback_process", stored.pk)).context["errors"]

    assert "\\u202emany" in error and "\u202e" not in error


@pytest.mark.parametrize("name", ["version_rollback_process", "version_revert_process"])
def test_an_object_that_goes_meanwhile_is_404(
    chief: Client, story: Story, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Between the look at it and the change."""
    first, at = keys(story)[0], versionsite.StoryAdmin.history_query_set

    def and_gone(admin: Any, object_id: Any) -> Any:
        Story._base_manager.filter(pk=object_id).delete(hard=True)  # type: ignore[call-arg]  # of HandleRefModels
        return at(admin, object_id)

    monkeypatch.setattr(versionsite.StoryAdmin, "history_query_set", and_gone)
    args = [first] if "rollback" in name else []

    assert chief.post(page(story, name, *args), {"field_title": first}).status_code == 404


def test_hr_32_a_rollback_restores_all_fields(chief: Client, story: Story) -> None:
    """But for created, updated and version; then the history is shown."""
    created = story.created

    done = chief.post(page(story, "version_rollback_process", keys(story)[0]), follow=True)

    assert done.redirect_chain == [(page(story, "history"), 302)]
    assert said(done) == ["Rolled back to version 1."]
    now = fresh(story)
    assert (now.title, now.body, now.words, now.version, now.created) == ("Rain", "", None, 4, created)
    assert now.updated > story.updated
    assert done.context["history"][0]["comment"] == "rollback to version 1"


def test_many_to_many_fields_go_back_as_well(chief: Client) -> None:
    """They show by their keys."""
    photo = Photo.objects.create(caption="Waves")
    story = told({"title": "Rain"})
    with reversion.create_revision():
        story.photos.add(photo)
        story.save()

    shown = chief.get(page(story, "version_rollback", keys(story)[0]))
    chief.post(page(story, "version_rollback_process", keys(story)[0]))

    assert [(one.label, one.old.brief, one.new.brief) for one in shown.context["changes"]] == [
        ("Photos", f'["{photo.pk}"]', "[]")
    ]
    assert not story.photos.exists()


@pytest.mark.parametrize("name", ["version_revert_process", "version_rollback_process"])
def test_nothing_is_processed_but_by_post(chief: Client, story: Story, name: str) -> None:
    """The answer is 405."""
    args = [keys(story)[0]] if "rollback" in name else []
    for method in ("get", "head", "put", "delete"):
        assert getattr(chief, method)(page(story, name, *args)).status_code == 405
    assert fresh(story).version == 3


def test_forms_are_guarded_against_forgery(story: Story) -> None:
    """As all of Django's admin is."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("chief"))

    assert client.post(page(story, "version_rollback_process", keys(story)[0])).status_code == 403
    assert client.post(page(story, "version_revert_process")).status_code == 403
    assert fresh(story).version == 3


# -- What is not there, and who may not see


def pages(obj: models.Model, version: Any) -> list[tuple[str, str]]:
    """Every page of a history, with the method by which it is asked for."""
    return [
        ("get", page(obj, "history")),
        ("post", page(obj, "history")),
        ("get", page(obj, "version", version)),
        ("get", page(obj, "version_revert")),
        ("post", page(obj, "version_revert")),
        ("post", page(obj, "version_revert_process")),
        ("get", page(obj, "version_rollback", version)),
        ("post", page(obj, "version_rollback_process", version)),
    ]


@pytest.mark.parametrize("number", ["0", "2", "-1", "x", "", "1.0", "1e3", "９", "99999999999999999999", "last", "1\0"])
def test_hr_48_a_page_that_is_not_there_is_404(chief: Client, story: Story, number: str) -> None:
    """And so is what is no number."""
    assert chief.get(page(story, "history"), {"p": number}).status_code == 404


@pytest.mark.parametrize("key", ["0", "999999", "-1", "x", "9" * 40, "1.0", "\0", "٣", "' OR 1=1", "ä"])
def test_hr_48_an_unknown_version_is_404(chief: Client, story: Story, key: str) -> None:
    """On every page that names one."""
    first = keys(story)[0]
    for name in ("version", "version_rollback"):
        assert chief.get(page(story, name, key)).status_code == 404
    assert chief.post(page(story, "version_rollback_process", key)).status_code == 404
    for data in ({"version_id": key}, {"version_id": [str(first), key]}):
        assert chief.get(page(story, "version_revert"), data).status_code == 404
        assert chief.post(page(story, "history"), {"action": "revert", **data}).status_code == 404
    process = page(story, "version_revert_process")
    wanted = 302 if key == "0" else 404
    assert chief.post(process, {"field_title": key}).status_code == wanted


def test_hr_48_a_version_of_another_object_is_404(chief: Client, story: Story) -> None:
    """Of the same model, or of another with the same key."""
    other = told({"title": "Sun"}, {"title": "Dry"})
    desk = Desk(pk=story.pk, name="Home")
    keep(desk)
    for key in (keys(other)[1], keys(desk)[0]):
        for method, url in pages(story, key)[2:3] + pages(story, key)[6:]:
            assert getattr(chief, method)(url).status_code == 404
        assert chief.get(page(story, "version_revert"), {"version_id": key}).status_code == 404
        assert chief.post(page(story, "version_revert_process"), {"field_title": key}).status_code == 404
    assert fresh(story).version == 3


@pytest.mark.parametrize("key", ["999999", "x", "9" * 40, "\0", "a/b"])
def test_hr_48_an_unknown_object_is_404(chief: Client, story: Story, key: str) -> None:
    """On every page."""
    other = Story(pk=key)
    for method, url in pages(other, keys(story)[0]):
        assert getattr(chief, method)(url).status_code == 404


def test_hr_51_who_is_no_superuser_is_led_to_the_login(story: Story) -> None:
    """On every page, whatever other permissions they have; nothing is changed."""
    user = User.objects.create(username="editor", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    editor, stranger = Client(), Client()
    editor.force_login(user)
    for client in (editor, stranger):
        for method, url in [*pages(story, keys(story)[0]), ("get", page(story, "version_revert_process"))]:
            done = getattr(client, method)(url)
            assert done.status_code == 302
            assert done.headers["Location"].startswith(reverse("newsdesk:login") + "?next=")
    assert fresh(story).version == 3


def test_a_site_may_say_who_else_sees_histories(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the hook, which is asked for the object as well."""
    other = told({"title": "Sun"})

    def allowed(admin: Any, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None or obj == story

    monkeypatch.setattr(versionsite.StoryAdmin, "has_history_permission", allowed)
    user = User.objects.create(username="editor", is_staff=True)
    editor = Client()
    editor.force_login(user)

    assert editor.get(page(story, "history")).status_code == 200
    assert editor.get(page(other, "history")).status_code == 302


def editor_with(*permissions: str) -> Client:
    """Somebody of the staff who may do this, and read histories where the admin says so."""
    user = User.objects.create(username="editor", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    editor = Client()
    editor.force_login(user)
    return editor


@pytest.fixture
def read_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The history is open to whoever may view."""

    def allowed(admin: Any, request: HttpRequest, obj: Any = None) -> bool:
        return bool(admin.has_view_permission(request, obj))

    monkeypatch.setattr(VersionAdmin, "has_history_permission", allowed)


@pytest.mark.usefixtures("read_by_all")
def test_who_may_not_change_an_object_reads_its_history_only(story: Story) -> None:
    """Nothing offers the way back, and nothing goes it."""
    editor = editor_with("view_story")
    first, second, _third = keys(story)

    for url in (page(story, "history"), page(story, "version", second)):
        shown = text(editor.get(url))
        assert "Rollback" not in shown and "Revert" not in shown and "checkbox" not in shown
    for method, url in [*pages(story, first)[3:], ("post", page(story, "history"))]:
        data = {"action": "revert", "version_id": second, "field_title": first} if method == "post" else {}
        assert getattr(editor, method)(url, data).status_code == 403, url
    assert fresh(story).version == 3


@pytest.mark.usefixtures("read_by_all")
def test_what_is_never_changed_is_not_by_its_history(
    chief: Client, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks, where the admin says so of the object."""
    monkeypatch.setattr(versionsite.StoryAdmin, "has_change_permission", lambda *_asked: False)

    assert chief.post(page(story, "version_rollback_process", keys(story)[0])).status_code == 403
    assert fresh(story).version == 3


def test_the_way_back_is_open_to_who_may_change_and_read(story: Story, read_by_all: None) -> None:
    """No superuser is needed."""
    editor = editor_with("view_story", "change_story")

    assert editor.post(page(story, "version_rollback_process", keys(story)[0])).status_code == 302
    assert fresh(story).title == "Rain"


def gone_and_back() -> tuple[Publisher, Magazine]:
    """A publisher in three versions, live, deleted, and live again; its magazine has none."""
    publisher = Publisher(name="Press")
    keep(publisher)
    magazine = Magazine.objects.create(title="Tide", publisher=publisher)
    Magazine.objects.filter(pk=magazine.pk).update(title="Ebb")
    with reversion.create_revision():
        publisher.delete()
    with reversion.create_revision():
        publisher.undelete()
    Stored.objects.get_for_object(magazine).delete()
    return publisher, magazine


@pytest.mark.usefixtures("read_by_all")
@pytest.mark.parametrize("may", [["delete_publisher"], ["delete_magazine"], []])
def test_a_way_back_that_deletes_takes_the_right_to_delete(may: list[str]) -> None:
    """The object, and what goes along; the page says what is lacking."""
    publisher, magazine = gone_and_back()
    _first, gone, back = keys(publisher)
    editor = editor_with("view_publisher", "change_publisher", *may)

    listed, details = (text(editor.get(page(publisher, *at))) for at in (("history",), ("version", gone)))
    asked = editor.get(page(publisher, "version_rollback", gone))
    offered = editor.get(page(publisher, "version_revert"), {"version_id": back})

    is_linked = "delete_publisher" in may
    assert (page(publisher, "version_rollback", gone) in listed) == is_linked
    assert (page(publisher, "version_rollback", gone) in details) == is_linked
    assert page(publisher, "version_rollback", keys(publisher)[0]) in listed
    lacking = {"publisher", "magazine"} - {name.removeprefix("delete_") for name in may}
    assert asked.context["perms_lacking"] == sorted(lacking) and 'id="rollback-form"' not in text(asked)
    assert [one.name for one in offered.context["changes"]] == (["status"] if is_linked else [])
    assert editor.post(page(publisher, "version_rollback_process", gone)).status_code == 403
    assert editor.post(page(publisher, "version_revert_process"), {"field_status": gone}).status_code == 403
    assert (fresh(publisher).status, fresh(magazine).status) == ("", "")


@pytest.mark.usefixtures("read_by_all")
def test_who_may_delete_all_that_goes_rolls_back_to_a_deleted_version() -> None:
    """What goes is named before; it has a version of what it was before, too."""
    publisher, magazine = gone_and_back()
    gone = keys(publisher)[1]
    editor = editor_with("view_publisher", "change_publisher", "delete_publisher", "delete_magazine")

    asked = editor.get(page(publisher, "version_rollback", gone))
    assert "These are deleted together" in text(asked) and "Magazine: " in text(asked) and "Ebb" in text(asked)
    assert dict(asked.context["model_count"]) == {"publishers": 1, "magazines": 1}
    assert editor.post(page(publisher, "version_rollback_process", gone)).status_code == 302

    assert (fresh(publisher).status, fresh(magazine).status) == (DELETED, DELETED)
    assert held(magazine, "status") == ["", DELETED]


def held(obj: models.Model, name: str) -> list[Any]:
    """What its versions hold of a field, the first one first."""
    stored = Stored.objects.get_for_object(obj).order_by("pk")
    return [json.loads(version.serialized_data)[0]["fields"][name] for version in stored]


def test_hr_51_no_button_leads_who_may_not_read_it_to_the_history(story: Story, chief: Client) -> None:
    """Others stay."""
    editor = editor_with("view_story", "change_story")

    assert page(story, "history") not in text(editor.get(page(story, "change")))
    assert page(story, "history") in text(chief.get(page(story, "change")))


# -- Nothing breaks it

ANY_TEXT = st.one_of(
    st.text(max_size=30),
    st.integers().map(str),
    st.sampled_from(["0", "1", "2", "3", "9" * 30, "\0", "1\0", "-1", "0x1", "１", "1_0", " 1", "{{ x }}", XSS]),
)
FIELDS = st.sampled_from(
    ["title", "body", "words", "desk_id", "photos", "status", "id", "version", "created", "", "nope"]
)


@FUZZED
@given(
    asked=st.dictionaries(
        st.sampled_from(["p", "version_id", "action", "_popup", "next"]), st.lists(ANY_TEXT, max_size=4)
    ),
    posted=st.dictionaries(
        st.one_of(st.sampled_from(["version_id", "action"]), FIELDS.map("field_{}".format), st.text(max_size=12)),
        st.lists(ANY_TEXT, max_size=4),
    ),
    key=ANY_TEXT,
)
def test_no_parameter_makes_an_error(chief: Client, story: Story, asked: Any, posted: Any, key: str) -> None:
    """Whatever is asked for or posted, of whatever version: an answer, and no error of the server."""
    for name in ("history", "version_revert", "version_revert_process"):
        for response in (chief.get(page(story, name), asked), chief.post(page(story, name), posted)):
            assert response.status_code in (200, 302, 404, 405)
    for name in ("version", "version_rollback", "version_rollback_process"):
        at = f"{page(story, 'history')}{quote(key) or '0'}/{name.removeprefix('version').strip('_').replace('_', '/')}/"
        for response in (chief.get(at, asked), chief.post(at, posted)):
            assert response.status_code in (200, 301, 302, 404, 405)


@FUZZED
@given(
    data=st.dictionaries(FIELDS.map("field_{}".format), st.integers(-1, 3), min_size=1),
    status=st.sampled_from(["", DELETED]),
)
def test_any_choice_of_fields_and_versions_is_saved_whole_or_refused(chief: Client, data: Any, status: str) -> None:
    """One version more, or none."""
    story = told({"title": "Rain"}, {"title": "Flood", "words": 1}, {"body": "x", "status": status})
    held = {-1: "0", **dict(enumerate(map(str, keys(story)))), 3: "999999"}
    posted = {name: held[n] for name, n in data.items()}

    done = chief.post(page(story, "version_revert_process"), posted)

    after = fresh(story).version
    assert (done.status_code, after - 3) in {(302, 1), (302, 2), (302, 0), (200, 0), (404, 0)}
    assert len(keys(story)) - 3 <= 1


def test_lists_of_versions_are_bounded(chief: Client, story: Story) -> None:
    """Nobody chooses more than a page holds."""
    many = [str(n) for n in range(1, 102)]

    assert chief.get(page(story, "version_revert"), {"version_id": many}).status_code == 404
    assert chief.get(page(story, "version_revert"), {"version_id": [str(keys(story)[1])] * 500}).status_code == 200


# -- Any object


@pytest.mark.parametrize("slug", ['a/b"c', "_5F", "history/1", "'; --", "ä ö%2F", "revert/process/"])
def test_histories_of_any_key_can_be_walked(chief: Client, slug: str) -> None:
    """By the links on their pages."""
    masthead = Masthead(slug=slug)
    for status in ("", "draft"):
        masthead.status = status
        keep(masthead)
    newest = keys(masthead)[1]

    walked = walk(chief, page(masthead, "history"))

    assert page(masthead, "version", newest) in walked and page(masthead, "version_rollback", newest) in walked
    assert f"{page(masthead, 'version_revert')}?version_id={newest}" in walked
    refused = chief.post(page(masthead, "version_revert_process"), {"field_nothing": newest})
    assert refused.status_code == 200 and refused.context["instance"] == masthead
    chief.post(page(masthead, "version_rollback_process", keys(masthead)[0]))
    assert fresh(masthead).status == ""


class Links(HTMLParser):
    """What a page leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href") if tag == "a" else None
        if target:
            self.found.add(target)


def walk(client: Client, start: str) -> set[str]:
    """All pages below ``start`` that links lead to. Each of them is there."""
    seen: set[str] = set()
    todo = {start}
    while todo:
        url = todo.pop()
        seen.add(url)
        shown = client.get(url)
        assert shown.status_code == 200, url
        links = Links()
        links.feed(text(shown))
        todo |= {link for link in links.found if link.startswith(start.removesuffix("history/"))} - seen
    return seen


def test_objects_of_every_kind_have_histories(chief: Client) -> None:
    """A UUID as key, a table beside another, a proxy."""
    magazine = Magazine.objects.create(title="Tide", publisher=Publisher.objects.create(name="Press"))
    objs: list[Any] = [
        Photo(id=uuid.uuid4(), caption="Waves"),
        Supplement(theme="Harbours", magazine=magazine),
        SpecialIssue(magazine=magazine),
    ]
    for obj in objs:
        keep(obj)
        obj.status = "draft"
        keep(obj)
        assert len(chief.get(page(obj, "history")).context["history"]) == 2
        assert chief.post(page(obj, "version_rollback_process", keys(obj)[0])).status_code == 302
        assert fresh(obj).status == ""


def test_the_history_of_a_deleted_object_stays(chief: Client, story: Story) -> None:
    """As long as its row does."""
    story.delete()

    for method, url in pages(story, keys(story)[0]):
        assert getattr(chief, method)(url).status_code in (200, 302)
    at = page(story, "history")
    story.delete(hard=True)
    assert chief.get(at).status_code == 404


# -- What is done in the admin is in the history


def newest(obj: models.Model) -> tuple[str, str, int]:
    version = Stored.objects.get_for_object(obj).select_related("revision__user")[0]
    return (
        version.revision.get_comment(),
        str(version.revision.user),
        json.loads(version.serialized_data)[0]["fields"]["version"],
    )


def test_what_is_done_in_the_admin_is_in_the_history(chief: Client) -> None:
    """Added, changed, deleted, restored: by whom, in the admin's words, with the number after the change."""
    found = []
    chief.post(page(Story, "add"), {"title": "Rain", "status": ""})
    story = Story.objects.get()
    for step in (
        lambda: None,
        lambda: chief.post(page(story, "change"), {"title": "Flood", "status": ""}),
        lambda: chief.post(page(story, "delete"), {"post": "yes"}),
        lambda: chief.post(page(story, "restore")),
    ):
        step()
        found.append((*newest(story), fresh(story).version))

    assert found == [
        ("Added.", "chief", 1, 1),
        ("Changed Title.", "chief", 2, 2),
        ("Deleted.", "chief", 3, 3),
        ("Restored.", "chief", 4, 4),
    ]
    assert len(keys(story)) == 4


def test_bulk_actions_are_in_the_history(chief: Client) -> None:
    """One revision for all that an action does."""
    desks = [Desk.objects.create(name=name) for name in ("Home", "Sports")]
    selected = {"_selected_action": [str(desk.pk) for desk in desks]}

    chief.post(page(Desk, "changelist"), {"action": "delete_selected", "post": "yes", **selected})
    chief.post(page(Desk, "changelist") + "?deleted=yes", {"action": "restore_selected", **selected})

    comments = [revision.comment for revision in Revision.objects.order_by("pk")]
    assert comments == ["Initial version.", "Deleted.", "Restored."]
    assert [len(keys(desk)) for desk in desks] == [3, 3]


def test_what_goes_along_has_a_version_of_it(chief: Client) -> None:
    """Each object in its own history."""
    publisher = Publisher.objects.create(name="Press")
    magazine = Magazine.objects.create(title="Tide", publisher=publisher)

    chief.post(page(publisher, "delete"), {"post": "yes"})

    assert newest(magazine)[:2] == ("Deleted.", "chief")


def test_the_first_version_is_always_written(chief: Client) -> None:
    """An object that was made elsewhere has the version before its first change here, too."""
    story = Story.objects.create(title="Rain")

    chief.post(page(story, "change"), {"title": "Flood", "status": ""})

    entries = chief.get(page(story, "history")).context["history"]
    assert [entry["comment"] for entry in entries] == ["Changed Title.", "Initial version."]
    (change,) = dict(entries[0]["fields"])["version_changes"]
    assert (change.old.brief, change.new.brief) == ("Rain", "Flood")


def first_change_in_a_list(client: Client, publisher: Publisher, magazine: Magazine) -> None:
    data = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": magazine.pk, "form-0-title": "Ebb"}
    client.post(page(Magazine, "changelist"), {**data, "_save": "Save"})


def first_change_in_an_inline(client: Client, publisher: Publisher, magazine: Magazine, **more: Any) -> None:
    data = {
        "name": "Press",
        "magazines-TOTAL_FORMS": "1",
        "magazines-INITIAL_FORMS": "1",
        "magazines-0-id": magazine.pk,
        "magazines-0-publisher": publisher.pk,
        "magazines-0-title": "Ebb",
    }
    client.post(page(publisher, "change"), {**data, **more})


def deletion_in_an_inline(client: Client, publisher: Publisher, magazine: Magazine) -> None:
    first_change_in_an_inline(client, publisher, magazine, **{"magazines-0-title": "Tide", "magazines-0-DELETE": "on"})


def deletion(client: Client, publisher: Publisher, magazine: Magazine) -> None:
    client.post(page(magazine, "delete"), {"post": "yes"})


def deletion_with_what_is_above(client: Client, publisher: Publisher, magazine: Magazine) -> None:
    client.post(page(publisher, "delete"), {"post": "yes"})


def deletion_of_several(client: Client, publisher: Publisher, magazine: Magazine) -> None:
    data = {"action": "delete_selected", "post": "yes", "_selected_action": [str(magazine.pk)]}
    client.post(page(Magazine, "changelist"), data)


def restoration(client: Client, publisher: Publisher, magazine: Magazine) -> None:
    magazine.delete()
    client.post(page(magazine, "restore"))


def first_change(client: Client, publisher: Publisher, magazine: Magazine) -> None:
    client.post(page(magazine, "change"), {"title": "Ebb", "status": "", "publisher": publisher.pk})


WITHIN_REVISIONS = "reversion.middleware.RevisionMiddleware"


@pytest.mark.parametrize("is_within", [False, True], ids=["alone", "within the revision of the request"])
@pytest.mark.parametrize(
    ("do", "then"),
    [
        (first_change, [("Tide", ""), ("Ebb", "")]),
        (first_change_in_a_list, [("Tide", ""), ("Ebb", "")]),
        (first_change_in_an_inline, [("Tide", ""), ("Ebb", "")]),
        (deletion_in_an_inline, [("Tide", ""), ("Tide", DELETED)]),
        (deletion, [("Tide", ""), ("Tide", DELETED)]),
        (deletion_with_what_is_above, [("Tide", ""), ("Tide", DELETED)]),
        (deletion_of_several, [("Tide", ""), ("Tide", DELETED)]),
        (restoration, [("Tide", DELETED), ("Tide", "")]),
    ],
)
def test_what_an_object_was_before_is_its_first_version_however_it_is_changed(
    do: Any, then: Any, is_within: bool, chief: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a revision of its own; once."""
    monkeypatch.setattr(versionsite.MagazineAdmin, "list_display", ("handle", "title"))
    monkeypatch.setattr(versionsite.MagazineAdmin, "list_editable", ("title",))
    if is_within:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, WITHIN_REVISIONS]
    publisher = Publisher.objects.create(name="Press")
    magazine = Magazine.objects.create(title="Tide", publisher=publisher)

    do(chief, publisher, magazine)

    assert [*zip(held(magazine, "title"), held(magazine, "status"), strict=True)] == then
    first_change(chief, publisher, magazine)
    comments = Revision.objects.filter(version__in=keys(magazine)).order_by("pk").values_list("comment", flat=True)
    assert comments[0] == "Initial version." and "Initial version." not in comments[1:]


def test_a_form_with_errors_takes_no_first_version(chief: Client) -> None:
    """Nothing has changed."""
    story = Story.objects.create(title="Rain")

    assert chief.post(page(story, "change"), {"title": ""}).status_code == 200
    assert keys(story) == []


def test_what_is_refused_within_a_revision_of_the_request_leaves_no_version(chief: Client, settings: Any) -> None:
    """Neither of the object nor of what would have gone with it."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, WITHIN_REVISIONS]
    publisher, magazine = gone_and_back()
    gone = Stored.objects.get(pk=keys(publisher)[1])
    (row,) = json.loads(gone.serialized_data)
    row["fields"]["name"] = ""
    Stored.objects.filter(pk=gone.pk).update(serialized_data=json.dumps([row]))

    refused = chief.post(page(publisher, "version_rollback_process", gone.pk))

    assert refused.status_code == 200 and refused.context["errors"]
    assert (len(keys(publisher)), keys(magazine), fresh(publisher).status) == (3, [], "")
    chief.post(page(publisher, "version_rollback_process", keys(publisher)[0]))
    assert newest(publisher)[1:] == ("chief", fresh(publisher).version)


def test_what_is_looked_at_or_refused_is_not_in_the_history(chief: Client, story: Story) -> None:
    """Nor is a form with errors."""
    before = Revision.objects.count()
    for url in (page(story, "change"), page(story, "delete"), page(Story, "changelist"), page(Story, "add")):
        chief.get(url)
    shown = chief.post(page(story, "change"), {"title": "", "status": ""})

    assert shown.status_code == 200 and Revision.objects.count() == before


def test_refused_restorations_leave_no_version(chief: Client) -> None:
    """Also where a part of the page was saved before."""
    publisher = Publisher.objects.create(name="Press")
    keep(publisher)
    magazine = Magazine.objects.create(title="Tide", publisher=publisher)
    keep(magazine)
    publisher.delete()
    before = Revision.objects.count()

    chief.post(page(magazine, "restore"))
    chief.post(page(magazine, "change"), {"title": "Ebb", "status": "", "publisher": publisher.pk})

    assert Revision.objects.count() == before
    assert fresh(magazine).title == "Tide"


def test_inlines_are_changed_with_their_object(chief: Client) -> None:
    """In one revision; one that is ticked is deleted softly."""
    publisher = Publisher.objects.create(name="Press")
    stays, goes = (Magazine.objects.create(title=title, publisher=publisher) for title in ("Tide", "Ebb"))
    data: dict[str, Any] = {
        "name": "Press",
        "status": "",
        "note": "",
        "magazines-TOTAL_FORMS": "2",
        "magazines-INITIAL_FORMS": "2",
    }
    for n, magazine in enumerate((stays, goes)):
        data |= {
            f"magazines-{n}-id": magazine.pk,
            f"magazines-{n}-publisher": publisher.pk,
            f"magazines-{n}-title": "Neap",
        }
    data["magazines-1-DELETE"] = "on"

    done = chief.post(page(publisher, "change"), data)

    assert done.status_code == 302
    assert (fresh(stays).title, fresh(stays).status, fresh(goes).status) == ("Neap", "", DELETED)
    assert Stored.objects.get_for_object(stays)[0].revision == Stored.objects.get_for_object(goes)[0].revision


def test_hr_49_other_models_in_a_revision_are_left_as_they_are(chief: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of them."""
    reversion.register(Article)
    try:
        article = Article.objects.create(title="News")

        def save_both(admin: Any, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
            obj.save()
            article.save()

        monkeypatch.setattr(versionsite.StoryAdmin, "save_model", save_both)
        chief.post(page(Story, "add"), {"title": "Rain", "status": ""})

        story = Story.objects.get()
        assert Stored.objects.get_for_object(article)[0].revision == Stored.objects.get_for_object(story)[0].revision
        assert fresh(story).version == 1
    finally:
        reversion.unregister(Article)


# -- The pages themselves


def test_nothing_stored_acts_on_a_page(chief: Client) -> None:
    """Names, values, comments and users are escaped, and printable."""
    user = User.objects.create(username=XSS[:100])
    story = told({"title": XSS[:100], "body": "first"})
    story.body, story.status = XSS * 20, XSS[:100]
    with reversion.create_revision():
        story.save()
        reversion.set_user(user)
        reversion.set_comment(XSS)

    for method, url in [
        *pages(story, keys(story)[1]),
        ("get", f"{page(story, 'version_revert')}?version_id={keys(story)[1]}"),
    ]:
        if "process" not in url:
            shown = text(getattr(chief, method)(url, follow=True) if method == "post" else chief.get(url))
            assert "<script>alert(" not in shown and "<img src=x" not in shown, url
    assert "\u202e" not in text(chief.get(page(story, "version", keys(story)[1])))


class Marks(HTMLParser):
    """What would not run under a strict policy, and what a reader of the screen needs."""

    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.bare_heads = 0
        self.unnamed: list[dict[str, str | None]] = []
        self.within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inline += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given and given.get("type") != "application/json"):
            self.inline.append(tag)
        self.bare_heads += tag == "th" and "scope" not in given
        self.within.append(tag)
        is_ticked = tag == "input" and given.get("type") in ("checkbox", "radio")
        if is_ticked and "aria-label" not in given and "label" not in self.within:
            self.unnamed.append(given)

    def handle_endtag(self, tag: str) -> None:
        while self.within and self.within.pop() != tag:
            pass


def test_pages_are_plain_and_named(chief: Client, story: Story) -> None:
    """No inline script or style; heads of tables have a scope, and what is ticked has a name."""
    first, second, _third = keys(story)
    urls = [
        page(story, "history"),
        page(story, "version", second),
        f"{page(story, 'version_revert')}?version_id={second}",
        page(story, "version_rollback", first),
        page(story, "delete"),
        page(story, "hard_delete"),
    ]
    for url in urls:
        marks = Marks()
        marks.feed(text(chief.get(url)))
        assert (marks.inline, marks.bare_heads, marks.unnamed) == ([], 0, []), url


def test_numbers_of_thousands_are_written_as_they_are(chief: Client, story: Story, settings: Any) -> None:
    """Keys and pages are no figures to be read."""
    settings.USE_THOUSAND_SEPARATOR = True
    last = Stored.objects.get(pk=keys(story)[2])
    last.pk = 1_234_567
    Stored.objects.filter(pk=keys(story)[2]).delete()
    last.save(force_insert=True)

    listed = text(chief.get(page(story, "history")))
    shown = text(chief.get(page(story, "version_revert"), {"version_id": "1234567"}))

    assert 'value="1234567"' in listed and page(story, "version", 1_234_567) in listed
    assert 'value="1234567"' in shown and "1,234,567" not in listed + shown


def test_django_s_own_link_leads_to_the_history(chief: Client, story: Story) -> None:
    """Among the tools of an object."""
    assert f'<a href="{page(story, "history")}" class="historylink">' in text(chief.get(page(story, "change")))


def test_a_site_overrides_what_it_likes(chief: Client, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """The versions, the entries, the size of a page, the parameter."""
    admin = versionsite.StoryAdmin

    def entry(self: Any, version: Any, previous: Any) -> dict[str, Any]:
        return {**VersionAdmin.history_entry(self, version, previous), "comment": f"after {previous and previous.id}"}

    monkeypatch.setattr(admin, "history_entry", entry)
    monkeypatch.setattr(admin, "version_list_per_page", 2)
    monkeypatch.setattr(admin, "version_page_var", "page")

    first, second, _third = keys(story)
    pages = [chief.get(page(story, "history"), {"page": str(n)}).context["history"] for n in (1, 2)]
    assert [[entry["comment"] for entry in each] for each in pages] == [
        [f"after {second}", f"after {first}"],
        ["after None"],
    ]


def test_mixins_of_the_site_stand_beside_it(chief: Client, story: Story) -> None:
    """Their addresses, fields and methods, with those of the history."""
    assert chief.get(reverse("newsdesk:newsroom_hello")).content == b"hello"
    shown = text(chief.get(page(story, "change")))
    assert "good morning" in shown and story.handle in shown
    assert chief.get(page(story, "history")).status_code == 200


# -- Without django-reversion


def test_the_admin_is_importable_without_django_reversion() -> None:
    """It says what to install as soon as a model is registered."""
    code = """
import sys
sys.modules["reversion"] = None
import django
from django.conf import settings
apps = ["django.contrib." + name for name in ("admin", "auth", "contenttypes", "messages", "sessions")]
settings.configure(INSTALLED_APPS=[*apps, "footfall.producers", "footfall.storage", "newsroom"], USE_TZ=True,
                   DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.contrib.admin.sites import AdminSite
from django.core.exceptions import ImproperlyConfigured
from newsroom.models import Story
from footfall.storage.admin import HandleRefAdmin, VersionAdmin
HandleRefAdmin(Story, AdminSite())
try:
    VersionAdmin(Story, AdminSite())
except ImproperlyConfigured as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="tests")

    assert "footfall[history]" in done.stdout, done.stderr


def test_the_admin_registers_its_model(settings: Any) -> None:
    """And takes over one that is registered."""
    for _ in range(2):
        VersionAdmin(Desk, AdminSite())
    assert reversion.is_registered(Desk)
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "reversion"]
    with pytest.raises(ImproperlyConfigured, match="history"):
        VersionAdmin(Desk, AdminSite())


CHECK: Callable[..., list[Any]] = versionsite.site.check


def test_the_admin_passes_django_s_checks() -> None:
    """Every class of the site."""
    assert CHECK(None) == []
