"""Differences between machines: mail settings, SECRET_KEY and clock of workers; migrations of code and database."""

from collections import defaultdict

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _

from notify import clock
from notify.delivery import breaker, transport
from notify.models import Relay


def disagreements() -> list[str]:
    """What differs between the workers seen lately, a sentence each, with their hosts."""
    seen = breaker.workers()
    found = []
    configurations = _hosts_by(seen, "fingerprint")
    if len(configurations) > 1:
        states = {worker.fingerprint: Relay.State(worker.state).label for worker in seen}
        groups = "; ".join(f"{', '.join(hosts)} ({states[mark]})" for mark, hosts in configurations.items())
        found.append(_("Workers have different mail settings: %s.") % groups)
    keys = _hosts_by(seen, "key")
    if len(keys) > 1:
        groups = "; ".join(", ".join(hosts) for hosts in keys.values())
        found.append(_("Workers have different SECRET_KEYs: %s.") % groups)
    for host, ahead in sorted({worker.host: worker.seconds_ahead for worker in seen}.items()):
        if abs(ahead) > clock.TOLERATED_SECONDS:
            words = (
                _("The clock of %(host)s is %(seconds).1f s ahead of the database's: check NTP.")
                if ahead > 0
                else _("The clock of %(host)s is %(seconds).1f s behind the database's: check NTP.")
            )
            found.append(words % {"host": host, "seconds": abs(ahead)})
    return found


def with_other_settings() -> list[str]:
    """Hosts of the workers seen lately, if none of them has this process's mail settings and SECRET_KEY; else none."""
    seen, ours = breaker.workers(), (transport.fingerprint(), breaker.key_mark())
    if any((worker.fingerprint, worker.key) == ours for worker in seen):
        return []
    return sorted({worker.host for worker in seen})


def unapplied_migrations(app: str | None = None) -> list[str]:
    """Those of the app, or of all, that the code has and the database has not, as `app.name`. Raises DatabaseError.

    Older code on a newer schema finds none.
    """
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes(app))
    return [f"{migration.app_label}.{migration.name}" for migration, _backwards in plan]


def _hosts_by(seen: list[breaker.Workers], what: str) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for worker in seen:
        groups[str(getattr(worker, what))].append(worker.host)
    return groups
