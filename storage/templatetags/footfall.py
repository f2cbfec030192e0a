"""All of Footfall's tags and filters under one name: ``{% load footfall %}``."""

from django.template import Library

from footfall.producers.templatetags import footfall_script
from footfall.storage.templatetags import footfall_actions, footfall_counters, footfall_seen

register = Library()

for part in (footfall_script, footfall_seen, footfall_counters, footfall_actions):
    register.tags.update(part.register.tags)
    register.filters.update(part.register.filters)
