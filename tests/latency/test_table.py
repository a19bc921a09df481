import csv
import json
import math

import pytest

from nas.arch import Architecture, Layer, Stage
from nas.errors import TableError
from nas.latency import files as table_files
from nas.latency.device import DeviceModel
from nas.latency.estimate import Estimate
from nas.latency.info import TableInfo
from nas.latency.keys import kernel_key, layer_key
from nas.latency.rows import HEADER, Row
from nas.latency.table import Table
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape

STEM = Layer(Conv(kernel=3, channels=16, stride=2), Shape(3, 32))
BLOCK = Layer(MBConv(channels=24, stride=2), Shape(16, 16))
HEAD = Layer(Classifier(classes=10), Shape(24, 8))
NETWORK = Architecture(Shape(3, 32), (Stage("all", (STEM.op, BLOCK.op, HEAD.op)),))
MODEL = DeviceModel(prices={"moved": 2.0}, row_sd=0.1, common_sd=0.05)
MODEL_JSON = {"prices": {"moved": 2.0}, "row_sd": 0.1, "common_sd": 0.05}

ROWS = (
    (STEM.op.signature, 3, 32, "0.5", "0.02", 4, "measured"),
    (BLOCK.op.signature, 16, 16, "1.25", "0.1", 1, "measured"),
    (HEAD.op.signature, 24, 8, "0.125", "0", 1, "apportioned"),
)


def save(folder, given=ROWS, header=HEADER, text=None, **info):
    """A table of these rows; ``text`` replaces the CSV, ``info`` the JSON's entries."""
    path = folder / "board.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *given])
    if text is not None:
        path.write_text(text)
    provenance = {"name": "board", "unit": "ms", "rows": len(given), "model": None} | info
    path.with_suffix(".json").write_text(json.dumps(provenance))
    return path


def make(rows, model=None, **info):
    return Table(rows, TableInfo(name="board", model=model, **info))


# -- what a layer takes ---------------------------------------------------------------------------


def test_rows_of_ops_come_first_then_kernels_then_the_model():
    kernel = BLOCK.kernels[0]
    rows = {
        layer_key(STEM.op, STEM.shape): Row(latency_ms=0.5),
        kernel_key(kernel): Row(latency_ms=0.25),
    }
    table = make(rows, MODEL)
    assert table.layer(STEM).columns == (0.5, 0, 0, 0, 0)
    mixed = table.layer(BLOCK)
    assert mixed.summed_ms == 0.25
    assert mixed.predicted_ms == pytest.approx(sum(map(MODEL.latency_ms, BLOCK.kernels[1:])))
    assert table.layer(HEAD).measured_ms == table.layer(HEAD).summed_ms == 0


def test_no_row_and_no_model_raises():
    with pytest.raises(
        TableError,
        match=r"table 'board' has no row for .*mbconv.* nor for its conv:.*no device model",
    ):
        make({layer_key(STEM.op, STEM.shape): Row(latency_ms=1)}).estimate(NETWORK)


def test_an_apportioned_row_counts_as_predicted():
    table = make({layer_key(HEAD.op, HEAD.shape): Row(latency_ms=2, source="apportioned")})
    assert table.layer(HEAD).to_json()["predicted"] == 1


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        (MBConv(channels=24), MBConv(channels=24, skip="none")),
        (MBConv(channels=24), MBConv(channels=24, act="relu6")),
        (MBConv(channels=24, act="relu6"), MBConv(channels=24)),
        (MBConv(channels=24, expand=3), MBConv(channels=24, expand=3, pointwise=True)),
        (MBConv(channels=16), MBConv()),
        (Conv(channels=8), Conv(channels=8, act="relu6")),
    ],
    ids=str,
)
def test_ops_that_run_the_same_kernels_share_a_row(stored, asked):
    shape = Shape(16, 8)
    assert (
        make({layer_key(stored, shape): Row(latency_ms=3)}).layer(Layer(asked, shape)).measured_ms
        == 3
    )


@pytest.mark.parametrize(
    "asked",
    [
        MBConv(skip="none"),
        MBConv(act="hswish"),
        MBConv(se=0.25),
        MBConv(kernel=5),
        MBConv(expand=3),
        MBConv(stride=2),
    ],
    ids=str,
)
def test_ops_that_run_other_kernels_do_not(asked):
    shape = Shape(16, 8)
    assert make({layer_key(MBConv(), shape): Row(latency_ms=3)}).row(Layer(asked, shape)) is None


# -- how far it may be off ------------------------------------------------------------------------


def test_shares_add_to_one():
    rows = {
        layer_key(STEM.op, STEM.shape): Row(latency_ms=0.5),
        kernel_key(BLOCK.kernels[0]): Row(latency_ms=0.25),
    }
    found = make(rows, MODEL).estimate(NETWORK).to_json()
    assert found["measured"] + found["summed"] + found["predicted"] == pytest.approx(1)
    assert min(found["measured"], found["summed"], found["predicted"]) > 0
    assert Estimate().to_json()["latency_ms"] == 0


def test_independent_errors_add_in_quadrature_and_common_ones_linearly():
    rows = {
        layer_key(STEM.op, STEM.shape): Row(latency_ms=1, sd_ms=0.6, count=4),
        layer_key(BLOCK.op, BLOCK.shape): Row(latency_ms=3, sd_ms=0.4, count=1),
    }
    found = make(rows, rows_common_sd=0.1).sum((STEM, BLOCK))
    assert found.variance_ms2 == pytest.approx(
        0.3**2 + 0.4**2
    )  # the sd of a mean of four timings is half
    assert found.common_sd_ms == pytest.approx(0.1 * 1 + 0.1 * 3)
    assert found.latency_sd_ms == pytest.approx(math.sqrt(0.3**2 + 0.4**2 + 0.4**2))


def test_predictions_carry_the_errors_of_the_model():
    one = make({}, MODEL).layer(BLOCK)
    two = make({}, MODEL).sum((BLOCK, BLOCK))
    assert one.variance_ms2 == pytest.approx((0.1 * one.latency_ms) ** 2)
    assert two.variance_ms2 == pytest.approx(2 * one.variance_ms2)
    assert two.common_sd_ms == pytest.approx(2 * 0.05 * one.latency_ms)


def test_a_network_is_the_sum_of_its_layers():
    table = make({}, MODEL)
    assert table.estimate(NETWORK) == table.sum(NETWORK.layers)
    parts = zip(*(table.layer(layer).columns for layer in NETWORK.layers), strict=True)
    assert table.estimate(NETWORK).columns == pytest.approx([sum(part) for part in parts])


# -- files ----------------------------------------------------------------------------------------


def test_a_good_table_loads_by_either_name(tmp_path):
    path = save(tmp_path, model=MODEL_JSON)
    table = Table.load(path)
    assert table.digest == Table.load(path.with_suffix(".json")).digest
    assert table.model == MODEL
    assert table.layer(STEM) == Estimate(measured_ms=0.5, variance_ms2=0.01**2)
    assert table.estimate(NETWORK).latency_ms == 1.875


def test_a_row_of_a_kernel_has_no_shape(tmp_path):
    kernel = STEM.kernels[0]
    table = Table.load(save(tmp_path, [(kernel_key(kernel), "", "", 0.5, 0, 1, "measured")]))
    assert table.layer(STEM) == Estimate(summed_ms=0.5)


@pytest.mark.parametrize(
    ("columns", "common_sd"),
    [
        ({}, 0.07),
        ({"train_ms": {}}, 0.07),
        ({"train_ms": {"remark": "timed by hand"}}, 0.07),
        ({"train_ms": {"rows_common_sd": 0.2}}, 0.2),
        ({"train_ms": {"rows_common_sd": 0}}, 0),
    ],
)
def test_a_column_has_the_rows_common_error_of_its_table_unless_it_states_one(
    tmp_path, columns, common_sd
):
    rows = [(*ROWS[0], "4.0")]
    header = (*HEADER, "train_ms")
    path = save(tmp_path, rows, header, rows_common_sd=0.07, columns=columns)
    steps = Table.load(path).column("train_ms")
    assert steps.layer(STEM) == Estimate(measured_ms=4.0, common_sd_ms=common_sd * 4.0)
    # Nor does writing the table anew make the column exact.
    table = Table.load(path)
    again = Table.load(table_files.write_table(table.rows, table.info, tmp_path))
    assert again.column("train_ms").layer(STEM) == steps.layer(STEM)


def test_the_digest_follows_numbers_and_provenance(tmp_path):
    first = Table.load(save(tmp_path)).digest
    assert Table.load(save(tmp_path)).digest == first
    assert Table.load(save(tmp_path, title="another")).digest != first
    assert (
        Table.load(save(tmp_path, [(*ROWS[0][:3], "0.6", *ROWS[0][4:]), *ROWS[1:]])).digest != first
    )


def test_a_table_cut_short_anywhere_raises(tmp_path):
    whole = save(tmp_path).read_text()
    for end in (*range(0, len(whole), 7), len(whole) - 2, len(whole) - 1):
        with pytest.raises(TableError, match=r"board\.csv"):
            Table.load(save(tmp_path, text=whole[:end]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROWS[0][:-1]], "line 2: 6 columns where 7 are due"),
        ([ROWS[0], ROWS[0]], "line 3: conv.* has a row already. Keep one"),
        (
            [(*ROWS[0][:3], "0", *ROWS[0][4:])],
            "line 2: latency_ms must be above 0 and finite, not 0",
        ),
        (
            [(*ROWS[0][:3], "-1.5", *ROWS[0][4:])],
            "line 2: latency_ms must be above 0 and finite, not -1.5",
        ),
        (
            [(*ROWS[0][:3], "nan", *ROWS[0][4:])],
            "line 2: latency_ms must be above 0 and finite, not nan",
        ),
        (
            [(*ROWS[0][:3], "1e999", *ROWS[0][4:])],
            "line 2: latency_ms must be above 0 and finite, not 1e999",
        ),
        (
            [(*ROWS[0][:3], "fast", *ROWS[0][4:])],
            "line 2: latency_ms must be a number, not 'fast'",
        ),
        (
            [(*ROWS[0][:4], "-0.1", 1, "measured")],
            "line 2: sd_ms must be 0 or more and count at least 1, not -0.1 and 1",
        ),
        (
            [(*ROWS[0][:4], "nan", 1, "measured")],
            "line 2: sd_ms must be 0 or more and count at least 1, not nan",
        ),
        (
            [(*ROWS[0][:4], "0.1", 0, "measured")],
            "line 2: sd_ms must be 0 or more and count at least 1, not 0.1 and 0",
        ),
        ([(*ROWS[0][:4], "0.1", "1.5", "measured")], "line 2: invalid literal for int"),
        (
            [(*ROWS[0][:6], "guessed")],
            "line 2: source must be one of measured, apportioned, interpolated, not 'guessed'",
        ),
        ([(ROWS[0][0], "three", *ROWS[0][2:])], "line 2: invalid literal for int"),
        (
            [(ROWS[0][0], 0, *ROWS[0][2:])],
            "line 2: a feature map needs at least one channel and one pixel, not 0x32x32",
        ),
        (
            [(ROWS[0][0], "", "", *ROWS[0][3:])],
            "line 2: the row of an op needs in_channels and in_size",
        ),
        ([("conv(kernel=4)", *ROWS[0][1:])], "line 2: op 'conv': kernel must be odd"),
        (
            [("conv(karnel=3)", *ROWS[0][1:])],
            "line 2: no setting of op 'conv' named 'karnel'. Did you mean 'kernel'",
        ),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path, rows, message):
    with pytest.raises(TableError, match=message):
        Table.load(save(tmp_path, rows))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"rows": 4}, "has 3 rows but board.json says 4: it is truncated or edited"),
        ({"rows": None}, "has 3 rows but board.json says None"),
        ({"unit": "us"}, "unit must be 'ms', not 'us'. Convert the numbers and say so"),
        ({"unit": None}, "unit must be 'ms', not None"),
        ({"name": 7}, "must be an object with at least name, unit and rows"),
        ({"model": {"prices": {}}}, "the model of a table needs prices, row_sd and common_sd"),
        ({"rows_common_sd": 7}, "rows_common_sd must be a fraction below 1, not '7'"),
        ({"rows_common_sd": "some"}, "rows_common_sd must be a fraction below 1, not 'some'"),
        ({"rows_common_sd": math.nan}, "rows_common_sd must be a fraction below 1, not 'nan'"),
        ({"caveats": "none"}, r"board\.json: caveats must be a list, not \"none\"$"),
        ({"conditions": [1]}, r"board\.json: conditions must be an object, not \[1\]$"),
        ({"columns": "none"}, r"board\.json: columns must be an object, not \"none\"$"),
        (
            {"columns": {"train_ms": 3}},
            r"board\.json: columns\.train_ms must be an object, not 3$",
        ),
    ],
)
def test_bad_provenance_raises(tmp_path, info, message):
    with pytest.raises(TableError, match=message):
        Table.load(save(tmp_path, **info))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"name": "board"'])
def test_provenance_that_is_not_json_raises(tmp_path, text):
    path = save(tmp_path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(TableError, match=r"board\.json is not JSON"):
        Table.load(path)


def test_provenance_that_is_no_object_raises(tmp_path):
    path = save(tmp_path)
    path.with_suffix(".json").write_text("[1]")
    with pytest.raises(TableError, match="must be an object"):
        Table.load(path)


@pytest.mark.parametrize("header", [HEADER[:-1], (*HEADER, "more"), ("layer", *HEADER[1:]), ()])
def test_other_columns_raise(tmp_path, header):
    with pytest.raises(
        TableError, match="line 1: the columns must be op,in_channels,in_size,latency_ms"
    ):
        Table.load(save(tmp_path, header=header))


def test_a_monstrous_field_raises(tmp_path):
    with pytest.raises(TableError, match="line 2: field larger than field limit"):
        Table.load(save(tmp_path, [("x" * 200_000, *ROWS[0][1:])]))


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_huge_file_is_not_read(tmp_path, monkeypatch, suffix):
    path = save(tmp_path)
    path.with_suffix(suffix).write_text(" " * 2000)
    monkeypatch.setattr(table_files, "LARGEST_FILE_BYTES", 1000)
    with pytest.raises(TableError, match="not a latency table"):
        Table.load(path)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_missing_half_raises(tmp_path, suffix):
    path = save(tmp_path)
    path.with_suffix(suffix).unlink()
    with pytest.raises(
        TableError, match=r"no file .*board.*: a latency table is a .csv of numbers and a .json"
    ):
        Table.load(path)


def test_bytes_that_are_no_text_raise(tmp_path):
    path = save(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TableError, match="cannot read latency table"):
        Table.load(path)


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "microseconds"), (1e-6, "seconds")])
def test_another_unit_labelled_ms_raises(tmp_path, factor, unit):
    rows = [(*row[:3], float(row[3]) * factor, *row[4:]) for row in ROWS]
    with pytest.raises(
        TableError, match=f"the median row runs .* Are the latencies in {unit} and labelled ms?"
    ):
        Table.load(save(tmp_path, rows))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_table_as_a_spreadsheet_saves_it(tmp_path, encoding):
    plain = Table.load(save(tmp_path))
    text = plain.path.read_text()
    lines = [";".join(row) for row in csv.reader(text.splitlines())]
    german = "\r\n".join(lines).replace("0.5;0.02", "0,5;0,02").replace("1.25;0.1", "1,25;0,1")
    german = german.replace("0.125", "0,125")
    plain.path.write_bytes((german + "\r\n").encode(encoding))
    path = plain.path.with_suffix(".json")
    path.write_bytes(path.read_bytes().decode().encode(encoding))
    assert Table.load(plain.path).rows == plain.rows


def test_a_row_far_from_the_others_is_told(tmp_path):
    big = [Layer(Conv(kernel=3, channels=64), Shape(64, size)) for size in (32, 56, 64, 112)]
    rows = [
        (layer.op.signature, 64, layer.shape.size, f"{layer.macs / 1e7}", "0", 1, "measured")
        for layer in big
    ]
    assert Table.load(save(tmp_path, rows)).doubts == ()
    slow = (*rows[2][:3], f"{1000 * float(rows[2][3])}", *rows[2][4:])
    (doubt,) = Table.load(save(tmp_path, [*rows[:2], slow, rows[3]])).doubts
    assert "64x64x64" in doubt
    assert doubt.endswith("is 0.001 times the median rate of work: implausible")
