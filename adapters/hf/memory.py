"""Weights of fewer bits, or spread over several devices: for models larger than one memory."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
import transformers

from bbtvp.core.errors import UsageError, unknown

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""accelerate's ways to spread a model over all GPUs, then the CPU, then the disk."""


def placement(
    device: str,
    dtype: torch.dtype,
    *,
    bits: int | None,
    device_map: str | None,
    offload_folder: str | None,
) -> dict[str, Any]:
    """Return what `from_pretrained` is told of where and how weights are held.

    bits: 8 or 4 for weights in integers (LLM.int8, NF4) that are multiplied in `dtype`. device_map:
    one of DEVICE_MAPS. offload_folder: where weights lie on the disk that fit in no memory. Empty
    if none of them is given: the model is then moved to `device` as a whole. Raises UsageError for
    another value, and for a package that is not installed.
    """
    if bits not in (None, 4, 8):
        raise UsageError(f"bits must be 4 or 8, got {bits!r}")
    if device_map is not None and device_map not in DEVICE_MAPS:
        raise unknown("device_map", device_map, DEVICE_MAPS)
    if offload_folder is not None and device_map is None:
        raise UsageError("offload_folder needs device_map=auto, which decides what lies there")
    if bits is None and device_map is None:
        return {}
    for package in ("accelerate", *(["bitsandbytes"] if bits else [])):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"bits and device_map need {package}: "
                "pip install -c constraints.txt 'bbtvp[memory]'"
            )
    options: dict[str, Any] = {"device_map": device_map or {"": device}}
    if offload_folder is not None:
        options["offload_folder"] = offload_folder
    if bits is not None:
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=bits == 8,
            load_in_4bit=bits == 4,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            # What does not fit on a GPU stays on the CPU, in float32.
            llm_int8_enable_fp32_cpu_offload=device_map is not None,
        )
    return options
