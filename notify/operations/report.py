"""What a test mail went through: its stages, and of each failure the words, the cause and the fix."""

from dataclasses import asdict, dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from notify.smtp.failure import one_line

PASS, WARN, FAIL, SKIP = "PASS", "WARN", "FAIL", "SKIP"


@dataclass(frozen=True)
class Stage:
    """One line: how it went, which stage, what there is to say, milliseconds (None where nothing was timed)."""

    status: str
    name: str
    detail: str = ""
    ms: float | None = None

    def __str__(self) -> str:
        time_spent = "" if self.ms is None else f" ({self.ms:.0f} ms)"
        return one_line(f"{self.status} {self.name} {self.detail}{time_spent}")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A failed stage explained. `words`: the server's, "" where none answered; `diagnosis`: an id, "" for none."""

    stage: str
    words: str = ""
    cause: str = ""
    fix: str = ""
    diagnosis: str = ""


@dataclass
class Report:
    """`exit_code`: 0 done, 1 the relay or the way to it failed, 2 configured wrongly."""

    stages: list[Stage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        facts = asdict(self)
        for stage in facts["stages"]:
            stage["ms"] = stage["ms"] and round(stage["ms"], 1)
        return {"ok": self.exit_code == 0, **facts}

    def explanations(self) -> list[str]:
        """The lines below the stages; what several failures have in common is said once."""
        lines = [
            one_line(f"{name}: {text}")
            for problem in self.problems
            for name, text in ((_("server said"), problem.words), (_("cause"), problem.cause), (_("fix"), problem.fix))
            if text
        ]
        return list(dict.fromkeys(lines))
