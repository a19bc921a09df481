"""Other people's tables: what a key means, and what is refused with which line."""

import json
import pickle

import pytest

from nas import catalog
from nas.errors import TableError
from nas.latency.importing import read_foreign
from nas.latency.keys import kernel_key, layer_key
from nas.ops import blocks
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.run.network import named_network
from nas.shape import Shape

BLOCK = "expanded_conv-input:56x56x24-output:28x28x32-expand:6-kernel:5-stride:2-idskip:0"
YAML = f"""Conv-input:224x224x3-output:112x112x32:
  count: 61
  mean: 2.94
{BLOCK}: {{count: 10, mean: 4.5}}
expanded_conv-input:28x28x32-output:28x28x32-expand:3-kernel:3-stride:1-idskip:1: {{mean: 1.2}}
Conv_1-input:7x7x320-output:7x7x1280: {{mean: 2.5}}
Logits-input:7x7x1280-output:1000: {{mean: 0.9}}
"""
V3 = """Conv-input:224x224x3-output:112x112x16: {mean: 2.0}
expanded_conv-input:28x28x40-output:28x28x40-expand:120-kernel:5-stride:1-idskip:1-se:1-hs:0: {mean: 1.1}
expanded_conv-input:14x14x80-output:14x14x80-expand:184-kernel:3-stride:1-idskip:1-se:0-hs:1: {mean: 0.8}
Conv_1-input:7x7x160-output:7x7x960: {mean: 0.9}
AvgPool2D-input:7x7x960-output:1x1x960: {mean: 0.05}
Conv_2-input:1x1x960-output:1x1x1280: {mean: 0.4}
Logits-input:1x1x1280-output:1000: {mean: 0.4}
"""  # noqa: E501


def save(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_once_for_all_and_proxylessnas(tmp_path):
    found = read_foreign(save(tmp_path, "lut.yaml", YAML))
    assert found.left_out == ()
    rows = {key: row.latency_ms for key, row in found.rows.items()}
    assert rows == {
        layer_key(Conv(kernel=3, channels=32, stride=2), Shape(3, 224)): 2.94,
        layer_key(MBConv(kernel=5, expand=6, channels=32, stride=2), Shape(24, 56)): 4.5,
        layer_key(MBConv(expand=3, channels=32), Shape(32, 28)): 1.2,
        layer_key(Conv(channels=1280), Shape(320, 7)): 2.5,
        layer_key(Classifier(), Shape(1280, 7)): 0.9,
    }
    assert found.rows[layer_key(Conv(kernel=3, channels=32, stride=2), Shape(3, 224))].count == 61


def test_mobilenet_v3s_keys_price_mobilenet_v3(tmp_path):
    rows = read_foreign(save(tmp_path, "lut.yaml", V3)).rows
    network = named_network("mobilenet_v3_large")
    keys = {layer_key(layer.op, layer.shape) for layer in network.layers} | {
        kernel_key(k) for k in network.kernels()
    }
    assert set(rows) <= keys
    assert len(rows) == 7


def test_hw_nas_benchs_keys(tmp_path):
    data = {
        "ConvNorm_H32_W32_Cin3_Cout16_kernel3_stride1_group1": 0.1,
        "ConvBlock_H32_W32_Cin24_Cout32_exp1_kernel5_stride2_group2": 0.3,
        "Skip_H32_W32_Cin24_Cout32_stride2": 0.05,
        "Skip_H32_W32_Cin24_Cout24_stride1": 0.01,
    }
    found = read_foreign(save(tmp_path, "ops.json", json.dumps(data, indent=1)), unit="ms")
    op = MBConv(kernel=5, expand=1, groups=2, channels=32, stride=2, pointwise=True)
    assert found.rows[layer_key(op, Shape(24, 32))].latency_ms == 0.3
    assert layer_key(Conv(channels=32, stride=2), Shape(24, 32)) in found.rows
    assert found.left_out == ("Skip_H32_W32_Cin24_Cout24_stride1",)  # nothing is run for it
    space = catalog.space("fbnet", resolution=32)
    layers = {layer_key(layer.op, layer.shape) for layer in space.layers}
    assert set(found.rows) <= layers


def record(**changes):
    given = {
        "op_type": "ConvRelu",
        "op_args": ['name: "kernel"\ni: 3\n', 'name: "stride"\ni: 2\n', 'name: "group"\ni: 1\n'],
        "input_shapes": [[1, 3, 224, 224], [16, 3, 3, 3], [16]],
        "input_dtypes": [1, 1, 1],
        "runtime_us_p50": 5000.0,
    }
    return json.dumps(given | changes)


def test_fbnets_records_are_kernels_in_microseconds(tmp_path):
    deep = record(
        op_type="Conv",
        op_args=['name: "group"\ni: 24\n'],
        input_shapes=[[1, 24, 28, 28], [24, 1, 3, 3]],
        runtime_us_p50=300,
    )
    dense = record(op_type="FC", input_shapes=[[1, 1280], [1000, 1280]], runtime_us_p50=900)
    pool = record(op_type="AveragePool")
    found = read_foreign(save(tmp_path, "db.json", "\n".join([record(), deep, dense, pool]) + "\n"))
    shape = Shape(3, 224)
    assert (
        found.rows[kernel_key(blocks.conv(shape, 16, kernel=3, stride=2, act="relu")[0])].latency_ms
        == 5
    )
    assert found.rows[
        kernel_key(blocks.depthwise(Shape(24, 28), kernel=3)[0])
    ].latency_ms == pytest.approx(0.3)
    assert kernel_key(blocks.linear(Shape(1280, 1), 1000)) in found.rows
    assert len(found.left_out) == 1


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1), ("us", 1e-3), ("s", 1e3)])
def test_csv_states_its_unit_in_the_column(tmp_path, unit, factor):
    header = f"op,in_channels,in_size,latency_{unit},count"
    text = f'{header}\n"mbconv(channels=24,expand=3)",16,56,{2 / factor},5\n'
    (row,) = read_foreign(save(tmp_path, "t.csv", text)).rows.values()
    assert row.latency_ms == pytest.approx(2)
    assert row.count == 5


def test_csv_takes_any_key(tmp_path):
    kernel = blocks.conv(Shape(64, 14), 128)[0]
    text = f'key,latency\n{BLOCK},4.5\n"{kernel_key(kernel)}",0.2\n'
    rows = read_foreign(save(tmp_path, "t.csv", text), unit="ms").rows
    assert rows[kernel_key(kernel)].latency_ms == 0.2
    assert len(rows) == 2


LINE = '"mbconv(channels=24,expand=3)",16,56,'
HEAD = "op,in_channels,in_size,latency_ms\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.yaml",
            YAML + f"{BLOCK}: {{mean: 4.5}}\n",
            r"a\.yaml line 8: mbconv.* has a row already, in line 4",
        ),
        (
            "a.yaml",
            YAML.replace("4.5", "-4.5"),
            r"line 4: mean must be a number above 0, not '-4\.5'",
        ),
        ("a.yaml", YAML.replace("4.5", "0"), "line 4: mean must be a number above 0, not '0'"),
        (
            "a.yaml",
            YAML.replace("4.5", ".nan"),
            r"line 4: mean must be a number above 0, not '\.nan'",
        ),
        (
            "a.yaml",
            YAML.replace("4.5", "4500"),
            r"line 4: .* in 4500 ms is 0\.00\d+ times the file's median rate",
        ),
        ("a.yaml", YAML.replace("kernel:5", "kernel:4"), "line 4: .*kernel must be odd"),
        ("a.yaml", YAML.replace("-stride:2", ""), "line 4: .* does not state its stride"),
        ("a.yaml", "- 1\n", "must be a mapping of keys to mean and count"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.yaml", "x: !!python/object/apply:os.system [echo]\n", "mean must be a number above 0"),
        ("a.yaml", "nothing: 1.0\n", "none of 1 rows names an operator we know"),
        ("a.json", '{"a": 1.0}', "does not state the unit of its numbers: say --unit"),
        ("a.csv", "op,in_channels,in_size,latency\n", "does not state the unit of its numbers"),
        ("a.csv", HEAD.replace("_ms", "_days"), "line 1: unknown unit 'days'"),
        (
            "a.csv",
            HEAD.replace("latency_ms", "time"),
            "line 1: one column must be latency_ms, latency_us or latency_s",
        ),
        ("a.csv", "name,latency_ms\n", "line 1: the columns must hold key, or op"),
        (
            "a.csv",
            HEAD + LINE + "1\n" + LINE + "2\n",
            "line 3: mbconv.* has a row already, in line 2",
        ),
        ("a.csv", HEAD + LINE + "fast\n", "line 2: latency_ms must be a number, not 'fast'"),
        ("a.csv", HEAD + LINE + "1,2\n", "line 2: 5 columns where 4 are due"),
        ("a.csv", HEAD + LINE + "2000000\n", "the median row runs .* the unit is wrong"),
        ("a.jsonl", record() + "\n{}\n", "line 2: not a record of op_type"),
        (
            "a.jsonl",
            record(input_shapes=[[8, 3, 4, 4], [1, 3, 3, 3]]),
            "line 1: batch must be 1, not 8",
        ),
        (
            "a.pkl",
            pickle.dumps({"a": 1}),
            "is a pickle or an archive of one: reading it runs whatever",
        ),
        ("a.json", pickle.dumps({"a": 1}), "is a pickle or an archive of one"),
        ("a.npz", b"PK", "is a pickle or an archive of one"),
        (
            "a.xlsx",
            "x",
            r"a table to import is a \.yaml, \.json, \.jsonl, \.csv or \.tsv file, not '\.xlsx'",
        ),
        ("a.csv", b"\xff\xff", "cannot read .*a.csv: its byte 0 is not utf-8: save it as UTF-8"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, name, content, message):
    with pytest.raises(TableError, match=message):
        read_foreign(save(tmp_path, name, content))


def test_an_unknown_unit_and_a_missing_file(tmp_path):
    with pytest.raises(TableError, match="unit must be one of ms, us, µs, s, not 'days'"):
        read_foreign(save(tmp_path, "a.json", "{}"), unit="days")
    with pytest.raises(TableError, match=r"cannot read .*no\.json"):
        read_foreign(tmp_path / "no.json")


def test_json_tells_the_line_of_a_key_that_stands_twice(tmp_path):
    key = "ConvNorm_H32_W32_Cin3_Cout16_kernel3_stride1_group1"
    with pytest.raises(TableError, match=r"line 3: .* has a row already, in line 2"):
        read_foreign(save(tmp_path, "a.json", f'{{\n"{key}": 0.1,\n"{key}": 0.2}}'), unit="ms")
