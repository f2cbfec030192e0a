"""For a site that keeps its own records: ``path("footfall/", include("footfall.storage.urls"))``."""

from django.urls import path

from footfall.producers.beacon import track
from footfall.storage.feedviews import AtomFeed, JSONFeed
from footfall.storage.followviews import follow, mark_all_read, unfollow
from footfall.storage.heatmap import stats
from footfall.storage.views import mark_all_as_viewed, mark_model_as_viewed

app_name = "footfall"

urlpatterns = [
    path("track/", track, name="track"),
    path("stats/", stats, name="stats"),
    path("seen/all/", mark_all_as_viewed, name="mark_all_as_viewed"),
    path("seen/<str:model>/", mark_model_as_viewed, name="mark_model_as_viewed"),
    path("follow/<str:model>/<str:key>/", follow, name="follow"),
    path("unfollow/<str:model>/<str:key>/", unfollow, name="unfollow"),
    path("read/all/", mark_all_read, name="mark_all_read"),
    path("feed/atom/", AtomFeed.as_view(), name="feed_atom"),
    path("feed/json/", JSONFeed.as_view(), name="feed_json"),
]
