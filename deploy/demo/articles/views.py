"""The pages. Where something happens that is worth recording, the view says so and goes on."""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from articles.action_handlers import LIKES_TOGETHER
from articles.forms import CommentForm, TicketForm
from articles.models import Article, ArticleDaily, ArticleTotals, Comment, Like
from footfall.producers import (
    publish_action,
    publish_decrement,
    publish_increment,
    publish_labels,
    publish_model_view,
    publish_view,
)
from footfall.storage.models import Action
from footfall.storage.viewtracker import ViewTracker

#: The pages that link to articles; a link carries the name of its page.
LINKING_PAGES = ("front", "popular", "unseen")


@require_safe
def front(request: HttpRequest) -> HttpResponse:
    """The newest articles."""
    articles = ViewTracker(request.user).annotate(Article.handleref.undeleted())[:30]
    return render(request, "articles/front.html", {"articles": articles, "page": "front"})


@require_safe
def popular(request: HttpRequest) -> HttpResponse:
    """The most read articles: of today, of these days, and of all time."""
    readable = Article.handleref.undeleted()
    context = {
        "today": ArticleDaily.top("views", 10, since=timezone.localdate(), among=readable),
        "trending": ArticleDaily.trending("views", 10, half_life=timedelta(days=2), among=readable),
        "ever": ArticleTotals.top("views", 10, among=readable),
        "page": "popular",
    }
    return render(request, "articles/popular.html", context)


@login_required
@require_safe
def unseen(request: HttpRequest) -> HttpResponse:
    """What this reader has not seen yet."""
    articles = ViewTracker(request.user).unseen(Article.handleref.undeleted())
    return render(request, "articles/unseen.html", {"articles": articles, "page": "unseen"})


@login_required
@require_POST
def mark_all_seen(request: HttpRequest) -> HttpResponse:
    """The reader has seen every article."""
    publish_model_view(request.user, Article)
    messages.success(request, "In a moment, every article will count as seen.")
    return redirect("unseen")


@require_safe
def activity(request: HttpRequest) -> HttpResponse:
    """What readers did lately."""
    return render(request, "articles/activity.html", {"actions": Action.objects.all()[:30], "page": "activity"})


@require_safe
def article(request: HttpRequest, pk: int) -> HttpResponse:
    """An article, with its comments and numbers."""
    shown = get_object_or_404(Article.handleref.undeleted().select_related("author"), pk=pk)
    publish_view(request.user, shown)
    publish_increment(shown, "views", dataset=ArticleDaily)
    publish_increment(shown, "views", dataset=ArticleTotals)
    publish_increment(shown, "readers", dataset=ArticleDaily, once_per=timedelta(days=1))
    page = request.GET.get("from")
    if page in LINKING_PAGES:
        publish_labels(f"article-{pk}:{page}:article-{pk}|{page}:page")
    return render(request, "articles/article.html", _article_context(request.user, shown, CommentForm()))


def _article_context(user: User | AnonymousUser, shown: Article, form: CommentForm) -> dict[str, Any]:
    return {
        "article": shown,
        "comments": Comment.handleref.undeleted().filter(article=shown).select_related("author")[:20],
        "today": timezone.localdate(),
        "is_liked": user.is_authenticated and Like.objects.filter(article=shown, user=user).exists(),
        "comment_form": form,
        "button": TicketForm(auto_id="button_%s"),
    }


@login_required
@require_POST
def comment(request: HttpRequest, pk: int) -> HttpResponse:
    """Add a comment."""
    about = get_object_or_404(Article.handleref.undeleted(), pk=pk)
    form = CommentForm(request.POST)
    if not form.is_valid():
        return render(request, "articles/article.html", _article_context(request.user, about, form), status=400)
    # What is published here waits for the commit: a comment that was not saved was not made.
    with transaction.atomic():
        written, is_new = Comment.objects.get_or_create(
            ticket=form.cleaned_data["ticket"],
            defaults={"article": about, "author": _reader(request), "text": form.cleaned_data["text"]},
        )
        if is_new:
            publish_action(
                _reader(request), "commented", about, related=written, tickets={str(written.ticket): about.pk}
            )
            publish_increment(about, "comments", dataset=ArticleDaily)
            publish_increment(about, "comments", dataset=ArticleTotals)
    return redirect(about)


@login_required
@require_POST
def like(request: HttpRequest, pk: int) -> HttpResponse:
    """Like an article, once."""
    liked = get_object_or_404(Article.handleref.undeleted(), pk=pk)
    form = TicketForm(request.POST)
    if not form.is_valid():
        return HttpResponseBadRequest("The form has no ticket.")
    with transaction.atomic():
        _, is_new = Like.objects.get_or_create(article=liked, user=_reader(request))
        if is_new:
            tickets = {str(form.cleaned_data["ticket"]): liked.pk}
            publish_action(_reader(request), "liked", liked, grouping_delay=LIKES_TOGETHER, tickets=tickets)
            publish_increment(liked, "likes", dataset=ArticleTotals)
    return redirect(liked)


@login_required
@require_POST
def unlike(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a like back."""
    article = get_object_or_404(Article.handleref.undeleted(), pk=pk)
    with transaction.atomic():
        taken_back, _ = Like.objects.filter(article=article, user=_reader(request)).delete()
        if taken_back:
            publish_decrement(article, "likes", dataset=ArticleTotals)
    return redirect(article)


def _reader(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # behind login_required
    return request.user
