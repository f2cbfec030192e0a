from django.contrib.auth.models import User

from footfall.storage.actions import connect
from newsroom.models import Article, Note, Page, Story, Topic

for model in (Article, Page, Story, Topic, User):
    connect(model)

connect(Note, use_del_items=False)
