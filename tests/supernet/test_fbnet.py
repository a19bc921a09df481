# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from tiny_space import small, tiny

from nas.cost.compiled import compile_costs
from nas.errors import BoundError, TrainingError, UsageError
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed
from nas.strategies.differentiable import Settings
from nas.supernet.distribution import Distribution
from nas.supernet.fbnet import FBNetTraining, Mixture, schedule
from nas.supernet.network import Supernet
from nas.supernet.scoring import run
from search_spaces import nas_bench_macro

SPACE = nas_bench_macro.space()


def latency(space=SPACE, scale: float = 1e-6) -> Distribution:
    """A made-up table: a microsecond per thousand multiply-adds."""
    costs = compile_costs(space, ("latency_ms@made_up",), lambda layer: (layer.macs * scale,))
    return Distribution(costs, "latency_ms@made_up", 1.0)


def training(epochs: int = 9, scale: float = 1e-6, space=SPACE, **settings) -> FBNetTraining:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(24, 1, 8, 8, generator=generator), torch.arange(24) % 4
    supernet = Supernet(space, small, seed=1)
    given = Settings(variant="fbnet", epochs=epochs, **settings)
    return FBNetTraining(
        supernet,
        latency(space, scale),
        (images, labels),
        (images[:8], labels[:8]),
        given,
        seed=1,
    )


def test_a_mixture_with_one_weight_of_one_is_that_network() -> None:
    supernet, genes = Supernet(SPACE, small), (0, 1, 2, 0, 2, 1, 0, 2)
    images = torch.randn(4, 1, 8, 8)
    weights = [
        torch.eye(slot.options)[SPACE.slot_option(i, genes)] for i, slot in enumerate(SPACE.slots)
    ]
    with torch.no_grad():
        mixed = Mixture(supernet)(images, weights)
        assert torch.allclose(mixed, run(supernet.path(genes).train(), images), atol=1e-5)


def test_a_space_whose_slots_meet_several_shapes_is_refused() -> None:
    with pytest.raises(
        UsageError, match="needs one shape handed over, and slot 'head' of space 'tiny' can meet 2"
    ):
        Mixture(Supernet(tiny(), small))


def test_the_schedule_is_the_papers() -> None:
    found = training(epochs=90)
    per_epoch = found.weight_steps + found.theta_steps
    assert schedule(800, 200, 90).steps == 90 * (5 + 2)
    assert found.distribution.temperature == 5.0
    found.done = 89 * per_epoch
    found._cool()
    assert found.distribution.temperature == pytest.approx(0.091, abs=0.001)  # 5 exp(-0.045 * 89)


def test_theta_waits_then_moves_towards_cheaper_and_better_options() -> None:
    found = training()
    per_epoch = found.weight_steps + found.theta_steps
    while found.done < per_epoch:
        found.advance()
    assert all((theta == 0).all() for theta in found.distribution.theta)
    while found.done < found.schedule.steps:
        found.advance()
    assert all((theta != 0).any() for theta in found.distribution.theta)
    assert found.history[-1]["step"] == found.schedule.steps


def test_a_training_taken_up_again_ends_in_the_same_bits() -> None:
    unbroken, first, again = training(), training(), training()
    for _ in range(12):
        unbroken.advance()
    for _ in range(5):
        first.advance()
    again.restore(first.state())
    while again.done < 12:
        again.advance()
    assert all(
        torch.equal(a, b)
        for a, b in zip(unbroken.distribution.theta, again.distribution.theta, strict=True)
    )
    assert all(
        torch.equal(v, again.supernet.shared[n]) for n, v in unbroken.supernet.shared.items()
    )


def test_a_latency_whose_logarithm_is_not_positive_and_a_loss_that_is_not_finite_stop_it() -> None:
    with pytest.raises(
        BoundError,
        match=r"FBNet's loss takes log\(LAT\)\^0.6, and LAT is .* µs: it must be above 1",
    ):
        training(scale=1e-15).advance()
    broken = training()
    broken.images = torch.full_like(broken.images, float("nan"))
    with pytest.raises(TrainingError, match="the mixture's loss is nan at step 1 of"):
        broken.advance()


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_the_absolute_loss_lands_on_the_target_from_either_side(factor: float) -> None:
    found = training(loss="absolute")
    found.distribution.temperature = 1.0
    found.distribution.target = target = factor * found.figures()["expected"]
    for _ in range(150):
        found.adam.zero_grad()
        latency = found.distribution.expected(found.distribution.log_probs())
        found._weighed(torch.zeros(()), latency).backward()
        found.adam.step()
    assert found.figures()["expected"] == pytest.approx(target, rel=0.05)


def test_a_batch_in_parts_has_the_gradients_of_the_parts() -> None:
    whole, halves = training(), training(accumulate=2)
    images, labels = whole.images[:8], whole.labels[:8]
    parts = [whole._gradients(images[:4], labels[:4]), whole._gradients(images[4:], labels[4:])]
    wanted = [view.leaf.grad / 2 for view in whole.mixture.views]
    assert halves._gradients(images, labels) == pytest.approx(sum(parts) / 2)
    for view, gradient in zip(halves.mixture.views, wanted, strict=True):
        assert torch.allclose(view.leaf.grad, gradient, atol=1e-6)


def test_options_that_fell_away_are_not_run() -> None:
    found = training(prune=1.0)
    found.distribution.allowed[2] = torch.tensor([False, True, False])
    found._gradients(found.images[:4], found.labels[:4])
    used = [view.leaf.grad is not None for view in found.mixture.views]
    assert any(used)
    assert not all(used)


def test_a_distribution_that_has_hardly_moved_is_told_with_the_way_out() -> None:
    few, sharp = training(epochs=2), training(epochs=2)
    with torch.no_grad():
        for theta in sharp.distribution.theta:
            theta[0] = 3.0
    for found in (few, sharp):
        while found.done < found.schedule.steps:
            found.advance()
    assert sharp.warnings == []
    [line] = few.warnings
    assert line.startswith("theta: after 1 step of it the likeliest options have a probability")
    assert line.endswith("drawn nearly at random; raise epochs=2 to 2000, say")


def kernels() -> SearchSpace:
    """A layer of kernel 3 or 5."""
    blocks = Choice("kernel", {"k3": MBConv(kernel=3), "k5": MBConv(kernel=5)})
    return SearchSpace(
        name="kernels",
        input=Shape(1, 8),
        slots=(
            fixed("stem", Conv(kernel=3, channels=8)),
            Slot(name="a", stage="a", choices=(blocks,), make=lambda picked, _: [picked["kernel"]]),
            fixed("head", Classifier(classes=4)),
        ),
    )


@pytest.mark.parametrize(("theta", "warned"), [(0.1, True), (3.0, False)])
def test_an_option_of_two_can_have_been_chosen(theta: float, warned: bool) -> None:
    """It can never be twice as likely as the even share."""
    found = training(epochs=2, space=kernels())
    with torch.no_grad():
        found.distribution.theta[0][0] = theta
    found._warn_if_unmoved()
    assert bool(found.warnings) == warned
