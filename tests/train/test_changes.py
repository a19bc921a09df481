# ruff: noqa: E402
import sys

import pytest

torch = pytest.importorskip("torch")

from nas.arch import Architecture, Stage
from nas.data import Statistics
from nas.errors import UsageError
from nas.model import build
from nas.networks import get
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.ops.unified import AttentionBlock
from nas.shape import Shape
from nas.train import Augment, swift
from nas.train.augment import Changes, Mix, RandAugment, _cut, _share
from nas.train.chance import counted
from nas.train.droppath import DropPath, add_drop_path
from nas.train.loop import Phase, Schedule, Training

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_masks_move_with_their_images():
    images = noise(8, 1, 9, 9)
    masks = (images[:, 0] > 0).long()
    moved, labels = Augment(pad=3, flip=True)(images, masks, torch.Generator().manual_seed(0))
    assert not torch.equal(moved, images)
    assert torch.equal((moved[:, 0] > 0).long(), labels)


def test_mixed_labels_are_shares_of_both_classes():
    images, labels = noise(16, 1, 8, 8), torch.arange(16) % 4
    for change in (Mix(classes=4, mixup=1.0), Mix(classes=4, cutmix=1.0)):
        mixed, shares = change(images, labels, seeded(1))
        assert mixed.shape == images.shape
        torch.testing.assert_close(shares.sum(1), torch.ones(16))
        assert torch.equal(mixed, change(images, labels, seeded(1))[0])


def test_shares_are_of_the_beta_distribution():
    generator = seeded(0)
    drawn = torch.tensor([_share(0.5, generator) for _ in range(4000)])
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.03)
    assert drawn.var().item() == pytest.approx(1 / 8, abs=0.01)  # 1 / (4 (2 alpha + 1))


def test_mixup_gives_kornias_pixels():
    kornia = pytest.importorskip("kornia.augmentation")
    images, labels = torch.rand(6, 3, 8, 8, generator=seeded(0)), torch.arange(6)
    mixed, shares = Mix(classes=6, mixup=0.4)(images, labels, seeded(3))
    generator = seeded(3)
    other, share = torch.randperm(6, generator=generator), _share(0.4, generator)
    theirs = kornia.RandomMixUpV2(p=1.0, data_keys=["input", "class"])
    with counted(CPU, 1):
        params = theirs.forward_parameters(images.shape)
    params["mixup_pairs"], params["mixup_lambdas"] = other, torch.full((6,), 1 - share)
    torch.testing.assert_close(mixed, theirs(images, labels, params=params)[0])
    assert shares[0, 0].item() == pytest.approx(share + (1 - share) * float(other[0] == 0))


def test_cutmix_takes_one_box_and_counts_its_pixels():
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    mixed, share = _cut(images, torch.tensor([1, 0]), 0.6, seeded(2))
    assert mixed[0].mean().item() == pytest.approx(1 - share)
    rows, columns = mixed[0, 0].nonzero().unbind(1)
    assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_randaugment_changes_pixels_and_is_counted(channels):
    pytest.importorskip("kornia")
    change = RandAugment(Statistics((0.5,) * channels, (0.2,) * channels), magnitude=9)
    images = (torch.rand(8, channels, 8, 8) - 0.5) / 0.2
    found = []
    for number in (1, 1, 2):
        with counted(CPU, number):
            found.append(change(images, torch.arange(8), torch.Generator())[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert found[0].shape == images.shape
    assert found[0].isfinite().all()


def test_magnitude_ten_is_all_of_kornias_range():
    pytest.importorskip("kornia")
    found = [RandAugment(Statistics((0.5,), (0.2,)), magnitude=m)._kornia.m for m in (5, 10, 20)]
    assert found == pytest.approx([15, 29.97, 29.97])


def test_without_kornia_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    with pytest.raises(
        UsageError,
        match=r"RandAugment needs the package kornia: pip install 'nas-toolkit\[train\]'",
    ):
        RandAugment(Statistics((0.5,), (0.2,)), magnitude=9)


def test_counted_chance_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    with counted(CPU, 5, 6):
        first = torch.rand(3)
    assert torch.equal(before, torch.random.get_rng_state())
    with counted(CPU, 5, 7):
        assert not torch.equal(first, torch.rand(3))


def test_dropped_paths_keep_the_mean_and_spare_evaluation():
    drop = DropPath(0.25)
    with counted(CPU, 1):
        kept = drop(torch.ones(40000))
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert kept.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(drop.eval()(torch.ones(3)), torch.ones(3))


def test_drop_path_grows_with_depth_and_adds_no_parameter():
    net = build(get("mobilenet_v2", width=0.25, resolution=32))
    names = list(net.state_dict())
    assert add_drop_path(net, 0.2) == 10  # of 17 blocks, those with a shortcut
    rates = [part.rate for part in net.modules() if isinstance(part, DropPath)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.2 * 15 / 17)
    assert list(net.state_dict()) == names


@pytest.mark.parametrize("size", [8, 24])
def test_paths_are_dropped_alike_on_both_forward_passes(size):
    net = build(get("mobilenet_v2", width=0.25, resolution=size))
    add_drop_path(net.eval(), 0.5)
    for part in net.modules():
        if isinstance(part, DropPath):
            part.train()
        elif isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(part.weight)
    found = []
    for forward in (net, lambda images: swift.forward(net, images)):
        with counted(CPU, 1), torch.no_grad():
            found.append(forward(noise(4, 3, size, size)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


def test_token_blocks_drop_both_of_their_paths():
    stem, blocks = (
        (Conv(kernel=3, channels=32, stride=2),),
        (AttentionBlock(expand=2), AttentionBlock(expand=2)),
    )
    net = build(Architecture(Shape(3, 8), (Stage("stem", stem), Stage("body", blocks))))
    names = list(net.state_dict())
    assert add_drop_path(net, 0.9) == 1  # the first of two at rate 0, the second at 0.45
    images, found = noise(4, 3, 8, 8), []
    with torch.no_grad():
        for number in (1, 1, 2):
            with counted(CPU, number):
                found.append(net(images))
        assert torch.equal(found[0], found[1])
        assert not torch.allclose(found[0], found[2])
        assert torch.equal(net.eval()(images), net(images))
    assert list(net.state_dict()) == names


def made(schedule: Schedule, **changes) -> Training:
    """Three phases of two sizes, all of it random."""
    body = (
        Conv(kernel=3, channels=8, stride=2),
        MBConv(expand=2),
        MBConv(expand=2),
        MBConv(expand=2),
    )
    net = build(
        Architecture(Shape(3, 16), (Stage("body", body), Stage("head", (Classifier(classes=4),))))
    )
    assert add_drop_path(net, 0.2) == 2
    pytest.importorskip("kornia")
    randaugment = RandAugment(Statistics((0.0,) * 3, (1.0,) * 3), magnitude=5)
    change = Changes(
        [Augment(pad=1, flip=True), randaugment, Mix(classes=4, mixup=0.2, cutmix=1.0)]
    )
    phases = [
        Phase(
            end=end, images=noise(32, 3, size, size), change=change, dropout=0.1 * end, random=True
        )
        for end, size in ((2, 8), (4, 12), (6, 16))
    ]
    return Training(
        net, phases[-1].images, torch.arange(32) % 4, schedule, seed=3, phases=phases, **changes
    )


def weights(training: Training) -> torch.Tensor:
    return torch.cat([v.flatten().double() for v in training.network.state_dict().values()])


@pytest.mark.parametrize(
    "settings", [{"ema": 0.9, "optimiser": "rmsprop"}, {"average": 0.5, "optimiser": "adamw"}]
)
def test_phases_and_chance_go_on_in_the_same_bits_from_any_step(settings):
    schedule = Schedule(
        steps=6, batch_size=8, lr=0.01, accumulate=2, label_smoothing=0.1, **settings
    )
    whole = made(schedule)
    states = []
    for _ in range(6):
        states.append(torch_copy(whole.state()))
        whole.advance()
    whole.finish()
    for state in (states[1], states[4]):
        again = made(schedule)
        again.restore(state)
        while again.done < 6:
            again.advance()
        again.finish()
        assert torch.equal(weights(again), weights(whole))
    assert [part.p for part in whole.network.modules() if isinstance(part, torch.nn.Dropout)] == [
        pytest.approx(0.6)
    ]


def torch_copy(state):
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
