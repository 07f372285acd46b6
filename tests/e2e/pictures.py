"""Takes the pictures of the page in docs/img anew: `python -m tests.e2e.pictures [FOLDER]`. Look at them."""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

from tests.site import ROOT, Site, template_database

SIZES = {"desktop": (1280, 800), "phone": (390, 760)}
NAMES = {
    "stranger": [],
    "new": ["Zoë"],
    "known": ["Zoë", "Zoë"],
    "error": ["www.example.com"],
    "chinese": ["李小龙"],
}


def take(context: BrowserContext, site: Site, state: str, path: Path) -> None:
    page = context.new_page()
    page.goto(site.url)
    for name in NAMES[state]:
        page.get_by_role("textbox").fill(name)
        page.get_by_role("textbox").press("Enter")
        page.wait_for_load_state()
    page.screenshot(path=path)


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        empty = template_database(Path(place))
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        database = Path(place) / "site.sqlite3"
        for state in NAMES:
            for scheme in ("light", "dark"):
                for size, (width, height) in SIZES.items():
                    shutil.copy(empty, database)
                    variables = {"DATABASE_URL": f"sqlite:///{database}", "NOTIFY_FORM_SECONDS": 0}
                    site = Site(Path(place), variables).start()
                    options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
                    options["locale"] = "zh-CN" if state == "chinese" else "en-GB"
                    context = chromium.new_context(java_script_enabled=False, **options)  # type: ignore[arg-type]
                    take(context, site, state, folder / f"page-{state}-{scheme}-{size}.png")
                    context.close()
                    site.discard()
                    for file in Path(place).glob("site.sqlite3*"):
                        file.unlink()
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "img")
