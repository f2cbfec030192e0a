"""What another system polls to hold the same articles and comments: their changes, in the order of their commits."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from articles.models import Article, Comment
from footfall.storage.references import HandleRefModel

#: How many changes one answer holds at most.
LIMIT = 100

#: Which fields are told of what is not deleted, beside those that each object has.
FIELDS: dict[type[HandleRefModel], tuple[str, ...]] = {
    Article: ("slug", "title", "section", "summary", "body", "published"),
    Comment: ("article_id", "author_id", "text", "written"),
}


@never_cache
@require_safe
def changes(request: HttpRequest, model: type[HandleRefModel]) -> JsonResponse:
    """The rows of ``model`` that have changed since ``?cursor=`` (at first empty), and the cursor to ask with next.

    Nothing is left out and nothing comes twice, whoever else is saving meanwhile. Of what is deleted it says so, and
    when, and no more. A cursor that is none is answered with 400.
    """
    try:
        since = model.handleref.since(cursor=request.GET.get("cursor", ""), limit=LIMIT)
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    rows = [_told(row, FIELDS[model]) for row in since.rows]
    return JsonResponse({"changes": rows, "cursor": since.cursor, "more": since.more})


def _told(row: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    told = {"handle": row.handle, "id": row.id, "status": row.status, "updated": row.updated}
    if isinstance(row, HandleRefModel):
        told |= {name: getattr(row, name) for name in ("version", "created", *fields)}
    # To the microsecond, which Django's encoder would leave out.
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
