"""Every evaluator that ships keeps the contract. That the check catches faults: tests/study."""

import pytest

pytest.importorskip("torch")

from nas import catalog
from nas.data import load
from nas.testing.evaluators import check_evaluator

RECIPE = "resolution=8,width=0.25,images=48,batch_size=16,score_images=20"
SETTINGS = {
    "supernet": {"longer": 1, "check": 0},
    "training": {},
    "zero_cost": {"reference": 3, "check": 0},
}


def test_no_evaluator_is_left_out() -> None:
    assert set(SETTINGS) == set(catalog.EVALUATORS)


@pytest.mark.parametrize("name", SETTINGS)
def test_contract(name: str) -> None:
    kind, data = catalog.evaluator(name), load("digits")
    check_evaluator(lambda: kind.make(data, RECIPE, settings=SETTINGS[name]))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_kind_has_the_name_of_its_file_and_opens_its_data(name: str) -> None:
    kind = catalog.evaluator(name)
    assert kind.name == name
    assert kind.open_data("digits").in_channels == 1
    assert set(SETTINGS[name]) <= set(kind.settings)
    assert (kind.open_teacher is not None) == (name == "training")


def test_proxy_is_the_old_name_of_zero_cost() -> None:
    assert catalog.evaluator("proxy:reference=4") is catalog.evaluator("zero_cost")
