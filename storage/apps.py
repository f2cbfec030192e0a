from django.apps import AppConfig
from django.core import checks
from django.utils.module_loading import autodiscover_modules


class StorageConfig(AppConfig):
    name = "footfall.storage"
    label = "footfall_storage"
    verbose_name = "Footfall storage"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the registry of datasets reachable for the producers, fill it from each app, listen to deletions."""
        from footfall.producers.settings import conf
        from footfall.storage import changeactions, forgetting, revisions
        from footfall.storage.checks import check_connected_models, check_default_handler, check_visible_objects
        from footfall.storage.datasets import site

        self.datasets = site
        for check in (check_default_handler, check_visible_objects, check_connected_models):
            checks.register(check)
        autodiscover_modules("trackabledata", "action_handlers")
        forgetting.connect(conf.MARKED_MODELS)
        changeactions.connect()
        revisions.connect()
