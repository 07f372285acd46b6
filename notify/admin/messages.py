"""Messages in the admin: queued, sent and failed, with causes and content."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext, gettext_lazy

from notify.admin import changelist, message_page, previews, rows
from notify.admin.actions import admin_actions, operate
from notify.admin.rows import OPERATE, WrittenByMachine, state_badge, text, uncertain_badge
from notify.models import Message

REPLY_SHOWN = 80  # characters of a reply whose cause is unknown


@admin.register(Message)
class MessageAdmin(WrittenByMachine):
    list_display = ["badge", "recipient", "subject", "cause", "age", "tries"]
    list_display_links = ["subject"]
    list_filter = [changelist.StateFilter, changelist.CauseFilter, changelist.TopicFilter, changelist.StoredFilter]
    lookups = {
        "state": r"[a-z]{1,10}",
        "diagnosis": r"[a-z0-9-]{1,50}",
        "topic": text(100),
        "since": text(20),  # StoredFilter ignores other values
        "message_id": text(255),
    }
    search_fields = ["recipient", "subject", "message_id"]
    search_help_text = gettext_lazy("Words of the subject or the recipient, or a whole Message-ID.")
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    actions = admin_actions()
    change_list_template = "admin/notify/message/change_list.html"
    change_form_template = "admin/notify/message/change_form.html"
    fields = ()

    class Media:
        css = {"all": ["notify/messages.css"]}

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(OPERATE)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[changelist.NewestFirst]:
        return changelist.NewestFirst

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        if not search_term or not rows.searchable(search_term):
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(changelist.exactly(search_term) or changelist.containing(search_term)), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "POST" and not self.has_operate_permission(request):
            raise PermissionDenied
        return super().changelist_view(request, extra_context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        shown = message_page.context(request, kwargs["obj"])
        return super().render_change_form(request, {**context, **shown}, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        def own(route: str, view: Callable[..., HttpResponse], name: str) -> Any:
            return path(
                route, self.admin_site.admin_view(partial(view, model_admin=self)), name=f"notify_message_{name}"
            )

        return [
            own("previews/", previews.index, "previews"),
            own("previews/<path:template>/frame/", previews.frame, "preview_frame"),
            own("previews/<path:template>/send/", previews.send, "preview_send"),
            own("previews/<path:template>/", previews.page, "preview"),
            own("<int:pk>/html/", message_page.html, "html"),
            own("<int:pk>/source/", message_page.source, "source"),
            own("<int:pk>/download/", message_page.download, "download"),
            own("<int:pk>/reveal/", message_page.reveal, "reveal"),
            own("<int:pk>/operate/", operate, "operate"),
            *super().get_urls(),
        ]

    @admin.display(description=gettext_lazy("state"))
    def badge(self, message: Message) -> str:
        return state_badge(message)

    @admin.display(description=gettext_lazy("attempts"))
    def tries(self, message: Message) -> str:
        label = format_html('<span class="message-label">{} </span>', gettext("Attempts:"))
        return format_html("{}{}", label, message.attempts)

    @admin.display(description=gettext_lazy("age"))
    def age(self, message: Message) -> str:
        return rows.when(message.created_at)

    @admin.display(description=gettext_lazy("cause"))
    def cause(self, message: Message) -> str:
        """The cause in words, or the mail server's reply if the cause is unknown."""
        reply = "" if message.state == Message.State.SENT else Truncator(message.reply).chars(REPLY_SHOWN)
        return format_html("{} {}", uncertain_badge(message), changelist.words_of(message.diagnosis) or reply)
