"""For a host that only publishes: ``path("footfall/", include("footfall.producers.urls"))``."""

from django.urls import path

from footfall.producers.beacon import track

app_name = "footfall"

urlpatterns = [path("track/", track, name="track")]
