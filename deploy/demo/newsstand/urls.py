"""The demo site's pages, its admin and its static files."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.contrib.staticfiles.views import serve
from django.urls import include, path

urlpatterns = [
    path("", include("articles.urls")),
    path("sign-in/", LoginView.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("admin/", admin.site.urls),
    path("footfall/", include("footfall.storage.urls")),
    # Served by Django itself: the demo answers on the loopback only, and needs no second server.
    path("static/<path:path>", serve, {"insecure": True}),
]
