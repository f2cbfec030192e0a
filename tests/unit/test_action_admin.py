"""Actions, trackers and deleted items in the admin: what is listed, found, shown and deleted, in how many queries, and
that no name acts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from newsroom.models import Article, Page, Topic
from pytest_django import DjangoAssertNumQueries
from storedactions import store

from footfall.storage import actionadmin
from footfall.storage.models import Action, ActionObject, DeletedItem, Tracker

pytestmark = pytest.mark.django_db

MODELS = ("action", "tracker", "deleteditem")
ACTIONS, TRACKERS, ITEMS = (reverse(f"admin:footfall_storage_{name}_changelist") for name in MODELS)

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
PAYLOADS = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "</title><svg onload=alert(1)>",
    "{{ 7|add:7 }}{% debug %}",
    "javascript:alert(1)",
    "evil\u202egnp.exe",
    "bell\x07\x1b[31m\x85\u2028line",
]

Staff = Callable[..., Client]


@pytest.fixture
def staff() -> Staff:
    """A client signed in as a member of the staff with these permissions on all three."""

    def staff(*codes: str) -> Client:
        user = User.objects.create(username="staff", is_staff=True)
        names = [f"{code}_{model}" for code in codes for model in MODELS]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client = Client()
        client.force_login(user)
        return client

    return staff


def acted(
    actor: Any, verb: str = "wrote", *targets: Any, related: Any = (), at: datetime = NOON, **values: Any
) -> Action:
    return store(actor, verb, targets, related, **{"timestamp": at, **values})


def listed(client: Client, url: str = ACTIONS, **query: Any) -> list[Any]:
    """The rows of a list's first page."""
    response = client.get(url, query)
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def verbs(client: Client, **query: Any) -> list[str]:
    return [action.verb for action in listed(client, **query)]


def text(client: Client, row: Any) -> str:
    """The page of one row."""
    return str(client.get(page_of(row)).content.decode())


def page_of(row: Any, name: str = "change") -> str:
    return reverse(f"admin:footfall_storage_{row._meta.model_name}_{name}", args=[row.pk])


@pytest.fixture
def author() -> User:
    return User.objects.create(pk=1000, username="author")


@pytest.fixture
def rows(author: User) -> list[Any]:
    """One of each."""
    return [
        acted(author),
        Tracker.objects.create(user=author, tracked_type="newsroom.article", tracked_id="1"),
        DeletedItem.objects.create(object_type="newsroom.article", object_id="1", description="Rain"),
    ]


# -- Who may what


def test_only_staff_with_the_right_to_view_sees_anything(staff: Staff, rows: list[Any]) -> None:
    pages = [ACTIONS, TRACKERS, ITEMS, *map(page_of, rows)]

    assert {Client().get(url).status_code for url in pages} == {302}
    client = staff()
    assert {client.get(url).status_code for url in pages} == {403}


def test_nobody_adds_or_changes_anything(admin_client: Client, rows: list[Any]) -> None:
    """Not even a superuser."""
    for row in rows:
        assert admin_client.get(page_of(row)).status_code == 200
        assert admin_client.post(page_of(row), {}).status_code == 403
        assert admin_client.get(reverse(f"admin:footfall_storage_{row._meta.model_name}_add")).status_code == 403


def test_who_may_delete_deletes(staff: Staff, rows: list[Any]) -> None:
    """One by its page, or those that were ticked; an action takes its entries with it."""
    client = staff("view")
    for row in rows:
        assert client.post(page_of(row, "delete"), {"post": "yes"}).status_code == 403

    User.objects.get(username="staff").user_permissions.set(
        Permission.objects.filter(codename__in=[f"{code}_{model}" for code in ("view", "delete") for model in MODELS])
    )
    for row in rows:
        assert client.post(page_of(row, "delete"), {"post": "yes"}).status_code == 302
        assert not type(row)._default_manager.exists()
    assert not ActionObject.objects.exists()

    action = acted(None)
    chosen = {"action": "delete_selected", "_selected_action": [str(action.pk)], "post": "yes"}
    assert client.post(ACTIONS, chosen).status_code == 302
    assert not Action.objects.exists()


def test_nothing_offers_to_choose_more_than_a_page(admin_client: Client, author: User) -> None:
    """To delete all of a large table is not a matter for a web page."""
    for _ in range(101):
        acted(author)
    page = admin_client.get(ACTIONS).content.decode()

    assert "Delete selected actions" in page
    assert "to select the objects across all pages" not in page and 'class="question' not in page


# -- The list of actions


def test_an_action_is_listed_with_whom_it_is_about(admin_client: Client, author: User) -> None:
    article, page, topic = Article.objects.create(title="Rain"), Page.objects.create(title="p"), Topic(slug="t")
    topic.save()
    acted(author, "wrote", article, page, related=[topic], level=40)

    (row,) = listed(admin_client)
    model_admin = admin.site.get_model_admin(Action)
    told = [getattr(model_admin, name)(row) for name in model_admin.list_display[1:]]

    assert told == ["author", "wrote", "Rain and p", "t", "WARNING"]


def test_what_is_gone_is_named_by_what_is_left_of_it(admin_client: Client, author: User) -> None:
    """Its description, or at least its type and id."""
    DeletedItem.objects.create(object_type="newsroom.article", object_id="1", description="Rain, once")
    action = acted(author, "wrote", Article(pk=1), Article(pk=2))
    Action.objects.update(actor_id="999")

    page = text(admin_client, action)

    for shown in (page, admin_client.get(ACTIONS).content.decode()):
        assert "Rain, once" in shown and "newsroom.article:2" in shown and "auth.user:999" in shown


def test_long_lists_and_names_are_cut(admin_client: Client, author: User) -> None:
    """On the list; the action's own page has all of them."""
    articles = [Article.objects.create(title=f"{number} {'x' * 90}") for number in range(5)]
    action = acted(author, "wrote", *articles)

    whole, cut = text(admin_client, action), admin_client.get(ACTIONS).content.decode()

    assert "x" * 90 not in cut and "and 3 others" in cut
    assert whole.count("x" * 90) == 5


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["shouted", "wrote", "wrote down"]),
        ({"verb": "wrote"}, ["wrote"]),
        ({"verb": "nope"}, []),
        ({"level": "10"}, ["shouted"]),
        ({"level": "30", "verb": "wrote down"}, ["wrote down"]),
        ({"q": "WRO"}, ["wrote", "wrote down"]),
        ({"q": "rote"}, []),
        ({"q": "newsroom.article:1"}, ["shouted", "wrote"]),
        ({"q": " Newsroom.Article:1 ", "verb": "wrote"}, ["wrote"]),
        ({"q": "newsroom.article:2"}, []),
        ({"q": "newsroom.topic:a:b"}, ["wrote down"]),
        ({"q": "newsroom.article:1", "timestamp__year": "2025"}, []),
        ({"timestamp__year": "2026", "timestamp__month": "6", "timestamp__day": "15"}, ["shouted", "wrote"]),
        ({"timestamp__year": "2026", "timestamp__month": "5"}, ["wrote down"]),
        ({"timestamp__year": "2026", "timestamp__month": "5", "q": "sh"}, []),
        ({"o": "3"}, ["shouted", "wrote", "wrote down"]),
    ],
)
def test_actions_are_chosen_by_what_they_are_about(
    admin_client: Client, author: User, query: dict[str, str], found: list[str]
) -> None:
    """By verb, level, time, the beginning of a verb, and an object in any role; always the latest first."""
    article, topic = Article.objects.create(pk=1, title="a"), Topic.objects.create(slug="a:b")
    acted(author, "wrote", article)
    acted(author, "wrote down", related=[topic], at=NOON - timedelta(days=31))
    acted(article, "shouted", article, at=NOON + timedelta(minutes=1), level=10)

    assert verbs(admin_client, **query) == found


@pytest.mark.parametrize(
    "query",
    [
        "data__has_key=x",
        "actor_id=1",
        "verb__contains=x",
        "refs__object_id=1",
        "verb=%00",
        "level=x",
        "level=-1",
        "level=99999999999999999999",
        "level=%C2%B2",
        "timestamp__month=6",
        "timestamp__year=x",
        "timestamp__year=9999",
        "timestamp__gte=x",
    ],
)
def test_nothing_else_can_be_asked_for(admin_client: Client, author: User, query: str) -> None:
    """It would read the whole table; the admin leads back to the list."""
    acted(author)
    response = admin_client.get(f"{ACTIONS}?{query}")

    assert (response.status_code, response.headers["Location"]) == (302, f"{ACTIONS}?e=1")


def test_an_object_is_searched_among_its_latest_actions(
    admin_client: Client, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every role together, and the page says so."""
    monkeypatch.setattr(actionadmin, "FOUND", 3)
    for number in range(3):
        acted(author, f"a{number}", at=NOON - timedelta(hours=number))
        acted(None, f"t{number}", author, at=NOON - timedelta(hours=number, minutes=1))

    query = f"auth.user:{author.pk}"
    assert verbs(admin_client, q=query) == ["a0", "t0", "a1"]
    assert "At most 3 actions" in admin_client.get(ACTIONS, {"q": query}).content.decode()


def test_a_filter_looks_through_the_latest_actions_of_the_period(
    admin_client: Client, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more than that, a period has to be chosen, as the page says."""
    monkeypatch.setattr(actionadmin, "SEARCHED", 2)
    for day in (15, 16, 17):
        acted(author, at=NOON.replace(day=day))

    for query in ({"verb": "wrote"}, {"level": "30"}, {"q": "w"}):
        assert len(listed(admin_client, **query)) == 2
        assert "latest 2 actions" in admin_client.get(ACTIONS, query).content.decode()
        chosen = {"timestamp__year": "2026", "timestamp__month": "6", "timestamp__day": "15"}
        assert len(listed(admin_client, **query, **chosen)) == 1
    assert len(listed(admin_client)) == 3


def test_verbs_of_the_page_are_offered_and_whatever_is_chosen(admin_client: Client, author: User) -> None:
    acted(author, "wrote")

    for query, offered in (({}, {"wrote"}), ({"verb": "long gone"}, {"long gone"})):
        changelist = admin_client.get(ACTIONS, query).context["cl"]
        (verb_filter,) = [spec for spec in changelist.filter_specs if spec.parameter_name == "verb"]
        choices = {choice["display"]: choice["selected"] for choice in list(verb_filter.choices(changelist))[1:]}
        assert offered <= choices.keys()
        assert [name for name, selected in choices.items() if selected] == [*query.values()]


def test_the_dates_come_from_the_first_and_the_last_action(admin_client: Client, author: User) -> None:
    """By the site's time zone: the last minutes of a year in London are the first of the next in Berlin."""
    acted(author, at=datetime(2025, 12, 31, 23, 30, tzinfo=UTC))
    acted(author, at=NOON)

    page = admin_client.get(ACTIONS).content.decode()

    assert page.count("timestamp__month=") == 6
    assert len(listed(admin_client, timestamp__year="2026", timestamp__month="1")) == 1


# -- One action


def test_an_action_leads_to_the_pages_of_its_objects(admin_client: Client, author: User) -> None:
    """Where the admin has one."""
    left = DeletedItem.objects.create(object_type="newsroom.page", object_id=str(uuid.uuid4()), description="a page")
    action = acted(author, "wrote", Article.objects.create(title="no admin"), data={"n": [1, {"x": "ä"}]})
    action.refs.create(role="r", object_type="newsroom.page", object_id=left.object_id)
    action.refs.create(role="r", object_type="auth.user", object_id="")

    page = text(admin_client, action)

    assert f'<a href="/admin/auth/user/{author.pk}/change/">author</a>' in page
    assert f'<a href="{page_of(left)}">a page</a>' in page
    assert '<a href="/admin/auth/user/">users</a>' in page
    assert "no admin" in page and "newsroom/article/" not in page
    assert "&quot;x&quot;: &quot;ä&quot;" in page
    assert "INFO" in page and str(action.pk) in page


def test_a_level_without_a_name_is_a_number(admin_client: Client) -> None:
    assert '<div class="readonly">37</div>' in text(admin_client, acted(None, level=37))


# -- Trackers


def test_a_tracker_says_who_follows_what(admin_client: Client, author: User) -> None:
    """Also where it is gone, and where it is all of a model."""
    article = Article.objects.create(title="Rain")
    key = {"user": author, "tracked_type": "newsroom.article"}
    some = [
        Tracker.objects.create(**key, tracked_id=str(article.pk), verbs=["wrote", "amended"]),
        Tracker.objects.create(**key, tracked_id="", excluded=["shouted"]),
        Tracker.objects.create(**key, tracked_id="999", actor_only=False),
    ]
    page = admin_client.get(TRACKERS).content.decode()

    assert [row.pk for row in listed(admin_client, TRACKERS)] == [one.pk for one in reversed(some)]
    for shown in ("Rain", "wrote, amended", "articles", "shouted", "newsroom.article:999"):
        assert shown in page
    assert "Rain" in text(admin_client, some[0])


def test_trackers_are_found_by_user_and_by_object(admin_client: Client, author: User) -> None:
    other = User.objects.create(username="other")
    mine = Tracker.objects.create(user=author, tracked_type="newsroom.article", tracked_id="1")
    others = Tracker.objects.create(user=other, tracked_type="newsroom.article", tracked_id="1")
    Tracker.objects.create(user=other, tracked_type="newsroom.article", tracked_id="")

    assert listed(admin_client, TRACKERS, q="author") == [mine]
    assert listed(admin_client, TRACKERS, q="newsroom.article:1") == [others, mine]
    assert len(listed(admin_client, TRACKERS, q="newsroom.article:")) == 1
    assert listed(admin_client, TRACKERS, q="auth") == []
    response = admin_client.get(TRACKERS, {"verbs__contains": "x"})
    assert response.status_code == 302 and response.headers["Location"].endswith("?e=1")


# -- What is left of deleted objects


def test_deleted_items_are_found_by_what_they_were(admin_client: Client) -> None:
    key = {"object_type": "newsroom.article", "deleted_at": NOON}
    rain = DeletedItem.objects.create(**key, object_id="1", description="Rain", serialization={"title": "<Rain>"})
    snow = DeletedItem.objects.create(**key, object_id="2", description="Snow")

    assert listed(admin_client, ITEMS) == [snow, rain]
    assert listed(admin_client, ITEMS, q="rai") == [rain]
    assert listed(admin_client, ITEMS, q="newsroom.article:2") == [snow]
    assert listed(admin_client, ITEMS, deleted_at__year="2025") == []
    assert "&lt;Rain&gt;" in text(admin_client, rain)


# -- How many queries


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize(
    "query",
    [{}, {"verb": "wrote"}, {"level": "30"}, {"q": "wro"}, {"timestamp__year": "2026", "timestamp__month": "6"}],
)
def test_a_page_of_actions_is_seven_queries_and_one_for_each_type(
    admin_client: Client, author: User, django_assert_max_num_queries: Any, query: dict[str, str], count: int
) -> None:
    """With objects of three types: however many there are."""
    for _ in range(count):
        acted(author, "wrote", Article.objects.create(title="a"), Page.objects.create(title="p"))

    with django_assert_max_num_queries(10):
        assert len(listed(admin_client, **query)) == count


@pytest.mark.parametrize("url", [TRACKERS, ITEMS])
def test_a_page_of_the_others_is_ten_queries_too(
    admin_client: Client, author: User, django_assert_max_num_queries: Any, url: str
) -> None:
    for number in range(60):
        user = User.objects.create(username=f"reader-{number}")
        article = Article.objects.create(title="a")
        Tracker.objects.create(user=user, tracked_type="newsroom.article", tracked_id=str(article.pk))
        DeletedItem.objects.create(object_type="newsroom.page", object_id=str(number), description="x")

    with django_assert_max_num_queries(10):
        assert len(listed(admin_client, url)) == 60


def test_a_page_of_one_action_loads_each_type_once(
    admin_client: Client, author: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    action = acted(author, "wrote", *[Article.objects.create(title="a") for _ in range(50)])

    with django_assert_num_queries(2 + 1 + 1 + 2):  # who looks, the action, its entries, users and articles
        text(admin_client, action)


# -- What strangers wrote


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_name_acts(admin_client: Client, payload: str) -> None:
    """In a verb, a name, an id, a type, data or a description, on a list, in its filters and on its own page."""
    hostile = User.objects.create(username=payload)
    article = Article.objects.create(title=payload)
    action = acted(hostile, payload, article, data={payload: [payload]})
    action.refs.create(role="r", object_type=payload, object_id=payload)
    tracker = Tracker.objects.create(
        user=hostile, tracked_type=payload, tracked_id=payload, verbs=[payload], excluded=[payload]
    )
    item = DeletedItem.objects.create(
        object_type=payload, object_id=payload, description=payload, serialization={payload: payload}
    )

    pages = [ACTIONS, TRACKERS, ITEMS, *(page_of(row) for row in (action, tracker, item))]
    answers = [admin_client.get(url) for url in pages]
    answers += [admin_client.get(url, {"q": payload}) for url in (ACTIONS, TRACKERS, ITEMS)]
    answers += [admin_client.get(ACTIONS, {"verb": payload}), admin_client.get(page_of(action, "delete"))]
    for answer in answers:
        page = answer.content.decode()
        assert answer.status_code == 200
        assert "<script>alert" not in page and "<img src=x" not in page and "<svg onload" not in page
        assert 'href="javascript:' not in page
    for answer in answers[:6]:
        assert not {"\x1b", "\x07", "\x85", "\u2028", "\u202e"} & {*answer.content.decode()}


@pytest.mark.parametrize("query", [{"timestamp__gte": "0001-01-01 00:00:00+14:00"}, {"timestamp__year": "1"}])
def test_a_time_that_a_database_may_have_no_words_for_is_no_error(
    admin_client: Client, author: User, query: dict[str, str]
) -> None:
    """SQLite refuses it: then the admin leads back to the list."""
    acted(author)
    response = admin_client.get(ACTIONS, query)
    assert response.status_code == 200 or response.headers["Location"] == f"{ACTIONS}?e=1"
