"""The model of a hundred sites: what docs/scaling.md prints is what it computes."""

from dataclasses import replace

from benchmarks.scale import FIGURES, PLANS, on_paper, simulate, table
from tests.site import ROOT


def test_the_table_of_the_document_is_the_models() -> None:
    assert "\n".join(table(FIGURES)) in (ROOT / "docs" / "scaling.md").read_text()


def test_twice_the_work_is_twice_the_share() -> None:
    twice = replace(FIGURES, **{step: 2 * value for step, value in vars(FIGURES).items()})
    for plan in PLANS:
        once, doubled = on_paper(plan, FIGURES), on_paper(plan, twice)
        assert doubled["cores"] > once["cores"] * 1.99
        assert doubled["sessions of 500"] == once["sessions of 500"]


def test_a_row_that_is_locked_longer_than_its_steps_come_apart_is_waited_for_without_end() -> None:
    one_topic = replace(PLANS[0], folded=False, cores=64, topics=1, name="")
    assert on_paper(one_topic, FIGURES)["a topic's window"] > 1
    waits = [simulate(one_topic, FIGURES, seconds=seconds)["message"] for seconds in (0.5, 2)]
    assert waits[1] > 2 * waits[0]
