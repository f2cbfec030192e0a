"""How what readers do is joined and told; and who can be followed, beside articles. Found by the app registry."""

from django.contrib.auth.models import User

from footfall.storage.actions import ActionHandler, Draft, connect

#: What a reader likes within this time is one line of a feed. Seconds.
LIKES_TOGETHER = 600

connect(User)


class Liked(ActionHandler):
    verb = "liked"

    @classmethod
    def group(cls, newer: Draft, older: Draft) -> bool:
        """Whatever it is that they like."""
        return True


class Commented(ActionHandler):
    """On a page it is told with the comment: see ``templates/footfall/actions/commented.html``."""

    verb = "commented"

    def get_text(self) -> str:
        """The sentence for feed readers."""
        return f"{self.actor} commented on {', '.join(map(str, self.targets))}"
