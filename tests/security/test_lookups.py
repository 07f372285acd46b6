"""What the dashboard's URLs can be asked: nothing beyond the declared filters, and no value breaks a page."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import flasky.urls
from notify.admin.rows import SEARCH_LENGTH, WORDS, RestrictedLookups
from notify.models import Event, Message, Relay
from notify.visitors.models import Visitor
from tests.desk import OPERATE, VIEW, login, store

assert flasky.urls  # registers all that the site has
pytestmark = pytest.mark.django_db
MODELS = list(admin.site._registry)
LISTS = [model for model in MODELS if model is not Relay]  # whose list is the overview, which reads no parameter
LOOKUPS = ("", "__regex", "__startswith", "__contains", "__in", "__isnull", "__gt", "__year", "__length", "__range")


@pytest.fixture(autouse=True)
def _nobody_is_told(settings: Any) -> None:
    settings.FLASKY_ADMIN = []


def list_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def of(model: type[Model]) -> Any:
    return admin.site._registry[model]


def ask(client: Client, model: type[Model], query: str) -> tuple[int, int]:
    """The status and how many rows the list shows."""
    answer = client.get(f"{list_of(model)}?{query}")
    rows = len(answer.context["cl"].result_list) if answer.context and "cl" in answer.context else 0
    return answer.status_code, rows


def row_of(model: type[Model]) -> Any:
    if model is Message:
        return store(diagnosis="refused", state="failed")
    if model is Event:
        return Event.objects.create(
            topic="order", key="1", subject="s", summary="x", message_id="<a@x>", notified_at=timezone.now()
        )
    return {
        User: lambda: User.objects.create_user("ann", is_staff=True),
        Group: lambda: Group.objects.create(name="g"),
        Visitor: lambda: Visitor.objects.create(name="Ann"),
        Relay: Relay.current,
    }[model]()


# --- The whitelist ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_list_of_the_site_restricts_its_lookups(model: type[Model]) -> None:
    assert isinstance(of(model), RestrictedLookups)


def paths(model: type[Model], depth: int = 2) -> Iterator[str]:
    """Every column, and every column of related tables."""
    for field in model._meta.get_fields():
        yield field.name
        if field.is_relation and depth > 1 and field.related_model:
            yield from (f"{field.name}__{inner}" for inner in paths(field.related_model, depth - 1))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_other_column_can_be_asked_for(model: type[Model]) -> None:
    guarded = of(model)
    allowed = {
        f"{path}{lookup}"
        for path in {*paths(model), "pk", "nothing"}
        for lookup in LOOKUPS
        if guarded.lookup_allowed(f"{path}{lookup}", "x", None)
    }
    assert allowed <= set(guarded.lookups)
    assert not {name for name in allowed if re.match("mime|body|password|pk|id$|key|reply|failed_attempts", name)}


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
@pytest.mark.parametrize(
    "query",
    [
        "pk=1",
        "id=1",
        "id__in=1,2",
        "id=99999999999999999999",
        "nothing=1",
        "pk__regex=1",
        "id__gte=0",
        "_to_field=nothing",
    ],
)
def test_what_is_not_on_the_list_is_a_bad_request(admin_client: Client, model: type[Model], query: str) -> None:
    row_of(model)
    assert ask(admin_client, model, query) == (400, 0)


@pytest.mark.parametrize(
    "lookup",
    [
        "body__mime__regex",
        "body__mime",
        "mime__regex",
        "body",
        "failed_attempts__message__mime__contains",
        "message_id__regex",
        "_to_field",
    ],
)
def test_who_may_view_messages_learns_nothing_of_a_sensitive_body(lookup: str) -> None:
    store(text="secret", html=None, sensitive=True)
    viewer = login(*VIEW)
    answers = [viewer.get(list_of(Message), {lookup: value}) for value in ("secret", "absent")]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].content == answers[1].content


def test_no_search_and_no_order_depends_on_a_body() -> None:
    for text in ("aaa secret", "zzz secret"):
        store(text=text, html=None, sensitive=True)
    viewer = login(*VIEW)
    newest_first = [row.pk for row in Message.objects.order_by("-pk")]
    assert ask(viewer, Message, "q=secret") == (200, 0)
    for order in (1, -2, 3):
        shown = viewer.get(list_of(Message), {"o": order}).context["cl"].result_list
        assert [row.pk for row in shown] == newest_first
    assert not {"mime", "body"} & {str(name).split("__")[0] for name in of(Message).get_search_fields(None)}


@pytest.mark.slow
@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
def test_every_link_that_a_list_offers_works(admin_client: Client, model: type[Model]) -> None:
    row_of(model)
    page = admin_client.get(list_of(model)).content.decode()
    links = set(re.findall(r'href="(\?[^"]*)"', page))
    for link in links:
        answer = admin_client.get(list_of(model) + link.replace("&amp;", "&"))
        assert answer.status_code == 200, link
    filters = of(model).get_list_filter(None)
    assert links or not filters
    specs = admin_client.get(list_of(model)).context["cl"].filter_specs
    names = {name for spec in specs for name in spec.expected_parameters()}
    assert {name for name in names if not name.endswith("__isnull")} <= set(of(model).lookups)


@pytest.mark.parametrize(
    ("model", "query", "rows"),
    [
        (Message, "state=failed&diagnosis=refused&since=24h", 1),
        (Message, "state=sent", 0),
        (Message, "message_id=<a@x>", 0),
        (Event, "topic=order&notified_at__isempty=0&message_id=<a@x>", 1),
        (Event, "message_id=<b@x>", 0),
        (Visitor, f"created_at__year={timezone.now().year}", 1),
        (Visitor, "created_at__year=1999&created_at__month=12&created_at__day=31", 0),
        (Visitor, "created_at__month=2&created_at__day=31", 0),
        (User, "is_staff__exact=1&is_superuser__exact=0", 1),
        (Visitor, "o=-1&p=1&e=1", 1),
        (Visitor, "_popup=1&_to_field=id", 1),
        (Event, "_facets=True", 1),
    ],
)
def test_the_declared_filters_go_on_working(admin_client: Client, model: type[Model], query: str, rows: int) -> None:
    row_of(model)
    assert ask(admin_client, model, query) == (200, rows)


# --- Odd values -------------------------------------------------------------------------------------------------

ODD = [
    "\0",
    "a\0b",
    "\ud800",
    "\x1b[2J",
    "\n",
    "²",
    "٣",
    "-1",
    "0",
    "1.5",
    "abc",
    "(",
    "%",
    "9" * 20,
    "9" * 10_000,
    "-" + "9" * 400,
    "x " * 1900,
    "1." * 2500,
    "x" * 5000,
    "'\"\\",
    "True",
    "1e999",
    "99999-01",
    "[]",
    "{{ 1 }}",
]
FEW = ["\0", "abc", "9" * 20]
KEYS = [
    *("abc", "9" * 20, "%00", "9" * 10_000, "0", "-1", "a%00b", "%ED%A0%80", "%0a", "9" * 400, "%C2%B2", "1.5", "_5F"),
    *("..%2f", "1%2f2", "%25", "x" * 5000),
]
# A request takes some hundredths of a second: `make test` tries a few of these, `make slow` all.
each_list = pytest.mark.parametrize(
    ("model", "odd", "keys"),
    [
        *((model, FEW, KEYS[:3]) for model in (Message, Visitor)),
        *(pytest.param(model, ODD, KEYS, marks=pytest.mark.slow) for model in MODELS),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(len(value)),
)
OWN = ("q", "o", "p", "e", "all", "_popup", "_to_field", "_facets", "_changelist_filters", "before", "after", "action")


def query_of(name: str, *values: str) -> str:
    return urlencode([(name, value.encode("utf-8", "surrogatepass")) for value in values])


@each_list
def test_no_value_of_a_parameter_breaks_a_list(
    admin_client: Client, model: type[Model], odd: list[str], keys: list[str]
) -> None:
    row_of(model)
    for name in (*OWN, *of(model).lookups):
        for value in odd:
            answer = admin_client.get(f"{list_of(model)}?{query_of(name, value)}")
            assert answer.status_code in (200, 302, 400), (name, value)


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
def test_a_value_that_cannot_be_is_told_so_above_the_list(admin_client: Client, model: type[Model]) -> None:
    for name, values in {
        **{name: ("\0", "x" * 5000, "\n") for name in of(model).lookups},
        "q": ("\0", "x" * (SEARCH_LENGTH + 1), "x " * (WORDS + 1)),
        "p": ("-1", "abc", "9" * 10_000),
        "o": ("1." * 2500, "abc"),
    }.items():
        for value in values:
            answer = admin_client.get(f"{list_of(model)}?{query_of(name, value)}")
            assert (answer.status_code, answer["Location"]) == (302, list_of(model)), (name, value)
    page = admin_client.get(list_of(model)).content.decode()
    assert "cannot be filtered" in page
    assert "search is too long" in page
    for name in of(model).lookups:
        twice = query_of(name, *["1"] * 900)
        assert admin_client.get(f"{list_of(model)}?{twice}").status_code == 302, name


@each_list
@pytest.mark.parametrize("action", ["delete_selected", "retry", "unheard-of", "\0", ""])
def test_no_selection_breaks_a_list(
    admin_client: Client, model: type[Model], odd: list[str], keys: list[str], action: str
) -> None:
    row = row_of(model)
    for selected in set(odd) - {"0", "-1", "٣"}:  # which are keys, of no row
        for more in (
            {"index": "0"},
            {"index": "9" * 30},
            {},
            {"select_across": "1", "confirmed": "1"},
            {"post": "yes"},
        ):
            posted = {"action": action, "_selected_action": [selected.replace("\ud800", "x"), str(row.pk)], **more}
            answer = admin_client.post(list_of(model), posted)
            assert answer.status_code in (200, 302, 400, 403), (selected, more)
            assert answer.status_code == 302 or model is Relay, (selected, more)
    assert model._default_manager.filter(pk=row.pk).exists()
    assert not LogEntry.objects.exists()


@each_list
def test_no_key_breaks_a_page(admin_client: Client, model: type[Model], odd: list[str], keys: list[str]) -> None:
    views = ["change/", "delete/", "history/", ""]
    views += {Message: ["html/", "source/", "download/"], User: ["password/"]}.get(model, [])
    for key in keys:
        for view in views:
            answer = admin_client.get(f"{list_of(model)}{key}/{view}")
            assert answer.status_code in (301, 302, 403, 404), (key, view)
        for view in ("reveal/", "operate/"):
            assert admin_client.post(f"{list_of(Message)}{key}/{view}").status_code in (302, 403, 404), (key, view)


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("query", ["_to_field=mime", "_to_field=nothing", "_changelist_filters=%00%ED%A0%80&_popup=1"])
def test_no_parameter_breaks_a_page(admin_client: Client, model: type[Model], query: str) -> None:
    answer = admin_client.get(f"{list_of(model)}{row_of(model).pk}/change/?{query}")
    assert answer.status_code == (400 if "to_field" in query else 200)


def test_no_term_breaks_autocompletion() -> None:
    store()
    operator = login(*OPERATE)
    query = {"app_label": "notify", "model_name": "attempt", "field_name": "message"}
    for term in ODD:
        answer = operator.get(f"{reverse('admin:autocomplete')}?{urlencode(query)}&{query_of('term', term)}")
        assert answer.status_code == 200, term


def test_no_page_breaks_a_history(admin_client: Client) -> None:
    row = store()
    for value in FEW:
        answer = admin_client.get(f"{reverse('admin:notify_message_history', args=[row.pk])}?{query_of('p', value)}")
        assert answer.status_code == 200
