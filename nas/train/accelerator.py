"""From the word of ``--accelerator`` to a device of torch."""

from functools import cache

import torch

from nas.errors import UsageError

__all__ = ["device_of", "placed", "present", "usual_precision"]


@cache
def present() -> tuple[str, ...]:
    """What torch can compute on here: ``cpu`` first, then every GPU by its number."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return tuple(names)


def device_of(accelerator: str = "auto") -> torch.device:
    """The device that a word of `nas.compute.Compute` means here.

    Raises `UsageError`, naming what is here, for one that is not.
    """
    here = present()
    name = "cuda:0" if accelerator == "cuda" else accelerator
    if accelerator == "auto":
        name = "cuda:0" if "cuda:0" in here else "cpu"
    if name not in here:
        why = ""
        if name.startswith("cuda") and torch.version.cuda is None:
            why = f" (torch {torch.__version__} is built without CUDA)"
        raise UsageError(
            f"there is no accelerator '{accelerator}' here, only {', '.join(here)}{why}"
        )
    return torch.device(name)


def usual_precision(device: torch.device) -> str:
    """What ``auto`` means: the fastest that trains as well, or float32 where that is not known."""
    if device.type != "cuda":
        return "float32"
    # Older GPUs compute bfloat16 by float32, several times slower.
    known = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(
        including_emulation=False
    )
    return "float16" if known else "bfloat16"


def placed(device: torch.device, precision: str = "auto") -> str:
    """Device and precision as people read them: ``cpu``; ``cuda:0 (NVIDIA H200), bfloat16``."""
    name = str(device)
    if device.type == "cuda" and torch.cuda.is_available():
        name = f"{name} ({torch.cuda.get_device_name(device)})"
    numbers = usual_precision(device) if precision == "auto" else precision
    return name if numbers == "float32" else f"{name}, {numbers}"
