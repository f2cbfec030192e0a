"""For a site that keeps its own records: ``path("footfall/", include("footfall.storage.urls"))``."""

from django.urls import path

from footfall.producers.beacon import track
from footfall.storage.heatmap import stats
from footfall.storage.views import mark_all_as_viewed, mark_model_as_viewed

app_name = "footfall"

urlpatterns = [
    path("track/", track, name="track"),
    path("stats/", stats, name="stats"),
    path("seen/all/", mark_all_as_viewed, name="mark_all_as_viewed"),
    path("seen/<str:model>/", mark_model_as_viewed, name="mark_model_as_viewed"),
]
