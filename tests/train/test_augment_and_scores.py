# ruff: noqa: E402
import pytest
from sklearn.metrics import f1_score, log_loss

torch = pytest.importorskip("torch")

from nas.train import Augment, predict, score

LABELS = torch.zeros(1, dtype=torch.int64)


def test_a_shift_moves_each_image_by_at_most_the_pad() -> None:
    images = torch.zeros(200, 1, 7, 7)
    images[:, :, 3, 3] = 1
    moved, _ = Augment(pad=2)(images, LABELS, torch.Generator().manual_seed(0))
    places = {tuple(place[2:].tolist()) for place in moved.nonzero()}
    assert moved.sum() == 200
    assert places == {(row, column) for row in range(1, 6) for column in range(1, 6)}


def test_half_of_the_images_are_mirrored() -> None:
    images = torch.arange(3.0).expand(400, 1, 3, 3)
    mirrored = (
        Augment(flip=True)(images, LABELS, torch.Generator().manual_seed(0))[0][:, 0, 0, 0] == 2
    )
    assert 150 < mirrored.sum() < 250  # a fair coin leaves these bounds less than once in a million


def test_nothing_is_changed_unless_asked() -> None:
    images = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    assert Augment()(images, LABELS, torch.Generator()) == (images, LABELS)


def test_scores_equal_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(300, 1, 1, 4, generator=generator)
    labels = torch.randint(3, (300,), generator=generator)  # class 3 is never the truth
    found = score(torch.nn.Flatten(), images, labels)
    named = predict(torch.nn.Flatten(), images).argmax(1)
    assert found["accuracy"] == pytest.approx((named == labels).float().mean().item())
    recalls = [
        ((named == c) & (labels == c)).sum().item() / (labels == c).sum().item() for c in range(3)
    ]
    assert found["balanced_accuracy"] == pytest.approx(sum(recalls) / 3)
    assert found["macro_f1"] == pytest.approx(
        f1_score(labels, named, average="macro", labels=[0, 1, 2])
    )
    probabilities = predict(torch.nn.Flatten(), images).double().softmax(1)
    assert found["loss"] == pytest.approx(
        log_loss(labels, probabilities, labels=[0, 1, 2, 3]), rel=1e-5
    )
