from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from footfall.producers import publish_action, publish_increment, publish_labels, publish_view
from newsroom.models import Article, ArticleDaily


def read_article(request: HttpRequest, pk: int) -> HttpResponse:
    """A page that says all there is to say: seen, counted, clicked, and acted upon."""
    article = get_object_or_404(Article, pk=pk)
    publish_view(request.user, article)
    publish_increment(article, "views", dataset=ArticleDaily)
    publish_labels(f"read:article:a{pk}")
    if request.user.is_authenticated:
        publish_action(request.user, "read", article, page=1)
    return HttpResponse(article.title)
