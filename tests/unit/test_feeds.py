"""Feeds: what trackers follow, whatever is asked of the queryset."""

import copy
import pickle
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import FieldError
from django.db.models import Count, F, Q, Value, Window
from newsroom.models import Article, Page, Topic
from pytest_django import DjangoAssertNumQueries
from storedactions import at, follow, store

from footfall.producers import publish_action
from footfall.storage import feeds
from footfall.storage.models import Action, ViewMark
from footfall.storage.trackerrules import TempTracker
from footfall.workers.testing import drain

Asked = Callable[[Any], Any]


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create(username="ann")


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create(username="bob")


@pytest.fixture
def article(db: None) -> Article:
    return Article.objects.create(title="Spring")


# -- Who is told of what


def test_ac_14_a_feed_has_what_its_trackers_follow_newest_first(ann: User, bob: User, article: Article) -> None:
    """Each action once, though two trackers match it; nothing of what others follow."""
    follow(ann, bob)
    follow(ann, article, actor_only=False)
    follow(bob, User)
    early, late = (store(bob, "liked", [article], seconds=seconds) for seconds in (1, 2))
    store(ann, seconds=3)

    assert list(feeds.feed_of(ann)) == [late, early]


def test_ac_14_actions_from_before_the_tracker_are_in_the_feed_and_never_unread(ann: User, bob: User) -> None:
    """Following somebody shows what they did so far, and asks nobody to read it."""
    old = store(bob, seconds=-100)
    follow(ann, bob)
    new = store(bob, seconds=100)

    assert list(feeds.feed_of(ann)) == [new, old]
    assert list(feeds.unread_of(ann)) == [new]


def test_since_following_leaves_out_what_was_before_but_not_ones_own(ann: User, bob: User) -> None:
    """What gained an object since then is new."""
    follow(ann, bob)
    store(bob, seconds=-100)
    grown = store(bob, seconds=-90, renewed=at(5), changed=at(5))
    own = store(ann, seconds=-95)

    assert list(feeds.feed_of(ann, since_following=True)) == [grown]
    assert list(feeds.feed_of(ann, since_following=True, include_own=True)) == [grown, own]


def test_ac_20_ones_own_actions_are_included_on_request(ann: User, bob: User, article: Article) -> None:
    """Those that one did; not those that were done to one."""
    own = store(ann, "wrote", [article])
    store(bob, "praised", [ann])

    assert list(feeds.feed_of(ann)) == []
    assert list(feeds.feed_of(ann, include_own=True)) == [own]


@pytest.mark.parametrize("nobody", [None, AnonymousUser()])
def test_ac_20_who_follows_nothing_and_who_is_nobody_have_an_empty_feed(nobody: Any, ann: User, bob: User) -> None:
    """Never an error, except for what would be one for anybody."""
    store(bob)

    assert not feeds.feed_of(ann).exists() and feeds.feed_of(ann).page().actions == []
    assert list(feeds.feed_of(nobody, include_own=True, verb="wrote")[:20]) == []
    assert list(feeds.unread_of(nobody)) == [] and feeds.unread_count_of(nobody) == 0
    assert feeds.followed(nobody, [uuid.uuid4()]) == set()
    with pytest.raises(FieldError):
        feeds.feed_of(nobody, verv="wrote")


@pytest.mark.parametrize("wrong", ["somebody", 5, Article(), User])
def test_what_is_no_user_has_no_feed(wrong: Any, db: None) -> None:
    """A mistake of the programmer, who is told."""
    with pytest.raises(TypeError):
        feeds.feed_of(wrong)


def test_an_unsaved_user_has_no_feed(db: None) -> None:
    """Nobody can follow for them yet."""
    with pytest.raises(ValueError, match="not saved"):
        feeds.feed_of(User(username="new"))


# -- Trackers


def test_ac_45_a_tracker_of_a_model_matches_each_of_its_objects_and_the_model(ann: User, bob: User) -> None:
    """Beside a tracker of one of its objects; in the feed and as unread, once each."""
    pages = [Page.objects.create(title=title) for title in "ab"]
    follow(ann, Page, actor_only=False)
    follow(ann, pages[0], actor_only=False)
    about = [store(bob, "read", named) for named in ([pages[0]], [pages[1]], pages, [Page])]
    store(bob, "read", [Topic(slug="spring")])

    assert set(feeds.feed_of(ann)) == set(about) == set(feeds.unread_of(ann))
    assert feeds.feed_of(ann).count() == feeds.unread_count_of(ann) == 4


def test_a_limited_feed_of_a_model_is_full_though_actions_are_about_many_of_it(ann: User, bob: User) -> None:
    """Ten targets of one action are one row of the page."""
    follow(ann, Article, actor_only=False)
    many = [("newsroom.article", str(key)) for key in range(10)]
    stored = [store(bob, targets=many, seconds=seconds) for seconds in range(5)]

    assert list(feeds.feed_of(ann)[:3]) == stored[:1:-1]
    assert feeds.unread_count_of(ann, limit=3) == 3


def test_ac_56_an_actor_only_tracker_follows_only_what_the_object_does(ann: User, bob: User) -> None:
    """Any other also what is done to it and in relation to it."""
    carl = User.objects.create(username="carl")
    did, had, stood = store(bob), store(carl, targets=[bob]), store(carl, related=[bob])
    tracker = follow(ann, bob)

    assert set(feeds.feed_of(ann)) == set(Action.objects.tracked_by(tracker)) == {did}
    tracker.actor_only = False
    tracker.save()
    assert set(feeds.feed_of(ann)) == set(Action.objects.tracked_by(tracker)) == {did, had, stood}


def test_ac_58_a_tracker_follows_the_verbs_that_it_names(ann: User, bob: User) -> None:
    """And the feed can be asked for one of these."""
    follow(ann, bob, "a", "b")
    a, b, _ = (store(bob, verb) for verb in "abc")

    assert set(feeds.feed_of(ann)) == {a, b}
    assert list(feeds.feed_of(ann, verb="a")) == [a] == list(feeds.feed_of(ann, verb="a")[:5])
    assert list(feeds.feed_of(ann, verb="c")) == []


def test_ac_40_a_verb_that_was_taken_out_of_all_is_not_followed(ann: User, bob: User) -> None:
    """All the others are."""
    follow(ann, bob, excluded=["a"])
    _, b, c = (store(bob, verb) for verb in "abc")

    assert set(feeds.feed_of(ann)) == {b, c} == set(feeds.unread_of(ann))


@pytest.mark.parametrize("verb", ["a;b", 'a"b', "a\\b", "a%b", "ü", "[]", "1", "null"])
def test_ac_59_a_verb_is_followed_whatever_it_is_written_with(verb: str, ann: User, bob: User) -> None:
    """It is a value, and neither split nor read as anything else."""
    follow(ann, bob, verb, "other")
    wanted = store(bob, verb)
    for part in ("a", "b", "a;", ""):
        store(bob, part)

    assert list(feeds.feed_of(ann)) == [wanted] == list(feeds.feed_of(ann)[:9])
    assert feeds.followed(ann, Action.objects.values_list("pk", flat=True)) == {wanted.pk}


def test_a_tracker_that_is_not_stored_chooses_alike(ann: User, bob: User, article: Article) -> None:
    """Of the object, or of all of a model; of some verbs; of readable actions, unless others are asked for."""
    liked, read = (store(bob, verb, [article]) for verb in ("liked", "read"))
    low = store(bob, "liked", [article], level=10)

    assert set(Action.objects.tracked_by(TempTracker(ann, article, actor_only=False))) == {liked, read}
    assert set(Action.objects.tracked_by(TempTracker(ann, Article, "liked", actor_only=False))) == {liked}
    assert set(Action.objects.tracked_by(TempTracker(ann, bob, "liked"), level__gte=0)) == {liked, low}
    assert list(Action.objects.tracked_by(TempTracker(ann, article))) == []
    assert list(Action.objects.filter(verb="read").tracked_by(TempTracker(ann, User))[:5]) == [read]


# -- Unread


def test_ac_42_what_was_logged_before_a_feed_and_stored_after_it_is_unread(
    ann: User, bob: User, django_capture_on_commit_callbacks: Any
) -> None:
    """Looking at the feed in between changes nothing."""
    follow(ann, bob)
    with django_capture_on_commit_callbacks(execute=True):
        publish_action(bob, "arrived")
    assert list(feeds.feed_of(ann)[:20]) == [] and feeds.unread_count_of(ann) == 0

    drain()

    (action,) = feeds.feed_of(ann)[:20]
    assert action.is_unread_for(ann) and feeds.unread_count_of(ann) == 1


def test_ac_43_what_was_marked_as_read_before_the_first_feed_stays_read(ann: User, bob: User) -> None:
    """The feed does not make it unread."""
    follow(ann, bob)
    store(bob).mark_read_for(ann, force=True)

    (action,) = feeds.feed_of(ann)[:20]
    assert not action.is_unread_for(ann) and feeds.unread_count_of(ann) == 0


def test_ac_44_an_action_is_unread_through_the_one_tracker_that_follows_its_verb(ann: User, bob: User) -> None:
    """Though another one of the same user, which follows other verbs, was made after it."""
    follow(ann, User, "liked")
    follow(ann, bob, "read", seconds=50)
    action = store(bob, "liked")

    assert list(feeds.unread_of(ann)) == [action] and feeds.unread_count_of(ann) == 1


# -- Levels and filters


@pytest.fixture
def levels(ann: User, bob: User) -> dict[int, Action]:
    follow(ann, bob)
    return {level: store(bob, level=level, seconds=level) for level in (0, 10, 20, 30, 40, 50)}


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({}, [50, 40, 30]),
        ({"level__gte": 40}, [50, 40]),
        ({"level__gte": 20}, [50, 40, 30, 20]),
        ({"level": 10}, [10]),
        ({"level__gt": 0, "level__lt": 30}, [20, 10]),
        ({"level__in": []}, []),
        ({"level__in": [10, 40]}, [40, 10]),
        ({"level__range": (10, 30)}, [30, 20, 10]),
        ({"level__lte": 40}, [40, 30]),
        ({"level__lt": 40, "verb": "wrote"}, [30]),
        ({"level__lt": 20}, []),
    ],
)
def test_ac_46_a_feed_shows_readable_levels_unless_others_are_asked_for(
    filters: dict[str, Any], shown: list[int], ann: User, levels: dict[int, Action]
) -> None:
    """A bound above asks for none. Below READABLE_LEVEL nothing is unread, whatever is asked for."""
    readable = [level for level in shown if level >= 30]
    assert {one.level for one in Action.objects.tracked_by(TempTracker(ann, User), **filters)} == set(shown)

    assert [action.level for action in feeds.feed_of(ann, **filters)] == shown
    assert [action.level for action in feeds.feed_of(ann, **filters)[:9]] == shown
    assert [action.level for action in feeds.unread_of(ann, **filters)] == readable


def test_ac_46_what_is_below_the_readable_level_is_not_even_unread_when_it_is_marked_so(
    ann: User, levels: dict[int, Action]
) -> None:
    """Neither in the list nor in the count."""
    for action in levels.values():
        marked = {"object_type": "footfall_storage.action", "object_id": str(action.pk), "seen": False}
        ViewMark.objects.create(user=ann, at=at(100), **marked)

    assert feeds.unread_count_of(ann) == 3 == feeds.unread_of(ann).count()


def test_ac_46_the_readable_level_is_a_setting(ann: User, levels: dict[int, Action], settings: Any) -> None:
    """Of the feed and of what is unread."""
    settings.FOOTFALL = {**settings.FOOTFALL, "READABLE_LEVEL": "WARNING"}

    assert feeds.feed_of(ann).count() == 2 == feeds.unread_count_of(ann)


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({"data__n": 1}, {1}),
        ({"data__n__gte": 1, "verb": "v2"}, {2}),
        ({"verb__in": ["v0", "v2"]}, {0, 2}),
        ({"timestamp__gt": at(0)}, {1, 2}),
        ({"timestamp__date": at(0).date()}, {0, 1, 2}),
        ({"timestamp": F("changed")}, {0, 1, 2}),
        ({"actor_type": "newsroom.topic"}, set()),
        ({"refs__object_id": "7"}, {2}),
        ({"pk__in": []}, set()),
    ],
)
def test_ac_58_a_feed_takes_look_ups_on_actions(filters: dict[str, Any], shown: set[int], ann: User, bob: User) -> None:
    """Whole, limited, and what is unread of it."""
    follow(ann, bob)
    for n in range(3):
        store(bob, f"v{n}", [("newsroom.article", str(5 + n))], seconds=n, data={"n": n})

    for rows in (feeds.feed_of(ann, **filters), feeds.feed_of(ann, **filters)[:9], feeds.unread_of(ann, **filters)):
        assert {action.data["n"] for action in rows} == shown


@pytest.mark.parametrize("name", ["verv", "verb__nonsense", "refs__nonsense"])
def test_a_wrong_filter_is_told_at_the_call(name: str, ann: User) -> None:
    """Not only when the feed is fetched."""
    wrong: dict[str, Any] = {name: 1}
    asked: list[Callable[[], Any]] = [
        lambda: feeds.feed_of(ann, **wrong),
        lambda: feeds.unread_of(ann, **wrong),
        lambda: Action.objects.about("auth.user", "1", **wrong),
        lambda: Action.objects.tracked_by(TempTracker(ann, ann), **wrong),
    ]
    for ask in asked:
        with pytest.raises(FieldError):
            ask()


# -- The stream of one object


def test_ac_10_what_an_object_is_in_comes_once_whatever_its_roles_and_level(ann: User, bob: User) -> None:
    """Nobody else's; a model is an object of its own."""
    low = store(ann, targets=[ann], related=[ann, bob], level=0, seconds=1)
    done = store(bob, targets=[ann], seconds=2)
    store(bob, targets=[User])
    label, key = "auth.user", str(ann.pk)

    assert list(Action.objects.about(label, key)) == [done, low] == list(Action.objects.about(label, key)[:5])
    assert list(Action.objects.about(label, key, roles=("a",))) == [low]
    assert list(Action.objects.about(label, key, roles=("t", "r"), verb="wrote")[:1]) == [done]
    assert list(Action.objects.about(label, key, roles=())) == []
    assert Action.objects.about(label, "").count() == 1
    assert list(Action.objects.filter(level=0).about(label, key)) == [low]


# -- As a queryset

OPERATIONS: dict[str, Asked] = {
    "all": list,
    "the first few": lambda rows: list(rows[:3]),
    "some": lambda rows: list(rows[2:5]),
    "all but the first": lambda rows: list(rows[1:]),
    "one": lambda rows: rows[2],
    "first": lambda rows: rows.first(),
    "last": lambda rows: rows.last(),
    "latest": lambda rows: rows.latest("changed"),
    "get": lambda rows: rows.get(verb="v1", level=40),
    "count": lambda rows: rows.count(),
    "count of a slice": lambda rows: rows[:3].count(),
    "length of a slice": lambda rows: len(rows[1:3]),
    "exists": lambda rows: rows.exists(),
    "exists in a slice": lambda rows: rows[50:60].exists(),
    "contains": lambda rows: rows.contains(rows.first()),
    "filter": lambda rows: list(rows.filter(verb="v1")[:2]),
    "exclude": lambda rows: list(rows.exclude(verb="v1")[:2]),
    "filter over entries": lambda rows: list(rows.filter(refs__object_id="2").distinct()[:2]),
    "order by": lambda rows: list(rows.order_by("level", "id")[:3]),
    "order as it is": lambda rows: list(rows.order_by("-timestamp", "-pk")[:3]),
    "reverse": lambda rows: list(rows.reverse()[:3]),
    "no order": lambda rows: len(rows.order_by()[:3]),
    "extra order": lambda rows: list(rows.extra(order_by=["level", "id"])[:3]),
    "values": lambda rows: list(rows.values("verb", "level")[:3]),
    "values list": lambda rows: list(rows.values_list("verb", flat=True)),
    "distinct values": lambda rows: sorted(rows.order_by().values_list("verb", flat=True).distinct()[:9]),
    "values over entries": lambda rows: list(rows.values_list("pk", "refs__action")[:4]),
    "only": lambda rows: [one.verb for one in rows.only("verb")[:3]],
    "in bulk": lambda rows: sorted(rows.in_bulk()),
    "aggregate": lambda rows: rows.aggregate(n=Count("pk"), verbs=Count("verb", distinct=True)),
    "group": lambda rows: sorted(rows.order_by().values_list("verb").annotate(n=Count("pk"))[:2]),
    "annotate": lambda rows: [one.n for one in rows.annotate(n=Count("refs"))[:3]],
    "annotate a value": lambda rows: [(one.pk, one.n) for one in rows.annotate(n=Value(1))[:3]],
    "annotate a window": lambda rows: [one.n for one in rows.annotate(n=Window(Count("pk")))[:3]],
    "as a subquery": lambda rows: sorted(a.pk for a in Action.objects.filter(pk__in=rows.values("pk"))),
    "a slice as a subquery": lambda rows: sorted(a.pk for a in Action.objects.filter(pk__in=rows[:3].values("pk"))),
    "excluded": lambda rows: sorted(a.pk for a in Action.objects.exclude(pk__in=rows)),
    "or": lambda rows: list((rows | Action.objects.filter(verb="elsewhere"))[:2]),
    "and": lambda rows: list((rows & Action.objects.filter(verb="v1"))[:2]),
    "or, below": lambda rows: list(rows.filter(Q(verb="v1") | Q(level=40))[:2]),
    "union": lambda rows: {one.pk for one in rows.order_by().union(Action.objects.filter(verb="elsewhere").order_by())},
    "iterator": lambda rows: list(rows.iterator(chunk_size=2)),
    "dates": lambda rows: list(rows.dates("timestamp", "day")),
    "none": lambda rows: list(rows.none()),
    "nothing": lambda rows: list(rows[3:3]),
    "page": lambda rows: list(rows.page(4)),
    "page of some": lambda rows: list(rows.filter(level=40).page(2)),
    "second page": lambda rows: list(rows.page(4, after=rows.page(4).next)),
    "second page of some": lambda rows: list(rows.filter(level=40).page(2, after=rows.filter(level=40).page(2).next)),
    "filtered afterwards": lambda rows: list(rows.all().filter(level=40).all()),
    "update": lambda rows: rows.update(data={"n": 1}),
    "delete": lambda rows: rows.delete()[1]["footfall_storage.Action"],
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_feed_is_a_queryset_like_any_other(operation: str, ann: User, bob: User) -> None:
    """What is asked of it is answered as of a queryset that holds the same actions."""
    follow(ann, bob)
    follow(ann, Article, "v0", "v1", actor_only=False)
    follow(ann, ("newsroom.article", "2"), actor_only=False)
    fed = [store(bob, f"v{n % 3}", [("newsroom.article", str(n % 4))], level=30 + n, seconds=n // 2) for n in range(11)]
    fed += [store(None, "v1", [("newsroom.article", "1"), ("newsroom.article", "2")], seconds=3)]
    store(ann, "elsewhere", seconds=9)
    same = Action.objects.filter(pk__in=[action.pk for action in fed])
    ask = OPERATIONS[operation]

    if operation in ("update", "delete"):
        assert ask(feeds.feed_of(ann)) == len(fed)
        return
    expected = ask(same)
    assert ask(feeds.feed_of(ann)) == expected


def test_a_feed_knows_what_is_stored_when_it_is_fetched(ann: User, bob: User) -> None:
    """Not when it is made."""
    rows = feeds.feed_of(ann)
    follow(ann, bob)
    action = store(bob)

    assert list(rows.all()) == [action]


# -- Kept for later

KEPT: dict[str, Asked] = {
    "feed": lambda user: feeds.feed_of(user),
    "slice": lambda user: feeds.feed_of(user, include_own=True)[:20],
    "filtered": lambda user: feeds.feed_of(user, data__isnull=False).filter(verb="wrote"),
    "since following": lambda user: feeds.feed_of(user, since_following=True)[:20],
    "unread": lambda user: feeds.unread_of(user, verb="wrote"),
    "stream": lambda user: Action.objects.about("auth.user", str(user.pk), roles="t"),
    "of a tracker": lambda user: Action.objects.tracked_by(TempTracker(user, User))[:5],
}


@pytest.mark.parametrize("name", KEPT)
def test_a_list_is_pickled_as_it_is(
    name: str, ann: User, bob: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Its query runs nothing, and gives the same later; a queryset runs what it lists, and nothing else."""
    follow(ann, bob)
    store(bob, targets=[ann])
    rows = KEPT[name](ann)
    with django_assert_num_queries(0):
        kept = pickle.loads(pickle.dumps(rows.query))
        copied = copy.deepcopy(rows)
    again = Action.objects.all()
    again.query = kept
    assert list(again) == list(copied) == list(rows) != []
    store(bob, targets=[ann], seconds=1)
    assert pickle.loads(pickle.dumps(rows.all()))._result_cache == list(rows.all())
    assert len(again.all()) == 2
