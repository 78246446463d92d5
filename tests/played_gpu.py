"""A GPU that is played by the CPU, for code that has no other way to run here: what is asked of it is computed.

Refuses what the real one refuses: Apple's knows no float64, has batch norms that go wrong on channels-last images, and
autocast only since torch 2.5; NVIDIA's older ones have no bfloat16. Works in the thread that asks, not in others.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode

AUTOCAST = torch.autocast


class Played(TorchFunctionMode):
    """Whatever is to go to `device` stays on the CPU; `went` are the layouts and types of what was sent."""

    def __init__(self, device):
        super().__init__()
        self.device, self.went = torch.device(device), set()

    def is_meant(self, value):
        return str(value).partition(":")[0] == self.device.type if isinstance(value, str | torch.device) else False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.pin_memory:
            return args[0]
        is_sent = function is not torch.device and any(map(self.is_meant, (*args[1:], kwargs.get("device"))))
        if not is_sent:
            return function(*args, **kwargs)
        args = (*args[:1], *(torch.device("cpu") if self.is_meant(value) else value for value in args[1:]))
        if self.is_meant(kwargs.get("device")):
            kwargs["device"] = torch.device("cpu")
        result = function(*args, **kwargs)
        is_last = result.ndim == 4 and not result.is_contiguous()
        if self.device.type == "mps" and (result.dtype is torch.float64 or is_last):
            raise TypeError(f"an Apple GPU was sent {result.dtype}, {'channels last' if is_last else ''}")
        self.went.add((result.dtype, is_last))
        return result


@contextmanager
def played(device, capability=(9, 0), free=2**33):
    """Inside, `device` ("cuda" or "mps") is there; `free` bytes of its memory are."""

    def autocast(kind, dtype=None, enabled=True, **more):
        if kind == "mps":
            raise RuntimeError("User specified an unsupported autocast device_type 'mps'")  # torch 2.2 to 2.4
        if dtype is torch.bfloat16 and capability < (8, 0):
            raise RuntimeError("Current CUDA Device does not support bfloat16. Please switch dtype to float16.")
        return AUTOCAST("cpu", dtype, enabled=enabled, **more)

    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(torch, "autocast", autocast)
        patch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (free, 2**34))
        patch.setattr(torch.cuda, "empty_cache", lambda: None)
        yield stack.enter_context(Played(device))
