"""The resize, crop and normalisation of the processor, in floats.

Gradients flow back to the pixels through them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bbtvp.core.errors import UsageError

if TYPE_CHECKING:
    import torch

_MODES = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the filters. Torch's antialiased ones have the same kernels (bicubic: a =
−1/2).
"""


def float_path(levels: torch.Tensor, processor: Any) -> torch.Tensor:
    """(n, H, W, 3) levels 0-255 to (n, 3, side, side).

    As CLIP's image processor makes them, but for rounding.

    Pillow rounds and clips to 8 bits after each of a resize's two passes; floats are clipped once,
    at the end. The two differ by half a level on average, by a few at hard edges, and not at all
    where nothing is resized. Differentiable. UsageError for a processor that does anything else.
    """
    values = levels.permute(0, 3, 1, 2)
    if processor.do_resize:
        values = _resized(values, processor)
    if processor.do_center_crop:
        values = _cropped(values, processor)
    if processor.do_rescale:
        values = values * processor.rescale_factor
    if processor.do_normalize:
        mean, std = (
            values.new_tensor(v).reshape(-1, 1, 1)
            for v in (processor.image_mean, processor.image_std)
        )
        values = (values - mean) / std
    return values


def _resized(values: torch.Tensor, processor: Any) -> torch.Tensor:
    from torch.nn.functional import interpolate

    height, width = values.shape[-2:]
    size = dict(processor.size)
    if "shortest_edge" in size and "longest_edge" not in size:
        short = size["shortest_edge"]
        long = int(short * max(height, width) / min(height, width))
        target = (short, long) if height <= width else (long, short)
    elif {"height", "width"} <= size.keys():
        target = (size["height"], size["width"])
    else:
        raise UsageError(
            f"the surrogate's processor resizes to {size}; gradients need shortest_edge, "
            "or height, width"
        )
    if target == (height, width):
        return values
    mode = _MODES.get(_filter(processor.resample))
    if mode is None:
        raise UsageError(
            f"the surrogate's processor resizes by {processor.resample}; "
            "gradients need bilinear, bicubic"
        )
    return interpolate(values, target, mode=mode, antialias=True, align_corners=False).clamp(0, 255)


def _filter(resample: Any) -> int:
    """Pillow's number of a filter.

    Some processors name it by torchvision's enumeration, whose values are words.
    """
    names = {word: number for number, word in _MODES.items()}
    value = getattr(resample, "value", resample)
    return names.get(value, -1) if isinstance(value, str) else int(value)


def _cropped(values: torch.Tensor, processor: Any) -> torch.Tensor:
    height, width = values.shape[-2:]
    crop = (processor.crop_size["height"], processor.crop_size["width"])
    if crop[0] > height or crop[1] > width:
        raise UsageError(
            f"the surrogate's processor pads {height} x {width} px to {crop}; "
            "gradients need a smaller crop"
        )
    top = (height - crop[0]) // 2
    left = (width - crop[1]) // 2
    return values[..., top : top + crop[0], left : left + crop[1]]
