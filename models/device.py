"""Where networks run, and in which precision."""

from __future__ import annotations

import torch

from ..engine.errors import InvalidParameter


def pick_device(wish: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``mps``. Raises `InvalidParameter` when it is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wish == "auto":
        wish = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
    if not available[wish]:
        raise InvalidParameter(f"This machine has no usable {wish} device", "Choose the device auto or cpu")
    return torch.device(wish)


def pick_bfloat16(device: torch.device, wish: str) -> bool:
    """Whether to run convolutions in bfloat16: when asked to, or when ``auto`` and the device is fast at it."""
    if wish != "auto":
        return wish == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def describe_devices() -> list[dict[str, str]]:
    """The devices of this machine, ``[{"id": "cpu", "name": ...}, ...]``."""
    devices = [{"id": "cpu", "name": f"CPU, {torch.get_num_threads()} threads"}]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        devices.append({"id": "cuda", "name": f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"})
    if torch.backends.mps.is_available():
        devices.append({"id": "mps", "name": "Apple GPU"})
    return devices


_OUT_OF_MEMORY = ("out of memory", "can't allocate", "not enough memory", "bad_alloc", "could not create a primitive")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch or Python ran out of memory; the allocators of the devices say so in words alone."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)
