"""Processors for images: the same inputs whatever else is installed.

transformers 5.24 loads a processor with its video half, which needs torchvision, and prefers
torchvision's arithmetic to Pillow's where it finds torchvision. Here the video half is left out,
and images go through Pillow wherever a processor has a class for that.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import cached_file

from bbtvp.core.errors import ModelError

try:
    from transformers.models.auto.processing_auto import (
        PROCESSOR_MAPPING,
        processor_class_from_name,
    )
    from transformers.processing_utils import ProcessorMixin
except (ImportError, OSError, RuntimeError) as error:
    # transformers imports torchvision where it is installed, and fails if that was built for
    # another torch.
    raise ImportError(
        f"transformers cannot use what is installed beside it ({error}); if that is torchvision, "
        f"install the build for torch {torch.__version__}, or pip uninstall torchvision"
    ) from error

_VIDEO = "video_processor"
_IMAGES = "image_processor"

_TORCHVISION = "TorchvisionBackend"
"""The base class of image processors on torchvision, by name: to import it needs torchvision."""


def load_processor(
    source: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> Any:
    """Load the processor of a folder or a hub id, without its video half and on Pillow.

    Nothing of the weights is read. The chat template of the files is kept, also where the
    processor's class would drop it. Raises ModelError if there is no processor of images and text,
    and what transformers raises for files that it cannot use.
    """
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    found = _class_of(source, options)
    if found is None:
        raise ModelError(
            f"{source} has no processor; save one there with processor.save_pretrained(folder)"
        )
    if _IMAGES not in found.get_attributes():
        raise ModelError(
            f"{source} has no image processor: its {found.__name__} takes "
            f"{' and '.join(found.get_attributes())}; name a model that reads images"
        )
    processor = _for_images(found).from_pretrained(source, **options)
    if not processor.chat_template:
        settings, _ = ProcessorMixin.get_processor_dict(source, revision=revision)
        processor.chat_template = settings.get("chat_template")
    return processor


def other_backend(processor: Any) -> str:
    """Return the name of the image processor's class if it does not use Pillow, else ""."""
    found = type(processor.image_processor)
    return found.__name__ if any(c.__name__ == _TORCHVISION for c in found.__mro__) else ""


def _class_of(source: str, options: dict[str, Any]) -> Any:
    """Return the processor class that the files name, else the one of the model's type, or None.

    A class in the files themselves is used only if their code is trusted. Raises ModelError for a
    name that transformers does not know.
    """
    for settings in _settings(source, options):
        remote = settings.get("auto_map", {}).get("AutoProcessor")
        if remote and options["trust_remote_code"]:
            return get_class_from_dynamic_module(remote, source, revision=options["revision"])
        name = settings.get("processor_class")
        if found := processor_class_from_name(name or ""):
            return _real(found)
        if remote:
            raise ModelError(
                f"{source} has a processor with code of its own; if you trust it, add the option "
                "trust_remote_code=true"
            )
        if name:
            raise ModelError(
                f"{source} names a processor class that transformers {transformers.__version__} "
                f"does not have, {name!r}; correct the name, or update transformers"
            )
    config = transformers.AutoConfig.from_pretrained(source, **options)
    return _real(PROCESSOR_MAPPING.get(type(config), None))


def _settings(source: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings that may name a processor's class, in the order of AutoProcessor."""
    revision = options["revision"]
    yield ProcessorMixin.get_processor_dict(source, revision=revision)[0]
    images = transformers.ImageProcessingMixin
    with suppress(OSError):  # there is no such file
        yield images.get_image_processor_dict(source, revision=revision)[0]
    yield get_tokenizer_config(source, revision=revision)
    yield transformers.AutoConfig.from_pretrained(source, **options).to_dict()


def _real(found: Any) -> Any:
    """Return a processor class, also if transformers has a placeholder for it without torchvision.

    Such a class (Pixtral's) needs a function of the module of torchvision's image processor, which
    the module of Pillow's defines too. Raises ImportError if that is not all.
    """
    if not getattr(found, "is_dummy", False):
        return found
    module = getattr(transformers, found.__name__).__module__
    wanted = module.replace(".processing_", ".image_processing_")
    try:
        pillow = importlib.import_module(module.replace(".processing_", ".image_processing_pil_"))
        sys.modules[wanted] = pillow
        return getattr(importlib.import_module(module), found.__name__)
    finally:
        sys.modules.pop(wanted, None)


class _NoVideos(dict[str, Any]):
    """Stands where a video processor would: its settings as attributes, None where it has none.

    Some processors read a setting of it even for an image. A dict, since a processor is written as
    JSON while it is loaded.
    """

    model_input_names: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    @classmethod
    def of(cls, source: str, settings: dict[str, Any], revision: str | None) -> _NoVideos:
        """Return the settings in a processor's own, or else in their own file."""
        if _VIDEO in settings:
            return cls(settings[_VIDEO])
        with suppress(OSError):  # there is no such file
            file = cached_file(source, "video_preprocessor_config.json", revision=revision)
            return cls(json.loads(Path(file).read_text("utf-8")))
        return cls()


@cache
def _for_images(base: Any) -> Any:
    """Return a processor class that loads what `base` does, but for the video half."""

    class ForImages(base):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return list(base.get_attributes())

        @classmethod
        def _get_arguments_from_pretrained(
            cls, source: str, processor_dict: Any = None, **options: Any
        ) -> list[Any]:
            rest = [part for part in cls.get_attributes() if part not in (_IMAGES, _VIDEO)]
            others = type(cls.__name__, (cls,), {"get_attributes": classmethod(lambda _: rest)})
            loaded = dict(
                zip(
                    rest,
                    base._get_arguments_from_pretrained.__func__(
                        others, source, processor_dict, **options
                    ),
                    strict=True,
                )
            )
            loaded[_IMAGES] = transformers.AutoImageProcessor.from_pretrained(
                source, backend="pil", **options
            )
            if _VIDEO in cls.get_attributes():
                loaded[_VIDEO] = _NoVideos.of(source, processor_dict, options["revision"])
            return [loaded[part] for part in cls.get_attributes()]

        @staticmethod
        def get_possibly_dynamic_module(name: str) -> Any:
            pillow = f"{name}Pil"
            return base.get_possibly_dynamic_module(
                pillow if hasattr(transformers, pillow) else name
            )

        def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
            if isinstance(argument, _NoVideos):
                return _NoVideos
            return super().check_argument_for_proper_class(name, argument)

    # What looks at the class by name shall find the name that it knows.
    ForImages.__name__ = ForImages.__qualname__ = base.__name__
    return ForImages
