"""The forms under an article. Each carries a ticket of its own, so that what it says is said once."""

import uuid

from django import forms


class TicketForm(forms.Form):
    """A button."""

    ticket = forms.UUIDField(initial=uuid.uuid4, widget=forms.HiddenInput)


class CommentForm(TicketForm):
    """A comment."""

    text = forms.CharField(label="Your comment", max_length=500, widget=forms.Textarea(attrs={"rows": 3}))
