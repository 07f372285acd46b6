"""The audit of packages: a finding fails, and what no data could be had for is said by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site import ROOT

ANSWER = """
import json, sys
output = [word.partition("=")[2] for word in sys.argv if word.startswith("--output=")][0]
open(output, "w").write(json.dumps({"dependencies": %r}))
"""
CLEAN = {"name": "good", "version": "1", "vulns": []}
UNKNOWN = {"name": "strange", "skip_reason": "Dependency not found on PyPI"}
BAD = {"name": "bad", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "description": "x"}]}


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        (ANSWER % [CLEAN], 0, "no known vulnerability in 1 packages"),
        (ANSWER % [CLEAN, UNKNOWN], 0, "NO VULNERABILITY DATA HERE for 1 of 2 packages: strange"),
        (ANSWER % [CLEAN, UNKNOWN, BAD] + "sys.exit(1)", 1, "bad 1.0: PYSEC-1, mended in 1.1"),
        ("raise SystemExit('requests.exceptions.ProxyError: no way')", 0, "GAVE NO ANSWER: nothing in requirements"),
        ("raise SystemExit('unknown option')", 1, "(unknown option)"),
    ],
)
def test_a_finding_fails_and_what_could_not_be_audited_is_said(
    tmp_path: Path, program: str, code: int, words: str
) -> None:
    (tmp_path / "pip_audit.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, ".ci/advisories"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert words in done.stdout
    assert done.returncode == code, done.stderr
