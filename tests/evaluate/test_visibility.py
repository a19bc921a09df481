"""Of one-gene changes that give another network, the short training sees nearly all."""

import dataclasses

import pytest

from nas.evaluate.proxy import PRESETS
from nas.evaluate.visibility import hidden_changes
from nas.space import at_sizes
from search_spaces import (
    efficientformer_v2,
    fbnet,
    fused_mbconv,
    mnasnet,
    mobile,
    mobilenet_v3,
    mobilenet_v4,
    nas_bench_macro,
    uninet,
)

MOST_HIDDEN = 0.02


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "module",
    [
        efficientformer_v2,
        fbnet,
        fused_mbconv,
        mnasnet,
        mobile,
        mobilenet_v3,
        mobilenet_v4,
        nas_bench_macro,
        uninet,
    ],
    ids=lambda m: m.__name__,
)
def test_presets_see_every_choice_of_every_space(module, preset: str) -> None:
    seen = hidden_changes(module.space(), PRESETS[preset], networks=5)
    assert all(seen.changes.values())
    assert seen.share <= MOST_HIDDEN, str(seen)


def test_maps_of_two_pixels_hide_large_kernels() -> None:
    last_map_of_one = dataclasses.replace(PRESETS["large"], final=1)
    seen = hidden_changes(mnasnet.space(), last_map_of_one, networks=5)
    # Four of seven blocks end on such maps.
    assert seen.hidden["kernel"] > 0.3 * seen.changes["kernel"]
    assert not seen.hidden["skip"]
    assert "kernel" in str(seen)


def test_an_eighth_of_the_width_rounds_filters_together() -> None:
    thin = dataclasses.replace(PRESETS["large"], width=0.05)
    assert hidden_changes(mnasnet.space(), thin, networks=5).hidden["filters"]


def test_the_size_of_the_input_is_seen() -> None:
    space = at_sizes(mobilenet_v3.space, (160, 192, 224))
    seen = hidden_changes(space, PRESETS["small"], networks=3)
    assert seen.changes["resolution"] == 6
    assert not seen.hidden["resolution"]
