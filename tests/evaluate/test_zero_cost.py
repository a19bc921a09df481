# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from nas.cost.compiled import compile_costs
from nas.data import load
from nas.domain import Domain
from nas.errors import RunError, UsageError
from nas.evaluate import Proxy, slim, zero_cost
from nas.evaluate.zero_cost_scores import PROXIES, proxies
from nas.model import build
from search_spaces import mnasnet, nas_bench_macro, uninet

SPACE = nas_bench_macro.space(classes=10, in_channels=1)
DOMAIN = Domain(SPACE, compile_costs(SPACE, ("macs",), lambda layer: (layer.macs,)))
PROXY = Proxy(resolution=8, width=0.25)


def scored(genes, space=SPACE, seed: int = 0):
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(12, 1, 8, 8, generator=generator), torch.arange(12) % 10
    return proxies(build(slim(space.decode(genes), PROXY, 1, 10), seed=seed), images, labels)


def test_every_proxy_is_finite_and_repeats() -> None:
    for space in (
        SPACE,
        mnasnet.space(classes=10, in_channels=1),
        uninet.space(classes=10, in_channels=1),
    ):
        found = scored([size // 2 for size in space.gene_sizes], space)
        assert set(found) == {*PROXIES, "depth", "macs", "params"}
        assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
    assert scored([1] * 8) == scored([1] * 8)


def test_blocks_that_start_as_their_shortcut_are_seen_all_the_same() -> None:
    assert scored([0, 0, 1, 0, 0, 1, 0, 0]) != scored([0, 0, 2, 0, 0, 2, 0, 0])
    assert scored([1] * 8)["synflow"] > scored([1, 1, 1, 0, 0, 1, 0, 0])["synflow"]


def test_what_is_larger_scores_higher_where_the_definition_says_so() -> None:
    small, large = scored([0] * 8), scored([2] * 8)
    for name in ("synflow", "naswot", "depth", "macs", "params"):
        assert large[name] > small[name], name


def test_synflow_is_that_of_the_definition() -> None:
    """One linear layer on the mean: the sum over weights and biases of value times gradient at an
    input of ones."""
    network = build(slim(SPACE.decode([0] * 8), PROXY, 1, 10))
    ours = PROXIES["synflow"](network, torch.ones(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))
    found = network.double().eval()
    for value in found.parameters():
        value.data.abs_()
    found(torch.ones(1, 1, 8, 8, dtype=torch.float64)).sum().backward()
    wanted = sum(float((p.detach() * p.grad).sum()) for p in found.parameters())
    assert ours == pytest.approx(float(torch.tensor(wanted).log()))


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
