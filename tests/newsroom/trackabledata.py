from footfall.storage.datasets import site
from newsroom.models import Article, ArticleDaily, ArticleTotals, Page, Topic

site.register([Article, Page, Topic], ArticleTotals)
site.register(Article, ArticleDaily)
