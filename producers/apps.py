from django.apps import AppConfig
from django.core import checks


class ProducersConfig(AppConfig):
    name = "footfall.producers"
    label = "footfall_producers"
    verbose_name = "Footfall producers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from footfall.producers.checks import check_apps, check_middleware, check_settings, check_spool

        for check in (check_apps, check_settings, check_middleware, check_spool):
            checks.register(check)
