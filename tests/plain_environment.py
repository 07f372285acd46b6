"""A pytest plugin that is loaded first: the tests see Flasky's defaults, not this machine's .env or environment."""

import os
import re
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent / ".env.example"
# Set and empty: the same as unset, and it wins over a .env file.
PLAIN = dict.fromkeys(re.findall(r"^([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE), "") | {
    "SECRET_KEY": "test-key-that-signs-nothing-outside-of-the-tests-at-all",
    "FLASKY_ADMIN": "admin@example.com",
    "FLASKY_URL": "http://flasky.example.com",
    "ALLOWED_HOSTS": "*",
    "NOTIFY_DISPATCH": "worker",
}
for name in ("ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(name, None)
sys.dont_write_bytecode = False  # or each worker and each run compiles the tests again, which takes five seconds
os.environ.update(PLAIN | {"DATABASE_URL": os.environ.get("TEST_DATABASE_URL", "")})
