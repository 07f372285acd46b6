"""What an operator registers with a provider before anyone can sign in: texts for `manage.py mailauth`."""

from django.utils.translation import gettext as _

# ruff: noqa: E501  (texts: a step is a line)


def steps(oauth: str) -> list[str]:
    """Lines for the provider, a preset's word for whose tokens it takes; "" is any other."""
    if oauth == "google":
        return [
            _("Google Cloud console (https://console.cloud.google.com): create a project."),
            _("Google Auth Platform, Audience: Internal for Workspace; else External, published (In production)."),
            _("Data access: add the scope %s") % "https://mail.google.com/",
            _(
                "Clients: create one of the type Desktop app. Set MAIL_OAUTH_CLIENT_ID and MAIL_OAUTH_CLIENT_SECRET to its values."
            ),
            _("Run manage.py mailauth and sign in as MAIL_USERNAME."),
        ]
    if oauth:
        return [
            _("Microsoft Entra admin center (https://entra.microsoft.com), App registrations: register an app."),
            _(
                "Set MAIL_OAUTH_CLIENT_ID to its Application (client) ID and MAIL_OAUTH_TENANT to its Directory (tenant) ID."
            ),
            _(
                "For one mailbox: under Authentication add the platform Mobile and desktop applications with the redirect address %s, and allow public client flows."
            )
            % "http://localhost",
            _(
                "Then, under API permissions, add Office 365 Exchange Online or Microsoft Graph, Delegated: SMTP.Send. Run manage.py mailauth and sign in as MAIL_USERNAME."
            ),
            _(
                "For the app alone, without a person: under API permissions add Office 365 Exchange Online, Application: SMTP.SendAsApp, and grant admin consent. Under Certificates & secrets make a secret and put its value into MAIL_OAUTH_CLIENT_SECRET; register the app in Exchange (docs/providers.md)."
            ),
        ]
    return [
        _("Register an app with the provider, with the redirect address %s, and set MAIL_OAUTH_CLIENT_ID.")
        % "http://127.0.0.1",
        _(
            "Set MAIL_OAUTH_TOKEN_URL, MAIL_OAUTH_AUTHORIZE_URL and MAIL_OAUTH_SCOPE to what the provider documents for SMTP."
        ),
    ]
