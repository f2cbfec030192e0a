from django.apps import AppConfig


class WorkersConfig(AppConfig):
    name = "footfall.workers"
    label = "footfall_workers"
    verbose_name = "Footfall workers"
    default_auto_field = "django.db.models.BigAutoField"
