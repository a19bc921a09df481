"""Layers without a timing, told by those that have one, when they are asked for."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from nas import catalog
from nas.arch import Layer
from nas.cost.costs import latency_metric, space_costs
from nas.errors import TableError
from nas.latency import interpolation
from nas.latency.correction import Correction
from nas.latency.device import DeviceModel
from nas.latency.files import write_table
from nas.latency.fitting import fit_model
from nas.latency.info import TableInfo
from nas.latency.interpolation import FEWEST_OF_AN_OP, FEWEST_TIMED, fit_interpolation
from nas.latency.keys import layer_key
from nas.latency.process import Scales, Settings
from nas.latency.rows import Row
from nas.latency.table import Table
from nas.ops.conv import Conv
from nas.ops.rep import RepConv
from nas.shape import Shape

WARM = 0.8


@pytest.fixture(scope="module")
def space():
    return catalog.space("mnasnet", resolution=32)


@pytest.fixture(scope="module")
def layers(space):
    """The layers of a space, in a random order."""
    found = {layer_key(layer.op, layer.shape): layer for layer in space.layers if layer.kernels}
    order = np.random.default_rng(0).permutation(len(found))
    every = list(found.values())
    return [every[number] for number in order]


@pytest.fixture(scope="module")
def table(layers):
    """A table of a few of these layers."""
    return table_of(rows_of(layers[:250]))


def truth_ms(layer):
    """What no device model of prices says: 5x5 kernels and odd channels are slow out of line."""
    slow = 1.5 if getattr(layer.op, "kernel", 3) == 5 else 1.0
    padded = 1.4 if layer.out_shape.channels % 16 else 1.0
    noise = np.random.default_rng(layer.macs % 1000).normal(0, 0.03)
    return float(slow * padded * (0.01 + layer.macs / 2e6 + layer.params / 4e6) * np.exp(noise))


def warm_ms(layer):
    """Cheaper again where there are many weights."""
    return truth_ms(layer) * (WARM if layer.params < 10_000 else WARM / 2)


def rows_of(layers):
    return {
        layer_key(x.op, x.shape): Row(latency_ms=truth_ms(x), extra={"warm_ms": warm_ms(x)})
        for x in layers
    }


def table_of(rows, **more):
    """As a build makes it."""
    model = fit_model(rows).model
    fitted, error = fit_interpolation(rows, model)
    info = TableInfo(
        name="board",
        model=model,
        interpolation=fitted,
        known_error=error,
        rows_common_sd=0.1,
        **more,
    )
    return Table(rows, info)


def without(table):
    """The same table as its device model alone tells it."""
    return replace(table, info=replace(table.info, interpolation=None))


def in_full(monkeypatch):
    """Nothing that is interpolated is rounded."""
    monkeypatch.setattr(interpolation, "DIGITS", 17)


# -- what it tells --------------------------------------------------------------------------------


def test_a_layer_is_told_by_those_most_like_it(layers, table):
    others = [layer for layer in layers[250:550] if layer.op.key in ("mbconv", "fused_mbconv")]
    true = np.array([truth_ms(layer) for layer in others])
    said = [table.layer(layer) for layer in others]
    ms = np.array([estimate.latency_ms for estimate in said])
    plain = np.array([without(table).layer(layer).latency_ms for layer in others])
    assert np.abs(ms / true - 1).mean() < 0.3 * np.abs(plain / true - 1).mean()
    sd = np.sqrt([estimate.variance_ms2 for estimate in said])
    assert 0.8 < (np.abs(ms - true) < 1.645 * sd).mean() < 0.99
    assert table.info.known_error["leave_one_out_interpolated_mape"] == pytest.approx(
        np.abs(ms / true - 1).mean(), rel=0.35
    )
    assert all(one.predicted_ms == one.latency_ms for one in said)
    assert said[0].common_sd_ms == pytest.approx(0.1 * said[0].latency_ms)


def test_a_warm_run_is_told_too(layers, table):
    others = [layer for layer in layers[250:550] if table.row(layer) is None]
    true = np.array([warm_ms(layer) for layer in others])
    said = np.array([table.part(layer).warm_ms for layer in others])
    by_median = np.array([without(table).part(layer).warm_ms for layer in others])
    assert np.abs(said / true - 1).mean() < 0.3 * np.abs(by_median / true - 1).mean()


def test_layers_that_were_timed_keep_their_rows(layers, table):
    for layer in layers[:20]:
        assert table.layer(layer).measured_ms == truth_ms(layer)
        assert table.part(layer).warm_ms == warm_ms(layer)


def test_it_is_the_gaussian_process_of_the_book(layers, table, monkeypatch):
    """Equations 2.23 and 2.24, written out plainly."""
    in_full(monkeypatch)
    timed = sorted(layers[:250], key=lambda layer: layer_key(layer.op, layer.shape))
    scales = table.info.interpolation.latency
    settings = Settings.of(timed)
    prior = {x: sum(map(table.model.latency_ms, x.kernels)) for x in layers}
    small = 0.05 * np.median([truth_ms(layer) for layer in timed])
    logs = np.log([(truth_ms(x) + small) / (prior[x] + small) for x in timed])
    counts = np.exp(scales.logs(settings)[:-2])[settings.owners]

    def covariance(some, others):
        apart = settings.features(some)[:, None] - settings.features(others)[None]
        return scales.signal**2 * np.exp(-0.5 * (apart**2 @ counts))

    others = [layer for layer in layers[250:280] if table.row(layer) is None]
    across = covariance(others, timed)
    noisy = covariance(timed, timed) + scales.noise**2 * np.eye(len(timed))
    means = logs.mean() + across @ np.linalg.solve(noisy, logs - logs.mean())
    explained = np.einsum("mn,nm->m", across, np.linalg.solve(noisy, across.T))
    sd = np.sqrt(scales.signal**2 - explained + scales.noise**2)
    sums = np.array([prior[layer] + small for layer in others]) * np.exp(means)
    said = [replace(table).layer(layer) for layer in others]
    expected_ms = np.maximum(sums - small, 0.01 * sums)
    assert [one.latency_ms for one in said] == pytest.approx(expected_ms, rel=1e-9)
    assert [one.variance_ms2 for one in said] == pytest.approx((sums * sd) ** 2, rel=1e-8)


def test_rows_that_older_tables_hold_price_as_interpolated_ones_do(layers, table):
    baked = dict(table.rows)
    for layer in layers[250:300]:
        if table.row(layer) is None:
            baked[layer_key(layer.op, layer.shape)] = table._untimed.row(layer)
    older = replace(without(table), rows=baked)
    for layer in layers[250:300]:
        assert older.layer(layer) == table.layer(layer)
        assert older.part(layer) == table.part(layer)


def test_layers_that_run_the_same_in_the_end_are_told_the_same(layers):
    """ReLU6 takes what ReLU takes, and branches what they fold into."""
    shapes = [Shape(channels, size) for channels in (8, 16, 24, 32, 48) for size in range(4, 18)]
    rows = rows_of([Layer(RepConv(channels=16).deployed, shape) for shape in shapes])
    rows |= rows_of([Layer(Conv(channels=16, kernel=3, act="relu"), shape) for shape in shapes])
    table, shape = table_of(rows), Shape(40, 20)
    for one, other in (
        (RepConv(channels=16), RepConv(channels=16).deployed),
        (Conv(channels=16, kernel=3, act="relu6"), Conv(channels=16, kernel=3, act="relu")),
    ):
        assert table.layer(Layer(one, shape)) == table.layer(Layer(other, shape))
        assert table.layer(Layer(one, shape)) != without(table).layer(Layer(one, shape))


# -- where it tells nothing -----------------------------------------------------------------------


def test_too_few_timings_tell_nothing(layers):
    rows = rows_of(layers[: FEWEST_TIMED - 1])
    model = DeviceModel(prices={"dense_macs": 1e-3}, row_sd=0.3, common_sd=0.1)
    assert fit_interpolation(rows, model) == (None, {})


def test_a_table_that_lost_most_rows_is_left_to_its_device_model(layers, table):
    few = replace(table, rows=rows_of(layers[: FEWEST_TIMED - 1]))
    assert few.layer(layers[300]) == without(few).layer(layers[300])


def test_too_few_warm_timings_leave_the_median_share(layers):
    rows = {}
    for place, (key, row) in enumerate(rows_of(layers[:100]).items()):
        rows[key] = row if place < FEWEST_TIMED - 1 else replace(row, extra={})
    table = table_of(rows)
    assert table.info.interpolation.warm is None
    for layer in layers[200:220]:
        share = table.part(layer).warm_ms / table.part(layer).ms
        assert share == pytest.approx(WARM) or share == pytest.approx(WARM / 2)


def test_an_op_that_was_hardly_timed_is_left_to_the_device_model(layers):
    of_op = {key: [x for x in layers if x.op.key == key] for key in ("mbconv", "fused_mbconv")}
    timed = of_op["mbconv"][:100] + of_op["fused_mbconv"][: FEWEST_OF_AN_OP - 1]
    table = table_of(rows_of(timed))
    plain = without(table)
    for layer in of_op["fused_mbconv"][20:40]:
        assert table.layer(layer) == plain.layer(layer)
    for layer in of_op["mbconv"][120:140]:
        assert table.row(layer) is not None or table.layer(layer) != plain.layer(layer)


def test_an_op_that_may_not_be_predicted_is_refused(layers, table):
    info = replace(table.info, predicts=("fused_mbconv",))
    strict = replace(table, info=info)
    asked = next(x for x in layers if x.op.key == "mbconv" and table.row(x) is None)
    strict.foresee([asked])
    with pytest.raises(TableError, match="has no row for"):
        strict.layer(asked)


def test_what_takes_no_time_stays_free(table, space):
    free = [layer for layer in space.layers if not layer.kernels]
    assert all(table.layer(layer).latency_ms == 0 for layer in free)


# -- one by one, at once, and shared --------------------------------------------------------------


def test_one_by_one_is_as_all_at_once(layers, table, monkeypatch):
    at_once = replace(table)
    at_once.foresee(layers[250:450])
    for layer in layers[250:450]:
        assert replace(table).corrected(None).layer(layer) == at_once.layer(layer)
    in_full(monkeypatch)
    monkeypatch.setattr(interpolation, "CHUNK", 7)
    chunks, alone = replace(table), replace(table)
    chunks.foresee(layers[250:350])
    for layer in layers[250:350]:
        assert chunks.layer(layer).columns == pytest.approx(alone.layer(layer).columns, rel=1e-9)


def test_a_space_is_interpolated_at_once(space, table, monkeypatch):
    calls = []
    predicted = interpolation.Untimed._predicted

    def counted(self, layers):
        calls.append(len(layers))
        return predicted(self, layers)

    monkeypatch.setattr(interpolation.Untimed, "_predicted", counted)
    monkeypatch.setattr(interpolation, "CHUNK", 10_000)
    fresh = replace(table)
    costs = space_costs(space, [fresh])
    assert len(calls) == 1
    assert calls[0] > 500
    genes = [size - 1 for size in space.gene_sizes]
    found = costs.of(tuple(genes))[latency_metric("board")]
    assert found == pytest.approx(fresh.estimate(space.decode(genes)).latency_ms)
    # With another correction, or none, nothing is done again.
    corrected = fresh.corrected(Correction(slopes={"*": 2.0}))
    doubled = space_costs(space, [corrected]).of(tuple(genes))[latency_metric("board")]
    assert doubled == pytest.approx(2 * found)
    space_costs(space, [corrected.uncorrected()])
    assert len(calls) == 1


def test_other_rows_interpolate_anew(layers, table):
    asked = next(layer for layer in layers[250:] if table.row(layer) is None)
    assert table.layer(asked).latency_ms > 0
    slower = {}
    for key, row in table.rows.items():
        slower[key] = replace(row, latency_ms=2 * row.latency_ms)
    changed = replace(table, rows=slower)
    assert changed.layer(asked).latency_ms > 1.5 * table.layer(asked).latency_ms


def test_nothing_is_made_ready_before_a_layer_needs_it(layers, table):
    fresh = replace(table)
    for layer in layers[:250]:
        fresh.layer(layer)
    assert "_latency" not in vars(fresh._untimed)
    assert fresh.layer(layers[300]) == table.layer(layers[300])


def test_more_timed_layers_than_predictions_go_by_are_thinned_out(layers, monkeypatch):
    monkeypatch.setattr(interpolation, "MOST_TIMED", 100)
    rows = rows_of(layers[:250])
    table = table_of(rows)
    backwards = replace(table, rows=dict(reversed(rows.items())))
    for layer in layers[250:270]:
        assert backwards.layer(layer) == table.layer(layer)
    assert len(table._untimed._timed.chosen) == 100


# -- in files -------------------------------------------------------------------------------------


def test_a_table_in_files_tells_the_same(layers, tmp_path):
    rows = {}
    for key, row in rows_of(layers[:120]).items():
        # With the digits that a CSV has.
        rows[key] = Row(
            latency_ms=float(f"{row.latency_ms:.9g}"),
            extra={"warm_ms": float(f"{row.extra['warm_ms']:.9g}")},
        )
    table = table_of(rows)
    again = Table.load(write_table(table.rows, table.info, tmp_path))
    assert again.info.interpolation == table.info.interpolation
    assert set(again.rows) == set(rows)
    for layer in layers[120:200]:
        assert again.layer(layer) == table.layer(layer)
        assert again.part(layer) == table.part(layer)


def test_a_setting_that_ops_did_not_have_then_changes_little(layers, table):
    """As where a later version gives an op another setting: all its layers have the default."""
    assert {getattr(layer.op, "groups", 1) for layer in layers} == {1}
    scales = table.info.interpolation.latency
    numbers = {name: count for name, count in scales.numbers.items() if name != "groups"}
    assert len(numbers) == len(scales.numbers) - 1
    before = replace(table.info.interpolation, latency=replace(scales, numbers=numbers))
    older = replace(table, info=replace(table.info, interpolation=before))
    for layer in layers[250:300]:
        assert older.layer(layer).latency_ms == pytest.approx(
            table.layer(layer).latency_ms, rel=0.1
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 0.0}, r"interpolation\.latency: noise must be 0\.005 to 0\.3, not 0$"),
        ({"noise": math.nan}, r"interpolation\.latency\.noise must be int or float, not NaN$"),
        ({"noise": math.inf}, r"latency\.noise must be int or float, not Infinity$"),
        ({"signal": -0.3}, r"latency: signal must be 0\.07 to 3, not -0\.3$"),
        ({"signal": 1e9}, r"latency: signal must be 0\.07 to 3, not 1e\+09$"),
        ({"signal": "much"}, r"latency\.signal must be int or float, not \"much\"$"),
        ({"numbers": {"macs": -1}}, r"numbers\.macs must be 2\.1e-05 to 186, not -1$"),
        ({"numbers": {"macs": 1e300}}, r"numbers\.macs must be 2\.1e-05 to 186, not 1e\+300$"),
        ({"numbers": [1, 2]}, r"latency\.numbers must be an object, not \[1, 2\]$"),
        ({"words": {"act": 0}}, r"words\.act must be 0\.000101 to 894, not 0$"),
        ({"words": {"act": None}}, r"latency\.words\.act must be int or float, not null$"),
        ({"mean": 1.0}, r"interpolation\.latency\.mean is none of ours$"),
    ],
)
def test_damaged_scales_are_refused(table, tmp_path, change, message):
    path = write_table(table.rows, table.info, tmp_path).with_suffix(".json")
    document = json.loads(path.read_text())
    document["interpolation"]["latency"] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(TableError, match=message) as told:
        Table.load(path)
    assert str(told.value).startswith(f"{path}: interpolation.")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("value", [3, [], {}, {"latency": None}, {"warm": {}}])
def test_what_is_no_interpolation_is_refused(table, tmp_path, value):
    path = write_table(table.rows, table.info, tmp_path).with_suffix(".json")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "interpolation": value}))
    with pytest.raises(TableError, match=r"board\.json: interpolation"):
        Table.load(path)


def test_any_scales_that_are_accepted_have_an_inverse(layers, table):
    """The least and the most that may be read: no layer ends in an error of linear algebra."""
    timed = table._untimed._timed
    least = {name: 1 / 16 * math.exp(-8) for name in timed.settings.numbers}
    words = {name: 0.3 * math.exp(-8) for name in timed.settings.words}
    wide = Scales(numbers=least, words=words, signal=3.0, noise=0.005)
    info = replace(table.info, interpolation=replace(table.info.interpolation, latency=wide))
    assert replace(table, info=info).layer(layers[300]).latency_ms > 0
