# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from nas.cost.compiled import compile_costs
from nas.data import load
from nas.domain import Domain
from nas.errors import RunError, UsageError
from nas.evaluate import Proxy, slim, zero_cost
from nas.evaluate.zero_cost_scores import PROXIES, TRIVIAL, proxies, trivial_scores
from nas.model import build
from search_spaces import mnasnet, nas_bench_macro, uninet

SPACE = nas_bench_macro.space(classes=10, in_channels=1)
DOMAIN = Domain(SPACE, compile_costs(SPACE, ("macs",), lambda layer: (layer.macs,)))
PROXY = Proxy(resolution=8, width=0.25)
WEIGHTED = torch.nn.Conv2d | torch.nn.Linear


def scored(genes, space=SPACE, seed: int = 0):
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(12, 1, 8, 8, generator=generator), torch.arange(12) % 10
    network = build(slim(space.decode(genes), PROXY, 1, 10), seed=seed)
    return proxies(network, images, labels) | trivial_scores(network.architecture)


def test_every_proxy_is_finite_and_repeats() -> None:
    for space in (
        SPACE,
        mnasnet.space(classes=10, in_channels=1),
        uninet.space(classes=10, in_channels=1),
    ):
        found = scored([size // 2 for size in space.gene_sizes], space)
        assert set(found) == {*PROXIES, *TRIVIAL}
        assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
    assert scored([1] * 8) == scored([1] * 8)


def test_blocks_that_start_as_their_shortcut_are_seen_all_the_same() -> None:
    assert scored([0, 0, 1, 0, 0, 1, 0, 0]) != scored([0, 0, 2, 0, 0, 2, 0, 0])
    assert scored([1] * 8)["synflow"] > scored([1, 1, 1, 0, 0, 1, 0, 0])["synflow"]


def test_what_is_larger_scores_higher_where_the_definition_says_so() -> None:
    small, large = scored([0] * 8), scored([2] * 8)
    for name in ("synflow", "naswot", "depth", "macs", "params"):
        assert large[name] > small[name], name


def test_norms_and_biases_are_left_out_as_in_the_originals() -> None:
    network = build(slim(SPACE.decode([1] * 8), PROXY, 1, 10)).double().eval()
    images = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = [part.weight for part in network.modules() if isinstance(part, WEIGHTED)]
    assert len(kept) < len(list(network.parameters())) / 2
    labels = torch.arange(12) % 10
    norm = PROXIES["grad_norm"](network, images.double(), labels)
    assert norm == pytest.approx(sum(float(weight.grad.norm()) for weight in kept))
    # Synflow last, as the definition makes the weights positive.
    flow = PROXIES["synflow"](network, images, labels)
    for parameter in network.parameters():
        parameter.data.abs_()
        parameter.grad = None
    network.eval()(torch.ones(1, 1, 8, 8, dtype=torch.float64)).sum().backward()
    wanted = sum(float((weight.detach() * weight.grad).sum()) for weight in kept)
    assert flow == pytest.approx(math.log(wanted))


def test_a_run_records_the_version_of_its_scores() -> None:
    made = zero_cost.make(load("digits"), check=0)
    assert made.describe_training()["evaluator"].endswith(",version=2")


def test_the_score_is_the_mean_rank_among_random_networks(tmp_path) -> None:
    made = zero_cost.make(
        load("digits"), "resolution=8,images=64", score="macs+params", reference=6, check=0
    )
    with pytest.raises(
        RunError, match="the networks that ranks refer to must be scored before any other"
    ):
        made.evaluate(SPACE.decode([1] * 8), 0)
    said = []
    made.prepare(DOMAIN, tmp_path, seed=0, watch=said.append)
    assert [row.done for row in said] == [1, 2, 3, 4, 5, 6]
    assert made.evaluate(SPACE.decode([2] * 8), 0)["proxy_score"] == 1
    assert made.evaluate(SPACE.decode([0] * 8), 0)["proxy_score"] == 0
    again = zero_cost.make(
        load("digits"), "resolution=8,images=64", score="macs+params", reference=6, check=0
    )
    again.prepare(DOMAIN, tmp_path, seed=0, watch=said.append)
    assert len(said) == 6
    assert again.evaluate(SPACE.decode([1] * 8), 0) == made.evaluate(SPACE.decode([1] * 8), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "synflw"}, r"no zero-cost proxy named 'synflw'. Did you mean 'synflow'"),
        ({"reference": 1}, "reference of evaluator 'zero_cost' must be 2 to 10000 networks, not 1"),
        (
            {"scor": "zen"},
            r"no setting of evaluator 'zero_cost' named 'scor'. Did you mean 'score'",
        ),
    ],
)
def test_settings_that_break_a_rule(settings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        zero_cost.KIND.make(load("digits"), settings=settings)
