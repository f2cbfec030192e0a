"""What saving or deleting a spider sets off: the matcher reads again, and fixtures respect the operator."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from footfall.spiders.matcher import forget_spiders
from footfall.spiders.models import Spider


def read_again(using: str, **kwargs: Any) -> None:
    """Let this process's matcher read the changed table: at once, and again when others see the change."""
    forget_spiders()
    transaction.on_commit(forget_spiders, using=using)


def keep_operators_choices(instance: Spider, raw: bool, using: str, **kwargs: Any) -> None:
    """Before `loaddata` writes over an existing spider: keep what an operator made of it. One query."""
    if not raw:
        return
    instance.updated = timezone.now()
    stored = Spider.objects.using(using).filter(pk=instance.pk).first() if instance.pk else None
    if stored is None:
        return
    for field in ("pattern", "name", "url", "active", "custom") if stored.custom else ("active",):
        setattr(instance, field, getattr(stored, field))
