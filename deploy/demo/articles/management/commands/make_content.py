"""Fills the demo site with articles and visitors."""

import os
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import reversion
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify
from reversion.models import Version

from articles.models import Article, Section

STAFF_NAME = "editor"

SUBJECTS = {
    Section.CITY: [
        "The old harbour",
        "The night tram",
        "The market hall",
        "The botanical garden",
        "The public library",
    ],
    Section.CULTURE: ["The open-air cinema", "The puppet theatre", "The brass band", "The poster museum", "The choir"],
    Section.SCIENCE: ["The weather station", "The bee census", "The tide model", "The seed bank", "The telescope"],
    Section.SPORT: [
        "The rowing club",
        "The chess league",
        "The winter marathon",
        "The bowling team",
        "The climbing hall",
    ],
}
HAPPENINGS = [
    "opens its doors again",
    "asks for volunteers",
    "moves to the other bank of the river",
    "celebrates an anniversary",
    "publishes its figures",
    "stays open all night",
]
SENTENCES = [
    "Nobody had expected so many people on the first day.",
    "The plans had been lying in a drawer for years.",
    "A second room will be ready in the autumn.",
    "Admission is free on the first Sunday of the month.",
    "The neighbours have been patient, and there is cake for them.",
    "What happens after that depends on the weather.",
    "The figures are in the appendix, as they always are.",
    "Children are welcome, and so are dogs on a lead.",
    "It took three attempts, and the third one held.",
    "More about it in the next issue.",
]
#: What the editor changed in the newest article after it was printed: a comment, then the fields.
CORRECTIONS: list[tuple[str, dict[str, str]]] = [
    ("A headline that says when", {"title": "This week: {title}"}),
    ("The summary gave the ending away", {"summary": "It began with a key that fitted no door."}),
    ("Shortened, and the week is over", {"title": "{title}", "body": "{first paragraph}"}),
]


class Command(BaseCommand):
    help = "Makes articles and visitors. Run again, it adds what is missing and sets the passwords anew."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--users", type=int, default=60, help="how many visitors (default 60)")
        parser.add_argument("--articles", type=int, default=60, help="how many articles (default 60)")
        parser.epilog = (
            "Passwords are taken from FOOTFALL_DEMO_PASSWORD (all visitors) and FOOTFALL_DEMO_STAFF_PASSWORD "
            f"({STAFF_NAME}), and are made up and printed where those are not set."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        visitors = [f"visitor-{number:02}" for number in range(1, options["users"] + 1)]
        with transaction.atomic():
            _make_users(visitors, self._password("FOOTFALL_DEMO_PASSWORD", "visitor-…"))
            _make_users([STAFF_NAME], self._password("FOOTFALL_DEMO_STAFF_PASSWORD", STAFF_NAME), is_staff=True)
            _make_articles(options["articles"], list(User.objects.filter(username__in=visitors).order_by("username")))
            _print_articles()
        self.stdout.write(f"{len(visitors)} visitors, {Article.objects.count()} articles")

    def _password(self, variable: str, whose: str) -> str:
        given = os.environ.get(variable)
        if given:
            return given
        made_up = secrets.token_urlsafe(9)
        self.stdout.write(f"password of {whose}: {made_up}")
        return made_up


def _make_users(names: list[str], password: str, *, is_staff: bool = False) -> None:
    hashed = make_password(password)
    users = [User(username=name, password=hashed, is_staff=is_staff, is_superuser=is_staff) for name in names]
    User.objects.bulk_create(
        users,
        update_conflicts=True,
        unique_fields=["username"],
        update_fields=["password", "is_staff", "is_superuser"],
    )


def _make_articles(count: int, authors: list[User]) -> None:
    now = timezone.now()
    articles = [_article(number, now - timedelta(hours=number)) for number in range(1, count + 1)]
    for number, article in enumerate(articles if authors else ()):
        article.author = authors[number % len(authors)]
    Article.objects.bulk_create(articles, ignore_conflicts=True, unique_fields=["slug"])


def _print_articles() -> None:
    """Keep each article as it was first; and what became of the newest, so that there is some history to see."""
    printed = set(Version.objects.get_for_model(Article).values_list("object_id", flat=True))
    fresh = [article for article in Article.objects.all() if str(article.pk) not in printed]
    if not fresh:
        return
    with revision("first print"):
        for article in fresh:
            reversion.add_to_revision(article)
    if not printed:
        _correct(fresh[0])


def _correct(article: Article) -> None:
    words = {"title": article.title, "first paragraph": article.body.partition("\n")[0]}
    for comment, changes in CORRECTIONS:
        for name, text in changes.items():
            setattr(article, name, text.format_map(words))
        with revision(comment):
            article.save()


@contextmanager
def revision(comment: str) -> Iterator[None]:
    """What is saved in the block is kept as it is then: the editor's work."""
    with reversion.create_revision():
        reversion.set_user(User.objects.get(username=STAFF_NAME))
        reversion.set_comment(comment)
        yield


def _article(number: int, published: datetime) -> Article:
    # Seeded by its number, so that a second run makes the same article and finds that it is there.
    chance = random.Random(number)  # noqa: S311 - which words, not which secrets
    section = list(Section)[number % len(Section)]
    title = f"{SUBJECTS[section][number // 4 % 5]} {HAPPENINGS[number // 20 % 6]}"
    paragraphs = [" ".join(chance.sample(SENTENCES, 5)) for _ in range(4)]
    return Article(
        slug=f"{slugify(title)}-{number}",
        title=title,
        section=section,
        summary=chance.choice(SENTENCES),
        body="\n\n".join(paragraphs),
        published=published,
    )
