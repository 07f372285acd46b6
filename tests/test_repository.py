"""Promises the repository makes about itself."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = [path for path in (ROOT / "notify").rglob("*.py") if "migrations" not in path.parts]

# What each wing and door may import of ours, besides itself and what all stand on: DESIGN's arrows.
EVERYWHERE = {"clock", "conf"}
ARROWS = {
    "clock": set(),
    "conf": set(),
    "visitors": {"mail", "models", "admin", "previews"},  # the last three for its pages and its preview
    "mail": {"dispatch", "events", "rendering"},
    "outbox": {"delivery", "dispatch", "models", "rendering", "smtp", "storing"},
    "storing": {"dispatch"},
    "tasks": {"dispatch"},
    "dispatch": {"delivery", "events", "models"},
    "events": {"models", "rendering"},
    "rendering": set(),
    "delivery": {"models", "smtp"},
    "oauth": {"models", "smtp"},
    "smtp": set(),
    "models": set(),
    "testing": {"delivery", "events"},
    "operations": {"delivery", "dispatch", "events", "mail", "models", "oauth", "rendering", "smtp", "storing"},
    "previews": {"events", "models", "rendering"},
    "admin": {"delivery", "events", "models", "operations", "rendering", "smtp"},
    "management": {"delivery", "dispatch", "events", "models", "oauth", "operations", "smtp"},
    "templatetags": {"admin", "rendering"},
    "urls": {"operations"},
    "apps": {"dispatch", "oauth", "operations", "smtp"},
}


def own_imports(path: Path) -> set[str]:
    """The wings and doors that a file imports, lazily (`import_string`) or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "notify":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("notify.")}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("import_string", "import_module"):
            names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            found |= {str(name).split(".")[1] for name in names if str(name).startswith("notify.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows_between_wings(path: Path) -> None:
    own = path.relative_to(ROOT / "notify").with_suffix("").parts[0]
    if own != "__init__":
        assert own_imports(path) - {own} <= ARROWS[own] | EVERYWHERE, f"{own} may not import that"


def test_the_arrows_point_one_way() -> None:
    left = {name: set(targets) for name, targets in ARROWS.items()}
    while free := {name for name, targets in left.items() if not targets}:
        left = {name: targets - free for name, targets in left.items() if name not in free}
    assert left == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_hides_inside_a_function(path: Path) -> None:
    if path.name == "apps.py":  # Django's own convention
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert not [inner for inner in ast.walk(node) if isinstance(inner, (ast.Import, ast.ImportFrom))]


@pytest.mark.parametrize(
    "path", [*MODULES, *(ROOT / "flasky").glob("*.py")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_module_opens_with_a_line_that_says_what_it_is(path: Path) -> None:
    source = path.read_text()
    assert not source.strip() or ast.get_docstring(ast.parse(source))


def test_only_settings_read_the_environment() -> None:
    for path in MODULES:
        assert not re.search(r"os\.environ|getenv", path.read_text()), path


def test_views_never_mention_mail_and_models_never_mention_smtp() -> None:
    assert not re.search(r"import.*mail", (ROOT / "notify/visitors/views.py").read_text())
    assert "smtp" not in (ROOT / "notify/models.py").read_text().lower()


def test_migrations_have_names() -> None:
    for path in (ROOT / "notify").rglob("migrations/0*.py"):
        assert "_auto_" not in path.name


def test_what_the_readme_tells_to_run_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", readme)) <= targets
    commands = {path.stem for path in (ROOT / "notify/management/commands").glob("[a-z]*.py")}
    django = {"check", "createsuperuser", "migrate", "shell"}
    assert set(re.findall(r"manage\.py ([a-z]+)", readme)) <= commands | django
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        assert (ROOT / link).exists(), link


def requirements(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line for line in lines if line and not line.startswith(("#", "-r"))}


def test_the_package_needs_what_flasky_is_set_up_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    of_the_site = {line for line in requirements("requirements.in") if line.startswith("django-environ")}
    plain = {line for line in requirements("requirements.in") - of_the_site if not line.startswith("Django")}
    [django] = [line for line in project["dependencies"] if line.startswith("Django")]
    assert {*plain, django} == set(project["dependencies"])
    lowest, highest = re.findall(r"Django>=(\S+?),<([\d.]+)", "\n".join(sorted(requirements("requirements.in"))))
    assert django == f"Django>={lowest[0]},<{highest[1]}"
    for extra in project["optional-dependencies"].values():
        assert set(extra) <= requirements("requirements-server.in")


def test_no_test_is_skipped_without_a_reason() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        if path != Path(__file__).resolve():
            bare = re.findall(
                r"mark\.skip\b(?!\(\s*reason=|if)|pytest\.skip\(\)|mark\.skipif\((?![^#]*?reason=)", path.read_text()
            )
            assert not bare, path
