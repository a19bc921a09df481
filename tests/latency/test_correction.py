import numpy as np
import pytest

from nas.arch import Layer
from nas.catalog import device
from nas.cost.costs import latency_metric, space_costs
from nas.errors import TableError
from nas.latency import correction
from nas.latency.correction import Correction, Part, fit_correction
from nas.latency.info import TableInfo
from nas.latency.keys import layer_key
from nas.latency.rows import Row
from nas.latency.table import Table
from nas.networks import get as networks_by_name
from nas.report.costs import costs_text
from nas.testing.toys import toy_space

KEYS = ("mbconv", "conv", "classifier")


def networks(count=40, seed=0):
    rng = np.random.default_rng(seed)
    return [
        [
            Part(str(rng.choice(KEYS)), float(rng.uniform(0.2, 3)))
            for _ in range(rng.integers(5, 25))
        ]
        for _ in range(count)
    ]


def held_out_error(truth, noise=0.0):
    seen, held, rng = networks(40), networks(40, seed=1), np.random.default_rng(2)
    measured = [truth(parts) * (1 + noise * rng.normal()) for parts in seen]
    fitted = fit_correction(seen, measured, call_ms=3.0)
    latency = fitted.latency_ms if fitted else lambda parts: sum(part.ms for part in parts)
    return fitted, float(np.mean([abs(latency(parts) / truth(parts) - 1) for parts in held]))


@pytest.mark.parametrize(
    "truth",
    [
        lambda parts: 1.15 * sum(part.ms for part in parts),
        lambda parts: 1.1 * sum(part.ms for part in parts) - 0.05 * len(parts),
        lambda parts: 0.9 * sum(part.ms for part in parts) + 2.0,
        lambda parts: sum(
            part.ms * {"mbconv": 1.2, "conv": 0.8, "classifier": 1.0}[part.op] for part in parts
        ),
    ],
    ids=["slope", "layers", "constant", "slopes"],
)
def test_what_a_sum_misses_is_learnt(truth):
    naive = np.mean(
        [abs(sum(part.ms for part in parts) / truth(parts) - 1) for parts in networks(40, seed=1)]
    )
    fitted, error = held_out_error(truth)
    assert fitted is not None
    assert error < 0.01 < naive
    assert fitted.common_sd < 0.02


@pytest.mark.parametrize(("offset", "call_ms"), [(-0.8, 0.02), (1.8, 0.02), (0.01, 0.02)])
def test_the_constant_is_at_least_zero_and_at_most_an_empty_graph(offset, call_ms):
    rng = np.random.default_rng(0)
    seen = networks(40)
    totals = [sum(part.ms for part in parts) for parts in seen]
    measured = [1.1 * total + offset for total in totals]
    for form in (("slope", "constant"), ("slope", "layer", "constant")):
        made = correction._fit(seen, np.array(measured), form, call_ms)
        assert 0 <= made.constant_ms <= call_ms
    small = [[Part("conv", float(rng.uniform(0.01, 0.05)))]]
    fitted = fit_correction(seen, measured, call_ms=call_ms)
    assert fitted is None or fitted.latency_ms(small[0]) > 0.3 * small[0][0].ms


def test_a_layer_at_its_floor_teaches_no_term():
    """What large weights save is more than half of some layers, and those keep their half."""
    truth = Correction(slopes={"*": 0.9}, warm=0.1, weights_ms=-0.8)
    rng = np.random.default_rng(1)
    seen = []
    for _ in range(40):
        every_ms = rng.uniform(0.1, 1.0, size=int(rng.integers(8, 20)))
        seen.append([Part("conv", ms, 0.9 * ms, weights=rng.choice([0, 0.5])) for ms in every_ms])
    assert any(truth.is_at_floor(part) for part in seen[0])
    fitted = fit_correction(seen, [truth.latency_ms(parts) for parts in seen])
    assert fitted.weights_ms == pytest.approx(-0.8, abs=0.05)
    assert fitted.common_sd < 0.01


def test_a_form_that_is_worse_for_a_third_of_the_networks_is_not_taken():
    """Fast networks are priced right, slow ones too low: a slope would mend the mean, and break the
    fast end."""
    seen = networks(60)
    totals = np.array([sum(part.ms for part in parts) for parts in seen])
    slow = totals > np.quantile(totals, 0.34)
    fitted = fit_correction(seen, totals * np.where(slow, 1.15, 1.0))
    latency = fitted.latency_ms if fitted else lambda parts: sum(part.ms for part in parts)
    fast = [abs(latency(parts) / total - 1) for parts, total in zip(seen, totals, strict=True)]
    assert np.mean([error for error, is_slow in zip(fast, slow, strict=True) if not is_slow]) < 0.02


def test_what_a_correction_must_meet_decides():
    seen = networks(40)
    measured = [1.2 * sum(part.ms for part in parts) for parts in seen]
    assert fit_correction(seen, measured) is not None
    assert fit_correction(seen, measured, allowed=lambda made: False) is None


def test_a_correction_is_told_in_words():
    made = Correction(slopes={"*": 1.1, "uib": 1.2}, layer_ms=-0.03, low_ms=2.0, high_ms=8.0)
    said = "layers times 1.10 (uib by 1.20), -0.03 ms a layer, fitted to 2 to 8 ms"
    assert str(made) == said
    assert str(Correction(slopes={"*": 1.0})) == "layers times 1.00"


def test_what_lies_outside_the_fitted_range_is_told_beside_its_price():
    network = networks_by_name("mobilenet_v2", resolution=64)
    table = device("pixel1")
    own_ms = table.estimate(network).latency_ms
    told = []
    for low_ms in (0.5 * own_ms, 2 * own_ms):
        made = Correction(slopes={"*": 1.0}, low_ms=low_ms, high_ms=4 * own_ms)
        text = costs_text("one", network, [table.corrected(made)])
        told.append("that its correction was fitted to" in text)
    assert told == [False, True]


def test_deviations_grow_outside_the_range_that_was_fitted():
    made = Correction(slopes={"*": 1.0}, common_sd=0.03, low_ms=2.0, high_ms=8.0)
    assert [made.stretch(ms) for ms in (2.0, 5.0, 8.0)] == [1, 1, 1]
    assert made.stretch(1.0) == pytest.approx(2)
    assert made.stretch(32.0) == pytest.approx(3)
    assert Correction(slopes={"*": 1.0}).stretch(1e-3) == 1


def test_a_correction_that_does_not_help_is_dropped():
    assert (
        fit_correction(networks(), [sum(part.ms for part in parts) for parts in networks()]) is None
    )


def test_its_own_error_is_that_of_networks_left_out():
    fitted, _ = held_out_error(lambda parts: 1.2 * sum(part.ms for part in parts), noise=0.05)
    assert 0.03 < fitted.common_sd < 0.08


def test_too_few_networks_raise():
    with pytest.raises(TableError, match="needs at least 10 timed networks, not 4"):
        fit_correction(networks(4), [1.0] * 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"slopes": {"*": 1.0}}, "needs slopes, layer_ms, constant_ms and common_sd"),
        (
            {"slopes": {"*": 0.0}, "layer_ms": 0, "constant_ms": 0, "common_sd": 0},
            "needs slopes above 0",
        ),
        (
            {"slopes": {"conv": 1.0}, "layer_ms": 0, "constant_ms": 0, "common_sd": 0},
            r"one of them '\*'",
        ),
        (
            {"slopes": {"*": 1.0}, "layer_ms": "nan", "constant_ms": 0, "common_sd": 0},
            "finite terms",
        ),
        (
            {"slopes": {"*": 1.0}, "layer_ms": 0, "constant_ms": 0, "common_sd": 2},
            "common_sd of a correction must be",
        ),
        ([], "needs slopes, layer_ms"),
    ],
)
def test_a_broken_correction_raises(data, message):
    with pytest.raises(TableError, match=message):
        Correction.from_json(data)


def test_it_survives_its_json_form():
    made = Correction(
        slopes={"*": 1.1, "conv": 0.9}, layer_ms=-0.01, constant_ms=0.3, common_sd=0.02
    )
    assert Correction.from_json(made.to_json()) == made
    older = {name: value for name, value in made.to_json().items() if name != "low_ms"}
    assert Correction.from_json(older) == made


# -- in a table -----------------------------------------------------------------------------------


def table(correction=None):
    layers = toy_space().layers
    rng = np.random.default_rng(0)
    times = rng.uniform(0.5, 2, len(layers))
    rows = {
        layer_key(layer.op, layer.shape): Row(latency_ms=ms, sd_ms=0.1 * ms)
        for layer, ms in zip(sorted(layers, key=str), times, strict=True)
    }
    return Table(rows, TableInfo(name="board", correction=correction))


def test_a_corrected_table_stays_a_sum_over_the_chain():
    made = Correction(
        slopes={"*": 1.2, "classifier": 0.7}, layer_ms=-0.05, constant_ms=0.4, common_sd=0.03
    )
    corrected, space = table(made), toy_space()
    compiled = space_costs(space, [corrected])
    rng = np.random.default_rng(1)
    for genes in rng.integers(0, 3, (20, len(space.choices))):
        network = space.decode(genes)
        found = corrected.estimate(network)
        parts = [table().part(layer) for layer in network.layers]
        assert found.latency_ms == pytest.approx(made.latency_ms(parts))
        assert compiled.of(tuple(genes))[latency_metric("board")] == pytest.approx(found.latency_ms)
        assert found.common_sd_ms == pytest.approx(0.03 * (found.latency_ms - 0.4))


def test_no_layer_is_ever_free():
    made = Correction(slopes={"*": 1.0}, layer_ms=-100.0)
    layer = Layer(*next((x.op, x.shape) for x in toy_space().decode([0] * 8).layers))
    assert table(made).layer(layer).latency_ms == pytest.approx(
        0.5 * table().layer(layer).latency_ms
    )


def test_uncorrected_gives_the_rows_back():
    layer = toy_space().decode([0] * 8).layers[0]
    made = table(Correction(slopes={"*": 3.0}))
    assert made.layer(layer).latency_ms == pytest.approx(
        3 * made.uncorrected().layer(layer).latency_ms
    )
    assert made.uncorrected().correction is None


def test_an_op_may_be_named_as_a_term_is():
    draw = np.random.default_rng(1)
    networks = []
    for _ in range(20):
        networks.append([Part("warm", ms) for ms in draw.uniform(1, 9, 3)] + [Part("conv", 2.0)])
    measured = [0.5 * sum(part.ms for part in parts[:3]) + 2.0 for parts in networks]
    found = fit_correction(networks, measured)
    assert found is not None
    assert found.slopes["warm"] == pytest.approx(0.5, abs=0.05)
    assert found.warm == 0
