from django.apps import AppConfig
from django.core import checks


class WorkersConfig(AppConfig):
    name = "footfall.workers"
    label = "footfall_workers"
    verbose_name = "Footfall workers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from footfall.workers.checks import check_broker, check_broker_url, check_databases

        for check in (check_broker, check_broker_url, check_databases):
            checks.register(check)
