"""The one question of the page, and what an answer must be."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from notify.visitors import names
from notify.visitors.honeypot import GuardedForm


class NameField(forms.CharField):
    def bound_data(self, data: Any, initial: Any) -> Any:
        """What the field shows again after an error: all that was typed, as far as a page can carry it."""
        return names.printable(data) if isinstance(data, str) else data


class NameForm(GuardedForm):
    name = NameField(
        label=_("What is your name?"),
        strip=False,  # names.take folds blanks, and says the length
        error_messages={
            "required": _("Please type a name."),
            "null_characters_not_allowed": _(
                "That name contains characters that cannot be displayed. Please type it with letters."
            ),
        },
    )

    def clean_name(self) -> str:
        return names.take(self.cleaned_data["name"])
