"""The form of the page: one question, and the checks that tell people from programs."""

import time
from typing import Any

from django import forms
from django.core import signing
from django.utils.translation import gettext_lazy as _

from notify import conf
from notify.visitors import names

GOOD_FOR = 24 * 3600  # seconds after the page was served
_signer = signing.Signer(salt="notify.visitors.honeypot")


class NameField(forms.CharField):
    def bound_data(self, data: Any, initial: Any) -> Any:
        """What the field shows again after an error: everything that was typed, if it can be displayed."""
        return names.printable(data) if isinstance(data, str) else data


class NameForm(forms.Form):
    """Asks for a name, and tells people from programs: `website` must stay empty, and `stamp` come back as `served`.

    What looks like a program gets the form again, filled in and with a message; no post is dropped. A post without
    `served`, as from a script, is accepted: the CSRF token and NOTIFY_RATE_LIMIT limit those.
    """

    name = NameField(
        label=_("What is your name?"),
        strip=False,  # names.take does, and checks the length
        error_messages={
            "required": _("Please type a name."),
            "null_characters_not_allowed": _(
                "That name contains characters that cannot be displayed. Please type it with letters."
            ),
        },
    )
    website = forms.CharField(label=_("Please leave this empty"), required=False)
    served = forms.CharField(required=False)

    def clean_name(self) -> str:
        return names.take(self.cleaned_data["name"])

    def clean(self) -> None:
        if self.data.get("website"):  # even if it is not valid text
            self.add_error(None, _("A hidden field was filled in. Please send the form again."))
        age = self._age()
        if age is not None and max(age, 0) < conf.NOTIFY_FORM_SECONDS:
            self.add_error(None, _("The form was sent too quickly. Please press the button once more."))
        elif age is not None and age > GOOD_FOR:
            self.add_error(None, _("This page was open for too long. Please press the button once more."))

    @property
    def stamp(self) -> str:
        """The signed time at which the page was first served; a new one if the old one is no longer valid."""
        age = self._age()
        if age is not None and 0 <= age <= GOOD_FOR:  # negative: the clock was set back
            return str(self.data["served"])
        return _signer.sign(f"{time.time():.2f}")

    def _age(self) -> float | None:
        """Seconds since the page was served; infinite if the stamp is not ours, None without one."""
        stamp = self.data.get("served")
        if not stamp:
            return None
        try:
            return time.time() - float(_signer.unsign(stamp))
        except signing.BadSignature:
            return float("inf")
