"""The first minute: a fresh clone, `make run`, a name in the browser, and its mail. Nothing is configured."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.site import ROOT

pytestmark = [
    pytest.mark.service("chromium"),
    pytest.mark.skipif(not shutil.which("make"), reason="make is not on this machine"),
    pytest.mark.skipif(not shutil.which("git"), reason="git is not on this machine"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone"),
]
START_SECONDS = 300  # for a network that is slow: the packages are fetched
FORM_SECONDS = 1.1  # NOTIFY_FORM_SECONDS, and a little


class Clone:
    """A clone of what is committed here, in an environment that says nothing but where programs and packages are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "flasky"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.folder)], check=True)
        (folder / "home").mkdir()
        own = Path(sys.prefix) / "bin"
        where = [
            part for part in os.environ["PATH"].split(os.pathsep) if part and Path(part).resolve() != own.resolve()
        ]
        packages = {name: value for name, value in os.environ.items() if re.match("PIP_|https?_proxy$", name, re.I)}
        self.environment = {"PATH": os.pathsep.join(where), "HOME": str(folder / "home"), **packages}
        self.log = folder / "make.log"
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, port: int) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["make", "run", f"PORT={port}"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str) -> None:
        assert self._process
        deadline = time.monotonic() + START_SECONDS
        while words not in self.output():
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            self._process.wait(40)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    clone = Clone(tmp_path)
    yield clone
    clone.stop()


@pytest.mark.parametrize("context", [{"java_script_enabled": True, "locale": "en-GB"}], indirect=True)
def test_a_name_becomes_a_mail_without_any_variable(clone: Clone, free_port: int, context: BrowserContext) -> None:
    url = f"http://127.0.0.1:{free_port}"
    began = time.monotonic()
    clone.run(free_port)
    clone.wait_for("MAIL_BACKEND=smtp")  # in the last of the four lines
    up = time.monotonic() - began
    assert clone.output().splitlines() == [
        f"Site:   {url}/ (to stop: CONTROL-C)",
        f"Inbox:  {url}/inbox/ (type a name on the site, and the mail appears here)",
        f"Admin:  {url}/admin/ (to create a login: make admin)",
        "To send real mail, set in .env: MAIL_BACKEND=smtp, MAIL_SERVICE=gmail (163, qq …), MAIL_USERNAME, "
        "MAIL_PASSWORD, FLASKY_ADMIN",
    ]

    page = context.new_page()
    page.goto(url)
    page.get_by_role("link", name="Inbox").click()
    expect(page.get_by_role("main")).to_contain_text("No mail yet.")
    typing = context.new_page()
    typing.goto(url)
    time.sleep(FORM_SECONDS)
    typing.get_by_role("textbox").fill("Ada Lovelace")
    typing.keyboard.press("Enter")
    expect(typing.get_by_role("heading")).to_have_text("Hello, Ada Lovelace!")
    typed = time.monotonic()
    page.locator(".mails a").wait_for(timeout=10_000)  # nothing is clicked
    seen = time.monotonic()
    print(f"\nfrom make run: the site is up after {up:.1f} s, the mail is read after {seen - began:.1f} s;")
    print(f"from the name to the mail in the inbox: {seen - typed:.1f} s")

    page.locator(".mails a").click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Ada Lovelace")).to_be_visible()
    expect(page.get_by_role("region", name="Text")).to_contain_text(f"{url}/admin/visitors/visitor/1/change/")

    made = subprocess.run(
        ["make", "admin"],
        cwd=clone.folder,
        env=clone.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    found = re.fullmatch(r"User name: admin  Password: (\S{16})\n", made.stdout)
    assert found, made.stdout
    page.goto(f"{url}/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(found[1])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="Log out").or_(page.get_by_role("button", name="Log out"))).to_be_visible()


def test_the_inbox_needs_no_script(clone: Clone, free_port: int, context: BrowserContext) -> None:
    (clone.folder / ".venv").symlink_to(sys.prefix)
    clone.run(free_port)
    clone.wait_for("MAIL_BACKEND=smtp")
    page, typing = context.new_page(), context.new_page()
    page.goto(f"http://127.0.0.1:{free_port}/inbox/")
    typing.goto(f"http://127.0.0.1:{free_port}")
    time.sleep(FORM_SECONDS)
    typing.get_by_role("textbox").fill("Ada Lovelace")
    typing.keyboard.press("Enter")
    page.locator(".mails a").wait_for(timeout=15_000)
