from django.urls import path

from articles import views
from articles.changes import changes
from articles.models import Article, Comment

urlpatterns = [
    path("", views.front, name="front"),
    path("popular/", views.popular, name="popular"),
    path("unseen/", views.unseen, name="unseen"),
    path("unseen/all/", views.mark_all_seen, name="mark-all-seen"),
    path("activity/", views.activity, name="activity"),
    path("articles/changes/", changes, {"model": Article}, name="article-changes"),
    path("comments/changes/", changes, {"model": Comment}, name="comment-changes"),
    path("articles/<int:pk>/", views.article, name="article"),
    path("articles/<int:pk>/comment/", views.comment, name="comment"),
    path("articles/<int:pk>/like/", views.like, name="like"),
    path("articles/<int:pk>/unlike/", views.unlike, name="unlike"),
]
