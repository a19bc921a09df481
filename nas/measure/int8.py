"""What int8 costs and gains: accuracy and latency of an ONNX file before and after quantisation."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.data import Dataset, LazyTensors, Splits, Statistics, split, statistics
from nas.data.dataset import Pictures
from nas.data.pictures import ImageFiles
from nas.errors import DataError
from nas.export.int8 import OnnxNetwork, write_int8
from nas.export.predict import metadata_of_onnx
from nas.export.verification import Job, check
from nas.measure.runners import OnnxRuntime
from nas.measure.timing import Subject, Timing, measure
from nas.metadata import Metadata
from nas.record import ledger
from nas.size import Size
from nas.train import score

__all__ = ["CALIBRATION_IMAGES", "Quantised", "quantise"]

CALIBRATION_IMAGES = 256
OPENINGS = "test.jsonl"


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """What int8 does to a file. Each pair is before, float32, and after, int8."""

    file: Path
    images: int
    """Images that it was calibrated with."""
    accuracy: tuple[float, float]
    """On the *selection* set, 0 to 1."""
    test_accuracy: tuple[float, float] | None
    """On the *test* set, 0 to 1; None if it was not asked for."""
    latency: tuple[Timing, Timing]
    size_bytes: tuple[int, int]
    test_openings: int
    """How often the test set was opened for files of this folder; 0 if it was not asked for."""
    test_left_out: str = ""
    """For people, which images of the test set could not be read; empty if all could."""

    def lines(self) -> list[str]:
        """For people."""
        before, after = self.latency
        lines = [
            f"  {self.file}  int8, calibrated with {self.images} images of the weights set",
            f"    selection accuracy {self.accuracy[0]:.4f} before, {self.accuracy[1]:.4f} after",
            f"    latency {before.latency_ms:.3f} ± {before.sd_ms:.3f} ms before, "
            f"{after.latency_ms:.3f} ± {after.sd_ms:.3f} ms after, onnxruntime on this CPU",
            f"    size {self.size_bytes[0]:,} bytes before, {self.size_bytes[1]:,} after",
        ]
        if self.test_accuracy is not None:
            times = "once" if self.test_openings == 1 else f"{self.test_openings} times"
            float32, int8 = self.test_accuracy
            lines.insert(
                2,
                f"    test accuracy {float32:.4f} before, {int8:.4f} after "
                f"(test set opened {times})",
            )
        if self.test_left_out:
            lines.insert(3, f"    {self.test_left_out}")
        return lines


def quantise(
    model: str | Path,
    dataset: Dataset,
    target: str | Path,
    *,
    images: int = CALIBRATION_IMAGES,
    threads: int = 1,
    test: bool = False,
    seconds: float = 2.0,
) -> Quantised:
    """Write ``target``, the int8 form of an ONNX file, and say what that does.

    It is calibrated with the first ``images`` of the *weights* set, as `nas train` splits it, and
    scored on *selection*; on *test* only if ``test`` asks for it, which is
    counted in ``test.jsonl`` beside the file. Both files are timed beside each other for about
    ``seconds`` each. The file is verified in an interpreter without the toolkit. Raises `NasError`.
    """
    model, target = Path(model), Path(target)
    before = OnnxNetwork(model)
    _check_fits(before, dataset, model)
    metadata = metadata_of_onnx(before)
    how = metadata.preprocessing
    if how is not None and how.low < how.high:
        dataset = replace(dataset, value_range=(how.low, how.high))
    splits = split(dataset)
    dataset = splits.dataset
    source = _Source(splits, before.shape.size, metadata)
    calibration = source.of(dataset.images, splits.weights[:images])
    write_int8(model, calibration[torch.arange(len(calibration))], target)
    after = OnnxNetwork(target)
    _verify(after, target)
    accuracy = (
        source.accuracy(before, dataset.images, dataset.labels, splits.selection),
        source.accuracy(after, dataset.images, dataset.labels, splits.selection),
    )
    test_accuracy = None
    openings = 0
    if test:
        shown, labels = splits.open_test(target.parent / OPENINGS)
        openings = ledger.openings(target.parent / OPENINGS)
        every = np.arange(len(labels))
        test_accuracy = (
            source.accuracy(before, shown, labels, every),
            source.accuracy(after, shown, labels, every),
        )
    return Quantised(
        file=target,
        images=len(calibration),
        accuracy=accuracy,
        test_accuracy=test_accuracy,
        latency=_timed(model, target, threads, seconds),
        size_bytes=(model.stat().st_size, target.stat().st_size),
        test_openings=openings,
        test_left_out=ledger.left_out(target.parent / OPENINGS) if test else "",
    )


class _Source:
    """Images of a data set as the network takes them: by what its file says, else by the data."""

    def __init__(self, splits: Splits, size: Size, metadata: Metadata) -> None:
        self.how = metadata.preprocessing
        self.size = size
        if metadata.mean:
            # Other images than those of its training have another mean.
            self.statistics = Statistics(metadata.mean, metadata.std)
        else:
            self.statistics = statistics(splits.dataset.images[splits.weights])

    def of(self, images: Pictures, chosen: np.ndarray) -> LazyTensors:
        shown = self._as_trained(images)
        return LazyTensors(shown, chosen, self.statistics, self.size, torch.device("cpu"))

    def _as_trained(self, images: Pictures) -> Pictures:
        """Files cut as those of the training were, which arrays of pixels never are."""
        how = self.how
        if how is None or not how.resize or not isinstance(images, ImageFiles):
            return images
        deep = (how.low, how.high) if how.low < how.high else None
        return replace(images, whole=how.resize == how.size, value_range=deep)

    def accuracy(
        self, net: OnnxNetwork, images: Pictures, labels: np.ndarray, chosen: np.ndarray
    ) -> float:
        truth: Tensor = torch.from_numpy(labels[chosen])
        return score(net, self.of(images, chosen), truth)["accuracy"]


def _check_fits(net: OnnxNetwork, dataset: Dataset, path: Path) -> None:
    if net.shape.channels != dataset.in_channels:
        raise DataError(
            f"{path} takes images of {net.shape.channels} channels, "
            f"data set '{dataset.name}' has {dataset.in_channels}: "
            "calibrate with the data it was trained on"
        )
    if net.classes != len(dataset.classes):
        raise DataError(
            f"{path} knows {net.classes} classes, "
            f"data set '{dataset.name}' has {len(dataset.classes)}: "
            "calibrate with the data it was trained on"
        )


def _verify(net: OnnxNetwork, path: Path) -> None:
    """The file gives the same logits where only torch and onnxruntime are installed."""
    check([Job(shape=net.shape, network=net, onnx=path)])


def _timed(model: Path, target: Path, threads: int, seconds: float) -> tuple[Timing, Timing]:
    subjects = [Subject("before", model.read_bytes), Subject("after", target.read_bytes)]
    timings: dict[str, Timing] = {}
    for block in measure(subjects, OnnxRuntime(threads), threads=threads, seconds_per_row=seconds):
        timings.update(block.timings)
    return timings["before"], timings["after"]
