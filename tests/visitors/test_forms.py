"""The form: one field, kind words, and no bytes that break it."""

import pytest
from django.http import QueryDict
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify.visitors.forms import NameForm
from notify.visitors.models import Visitor

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=100)
URLENCODED = "application/x-www-form-urlencoded"


def form(query: str) -> NameForm:
    return NameForm(QueryDict(query))


def test_a_name_comes_out_folded() -> None:
    answered = form("name=%20Ann%20%20Bob%20")
    assert answered.is_valid()
    assert answered.cleaned_data["name"] == "Ann Bob"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "Please type a name."),
        ("other=Ann", "Please type a name."),
        ("name=", "Please type a name."),
        ("name=%20%09%E3%80%80", "Please type a name."),
        ("name=A%00nn", "That name contains characters that cannot be displayed. Please type it with letters."),
        ("name=A%0Ann", "That name contains characters that cannot be displayed. Please type it with letters."),
        ("name=Ab%CC%81%CC%81%CC%81%CC%81%CC%81", "That name contains marks that do not belong to a letter."),
        ("name=" + "x" * 65, "That name is too long: at most 64 characters, please."),
        ("name=" + "x" * 100_000, "That name is too long: at most 64 characters, please."),
        ("name=https%3A%2F%2Fx", "A name cannot be a link. Please type just the name."),
        ("name=42", "Please type a name with at least one letter."),
    ],
    ids=lambda value: value[:24],
)
def test_each_refusal_is_one_kind_word(query: str, words: str) -> None:
    answered = form(query)
    assert not answered.is_valid()
    [error] = answered.errors["name"]
    assert str(error).startswith(words)


def test_of_several_values_the_last_counts() -> None:
    answered = form("name=Ann&name=Bob")
    assert answered.is_valid()
    assert answered.cleaned_data["name"] == "Bob"


def test_what_was_typed_is_shown_again_as_far_as_html_can_carry_it() -> None:
    assert NameForm({"name": "  A\0\x1bn\ud800n.com "})["name"].value() == "  Ann.com "


@given(ANY_TEXT)
def test_any_text_is_taken_or_refused_in_words(text: str) -> None:
    answered = NameForm({"name": text})
    assert answered.is_valid() or answered.errors["name"]
    str(answered["name"].value()).encode()


RAW = {
    "invalid UTF-8": (b"name=%FF%FE", URLENCODED, 422),
    "a surrogate in UTF-8": (b"name=%ED%A0%80", URLENCODED, 422),
    "raw bytes": (b"name=\xff\xfe\x00", URLENCODED, 422),
    "no body": (b"", URLENCODED, 422),
    "no form": (b"{}", "application/json", 422),
    "too many fields": (b"&".join(b"a=1" for _ in range(1001)), URLENCODED, 400),
    "a field that is a file": (
        b'--x\r\nContent-Disposition: form-data; name="name"; filename="a.txt"\r\n\r\nAnn\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
        422,
    ),
    "multipart cut short": (b'--x\r\nContent-Disposition: form-data; name="na', "multipart/form-data; boundary=x", 422),
    "multipart without a boundary": (b"Ann", "multipart/form-data", 400),
    "multipart with base64 that is none": (
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n!\r\n--x--\r\n",
        "multipart/form-data; boundary=x",
        422,
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("body", "content_type", "status"), RAW.values(), ids=RAW.keys())
def test_whatever_bytes_are_posted_the_answer_is_a_page(
    client: Client, body: bytes, content_type: str, status: int
) -> None:
    answer = client.generic("POST", "/", body, content_type)
    assert answer.status_code == status
    assert "flasky/page.css" in answer.content.decode()
    assert not Visitor.objects.exists()


MULTIPART = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nAnn\r\n--x--\r\n'


@pytest.mark.django_db
@pytest.mark.parametrize(
    "charset", ["latin-1", "unicode_escape", "hex", "rot13", "base64", "idna", "zlib", "undefined"]
)
@pytest.mark.parametrize(("body", "kind"), [(b"name=Ann", URLENCODED), (MULTIPART, "multipart/form-data; boundary=x")])
def test_whatever_charset_a_form_claims_it_is_read_as_the_page_is(
    client: Client, body: bytes, kind: str, charset: str
) -> None:
    assert client.generic("POST", "/", body, f"{kind}; charset={charset}").status_code == 302
    assert Visitor.objects.get().name == "Ann"


@pytest.mark.django_db
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([URLENCODED, "multipart/form-data; boundary=x"]))
def test_random_bytes_never_make_an_error_of_ours(client: Client, body: bytes, content_type: str) -> None:
    lead = b"name=" if content_type == URLENCODED else b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
    assert client.generic("POST", "/", lead + body, content_type).status_code in (302, 400, 422)
