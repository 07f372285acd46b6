"""docs/providers.md says of every preset what the preset says, and its tables of refusals are true."""

import re
from pathlib import Path

import pytest

from notify.smtp.diagnosis.rules import diagnose
from notify.smtp.failure import Failure
from notify.smtp.providers.presets import PROVIDERS, Provider, find

PAGE = (Path(__file__).parents[2] / "docs/providers.md").read_text(encoding="utf-8")
PHASES = ("auth", "sender", "end", "tls", "recipient")
NAMED = [each for each in PROVIDERS if not each.name.startswith("ses-")]
QUOTED = re.findall(r"`(\d{3} [^`]+)`", PAGE)


@pytest.mark.parametrize("provider", NAMED, ids=lambda provider: provider.name)
def test_every_preset_has_its_line(provider: Provider) -> None:
    (line,) = [line for line in PAGE.splitlines() if re.match(rf"\| `{re.escape(provider.name)}`[, ]", line)]
    ports = ", ".join(f"{port} {mode}" for port, mode in provider.ports.items())
    assert f"| {provider.host} {ports} |" in line
    assert all(f"`{alias}`" in line for alias in provider.aliases)


@pytest.mark.parametrize("service", re.findall(r"^MAIL_SERVICE=(\S+)$", PAGE, re.MULTILINE))
def test_every_example_names_a_preset(service: str) -> None:
    assert find(service=service)


@pytest.mark.parametrize("reply", QUOTED)
def test_every_refusal_on_the_page_is_one_that_is_recognised(reply: str) -> None:
    code, _, text = reply.replace("…", "-").partition(" ")
    failures = [Failure(phase=phase, code=int(code), text=text) for phase in PHASES]
    assert any(diagnose(failure) for failure in failures)


# In the English part and in the Chinese one.
@pytest.mark.parametrize("part", PAGE.split("\n## 中文\n"), ids=["English", "Chinese"])
@pytest.mark.parametrize("service", ["gmail", "163", "qq", "outlook365"])
def test_the_big_four_have_their_three_lines_and_their_refusals_in_both_languages(part: str, service: str) -> None:
    blocks = re.findall(
        rf"^MAIL_SERVICE={service}\nMAIL_USERNAME=\S+\nMAIL_PASSWORD=[^\n]+\n```(.*?)(?=\n##|\Z)", part, re.M | re.S
    )
    assert max(len(re.findall(r"^\| `", block, re.MULTILINE)) for block in blocks) >= 4


def test_both_languages_know_the_same_refusals() -> None:
    english, chinese = PAGE.split("\n## 中文\n")
    of_both = set(re.findall(r"`(\d{3} [^`]+)`", chinese))
    assert of_both <= set(re.findall(r"`(\d{3} [^`]+)`", english))


@pytest.mark.parametrize("error", sorted(set(re.findall(r"`([a-z_]+: (?:AADSTS\d+|Token has)[^`]*)`", PAGE))))
def test_every_error_about_tokens_on_the_page_is_one_that_is_recognised(error: str) -> None:
    host = "oauth2.googleapis.com" if "Token has" in error else "login.microsoftonline.com"
    found = diagnose(Failure(phase="token", text=f"TokenRefused: {host}: {error}"))
    assert found
    assert found.id != "token-refused"
