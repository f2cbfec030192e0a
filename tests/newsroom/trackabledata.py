from footfall.storage.datasetadmin import TrackableDataAdmin
from footfall.storage.datasets import site
from newsroom.models import (
    Article,
    ArticleByDevice,
    ArticleDaily,
    ArticleHourly,
    ArticleMonthly,
    ArticleTotals,
    ArticleWeekly,
    Page,
    Topic,
)

site.register([Article, Page, Topic], ArticleTotals)
site.register(Article, ArticleDaily, TrackableDataAdmin)
site.register([Article, Page, Topic], ArticleHourly)
site.register([Article, Topic], ArticleWeekly)
site.register(Article, ArticleMonthly)
site.register(Article, ArticleByDevice)
