"""Training steps of one layer, or of a whole network, timed in torch on this CPU."""

import json
import platform
import time
from collections.abc import Callable
from typing import Any

import torch

from nas.arch import Architecture, Layer, Stage
from nas.measure.runners import REFERENCE, cpu_model
from nas.model import build
from nas.ops.conv import Conv
from nas.shape import Shape
from nas.size import shorter, strided

__all__ = ["TrainingStep", "layer_document", "network_document"]

LEARNING_RATE, MOMENTUM = 1e-3, 0.9


def network_document(network: Architecture) -> bytes:
    """A network as `TrainingStep.open` takes it, in place of a graph."""
    return json.dumps(network.to_json()).encode()


def layer_document(layer: Layer) -> bytes:
    """The same for a layer: a network of a single op."""
    return network_document(Architecture(layer.shape, (Stage("layer", (layer.op,)),)))


class TrainingStep:
    """One step of training in torch, float32, on random numbers.

    Forward, backward down to the input, SGD with momentum. A network's own step needs no gradient
    at its input; its layers' do, but for the first. Timed by the CPU time of the process.
    """

    in_process = True
    fewest_rounds = 7

    def __init__(self, threads: int = 1, *, batch: int = 8) -> None:
        self.threads, self.batch = threads, batch

    def aside(self) -> tuple[None, bytes]:
        """A convolution as a reference.

        Nothing is taken off, as a layer pays for its own bookkeeping in a network too.
        """
        shape = Shape(REFERENCE.in_channels, strided(REFERENCE.in_size, 2))
        conv = Conv(kernel=shorter(REFERENCE.kernel), channels=REFERENCE.out_channels)
        return None, layer_document(Layer(conv, shape))

    def open(self, model: bytes) -> Callable[[], float]:
        """The module, its input and its optimiser made."""
        torch.set_num_threads(self.threads)
        network = Architecture.from_json(json.loads(model))
        module = build(network).train()
        single = len(network.layers) == 1
        shape = network.input
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(self.batch, shape.channels, *shape.sides, generator=generator)
        image.requires_grad_(single)
        parameters = list(module.parameters())
        optimiser = (
            torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM) if parameters else None
        )

        def once() -> float:
            start = time.process_time_ns() if self.threads == 1 else time.perf_counter_ns()
            image.grad = None
            module.zero_grad(set_to_none=True)
            out = module(image)
            out.backward(torch.ones_like(out) / out.numel())
            if optimiser is not None:
                optimiser.step()
            end = time.process_time_ns() if self.threads == 1 else time.perf_counter_ns()
            return (end - start) / 1e6

        return once

    def conditions(self) -> dict[str, Any]:
        """Runtime, dtype, threads, batch, CPU."""
        return {
            "runtime": f"torch {torch.__version__}, python {platform.python_version()}",
            "step": "forward, backward, SGD with momentum",
            "dtype": "float32",
            "threads": self.threads,
            "batch": self.batch,
            "clock": "CPU time of the process" if self.threads == 1 else "wall",
            "hardware": cpu_model(),
        }
