# ruff: noqa: E402
import math
from itertools import product

import pytest

torch = pytest.importorskip("torch")

import numpy as np
from tiny_space import cut_mobilenet_v4, small, tiny
from torch.nn import functional as F

from nas.cost.compiled import compile_costs
from nas.errors import UsageError
from nas.strategies.differentiable import Settings
from nas.supernet.distribution import Distribution
from nas.supernet.network import Supernet
from nas.supernet.scoring import run
from nas.supernet.theta import ThetaTraining, reinforce
from nas.train import Schedule
from search_spaces import mnasnet, nas_bench_macro


def costs_of(space):
    return compile_costs(space, ("macs",), lambda layer: (layer.macs,))


def distribution(space, share: float = 0.5) -> Distribution:
    costs = costs_of(space)
    low, high = costs.extreme("macs")[0], costs.extreme("macs", largest=True)[0]
    return Distribution(costs, "macs", low + share * (high - low))


def shuffled(found: Distribution, seed: int = 0) -> Distribution:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for theta in found.theta:
            theta.copy_(torch.randn(theta.shape, generator=generator))
    return found


def every(space):
    return list(product(*(range(size) for size in space.gene_sizes)))


def test_networks_are_trained_as_they_are_drawn() -> None:
    space = nas_bench_macro.space()
    found = ThetaTraining(
        Supernet(space, small),
        distribution(space),
        (torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64)),
        (torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64)),
        Schedule(steps=10, batch_size=8),
        Settings(),
        seed=0,
    )
    blocks = np.zeros(8)
    for number in range(200):
        [genes] = found.sample(np.random.default_rng(number))
        blocks += np.array(genes) > 0
    # Two of three options are blocks, in a stage's second slot as in its third.
    assert blocks[[3, 6]] / 200 == pytest.approx([2 / 3] * 2, abs=0.12)
    assert blocks[[4, 7]] / 200 == pytest.approx([2 / 3] * 2, abs=0.12)


@pytest.mark.parametrize("tilt", [0.0, -3.0])
def test_expectations_are_exact(tilt: float) -> None:
    space = tiny()
    found = shuffled(distribution(space))
    found.tilt = tilt
    logs = found.log_probs()
    probs = torch.stack([found.log_prob(logs, genes).exp() for genes in every(space)])
    assert probs.sum().item() == pytest.approx(1)
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,)).price(
        np.array(every(space))
    )[:, 0]
    assert found.expected(logs).item() == pytest.approx(
        float(probs.detach() @ torch.from_numpy(costs))
    )
    skips = torch.tensor([found.skips(genes) for genes in every(space)], dtype=torch.float64)
    assert found.skip_share(logs).item() == pytest.approx(float(probs.detach() @ skips))
    table = found.by_choice(logs)["one.width"]
    assert table[1] == pytest.approx(
        sum(p.item() for p, genes in zip(probs, every(space), strict=True) if genes[1] == 1)
    )


def test_the_gradient_of_the_expected_cost_is_that_of_the_enumeration() -> None:
    space = tiny()
    found = shuffled(distribution(space))
    found.expected(found.log_probs()).backward()
    mine = [theta.grad.clone() for theta in found.theta]
    for theta in found.theta:
        theta.grad = None
    logs = found.log_probs()
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,)).price(
        np.array(every(space))
    )[:, 0]
    sum(
        found.log_prob(logs, g).exp() * c for g, c in zip(every(space), costs, strict=True)
    ).backward()
    assert all(
        torch.allclose(theta.grad, grad) for theta, grad in zip(found.theta, mine, strict=True)
    )


@pytest.mark.parametrize(
    "space", [tiny(), nas_bench_macro.space(), mnasnet.space()], ids=lambda s: s.name
)
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_the_tilt_meets_the_target_whatever_theta_says(space, share: float) -> None:
    found = shuffled(distribution(space, share))
    found.aim()
    assert found.expected(found.log_probs()).item() == pytest.approx(found.target, rel=1e-3)


def test_networks_are_drawn_as_the_distribution_says() -> None:
    space = nas_bench_macro.space()
    found, rng = shuffled(distribution(space)), np.random.default_rng(0)
    logs = found.log_probs()
    drawn = np.array([found.sample(logs, rng) for _ in range(2000)])
    for position, logs_of in enumerate(logs[1:9]):
        counts = np.bincount(drawn[:, position], minlength=3) / 2000
        assert np.abs(counts - logs_of.detach().exp().numpy()).max() < 0.06


def test_the_estimated_gradient_points_where_the_enumerated_one_does() -> None:
    """Two slots of three options, real losses of a supernet: mean of 400 estimates, cosine at least
    0.9."""
    space = nas_bench_macro.space()
    supernet = Supernet(space, small, seed=2)
    images, labels = (
        torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.arange(16) % 4,
    )
    found, slots = distribution(space), (3, 7)
    networks = [(0, 0, a, 0, 0, 0, b, 0) for a in range(3) for b in range(3)]
    with torch.no_grad():
        losses = {
            g: float(F.cross_entropy(run(supernet.path(g).train(), images), labels))
            for g in networks
        }

    def log_prob(logs, genes):
        return logs[slots[0]][genes[2]] + logs[slots[1]][genes[6]]

    def gradient(objective) -> torch.Tensor:
        for theta in found.theta:
            theta.grad = None
        objective.backward()
        return torch.cat([found.theta[2].grad, found.theta[6].grad])

    exact = gradient(sum(log_prob(found.log_probs(), g).exp() * losses[g] for g in networks))
    rng, total = np.random.default_rng(0), torch.zeros(6, dtype=torch.float64)
    for _ in range(400):
        logs = found.log_probs()
        drawn = [networks[int(rng.integers(9))] for _ in range(4)]
        values = torch.tensor([losses[g] for g in drawn], dtype=torch.float64)
        total += gradient(reinforce(values, torch.stack([log_prob(logs, g) for g in drawn])))
    assert float(F.cosine_similarity(total, exact, dim=0)) >= 0.9
    assert float((total / 400).norm() / exact.norm()) == pytest.approx(1, abs=0.4)


def training(space=None, **settings) -> ThetaTraining:
    space = space or nas_bench_macro.space()
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(40, 1, 8, 8, generator=generator), torch.arange(40) % 4
    given = Settings(frozen=0.25, **settings)
    target = distribution(space).target
    return ThetaTraining(
        Supernet(space, small, seed=1),
        Distribution(costs_of(space), "macs", target, depth=given.depth),
        (images, labels),
        (images[:20], labels[:20]),
        Schedule(steps=12, batch_size=8, average=0.3),
        given,
        seed=1,
        skip_limit=0.0,
    )


@pytest.mark.parametrize(
    "settings", [{}, {"prune": 0.9, "lr": 0.5, "depth": True}], ids=["plain", "shrinking"]
)
def test_a_training_taken_up_again_learns_the_same_distribution(settings) -> None:
    unbroken, first, again = (training(**settings) for _ in range(3))
    for _ in range(12):
        unbroken.advance()
    for _ in range(7):
        first.advance()
    again.restore(first.state())
    while again.done < 12:
        again.advance()
    assert all(
        torch.equal(a, b)
        for a, b in zip(unbroken.distribution.theta, again.distribution.theta, strict=True)
    )
    assert unbroken.history == again.history
    assert unbroken.warnings == again.warnings
    assert all(
        torch.equal(v, again.supernet.shared[n]) for n, v in unbroken.supernet.shared.items()
    )


@pytest.mark.parametrize("make", [nas_bench_macro.space, cut_mobilenet_v4])
def test_theta_is_frozen_at_first_then_moves_and_stays_on_target(make) -> None:
    found = training(make())
    for _ in range(2):
        found.advance()
    assert all((theta == 0).all() for theta in found.distribution.theta)
    while found.done < 12:
        found.advance()
    assert any((theta != 0).any() for theta in found.distribution.theta)
    assert found.figures()["expected"] == pytest.approx(found.distribution.target, rel=1e-3)
    assert found.history[-1]["step"] == 12


def test_the_guard_warns_of_skips_and_acts_where_it_is_on() -> None:
    guarded, free = training(guard=True), training(guard=False)
    for _ in range(12):
        guarded.advance()
        free.advance()
    assert any(
        line.startswith("skips: at step 4") and line.endswith("pushing back")
        for line in guarded.warnings
    )
    assert any(line.startswith("skips") and line.endswith("guard is off") for line in free.warnings)
    assert guarded.figures()["skips"] < free.figures()["skips"]


def test_depth_is_a_choice_of_its_own() -> None:
    """How often the last slot of a stage is filled is how likely the stage is to be full, whatever
    its options say."""
    space = nas_bench_macro.space()
    plain, found = distribution(space), Distribution(costs_of(space), "macs", 1.0, depth=True)
    assert [len(run) for run in found._runs] == [1, 2, 2]
    with torch.no_grad():
        found.theta[-1].copy_(torch.tensor([0.0, 0.0, 2.0]))
        found.theta[7].copy_(torch.tensor([9.0, 0.0, 1.0]))  # its identity's own logit has no say
    probs = [logs.exp() for logs in found.log_probs()]
    lengths = found.theta[-1].softmax(0)
    assert probs[8][1:].sum().item() == pytest.approx(lengths[2].item())
    assert probs[7][1:].sum().item() == pytest.approx(lengths[1:].sum().item())
    assert (probs[8][2] / probs[8][1]).item() == pytest.approx(math.e)
    assert all(p.sum().item() == pytest.approx(1) for p in probs)
    assert torch.allclose(plain.log_probs()[8].exp(), torch.full((3,), 1 / 3, dtype=torch.float64))
    with pytest.raises(
        UsageError,
        match="depth has nothing to choose: no slot of space 'mnasnet' can be left empty",
    ):
        Distribution(costs_of(mnasnet.space()), "macs", 1.0, depth=True)


def test_what_is_not_allowed_has_no_probability_and_the_rest_is_exact() -> None:
    found = shuffled(distribution(nas_bench_macro.space()))
    found.allowed[3] = torch.tensor([False, True, True])
    found.allowed[4] = torch.tensor([False, False, True])
    logs = found.log_probs()
    assert logs[4].exp()[0] == 0
    assert logs[5].exp().tolist() == [0, 0, 1]
    assert torch.isfinite(found.entropy(logs))
    rng = np.random.default_rng(0)
    assert all(genes[3] > 0 and genes[4] == 2 for genes in (found.uniform(rng) for _ in range(50)))
    assert found.reaches()
    found.allowed = [torch.tensor([True, False, False])] * 8
    assert not found.reaches()
