from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_delete, post_save, pre_save


class SpidersConfig(AppConfig):
    name = "footfall.spiders"
    label = "footfall_spiders"
    verbose_name = "Footfall spiders"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models can be imported only now.
        from footfall.spiders import checks, signals

        spider = self.get_model("Spider")
        pre_save.connect(signals.keep_operators_choices, sender=spider)
        post_save.connect(signals.read_again, sender=spider)
        post_delete.connect(signals.read_again, sender=spider)
        register(checks.check_table_is_filled, Tags.database)
