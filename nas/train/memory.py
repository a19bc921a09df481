"""How much memory a training may take."""

import os

import torch

__all__ = ["available_bytes"]


def available_bytes(device: torch.device) -> int:
    """Free memory of a CUDA device, or all physical memory of the machine.

    No single training can exceed it.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
