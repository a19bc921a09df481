# ruff: noqa: E402
from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch")

import numpy as np
from tiny_space import small, tiny
from torch.nn import functional as F

from nas.errors import RunError, TrainingError, UsageError
from nas.model import build
from nas.supernet import scoring
from nas.supernet.network import Supernet
from nas.supernet.recipe import Sharing, train
from nas.supernet.scoring import recalibrate, run
from nas.supernet.training import Batches, SupernetTraining, Uniform, extremes, sampler
from nas.train import Augment, Schedule
from nas.train.precision import mixed
from search_spaces import fbnet, nas_bench_macro

SCHEDULE = Schedule(steps=6, batch_size=8, average=0.5)


def data(count: int = 40):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 8, 8, generator=generator), torch.arange(count) % 4


def training(
    schedule: Schedule = SCHEDULE, share: str = "elastic", sampling: str = "uniform"
) -> SupernetTraining:
    space = tiny()
    return SupernetTraining(
        Supernet(space, small, share=share, seed=1),
        *data(),
        schedule,
        sampler(space, sampling, 2),
        seed=1,
        augment=Augment(pad=1, flip=True),
        distil=sampling == "sandwich",
        ramp=4,
    )


def test_one_path_trains_as_sgd_trains_the_network_alone() -> None:
    space, (images, labels) = tiny(), data()
    supernet = Supernet(space, small, share="none")
    genes = (1, 1)
    schedule = Schedule(steps=4, batch_size=8, weight_decay=0.01)
    found = SupernetTraining(supernet, images, labels, schedule, lambda draw: [genes], seed=0)
    alone = build(small(space.decode(genes)))
    for theirs, view in zip(alone.parameters(), supernet.views(genes), strict=True):
        theirs.data.copy_(view.leaf.data)
    matrices, vectors = [
        [p for p in alone.parameters() if (p.ndim > 1) is big] for big in (True, False)
    ]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    sgd = torch.optim.SGD(groups, 0.1, 0.9, nesterov=True)
    for step in range(4):
        rows = found.batches.rows(step)
        found.advance()
        for group in sgd.param_groups:
            group["lr"] = schedule.lr_at(step)
        sgd.zero_grad()
        F.cross_entropy(alone.train()(images[rows]), labels[rows]).backward()
        sgd.step()
    for theirs, view in zip(alone.parameters(), supernet.views(genes), strict=True):
        assert torch.allclose(theirs, view.leaf, atol=1e-5)


def test_gradients_of_overlapping_views_are_added() -> None:
    found = training(
        Schedule(steps=1, batch_size=8, warmup=0, momentum=0.0, weight_decay=0.0, lr=1.0)
    )
    found.sample, found.ramp = (lambda draw: [(0, 0), (1, 1)]), 0
    before = {name: value.clone() for name, value in found.supernet.shared.items()}
    images, labels = found._batch()
    wanted = {name: torch.zeros_like(value) for name, value in before.items()}
    for genes in [(0, 0), (1, 1)]:
        F.cross_entropy(run(found.supernet.path(genes).train(), images), labels).div(2).backward()
        for view in found.supernet.views(genes):
            wanted[view.name][view.cut] += view.leaf.grad
            view.leaf.grad = None
    found.advance()
    for name, value in found.supernet.shared.items():
        assert torch.allclose(value, before[name] - wanted[name], atol=1e-5), name


@pytest.mark.parametrize("sampling", ["uniform", "sandwich"])
def test_a_training_taken_up_again_ends_in_the_same_bits(sampling: str, tmp_path) -> None:
    unbroken = training(sampling=sampling)
    for _ in range(6):
        unbroken.advance()
    unbroken.finish()
    identity = {"space": "tiny", "seed": 1}
    assert not train(training(sampling=sampling), tmp_path / "s.pt", identity, stop_after=-1)
    again = training(sampling=sampling)
    assert train(again, tmp_path / "s.pt", identity)
    finished = training(sampling=sampling)
    assert train(finished, tmp_path / "s.pt", identity)
    for other in (again, finished):
        assert all(
            torch.equal(unbroken.supernet.shared[n], v) for n, v in other.supernet.shared.items()
        )


def test_the_checkpoint_of_another_supernet_is_refused(tmp_path) -> None:
    train(training(), tmp_path / "s.pt", {"space": "a"}, stop_after=-1)
    with pytest.raises(
        RunError, match="is the checkpoint of another supernet: its space is a, here it is b"
    ):
        train(training(), tmp_path / "s.pt", {"space": "b"})


@pytest.mark.parametrize(
    "edit", [{"weights": 3}, {"finished": None, "velocity": 3}, {"done": "x", "mean": 1}]
)
def test_an_edited_checkpoint_is_refused(edit, tmp_path) -> None:
    train(training(), tmp_path / "s.pt", {"space": "a"}, stop_after=-1)
    state = torch.load(tmp_path / "s.pt", weights_only=True)
    torch.save({**state, **edit}, tmp_path / "s.pt")
    with pytest.raises(
        RunError, match=r"is not a checkpoint of this supernet: .* Remove it to start anew"
    ):
        train(training(), tmp_path / "s.pt", {"space": "a"})


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_the_checkpoint(tmp_path) -> None:
    train(training(), tmp_path / "s.pt", {}, stop_after=-1)
    kept = (tmp_path / "s.pt").read_bytes()
    broken = training()
    broken.images = torch.full_like(broken.images, float("nan"))
    with pytest.raises(
        TrainingError,
        match=r"loss is nan at step 2 of 6: start anew with a learning rate below 0.1",
    ):
        train(broken, tmp_path / "s.pt", {})
    assert (tmp_path / "s.pt").read_bytes() == kept


def test_a_batch_in_parts_adds_up_to_the_mean_of_the_parts() -> None:
    schedule = Schedule(
        steps=1, batch_size=8, warmup=0, momentum=0.0, weight_decay=0.0, lr=1.0, accumulate=2
    )
    found = training(schedule)
    found.sample, found.ramp = (lambda draw: [(1, 1)]), 0
    before = {name: value.clone() for name, value in found.supernet.shared.items()}
    images, labels = found._batch()
    losses = []
    for part, truth in zip(images.chunk(2), labels.chunk(2), strict=True):
        loss = F.cross_entropy(run(found.supernet.path((1, 1)).train(), part), truth)
        loss.div(2).backward()
        losses.append(loss.item())
    wanted = {
        view.name: before[view.name][view.cut] - view.leaf.grad
        for view in found.supernet.views((1, 1))
    }
    for view in found.supernet.views((1, 1)):
        view.leaf.grad = None
    assert found.advance() == pytest.approx(np.mean(losses))
    for view in found.supernet.views((1, 1)):
        assert torch.allclose(view.leaf, wanted[view.name], atol=1e-5), view.name
    with pytest.raises(
        UsageError,
        match="a batch of 8 images cannot be cut into 3 equal parts of two or more: choose",
    ):
        training(Schedule(steps=1, batch_size=8, accumulate=3))


def test_mixed_precision_trains_weights_that_stay_whole(monkeypatch) -> None:
    """What a GPU runs, on the CPU: products in bfloat16, logits, gradients and weights in
    float32."""
    whole, mixed = training(share="none"), training(share="none")
    plain = [whole.advance() for _ in range(6)]
    monkeypatch.setattr(
        scoring, "mixed", lambda device: torch.autocast(device.type, dtype=torch.bfloat16)
    )
    images, _ = mixed._batch()
    logits = run(mixed.supernet.path((1, 1)).train(), images)
    assert logits.dtype == torch.float32
    assert [mixed.advance() for _ in range(6)] == pytest.approx(plain, abs=0.05)
    assert all(value.dtype == torch.float32 for value in mixed.supernet.shared.values())
    assert any(
        not torch.equal(value, whole.supernet.shared[name])
        for name, value in mixed.supernet.shared.items()
    )


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_precision_is_mixed_on_cuda_only() -> None:
    assert isinstance(mixed(torch.device("cpu")), nullcontext)
    assert isinstance(mixed(torch.device("cuda")), torch.autocast)


def test_batches_pass_over_all_images_and_depend_on_the_step_alone() -> None:
    batches = Batches(10, 4, seed=0, stream="weights")
    rows = torch.cat([batches.rows(step) for step in range(5)])
    assert sorted(rows[:10].tolist()) == sorted(rows[10:].tolist()) == list(range(10))
    assert torch.equal(Batches(10, 4, seed=0, stream="weights").rows(4), batches.rows(4))


def test_as_many_paths_as_options_show_each_option_once() -> None:
    found = Uniform(nas_bench_macro.space(), 3)(np.random.default_rng(0))
    assert all(sorted(column) == [0, 1, 2] for column in zip(*found, strict=True))


class Counting(Supernet):
    """Remembers which networks were updated."""

    def views(self, genes):
        self.trained = [*getattr(self, "trained", []), genes]
        return super().views(genes)


@pytest.mark.parametrize("ramp", [0, 1])
def test_every_option_of_every_slot_is_updated_equally_often(ramp: int) -> None:
    space = nas_bench_macro.space()
    supernet = Counting(space, small)
    found = SupernetTraining(
        supernet,
        *data(),
        Schedule(steps=6, batch_size=8),
        sampler(space, "uniform", 3),
        seed=0,
        ramp=ramp,
    )
    for _ in range(4 + ramp):
        found.advance()
    # On the ramp's only step all three networks are the largest.
    genes = np.array(supernet.trained[3 * ramp :])
    assert [np.bincount(column).tolist() for column in genes.T] == [[4, 4, 4]] * 8


def test_on_the_ramp_networks_depart_from_the_largest_slot_by_slot() -> None:
    space = nas_bench_macro.space()
    found = SupernetTraining(
        Supernet(space, small),
        *data(),
        Schedule(steps=40, batch_size=8),
        lambda draw: [(0,) * 8] * 20,
        seed=0,
        ramp=20,
    )
    shares = []
    for found.done in (0, 1, 5, 10, 15, 20):
        shares.append(np.mean(found._eased(found.sample(None))) / 2)
    assert shares[0] == shares[1] == 1
    assert shares[-1] == 0
    assert shares == sorted(shares, reverse=True)


def test_a_sandwich_has_the_largest_and_the_smallest_network_outside() -> None:
    space = nas_bench_macro.space()
    found = sampler(space, "sandwich", 2)(np.random.default_rng(0))
    assert found[:2] == list(extremes(space)) == [(2,) * 8, (0,) * 8]
    assert len(found) == 4


def test_recalibration_takes_the_statistics_of_the_images() -> None:
    supernet, (images, _) = Supernet(fbnet.space(), small), data()
    path = supernet.path((0,) * 22)
    recalibrate(path, images, 40)
    first = path.stages[0]
    maps = first.conv(images)
    assert torch.allclose(first.norm.running_mean, maps.mean((0, 2, 3)), atol=1e-5)
    assert not path.training
    with torch.no_grad():
        scored = run(path, images)
        assert not torch.allclose(scored, run(path.train(), images))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": "all"}, "share must be one of auto, none, elastic, not 'all'"),
        ({"sampling": "best"}, "sampling must be one of uniform, sandwich, not 'best'"),
        ({"tell": "loss"}, "tell must be one of likelihood, accuracy, not 'loss'"),
        ({"paths": 0}, "paths must be 1 to 64, not 0"),
        ({"paths": 2.5}, "paths of evaluator 'supernet' must be a whole number, not '2.5'"),
    ],
)
def test_settings_that_break_a_rule(settings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sharing(**settings)
