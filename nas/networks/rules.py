"""How published figures count: each rule a function of a network's kernels.

Papers and repositories do not agree on what a parameter or a multiply-add is. `Architecture.params`
and `Architecture.macs` follow one rule (all trained values; convolutions, linear layers and matrix
products); these rebuild the figures of others.
"""

from collections.abc import Callable, Iterable, Mapping

from nas.shape import Kernel

__all__ = ["MACS", "PARAMS", "all_trainable", "conv_and_classifier_weights"]

Rule = Callable[[Iterable[Kernel]], int]

DENSE = ("conv", "dwconv", "linear")
"""Kinds of kernels with weights that are multiplied: no norms, no matrix products."""


def all_trainable(kernels: Iterable[Kernel]) -> int:
    """Weights, biases and norms: torchvision, timm."""
    return sum(k.params for k in kernels)


def conv_and_classifier_weights(kernels: Iterable[Kernel]) -> int:
    """Weights of convolutions and linear layers, neither norms nor biases: mobile-vision."""
    return sum(k.weights for k in kernels if k.kind in DENSE)


def with_distillation_head(kernels: Iterable[Kernel]) -> int:
    """All that is trained, and what follows the last pool twice: timm's distilled networks.

    They have a second classifier, which learnt from a teacher, and give the mean of both. That mean
    is one linear layer, which is what the networks here have.
    """
    kernels = tuple(kernels)
    pools = [number for number, kernel in enumerate(kernels) if _is_global_pool(kernel)]
    return all_trainable(kernels) + all_trainable(kernels[pools[-1] :])


def conv_and_linear(kernels: Iterable[Kernel]) -> int:
    """Multiply-adds of convolutions and linear layers, with squeeze-and-excitation: torchvision."""
    return sum(k.macs for k in kernels if k.kind in DENSE)


def with_average_pool(kernels: Iterable[Kernel]) -> int:
    """`conv_and_linear` and one per value averaged by the last pool: mobile-vision."""
    kernels = tuple(kernels)
    return conv_and_linear(kernels) + sum(k.in_elements for k in kernels if _is_global_pool(k))


def half_of_float_operations(kernels: Iterable[Kernel]) -> int:
    """Half of all float operations of the inference graph: tensorflow/tpu's table of MnasNet-A1.

    Two per multiply-add, one per value that a folded norm shifts, a residual adds,
    squeeze-and-excitation scales or a pool averages. Stated nowhere, but found to meet the table's
    25 rows within 0.3 %, where `conv_and_linear` is 0.9 to 2.7 % below it (and at the paper's 312
    million for A1).
    """
    macs, single = 0, 0
    for k in kernels:
        macs += k.macs
        if k.norm or k.kind in ("add", "mul"):
            single += k.out_elements
        if _is_global_pool(k):
            single += k.in_elements
    # A multiply-add is two operations, each of the others one.
    return macs + single // 2


def fvcore(kernels: Iterable[Kernel]) -> int:
    """The operation count of fvcore: the UniNet repository, timm's tables.

    Multiply-adds of convolutions, linear layers and matrix products; two per value of a batch norm,
    five per value of a layer norm, one per value averaged by a global pool.
    """
    total = 0
    for k in kernels:
        total += k.macs + 2 * k.norm * k.out_elements
        if k.kind == "norm":
            per_channel = k.groups == k.out_channels  # a batch norm, not a layer norm
            total += (2 if per_channel else 5) * k.out_elements
        elif _is_global_pool(k):
            total += k.in_elements
    return total


def _is_global_pool(kernel: Kernel) -> bool:
    return kernel.kind == "pool" and kernel.out_size == 1 and kernel.kernel == kernel.in_size


PARAMS: Mapping[str, Rule] = {
    "all trainable": all_trainable,
    "with a distillation head": with_distillation_head,
    "conv and classifier weights": conv_and_classifier_weights,
}
MACS: Mapping[str, Rule] = {
    "conv+linear": conv_and_linear,
    "conv+linear+average pool": with_average_pool,
    "half of float operations": half_of_float_operations,
    "fvcore": fvcore,
}
