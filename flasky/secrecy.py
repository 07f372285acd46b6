"""What error pages and error mails may show of settings and environment: no password, wherever it stands."""

import re
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

_LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s]*:[^/\s]*(?=@)")


class Filter(SafeExceptionReporterFilter):
    """Django's, which goes by the names of variables; and without the logins in addresses, such as DATABASE_URL."""

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str) and "@" in cleansed:
            return _LOGIN_IN_URL.sub(self.cleansed_substitute, cleansed)
        return cleansed
