"""Flasky side by side with django-post_office and django-mailer, in one run, on both databases: `make bench`.

It prints a table per experiment and database, with what docs/performance.md aims at below; nothing depends on a time.
Each experiment is a module here that opens with what it measures; `stage` holds what they share, `inside` is what runs
in a Django process, with `settings`, where `apps` puts a peer in the project's place.
"""

import argparse
import signal
import sys

from benchmarks import drain, enqueue, form, latency
from benchmarks.stage import Stage

EXPERIMENTS = ["enqueue", "form", "drain", "latency"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description=__doc__)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"{', '.join(EXPERIMENTS)}; all if none")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="both if not given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mails", type=int, default=5000, help="of a drain")
    parser.add_argument("--seconds", type=float, default=1, help="of a slice of posting forms")
    options = parser.parse_args()
    if unknown := set(options.experiments) - set(EXPERIMENTS):
        parser.error(f"no such experiment: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *received: sys.exit(1))  # databases and processes go in any case
    for vendor in [options.database] if options.database else ["sqlite", "postgresql"]:
        with Stage(vendor) as stage:
            for experiment in options.experiments or EXPERIMENTS:
                if experiment == "enqueue":
                    enqueue.run(stage, options.rounds)
                elif experiment == "form":
                    form.run(stage, options.rounds, options.seconds)
                elif experiment == "drain":
                    drain.run(stage, options.rounds, options.mails)
                else:
                    latency.run(stage, options.rounds)


if __name__ == "__main__":
    main()
