"""The part of a form that tells people from programs: a field people do not see, and when the page was served.

Neither asks anything of people. What looks like a program gets the form again, filled, with a word: nothing is
swallowed. A post without the time of serving is taken, as from a script that means to post; such a program is held by
the CSRF token and NOTIFY_RATE_LIMIT alone.
"""

import time
from typing import Any

from django import forms
from django.conf import settings
from django.core import signing
from django.utils.translation import gettext_lazy as _

GOOD_FOR = 24 * 3600  # seconds after the page was served
_signer = signing.Signer(salt="notify.visitors.honeypot")


class GuardedForm(forms.Form):
    """Adds `website`, to be left empty, and `served`, to be sent back as it came (the template writes `stamp`)."""

    website = forms.CharField(label=_("Please leave this empty"), required=False)
    served = forms.CharField(required=False)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.data.get("website"):  # also what is no text
            self.add_error(None, _("A hidden field was filled in. Please send the form again."))
        age = self._age()
        if age is not None and max(age, 0) < settings.NOTIFY_FORM_SECONDS:
            self.add_error(None, _("The form was sent too quickly. Please press the button once more."))
        elif age is not None and age > GOOD_FOR:
            self.add_error(None, _("This page was open for too long. Please press the button once more."))
        return cleaned

    @property
    def stamp(self) -> str:
        """When the page was first served, signed; anew where the old one is of no use any more."""
        age = self._age()
        if age is not None and 0 <= age <= GOOD_FOR:  # less than 0: the clock was set back
            return str(self.data["served"])
        return _signer.sign(f"{time.time():.2f}")

    def _age(self) -> float | None:
        """Seconds since the page was served; endless for a stamp that is not ours, None without one."""
        stamp = self.data.get("served")
        if not stamp:
            return None
        try:
            return time.time() - float(_signer.unsign(stamp))
        except signing.BadSignature:
            return float("inf")
