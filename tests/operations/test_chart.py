"""Hours as a picture: heights, scales, and that nothing that happened is too small to see."""

from datetime import UTC, datetime, timedelta

import pytest

from notify.delivery.counts import Hour
from notify.operations import chart
from notify.operations.chart import ABOVE, BELOW, LEAST, PITCH, Bar, draw

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def hours(*counts: tuple[int, int, int]) -> list[Hour]:
    return [Hour(NOON + timedelta(hours=place), *each) for place, each in enumerate(counts)]


@pytest.mark.parametrize(
    ("number", "next"), [(0, 5), (5, 5), (6, 10), (11, 20), (21, 50), (50, 50), (51, 100), (123456, 200000)]
)
def test_a_scale_ends_at_a_round_number(number: int, next: int) -> None:
    assert chart.ceiling(number) == next


def test_sent_stands_above_the_line_and_the_rest_below_on_one_scale() -> None:
    picture = draw(hours((1000, 200, 100), (500, 0, 0)))
    assert (picture.top, picture.bottom) == (1000, 400)
    assert picture.columns[0].bars == [
        Bar("sent", 0, ABOVE),
        Bar("failed", ABOVE, ABOVE // 10),
        Bar("retried", ABOVE + ABOVE // 10, ABOVE // 5),
    ]
    assert picture.columns[1].bars == [Bar("sent", ABOVE // 2, ABOVE // 2)]
    assert [column.x for column in picture.columns] == [0, PITCH]
    assert (picture.width, picture.height) == (2 * PITCH, ABOVE + BELOW)


def test_many_failures_stretch_the_scale_of_both() -> None:
    picture = draw(hours((3, 0, 100)))
    assert (picture.top, picture.bottom) == (500, 200)


def test_one_mail_is_seen_beside_a_million() -> None:
    picture = draw(hours((1_000_000, 10_000, 1), (1, 0, 0)))
    assert picture.columns[1].bars == [Bar("sent", ABOVE - LEAST, LEAST)]
    assert Bar("failed", ABOVE, LEAST) in picture.columns[0].bars


@pytest.mark.parametrize("counts", [(0, 9999, 1), (0, 1, 9999), (7, 10, 10), (3, 1, 0)])
def test_no_bar_leaves_the_picture(counts: tuple[int, int, int]) -> None:
    for column in draw(hours(counts, (1, 1, 1))).columns:
        for bar in column.bars:
            assert bar.y >= 0
            assert bar.y + bar.height <= ABOVE + BELOW


def test_two_days_without_a_mail_are_an_empty_picture() -> None:
    picture = draw(hours(*[(0, 0, 0)] * 48))
    assert [column.bars for column in picture.columns] == [[]] * 48
    assert (picture.top, picture.bottom, picture.busy) == (5, 2, [])


def test_the_table_tells_the_hours_in_which_something_happened_the_newest_first() -> None:
    picture = draw(hours((1, 0, 0), (0, 0, 0), (0, 0, 2), (0, 3, 0)))
    assert [hour.begins.hour for hour in picture.busy] == [15, 14, 12]
    assert picture.total == Hour(NOON, sent=1, retried=3, failed=2)


def test_there_is_a_time_under_every_twelfth_hour() -> None:
    assert [moment.hour for moment in draw(hours(*[(0, 0, 0)] * 48)).labels] == [12, 0, 12, 0]
