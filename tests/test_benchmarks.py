"""What `make bench` relies on of the project; its own modules need packages that the tests do without."""

from collections.abc import Iterator

import pytest
from django.db.models.signals import post_save

from benchmarks.apps import disconnect_receivers, visitor_model
from notify.models import Event


@pytest.fixture(autouse=True)
def _receivers_come_back() -> Iterator[None]:
    receivers = post_save.receivers
    yield
    post_save.receivers = receivers
    post_save.sender_receivers_cache.clear()


def test_a_benchmark_can_take_the_mail_of_new_visitors_away(db: None) -> None:
    disconnect_receivers(visitor_model())
    visitor_model()(name="Ada").save()
    assert not Event.objects.exists()
