"""The contract of an op: what it declares without torch is what its torch module does."""

from collections.abc import Callable
from typing import Any

from nas.arch import Layer
from nas.ops import op_from_json, op_to_json
from nas.shape import Op, Shape

__all__ = ["check_op"]


def check_op(op: Op, shape: Shape, module: Callable[[Op, Shape], Any]) -> None:
    """Raise AssertionError unless torch's parameters, MACs and output shape are the declared ones.

    ``module`` builds the torch module: `nas.model.module` does for every registered op. It runs on
    torch's meta device, where nothing is computed, so every (op, shape) of a space takes
    milliseconds. An op whose branches are folded to be shipped has the folded form's declared too.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    assert op_from_json(op_to_json(op)) == op, f"{op} does not survive its JSON form"
    layer = Layer(op, shape)
    _ = layer.peak_bytes  # raises unless what is held is said for each kernel
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        built = module(op, shape).eval()
        out = built(torch.empty(1, shape.channels, *shape.sides))
    kernels = op.trained(shape)
    declared_params = sum(kernel.params for kernel in kernels)
    params = sum(p.numel() for p in built.parameters())
    assert params == declared_params, (
        f"{layer}: torch has {params} parameters, {declared_params} are declared"
    )
    declared_macs = sum(kernel.macs for kernel in kernels)
    macs, odd = divmod(counter.get_total_flops(), 2)  # torch counts a multiply-add as two
    assert (macs, odd) == (declared_macs, 0), (
        f"{layer}: torch does {macs} MACs, {declared_macs} are declared"
    )
    # A classifier hands over a vector, which is declared as a map of one pixel.
    given = (*out.shape[1:], 1, 1)[:3]
    declared = (layer.out_shape.channels, *layer.out_shape.sides)
    assert given == declared, f"{layer}: torch hands over {given}, {declared} is declared"
    if op.deployed != op:
        assert op.deployed.kernels(shape) == layer.kernels, f"{layer} ships as another one"
        check_op(op.deployed, shape, module)
