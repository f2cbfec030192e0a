from django.contrib import admin
from django.urls import include, path

from newsroom.views import read_article

urlpatterns = [
    path("admin/", admin.site.urls),
    path("articles/<int:pk>/", read_article),
    path("footfall/", include("footfall.storage.urls")),
]
