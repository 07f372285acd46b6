"""What axe-core, the accessibility checker, finds on a page. Its one file comes with `make node`."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

SCRIPT = Path(__file__).resolve().parent.parent / "node" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.flatMap(
    rule => rule.nodes.map(node => `${rule.impact}: ${rule.id}: ${node.target.join(" ")}`));
}"""


def violations(page: Page) -> list[str]:
    """`impact: rule: target` for every violation found; the test is skipped where axe-core is not installed.

    The page's context must have JavaScript on. Impacts: minor, moderate, serious, critical.
    """
    if not SCRIPT.exists():
        pytest.skip("axe-core is not on this machine: make node")
    page.evaluate(SCRIPT.read_text())
    found: list[str] = page.evaluate(RUN)
    return found
