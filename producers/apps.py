from django.apps import AppConfig


class ProducersConfig(AppConfig):
    name = "footfall.producers"
    label = "footfall_producers"
    verbose_name = "Footfall producers"
    default_auto_field = "django.db.models.BigAutoField"
