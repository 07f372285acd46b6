"""How many names, and how many failed logins, a client may post in a minute (NOTIFY_RATE_LIMIT).

Counted in the database for all processes, each kind separately: one row per client and ten seconds, so that no client
waits for another's row. The limit holds for any 60 seconds; a post counts for 60 to 70 seconds. Refused posts are not
counted. Without a limit nothing is read or written.
"""

import contextlib
import ipaddress
import math
import time

from django.db.models import F
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from notify import conf
from notify.visitors.models import ClientSlot

SLOT = 10  # seconds
SLOTS = 7  # that a minute may touch


def wait(request: HttpRequest, now: float | None = None, *, kind: str = "") -> int:
    """Count a post. Returns 0 if it is allowed, else the seconds until one is. `now`: seconds since 1970."""
    limit = conf.NOTIFY_RATE_LIMIT
    if not limit:
        return 0
    now = now or time.time()
    slot, client = int(now // SLOT), _key(client_address(request), kind)
    rows = ClientSlot.objects.filter(client=client, slot__gt=slot - SLOTS).order_by("slot")
    posts = dict(rows.values_list("slot", "posts"))
    before = sum(count for each, count in posts.items() if each < slot)
    if _count(client, slot, most=limit - before):
        return 0
    return _seconds_until_free(posts, limit, now)


def take_back(request: HttpRequest, *, kind: str = "") -> None:
    """Undo the last count of `wait`."""
    if conf.NOTIFY_RATE_LIMIT:
        rows = ClientSlot.objects.filter(client=_key(client_address(request), kind), posts__gt=0)
        rows.filter(pk__in=rows.order_by("-slot").values("pk")[:1]).update(posts=F("posts") - 1)


def client_address(request: HttpRequest) -> str:
    """The client's address; behind NOTIFY_TRUSTED_PROXIES proxies, as reported by the outermost of them."""
    proxies = conf.NOTIFY_TRUSTED_PROXIES
    forwarded = [each.strip() for each in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if each.strip()]
    if proxies and len(forwarded) >= proxies:
        return _without_port(forwarded[-proxies])
    return str(request.META.get("REMOTE_ADDR", ""))


def _without_port(address: str) -> str:
    """`192.0.2.1:443` or `[2001:db8::1]:443` without the port, which some proxies add: it changes with each request."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def _key(address: str, kind: str = "") -> str:
    """What is stored for an address: a keyed hash. IPv6 clients are counted by /64 network (RFC 6177)."""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        address = str(ipaddress.ip_network((parsed, 64), strict=False) if parsed.version == 6 else parsed)
    return salted_hmac(f"notify.limits{kind}", address, algorithm="sha256").hexdigest()[:32]


def _seconds_until_free(posts: dict[int, int], limit: int, now: float) -> int:
    """Until enough of the oldest slots are more than a minute old."""
    left = sum(posts.values())
    for slot, count in posts.items():
        left -= count
        if left < limit:
            return math.ceil((slot + SLOTS) * SLOT - now)
    return SLOT


def _count(client: str, slot: int, *, most: int) -> bool:
    """Add one for this client and slot, unless that would exceed `most`."""
    room = ClientSlot.objects.filter(client=client, slot=slot, posts__lt=most)
    if most < 1:
        return False
    if room.update(posts=F("posts") + 1):
        return True
    ClientSlot.objects.filter(slot__lte=slot - SLOTS).delete()
    ClientSlot.objects.bulk_create([ClientSlot(client=client, slot=slot)], ignore_conflicts=True)
    return bool(room.update(posts=F("posts") + 1))
