import pytest

from nas import networks
from nas.arch import Architecture
from nas.errors import ArchitectureError, UsageError
from nas.scale import scaled


def weights_only(network: Architecture) -> int:
    return sum(kernel.weights for kernel in network.kernels())


# torchvision's counts; trained values, classifier included.
PARAMS = {"mobilenet_v2": 3_504_872, "mnasnet_b1": 4_383_312}


@pytest.mark.parametrize("name", PARAMS)
def test_published_networks_have_the_published_number_of_parameters(name):
    assert networks.get(name).params == PARAMS[name]


# mobile-vision's model_info_fbnet: weights without norms and biases, in millions.
@pytest.mark.parametrize(("name", "millions"), [("fbnet_a", 4.27029), ("fbnet_c", 5.52542)])
def test_released_fbnets_have_the_released_number_of_weights(name, millions):
    assert round(weights_only(networks.get(name)) / 1e6, 5) == millions


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match="no published network named 'mobilnet_v2'. Did you mean 'mobilenet_v2'"):
        networks.get("mobilnet_v2")


def test_names_are_sorted_and_unique():
    assert list(networks.names()) == sorted(set(networks.names()))


def test_the_head_of_mobilenet_v2_never_shrinks_and_that_of_mnasnet_never_changes():
    def head(name, width):
        return networks.get(name, width=width).stages[-1].ops[0].channels

    assert [head("mobilenet_v2", w) for w in (0.5, 1.0, 1.4)] == [1280, 1280, 1792]
    assert [head("mnasnet_a1", w) for w in (0.5, 1.0, 1.4)] == [1280, 1280, 1280]


def test_scaling_changes_resolution_classes_and_input_channels():
    small = networks.get("fbnet_c", resolution=32, classes=10, in_channels=1)
    assert (small.input.channels, small.input.size, small.out_shape.channels) == (1, 32, 10)
    assert networks.get("fbnet_c", resolution=128).params == networks.get("fbnet_c").params


def test_depth_repeats_the_last_layer_of_every_stage_at_stride_one():
    base = networks.get("mobilenet_v2")
    deeper = scaled(base, depth=1.5)
    assert [len(s.ops) for s in deeper.stages] == [1, 2, 3, 5, 6, 5, 5, 2, 2]
    assert deeper.stages[1].ops[1].stride == 1
    assert [layer.out_shape.size for layer in deeper.layers][-3:] == [7, 7, 1]


def test_a_scaling_of_one_gives_the_same_network():
    base = networks.get("mnasnet_a1")
    assert scaled(base) == base


def test_a_factor_out_of_range_is_refused():
    with pytest.raises(ArchitectureError, match="width must be above 0 and at most 16, not 0"):
        scaled(networks.get("mobilenet_v2"), width=0)
