"""Another project: `django-admin startproject` in its own virtual environment, and docs/adopt.md followed there."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOC = ROOT / "docs" / "adopt.md"
_BLOCK = re.compile(r"^ *```(\w+) ?([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# What a Python that is younger than this one is called, as .ci/run looks for it.
_NEWER = ("python3.14", "python3.13", "python3.12")


@dataclass(frozen=True)
class Block:
    """An example of the document. `language`: sh, python or html; `about`: the file, and for whom it is."""

    language: str
    about: list[str]
    text: str


def blocks() -> list[Block]:
    found = _BLOCK.findall(DOC.read_text())
    made = [Block(language, about.split(), _unindented(text)) for language, about, text in found]
    assert all(block.about or block.language == "sh" for block in made), "an example says in which file it stands"
    return made


def python_for(django: str) -> str | None:
    """A Python that this Django runs on and that can make environments; None where there is none."""
    if django == "5.2":
        return sys.executable
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, *_NEWER, *map(str, sorted(installed.glob("3.1[2-9]*/bin/python3")))]
    return next(filter(_is_new_enough, candidates), None)


class Project:
    """The project's folder and environment. What it is given to run is run there, without our variables.

    `printed`: what the commands of the document said.
    """

    printed = ""

    def __init__(self, folder: Path, environment: Path, django: str, wheels: Path, port: int) -> None:
        self.folder, self.django = folder, django
        self._bin, self._port = environment / "bin", port
        self._variables = {
            "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(Path.home()),
            "PIP_FIND_LINKS": str(wheels),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONWARNINGS": "default::DeprecationWarning,default::PendingDeprecationWarning",
        }
        folder.mkdir()
        self.run(str(self._bin / "django-admin"), "startproject", "shop", ".")
        self._entries = self.entries()
        self.write("shop/settings.py", f'EMAIL_HOST, EMAIL_PORT = "127.0.0.1", {port}\n' if django == "5.2" else "")

    def follow(self, *chosen: str) -> str:
        """Do what the document says, of the parts that are for everybody or for one of `chosen`. What was printed."""
        printed = ""
        for block in blocks():
            name, *wanted = block.about or [""]
            if block.language == "sh" and ([name] if name else []) == [each for each in chosen if each == "leave"]:
                for line in block.text.splitlines():
                    printed += self.run("sh", "-c", line)
            elif block.language != "sh" and "leave" not in chosen and set(wanted) <= {f"django-{self.django}", *chosen}:
                self.write(name, block.text)
        return printed

    def write(self, name: str, text: str) -> None:
        """Append to a file of the project, at the port of the test's mail server."""
        path = self.folder / (f"shop/{name}" if name in ("settings.py", "urls.py") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_made_by_django = name in ("settings.py", "urls.py", "shop/settings.py", "shop/urls.py")
        before = path.read_text() if is_made_by_django else ""
        path.write_text(before + "\n" + text.replace('"localhost", "port": 25', f'"127.0.0.1", "port": {self._port}'))

    def run(self, *command: str, **variables: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._variables | variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed = done.stdout + done.stderr
        assert not re.search(r"site-packages/notify/\S+: \w*(Deprecat|RemovedIn)", printed), printed
        return printed

    def manage(self, *words: str, **variables: str) -> str:
        return self.run("python", "manage.py", *words, **variables)

    def serve(self, port: int) -> "subprocess.Popen[bytes]":
        words = ["python", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
        return subprocess.Popen(words, cwd=self.folder, env=self._variables)

    def entries(self) -> dict[str, str]:
        return {name: (self.folder / "shop" / name).read_text() for name in ("wsgi.py", "asgi.py")}

    def entries_are_as_django_made_them(self) -> bool:
        return self.entries() == self._entries


def make_environment(folder: Path, python: str, *packages: str) -> None:
    """A virtual environment with these packages."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages], check=True)


def build_wheel(folder: Path) -> Path:
    """Our wheel, as `pip wheel` builds it from this checkout."""
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(words, check=True)
    [wheel] = folder.glob("flasky_notify-*.whl")
    return wheel


def _is_new_enough(python: str) -> bool:
    asked = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 12))"
    try:
        return subprocess.run([python, "-c", asked], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _unindented(text: str) -> str:
    depth = min((len(line) - len(line.lstrip()) for line in text.splitlines() if line.strip()), default=0)
    return "".join(line[depth:] if line.strip() else line for line in text.splitlines(keepends=True))
