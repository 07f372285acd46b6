"""What runs in a separate Django process, with benchmarks.settings.

`python -m benchmarks.inside queue COUNT` queues mails of 2 KB through Django's email backend, ours or a peer's.
`python -m benchmarks.inside save` saves as many new names as each line of its input says, and answers with a line of
JSON: for each the microseconds it took, and time.monotonic() when it was committed.
"""

import itertools
import json
import sys
import time

import django

django.setup()

from django.core.mail import get_connection  # noqa: E402  (needs the settings)
from django.db import transaction  # noqa: E402

from benchmarks.apps import HTML, TEXT, mail, visitor_model  # noqa: E402


def queue(count: int) -> None:
    with transaction.atomic():
        for first in range(0, count, 500):
            numbers = range(first, min(first + 500, count))
            get_connection().send_messages([mail(f"Mail {number}", TEXT, HTML) for number in numbers])


def save() -> None:
    visitor, names = visitor_model(), (f"Visitor {number}" for number in itertools.count())
    for line in sys.stdin:
        answers = []
        for name in itertools.islice(names, int(line)):
            row = visitor(name=name)
            began = time.perf_counter()
            row.save()  # in its own transaction
            answers.append(((time.perf_counter() - began) * 1e6, time.monotonic()))
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "queue":
        queue(int(sys.argv[2]))
    else:
        save()
