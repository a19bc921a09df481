"""A trained network that another one learns from: ours with its weights, or any ONNX file."""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data import Dataset
from nas.errors import TrainingError, UsageError
from nas.files import one_line
from nas.model import build
from nas.model.weights import load_weights, read_weights
from nas.run.network import named_network
from nas.scale import scaled
from nas.size import Size, sides, size_of
from nas.train.distil import Distillation
from nas.train.loop import Source

__all__ = ["TEMPERATURE", "WEIGHT", "Teacher", "load_teacher"]

# Hinton et al. try 2.5 to 4 on small networks; an even share favours neither labels nor teacher.
TEMPERATURE = 4.0
WEIGHT = 0.5
Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained network, and how much it counts: see `nas.train.distil.Distillation`."""

    logits: Callable[[torch.device], Logits]
    """By device: images (n, c, h, w), normalised as the student's, to (n, classes)."""
    size: Size
    """The height and width that it wants; 0: any."""
    files: tuple[str, ...]
    """Where it came from."""
    digest: str
    """Of its weights: 20 hex digits."""
    temperature: float = TEMPERATURE
    weight: float = WEIGHT

    def describe(self) -> dict[str, object]:
        """What a result depends on."""
        return {
            "files": list(self.files),
            "digest": self.digest,
            "temperature": self.temperature,
            "weight": self.weight,
        }

    def on(self, device: torch.device) -> Distillation:
        """The loss, with the teacher seeing the images that the student sees, at its own size."""
        logits = self.logits(device)

        def teach(images: Tensor, rows: Tensor) -> Tensor:
            return logits(self._resized(images))

        return Distillation(teacher=teach, temperature=self.temperature, weight=self.weight)

    def fixed(self, images: Source, batch_size: int = 256) -> Distillation:
        """The loss with logits computed once, on unchanged images: for many short trainings."""
        logits = self.logits(images.device)
        parts = torch.split(torch.arange(len(images), device=images.device), batch_size)
        known = torch.cat([logits(self._resized(images[rows])) for rows in parts])
        return Distillation(
            teacher=lambda changed, rows: known[rows],
            temperature=self.temperature,
            weight=self.weight,
        )

    def _resized(self, images: Tensor) -> Tensor:
        if not self.size or tuple(images.shape[2:]) == sides(self.size):
            return images
        return F.interpolate(images, size=sides(self.size), mode="bilinear", align_corners=False)

    def __str__(self) -> str:
        return (
            f"{' '.join(self.files)} ({self.digest}), "
            f"temperature {self.temperature:g}, weight {self.weight:g}"
        )


def load_teacher(
    spec: str,
    weights: str | Path | None,
    dataset: Dataset,
    *,
    temperature: float = TEMPERATURE,
    weight: float = WEIGHT,
) -> Teacher:
    """A teacher for a data set: a NETWORK with its weights, or an ONNX file.

    Raises `NasError`, too for other classes.
    """
    if not temperature > 0 or not 0 < weight <= 1:
        raise UsageError(
            "a teacher's temperature must be above 0 and its weight above 0 and at most 1, "
            f"not {temperature:g} and {weight:g}"
        )
    if spec.endswith(".onnx"):
        if weights is not None:
            raise UsageError("an ONNX teacher holds its weights: leave --teacher-weights out")
        teacher = _of_onnx(Path(spec), dataset)
    elif weights is None:
        raise UsageError(f"teacher '{spec}' needs its weights: --teacher-weights FILE")
    else:
        teacher = _of_network(spec, Path(weights), dataset)
    return dataclasses.replace(teacher, temperature=temperature, weight=weight)


def _check_classes(classes: int, dataset: Dataset, what: str) -> None:
    if classes != len(dataset.classes):
        raise TrainingError(
            f"teacher {what} knows {classes} classes, data set '{dataset.name}' "
            f"has {len(dataset.classes)}: train a teacher on this data first"
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def _of_network(spec: str, path: Path, dataset: Dataset) -> Teacher:
    architecture = scaled(named_network(spec), in_channels=dataset.in_channels)
    weights = read_weights(path)
    # The classifier is the last of the matrices; those before it squeeze.
    matrices = [value for value in weights.state.values() if value.ndim == 2]
    classes = matrices[-1].shape[0] if matrices else architecture.out_shape.channels
    _check_classes(classes, dataset, str(path))
    network = build(scaled(architecture, classes=classes))
    if not load_weights(network, weights).whole:
        raise TrainingError(
            f"teacher's weights {path} lack its classifier: give those of the whole network"
        )

    def ready(device: torch.device) -> Logits:
        network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

        def logits(images: Tensor) -> Tensor:
            with torch.no_grad():
                out: Tensor = network(images.contiguous(memory_format=torch.channels_last))
            return out

        return logits

    return Teacher(
        logits=ready, size=architecture.input.size, files=(spec, str(path)), digest=weights.digest
    )


def _of_onnx(path: Path, dataset: Dataset) -> Teacher:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            "an ONNX teacher needs onnxruntime: pip install 'nas-toolkit[export]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the number of threads is part of a result
    options.log_severity_level = 3  # errors alone
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # classes of its own, for whatever is wrong with a file
        raise TrainingError(f"cannot read teacher {path}: {one_line(error, 120)}") from None
    takes, out = session.get_inputs()[0], session.get_outputs()[0]
    # A word stands for a dimension of any size.
    shape = [n if isinstance(n, int) else 0 for n in takes.shape]
    if len(shape) != 4 or shape[0] > 1 or shape[1] not in (0, dataset.in_channels):
        raise TrainingError(
            f"teacher {path} must take images (any number, {dataset.in_channels}, height, width), "
            f"not {takes.shape}"
        )
    if len(out.shape) != 2 or not isinstance(out.shape[1], int):
        raise TrainingError(f"teacher {path} must give logits (images, classes), not {out.shape}")
    _check_classes(out.shape[1], dataset, str(path))

    def logits(images: Tensor) -> Tensor:
        pixels = images.detach().cpu().contiguous().numpy()
        values = session.run([out.name], {takes.name: pixels})[0]
        return torch.from_numpy(values).to(images.device)

    return Teacher(
        logits=lambda device: logits,
        # A side that is free in the file leaves both to the student.
        size=size_of(*shape[2:]) if all(shape[2:]) else 0,
        files=(str(path),),
        digest=_digest(path),
    )
