"""What a notification adds to a save: microseconds of a save() of a new name, less the same without mail.

Each contestant is a process with a separate database. They take short turns, and each turn is compared with that of
the same moment without mail: the machine's mood is everybody's. While one saves the others are stopped (SIGSTOP), so
that no thread of theirs delivers.
"""

import random
import statistics
from contextlib import ExitStack

from benchmarks.stage import MAILER, NO_MAIL, POST_OFFICE, Contestant, Relay, Saver, Stage, table

TURNS, SAVES = 40, 5  # of each contestant, in a round; of names, in a turn
READY_MADE = {"BENCH_READY_MADE": "yes"}
CONTESTANTS = [
    NO_MAIL,
    Contestant("django-mailer, mail built beforehand", {**MAILER.variables, **READY_MADE}),
    Contestant("django-post_office, mail built beforehand", {**POST_OFFICE.variables, **READY_MADE}),
    Contestant("django-mailer, from templates", MAILER.variables),
    Contestant("django-post_office, from templates", POST_OFFICE.variables),
    Contestant("ours, NOTIFY_INTERVAL=0", {"NOTIFY_INTERVAL": 0}),
    Contestant("ours, default interval"),
    Contestant("ours, NOTIFY_INTERVAL=0, a thread delivers", {"NOTIFY_INTERVAL": 0, "NOTIFY_DISPATCH": "thread"}),
    Contestant("ours, default interval, a thread delivers", {"NOTIFY_DISPATCH": "thread"}),
]


def run(stage: Stage, rounds: int) -> None:
    turns: dict[str, list[float]] = {each.name: [] for each in CONTESTANTS}  # the median of each turn
    with ExitStack() as exits:
        relay = exits.enter_context(Relay(stage.folder))
        savers = []
        for each in CONTESTANTS:
            database = exits.enter_context(stage.database())
            saver = Saver(stage, DATABASE_URL=database, MAIL_PORT=relay.port, **each.variables)
            savers.append((each.name, exits.enter_context(saver)))
        for _, saver in savers:
            saver.save(20)  # what is loaded, compiled and connected once
            saver.freeze()
        for _ in range(rounds * TURNS):
            for name, saver in random.sample(savers, len(savers)):
                saver.go_on()
                turns[name].append(statistics.median(took for took, _ in saver.save(SAVES)))
                saver.freeze()

    added = [
        statistics.median(own - none for own, none in zip(turns[each.name], turns[NO_MAIL.name], strict=True))
        for each in CONTESTANTS
    ]
    _, mailer, post_office = added[:3]
    rows = [
        [
            each.name,
            f"{statistics.median(turns[each.name]):.0f}",
            f"{more:.0f}",
            f"{more / mailer:.2f} x",
            f"{more / post_office:.2f} x",
        ]
        for each, more in zip(CONTESTANTS, added, strict=True)
    ]
    table(
        f"enqueue, {stage.vendor}: {rounds * TURNS} turns of {SAVES} saves, median microseconds",
        ["", "save()", "adds", "of django-mailer", "of post_office"],
        rows,
        "ours, where nobody delivers, adds at most 1 x what django-mailer adds to a mail built beforehand",
    )
