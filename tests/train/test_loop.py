# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from nas.arch import Architecture, Stage
from nas.errors import TrainingError
from nas.model import Network, build
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape
from nas.train import Augment, Schedule, fit, score, threads


def toy(size: int = 6) -> Network:
    body = Stage("body", (Conv(kernel=3, channels=8), MBConv(expand=2), MBConv(expand=2, stride=2)))
    return build(Architecture(Shape(1, size), (body, Stage("head", (Classifier(classes=2),)))))


def stripes(count: int = 64, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows against columns, in noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    pattern = (torch.arange(size) % 2).float().expand(size, size)
    clean = torch.stack([pattern if label else pattern.t() for label in labels])[:, None]
    return clean + 0.3 * torch.randn(clean.shape, generator=generator), labels


def trained(seed: int = 0, **changes) -> Network:
    net = toy()
    augment = changes.pop("augment", None)
    fit(
        net,
        *stripes(),
        Schedule(**{"steps": 12, "batch_size": 16} | changes),
        seed=seed,
        augment=augment,
    )
    return net


def state(net: Network) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in net.state_dict().values()])


def test_it_learns() -> None:
    net = trained(steps=30)
    assert not net.training
    assert score(net, *stripes())["accuracy"] > 0.95


@pytest.mark.parametrize(
    ("count", "steps", "augment"), [(1, 12, None), (1, 12, Augment(pad=1, flip=True)), (2, 2, None)]
)
def test_equal_seeds_and_threads_give_equal_bits(
    count: int, steps: int, augment: Augment | None
) -> None:
    with threads(count):
        first, again, other = (
            trained(seed, steps=steps, augment=augment, average=0.5) for seed in (1, 1, 2)
        )
    assert torch.equal(state(first), state(again))
    assert not torch.equal(state(first), state(other))


def test_no_global_generator_is_touched() -> None:
    before = torch.random.get_rng_state()
    trained(augment=Augment(pad=1, flip=True))
    assert torch.equal(before, torch.random.get_rng_state())


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_larger_maps_take_the_plain_forward_pass() -> None:
    net = toy(20)
    fit(net, *stripes(size=20), Schedule(steps=3, batch_size=8), seed=0)
    assert torch.isfinite(state(net)).all()


def test_any_module_can_be_trained() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))
    fit(net, *stripes(), Schedule(steps=20, batch_size=16), seed=0)
    assert score(net, *stripes())["accuracy"] > 0.9


def test_the_average_of_the_last_steps() -> None:
    states = []
    images, labels = stripes()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))
    schedule = Schedule(steps=10, batch_size=16, average=0.3)
    fit(
        net,
        images,
        labels,
        schedule,
        seed=0,
        on_step=lambda step, loss: states.append(net[1].weight.detach().clone()),
    )
    torch.testing.assert_close(net[1].weight.detach(), torch.stack(states[-3:]).mean(0))


def test_on_step_counts_from_one_and_may_end_the_training() -> None:
    seen = []

    def stop(step: int, loss: float) -> None:
        seen.append(step)
        if step == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(toy(), *stripes(), Schedule(steps=9, batch_size=8), seed=0, on_step=stop)
    assert seen == [1, 2, 3]


def test_a_loss_that_is_not_finite_names_the_step() -> None:
    images, labels = stripes()
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 1 of 4: try a learning rate below 0.1"
    ):
        fit(toy(), images * torch.nan, labels, Schedule(steps=4), seed=0)


def test_lack_of_memory_is_told_in_one_line() -> None:
    class Greedy(torch.nn.Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(
        TrainingError, match=r"out of memory with 64 images of \(1, 6, 6\) a batch: try fewer"
    ):
        fit(Greedy(1, 1), *stripes(), Schedule(steps=4), seed=0)


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    schedule = Schedule(steps=100, lr=1.0, warmup=0.1)
    rates = [schedule.lr_at(step) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "at least one step and two images a batch, not 0 and 64"),
        ({"steps": 1, "batch_size": 1}, "not 1 and 1"),
        ({"steps": 1, "warmup": 1.0}, "shares of the steps, not 1.0 and 0.0"),
        ({"steps": 1, "average": 1.5}, "shares of the steps, not 0.1 and 1.5"),
    ],
)
def test_a_schedule_that_breaks_a_rule(changes: dict[str, float], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Schedule(**changes)
