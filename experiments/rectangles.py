"""Whether a layer's time follows the area of its map: squares beside rectangles of as many pixels.

    python experiments/rectangles.py [--rounds 60]

Five layers, each as a square and as rectangles of about its area, up to 1 x n, are timed in turn in
onnxruntime on one thread; the best of all rounds counts. Printed is the time per multiply-add,
relative to the square's. A device model prices by areas, so it is as right for a rectangle as for a
square where this is near 1.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime

from nas.arch import Layer
from nas.measure.graphs import layer_graph
from nas.ops.conv import Conv
from nas.ops.mbconv import MBConv
from nas.shape import Op, Shape
from nas.size import size_of

LAYERS: tuple[tuple[Op, int, int], ...] = (
    (MBConv(kernel=3, expand=4, channels=24), 24, 56),
    (MBConv(kernel=5, expand=4, channels=40, stride=2), 40, 28),
    (MBConv(kernel=7, expand=3, channels=80), 80, 14),
    (Conv(kernel=3, channels=32, stride=2), 16, 112),
    (MBConv(kernel=5, expand=6, channels=96), 96, 28),
)
"""Op, channels, pixels a side of the square."""


def sizes(side: int) -> list[tuple[int, int]]:
    """Height and width of maps of about the square's area."""
    return [
        (side, side),
        (side * 3 // 4, round(side * 4 / 3)),
        (side // 2, side * 2),
        (side // 4, side * 4),
        (1, side * side),
    ]


def best_seconds(layers: list[Layer], rounds: int) -> list[float]:
    """Of each layer, all timed in turn."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    ready = []
    for layer in layers:
        session = onnxruntime.InferenceSession(
            layer_graph(layer), options, providers=["CPUExecutionProvider"]
        )
        image = np.random.default_rng(0).normal(size=(1, layer.shape.channels, *layer.shape.sides))
        ready.append((session, {session.get_inputs()[0].name: image.astype(np.float32)}))
    best = [float("inf")] * len(layers)
    for _ in range(rounds):
        for place, (session, feed) in enumerate(ready):
            start = time.perf_counter()
            session.run(None, feed)
            best[place] = min(best[place], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    for op, channels, side in LAYERS:
        layers = [Layer(op, Shape(channels, size_of(*size))) for size in sizes(side)]
        seconds = best_seconds(layers, rounds)
        print(op.signature)
        for layer, taken in zip(layers, seconds, strict=True):
            pace = (taken / layer.macs) / (seconds[0] / layers[0].macs)
            print(f"  {layer.shape!s:12} {1e3 * taken:7.3f} ms  {pace:.2f} of the square's per MAC")


if __name__ == "__main__":
    main()
