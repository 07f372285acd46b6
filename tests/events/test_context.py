"""What an event keeps for its template: what comes back is what was given, and the rest is refused by name."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import connection, models
from django.template import Context, Template
from django.utils import timezone as django_timezone
from django.utils import translation
from django.utils.functional import SimpleLazyObject, lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy, ngettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from notify.events import record
from notify.events.digest import notify_due
from notify.events.record import ObjectGone
from notify.mail import notify_admins
from notify.models import Event, Message
from tests.samples import text_of

EAST = timezone(timedelta(hours=5, minutes=45))


class Priority(IntEnum):
    HIGH = 3


def kept(value: Any) -> Any:
    return record.load_context(record.dump_context({"value": value}))["value"]


PLAIN = [
    *("", "Ann", "O'Brien <b>&amp;", "李小龙 👩🏽\u200d🚀", "line\r\nbreak\u2028"),
    *('"\\/', "{{ no }}", "NUL \0", "lone \ud800 \udfff"),
    *(True, False, None, 0, -1, 2**80, 1.5, -0.0, 1e300, 5e-324),
    *(Decimal("1.10"), Decimal("-0"), Decimal("1E+3"), Decimal("NaN")),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    *(date(2026, 11, 27), date.min, date.max),
    *(datetime(2026, 11, 27, 12, 30, 15), datetime(2026, 11, 27, 12, 30, 15, 123456), datetime.min),
    *(datetime(2026, 11, 27, 12, 30, tzinfo=UTC), datetime(2026, 11, 27, 12, 30, 15, 1, tzinfo=EAST)),
    *(time(12, 30), time(0), time(23, 59, 59, 999999), time(12, 30, tzinfo=UTC)),
    *(timedelta(0), timedelta(days=1, microseconds=1), timedelta(microseconds=-1), timedelta(days=-400, hours=5)),
    *([], {}, [1, [2, [3, {"a": []}]]], {"a": {"b": [Decimal(1), None, {"": ""}]}}, {"value": 1, "pk": 2}),
]


@pytest.mark.parametrize("value", PLAIN, ids=ascii)
def test_a_value_comes_back_as_it_was_given(value: Any) -> None:
    again = kept(value)
    assert type(again) is type(value)
    assert repr(again) == repr(value)


@pytest.mark.parametrize("value", [each for each in PLAIN if each is not None], ids=ascii)
def test_a_value_comes_back_from_within_lists_tuples_and_dicts(value: Any) -> None:
    assert repr(kept({"a": [value, {"b": (value, value)}]})) == repr({"a": [value, {"b": [value, value]}]})


NAMES = st.text(max_size=5).filter(lambda name: name != record.TAG)  # which marks what JSON has no type for
KEPT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters())
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(EAST))
    | st.timedeltas(min_value=timedelta(days=-900_000_000), max_value=timedelta(days=900_000_000)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=9), KEPT, max_size=3))
def test_whatever_can_be_kept_comes_back(values: dict[str, Any]) -> None:
    text = record.dump_context(values)
    assert text.isascii()
    assert record.load_context(text) == values


def test_nothing_is_kept_of_nothing() -> None:
    assert record.dump_context({}) == ""
    assert record.load_context("") == {}


def test_a_time_in_a_zone_is_the_same_moment_and_shown_the_same() -> None:
    moment = datetime(2026, 7, 1, 9, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert kept(moment) == moment
    shown = Template("{{ value|date:'c e' }}")
    with django_timezone.override("Asia/Shanghai"):
        assert shown.render(Context({"value": kept(moment)})) == shown.render(Context({"value": moment}))


def test_a_tuple_comes_back_as_a_list() -> None:
    assert kept((1, ("a", Decimal("2.50")))) == [1, ["a", Decimal("2.50")]]


def test_members_of_enumerations_come_back_as_their_values() -> None:
    assert (kept(Priority.HIGH), type(kept(Priority.HIGH))) == (3, int)
    assert (kept(Message.State.SENT), type(kept(Message.State.SENT))) == ("sent", str)


@pytest.mark.parametrize(
    "value", [mark_safe("<b>Ann</b>"), lazy(format_html, str)("<b>{}</b>", "Ann")], ids=["now", "lazy"]
)
def test_what_is_safe_stays_safe_and_nothing_else_becomes_it(value: Any) -> None:
    again = kept({"list": [value]})["list"][0]
    assert isinstance(again, SafeString)
    assert Template("{{ value }}").render(Context({"value": again})) == "<b>Ann</b>"
    assert Template("{{ value }}").render(Context({"value": kept("<b>")})) == "&lt;b&gt;"


def test_lazy_texts_are_kept_in_the_sites_language_not_in_the_visitors(settings: Any) -> None:
    settings.LANGUAGE_CODE = "zh-hans"
    with translation.override("en"):
        text = record.dump_context({"one": gettext_lazy("New visitor"), "many": [gettext_lazy("New visitor")]})
    assert record.load_context(text) == {"one": "新访客", "many": ["新访客"]}
    settings.LANGUAGE_CODE = "en"
    with translation.override("zh-hans"):
        assert kept(gettext_lazy("New visitor")) == "New visitor"
        assert kept(ngettext_lazy("%(count)d mail", "%(count)d mails", 2) % {"count": 2}) == "2 mails"


# --- refused ------------------------------------------------------------------------------------------------------

ADVICE = (
    "which cannot be kept: pass strings, numbers, booleans, None, dates and times, Decimal, UUID, "
    "saved model instances, or lists and dicts (with string keys) of these"
)


def recursive() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, f"lines is a set, {ADVICE}"),
        (frozenset(), f"lines is a frozenset, {ADVICE}"),
        (object(), f"lines is a object, {ADVICE}"),
        (SimpleNamespace(a=1), f"lines is a SimpleNamespace, {ADVICE}"),
        ((each for each in "ab"), f"lines is a generator, {ADVICE}"),
        ({}.keys(), f"lines is a dict_keys, {ADVICE}"),
        (b"bytes", f"lines is a bytes, {ADVICE}"),
        (bytearray(b""), f"lines is a bytearray, {ADVICE}"),
        (1j, f"lines is a complex, {ADVICE}"),
        (float("nan"), f"lines is a float, {ADVICE}"),
        (float("inf"), f"lines is a float, {ADVICE}"),
        (len, f"lines is a builtin_function_or_method, {ADVICE}"),
        (Group, f"lines is a ModelBase, {ADVICE}"),
        (Path("/"), f"lines is a PosixPath, {ADVICE}"),
        ({1: "a"}, f"lines is a dict, {ADVICE}"),
        ({None: "a"}, f"lines is a dict, {ADVICE}"),
        ({"$type": "model"}, f"lines is a dict, {ADVICE}"),
        ([{"a": (1, {2})}], f"lines[0]['a'][1] is a set, {ADVICE}"),
        ({"a": {"b": [b""]}}, f"lines['a']['b'][0] is a bytes, {ADVICE}"),
        (Group(name="x"), "lines is a Group that is not saved; save it first, or pass its values"),
        (Group(pk=7, name="x"), "lines is a Group that is not saved; save it first, or pass its values"),
        ([Session(pk="x")], "lines[0] is a Session that is not saved; save it first, or pass its values"),
        (recursive(), "lines is nested too deeply"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_kept_is_named_at_the_call(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape('notify_admins: ' + message)}"):
        record.dump_context({"good": 1, "lines": value})


@pytest.mark.django_db
def test_a_queryset_is_not_run_and_not_kept() -> None:
    with pytest.raises(TypeError, match="groups is a QuerySet, which cannot be kept"):
        record.dump_context({"groups": Group.objects.all()})
    with pytest.raises(TypeError, match=r"groups\[0\] is a QuerySet, which cannot be kept"):
        record.dump_context({"groups": [Group.objects.all()]})


@pytest.mark.django_db
def test_a_deleted_instance_is_refused() -> None:
    group = Group.objects.create(name="Chairs")
    group.delete()
    with pytest.raises(TypeError, match="group is a Group that is not saved"):
        record.dump_context({"group": group})


@pytest.mark.django_db
def test_nothing_is_stored_of_an_event_whose_context_is_refused() -> None:
    with pytest.raises(TypeError, match="lines is a set"):
        notify_admins("order", "New", "notify/mail/digest", key="1", summary="s", url="https://x.example/", lines={1})
    assert not Event.objects.exists()


# --- instances ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_instance_is_kept_by_reference_and_loaded_again() -> None:
    group = Group.objects.create(name="Chairs")
    text = record.dump_context({"group": group})
    assert json.loads(text) == {"group": {"$type": "model", "model": "auth.group", "pk": group.pk}}
    Group.objects.filter(pk=group.pk).update(name="Four chairs")
    again = record.load_context(text)["group"]
    assert (again, again.name) == (group, "Four chairs")


@pytest.mark.django_db
def test_instances_come_back_from_within_lists_and_dicts() -> None:
    groups = [Group.objects.create(name=name) for name in "ab"]
    assert kept({"all": groups, "by name": {group.name: group for group in groups}}) == {
        "all": groups,
        "by name": {"a": groups[0], "b": groups[1]},
    }


@pytest.mark.django_db
def test_the_user_of_a_request_is_kept_though_it_is_lazy() -> None:
    user = User.objects.create_user("ann")
    assert kept(SimpleLazyObject(lambda: user)) == user
    with pytest.raises(TypeError, match="that is not saved"):
        record.dump_context({"user": SimpleLazyObject(User)})


@pytest.mark.django_db
def test_an_instance_with_text_as_its_key_is_kept() -> None:
    session = Session.objects.create(session_key="it's a 'key'", session_data="x", expire_date=django_timezone.now())
    assert kept(session) == session


@pytest.fixture
def register() -> Iterator[Callable[..., type[models.Model]]]:
    """Make a model of the app `auth`, known for the length of a test."""
    made: list[str] = []

    def make(name: str, /, *bases: type[models.Model], proxy: bool = False, **fields: Any) -> type[models.Model]:
        meta = type("Meta", (), {"app_label": "auth", "proxy": proxy})
        made.append(name.lower())
        return type(name, bases or (models.Model,), {"__module__": __name__, "Meta": meta, **fields})

    yield make
    for name in made:
        del apps.all_models["auth"][name]
    apps.clear_cache()


@pytest.mark.django_db
def test_an_instance_of_a_proxy_model_comes_back_as_one(register: Callable[..., type[models.Model]]) -> None:
    crew = register("Crew", Group, proxy=True)
    member = crew._default_manager.create(name="Ann")
    assert type(kept(member)) is crew
    assert type(kept(Group.objects.get())) is Group


class NobodyVisible(models.Manager[Any]):
    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().none()


@pytest.mark.django_db
def test_an_instance_that_its_default_manager_hides_is_kept(register: Callable[..., type[models.Model]]) -> None:
    hidden = register("Hidden", Group, proxy=True, objects=NobodyVisible())
    group = hidden(name="Chairs")
    group.save()
    assert not hidden._default_manager.exists()
    assert kept(group) == group


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("field", "key"),
    [
        (models.UUIDField(primary_key=True), uuid.UUID(int=2**127)),
        (models.DateField(primary_key=True), date(2026, 11, 27)),
        (models.DecimalField(primary_key=True, max_digits=9, decimal_places=2), Decimal("7.50")),
        (models.BigIntegerField(primary_key=True), -(2**60)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_instance_is_kept_whatever_its_key(
    field: Any, key: Any, register: Callable[..., type[models.Model]]
) -> None:
    ticket = register("Ticket", code=field, name=models.CharField(max_length=9))
    with connection.schema_editor() as editor:
        editor.create_model(ticket)
    try:
        again = kept(ticket._default_manager.create(code=key, name="Ann"))
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(ticket)
    assert (type(again), again.pk, again.name) == (ticket, key, "Ann")


@pytest.mark.django_db
def test_an_instance_that_is_gone_is_said_to_be_gone(register: Callable[..., type[models.Model]]) -> None:
    group = Group.objects.create(name="Chairs")
    text = record.dump_context({"groups": [group]})
    Group.objects.all().delete()
    with pytest.raises(ObjectGone, match=r"auth\.group \d+ is gone"):
        record.load_context(text)
    for name in ("auth.none", "none.none"):
        with pytest.raises(ObjectGone, match=f"{name} 1 is gone"):
            record.load_context(json.dumps({"x": {"$type": "model", "model": name, "pk": 1}}))


def test_an_instance_is_loaded_from_the_database_it_came_from_whatever_a_router_would_read(settings: Any) -> None:
    """A replica may lag behind: there the instance would seem to be gone."""

    class ToReplica:
        def db_for_read(self, model: Any, **hints: Any) -> str:
            return "replica"

    settings.DATABASE_ROUTERS = [ToReplica()]
    used: list[str] = []

    def get(self: models.QuerySet[Any], **lookup: Any) -> Any:
        used.append(self.db)
        return lookup["pk"]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models.QuerySet, "get", get)
        for database in ("default", "other"):
            group = Group(pk=7)
            group._state.adding, group._state.db = False, database
            assert kept(group) == 7
    assert used == ["default", "other"]


# --- in the mail --------------------------------------------------------------------------------------------------


@pytest.fixture
def template(settings: Any, tmp_path: Path) -> Callable[[str], str]:
    """Make a pair of templates of this text; returns their name."""
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path, *settings.TEMPLATES[0]["DIRS"]]}]

    def make(text: str) -> str:
        for kind in ("txt", "html"):
            (tmp_path / f"own.{kind}").write_text(text)
        return "own"

    return make


@pytest.mark.django_db
def test_the_mail_shows_the_instance_as_it_is_when_the_mail_is_built(template: Callable[[str], str]) -> None:
    group = Group.objects.create(name="Chairs")
    name = template("{{ group.name }}, {{ price }}, {{ event.summary }}, {{ event.url }}")
    notify_admins(
        "order", "New", name, key="1", summary="Sum", url="https://x.example/", group=group, price=Decimal("9.90")
    )
    Group.objects.update(name="Four chairs")
    assert notify_due() == 1
    assert text_of(Message.objects.get()) == "Four chairs, 9.90, Sum, https://x.example/\n"


@pytest.mark.django_db
def test_an_event_whose_object_is_gone_is_mailed_by_its_summary_and_link(
    template: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    group = Group.objects.create(name="Chairs")
    name = template("{{ group.name }}")
    notify_admins("order", "New order", name, key="1", summary="Order 1", url="https://x.example/1", group=group)
    group.delete()
    assert notify_due() == 1
    message = Message.objects.get()
    assert message.subject == "[Flasky] New order: Order 1"
    assert "Order 1" in text_of(message)
    assert "https://x.example/1" in text_of(message)
    event = Event.objects.get()
    assert (event.message_id, event.failures, event.error) == (message.message_id, 0, "")
    assert caplog.text == ""


@pytest.mark.django_db
def test_text_that_no_database_takes_is_kept_for_the_template(template: Callable[[str], str]) -> None:
    name = template("{{ typed|length }} {{ typed|slice:'6:' }}")
    notify_admins("order", "New", name, key="1", summary="s", url="https://x.example/", typed="NUL\0\ud800 Ann")
    assert Event.objects.get().context
    assert record.load_context(Event.objects.get().context) == {"typed": "NUL\0\ud800 Ann"}
    assert notify_due() == 1
    assert text_of(Message.objects.get()) == "9 Ann\n"


@pytest.mark.django_db
def test_what_is_safe_is_not_escaped_in_html(template: Callable[[str], str]) -> None:
    name = template("{{ safe }} {{ typed }}")
    notify_admins(
        "order", "New", name, key="1", summary="s", url="https://x.example/", safe=mark_safe("<b>A</b>"), typed="<b>"
    )
    notify_due()
    assert "<b>A</b> &lt;b&gt;" in text_of(Message.objects.get(), "html")
    assert text_of(Message.objects.get()) == "<b>A</b> <b>\n"
