"""The table of known spiders."""

from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models

from footfall.spiders import patterns


class SpiderManager(models.Manager["Spider"]):
    """Finds spiders by their pattern, so that `loaddata` meets the row of that pattern, whatever its pk."""

    def get_by_natural_key(self, pattern: str) -> "Spider":
        """Return the spider with this pattern; raises `Spider.DoesNotExist`. One query."""
        return self.get(pattern=pattern)


class Spider(models.Model):
    """A program that visits the site without being a person, known by a pattern in its user agent.

    Rows from the fixture or `refresh_spiders` have `custom` False and follow the crawler-user-agents package;
    rows an operator made or changed are `custom`, and neither overwrites them. `active` is the operator's in
    both.
    """

    pattern = models.CharField(
        max_length=patterns.MAX_PATTERN_LENGTH,
        unique=True,
        help_text="Regular expression, looked for anywhere in the user agent. Case counts.",
    )
    name = models.CharField(
        max_length=patterns.MAX_NAME_LENGTH,
        blank=True,
        help_text="What the tally calls it. Derived from the pattern when left empty.",
    )
    url = models.URLField("URL", max_length=500, blank=True)
    active = models.BooleanField(default=True, help_text="Switch off to count its visits like a person's.")
    custom = models.BooleanField(
        default=True, help_text="Made or changed here, not taken from the crawler-user-agents package."
    )
    updated = models.DateTimeField(auto_now=True)

    objects: ClassVar[SpiderManager] = SpiderManager()

    class Meta:
        ordering = ("name", "pattern")

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row; an empty name is derived from the pattern. Other processes notice by `updated`."""
        self.name = self.name or patterns.readable_name(self.pattern)
        if kwargs.get("update_fields") is not None:
            kwargs["update_fields"] = {*kwargs["update_fields"], "name", "updated"}
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Raise ValidationError for a pattern that doesn't compile or matches everything or a browser."""
        fault = patterns.fault(self.pattern)
        if fault is not None:
            raise ValidationError({"pattern": fault})
        browser = patterns.browser_found_by(self.pattern)
        if browser is not None:
            raise ValidationError({"pattern": f"It matches a browser that people use: {browser}"})

    def natural_key(self) -> tuple[str]:
        """Return the pattern, by which fixtures know a spider."""
        return (self.pattern,)
