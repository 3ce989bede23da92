"""What the reduced models of tests/families are made of: tokenizers, settings, templates.

A builder is a function without arguments, registered under the family's key in transformers'
mapping by `@family(KEY)`, that returns (model, processor). The model has the family's own classes
with two or three narrow layers, the processor its own classes with small images. `build` then draws
every weight, so that no gate, scale or query token is zero and hides what stands behind it.

Image processors of the Pillow kind are used wherever there is one. A processor's video half, and an
image processor that only torchvision offers, are written into the folder by name: see `Named`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, final

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers.utils import PushToHubMixin

Builder = Callable[[], tuple[Any, Any]]
Ask = Callable[[Any, Any, str], Any]
"""From a processor, a PIL image and a question to the model's inputs."""

WORDS = (
    "cat caterpillar dog car tree truck",
    " cat caterpillar dog red blue circle square",
    "USER: ASSISTANT: User: Assistant:",
    "user\nassistant\nsystem\n",
    "What is in this image? Answer with one word.",
    "which one is this?",
)
SPECIAL = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>"}

LAYERS = 2
WIDTH = 64
IMAGE_WIDTH = 32
SIDE = 56
PATCH = 14


class Family(NamedTuple):
    """One reduced model of a family.

    key: in transformers' mapping. variant: tells two builders of one key apart. ask: how the
    family's documentation asks; None for the chat template. read: from a processor and inputs to
    what the model's own `generate` makes of them before it reads them, None for nothing. before:
    what stands between a prompt without a template and its answer. grow: the value that an answer's
    token has in an input that runs along the sequence, 0 where none is given. needs: packages
    beyond bbtvp's own. fault: what transformers itself gets wrong, for a family that no adapter can
    mend.
    """

    key: str
    variant: str
    builder: Builder
    ask: Ask | None = None
    read: Callable[[Any, Any], dict[str, Any]] | None = None
    before: str = " "
    grow: Mapping[str, int] = MappingProxyType({})
    needs: tuple[str, ...] = ()
    fault: str = ""

    @property
    def name(self) -> str:
        return f"{self.key} ({self.variant})" if self.variant else self.key


FAMILIES: dict[str, Family] = {}
"""All builders by name; filled when the modules of `tests.families.all` are imported."""


def family(key: str, variant: str = "", **more: Any) -> Callable[[Builder], Builder]:
    """Register a builder; `more` are the other fields of `Family`."""

    def register(builder: Builder) -> Builder:
        made = Family(key, variant, builder, **more)
        if made.name in FAMILIES:
            raise ValueError(f"two builders of {made.name}")
        FAMILIES[made.name] = made
        return builder

    return register


def build(made: Family) -> tuple[Any, Any]:
    """Build a family's model, with all weights drawn from one seed, and its processor."""
    torch.manual_seed(0)
    model, processor = made.builder()
    draw(model)
    generation = getattr(model, "generation_config", None)
    if made.read is None and hasattr(generation, "suppress_tokens"):
        # Drawn weights write an image's placeholder as gladly as a word, and lack its features.
        ends = generation.eos_token_id
        written = {processor.tokenizer.bos_token_id, *(ends if isinstance(ends, list) else [ends])}
        special = set(processor.tokenizer.all_special_ids)
        generation.suppress_tokens = sorted(special - written)
    return model.eval(), processor


@torch.no_grad()
def draw(model: torch.nn.Module) -> None:
    """Draw every weight at a scale that keeps signals of equal size through the layers.

    Matrices are normal with variance 1 / fan-in, convolutions of images with four times as much,
    since the nonlinearities of deep towers damp what they see. A vector keeps its values, as norms
    and recurrent decays have theirs for a reason, unless they are all tiny: a zero bias or gate, a
    LayerScale of 1e-5.
    """
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.dim() > 1:
            gain = 2 if weight.dim() == 4 else 1
            fan_in = math.prod(weight.shape[1:])
            weight.normal_(0, gain / math.sqrt(fan_in), generator=generator)
        elif weight.abs().max() < 1e-3:
            weight.normal_(0, 0.2, generator=generator)


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write both into a folder, as published ones are."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@final
class Named(PushToHubMixin):  # type: ignore[misc]  # by which a processor knows its parts
    """A part of a processor that is only written down: its class's name and its settings.

    Published folders name a video processor, which needs torchvision and which no image goes
    through. So the folder says what a published one says, whatever is installed here.
    """

    _auto_class = None

    def __init__(self, kind: str, name: str, **settings: Any) -> None:
        self.__dict__.update(settings)
        self._written = {f"{kind}_type": name, **settings}

    def to_dict(self) -> dict[str, Any]:
        return copy.deepcopy(self._written)


def video(name: str, **settings: Any) -> Named:
    """The video half of a processor."""
    return Named("video_processor", name, **settings)


def pil(name: str, **settings: Any) -> Any:
    """An image processor of the Pillow kind, by the name that configurations have."""
    return getattr(hf, f"{name}Pil")(**settings)


def torchvision_only(name: str, **settings: Any) -> Any:
    """An image processor that needs torchvision, or what a folder says of it."""
    if find_spec("torchvision"):
        return getattr(hf, name)(**settings)
    return Named("image_processor", name, **settings)


def processor(cls: Any, **parts: Any) -> Any:
    """Make a processor of a class, some of whose parts may be only `Named`."""

    def check(self: Any, name: str, part: Any) -> Any:
        return (
            None
            if isinstance(part, Named)
            else cls.check_argument_for_proper_class(self, name, part)
        )

    # The class's name is written into the folder.
    return type(cls.__name__, (cls,), {"check_argument_for_proper_class": check})(**parts)


def tokenizer(
    *extra: str,
    named: Mapping[str, str] | None = None,
    first: tuple[str, ...] = (),
    begins: bool = False,
    ends: bool = False,
    side: str = "left",
    **special: str,
) -> Any:
    """Train a byte-level tokenizer of some four hundred tokens.

    extra: more special tokens. named: special tokens that the tokenizer has as attributes,
    `image_token` say. first: those with the lowest ids. begins, ends: whether encoding adds the
    BOS and the EOS, as Llama's and BERT's tokenizers do. special: other names for pad, bos, eos
    and unk.
    """
    named = dict(named or {})
    names = {**SPECIAL, **special}
    tokens = list(dict.fromkeys([*first, *names.values(), *named.values(), *extra]))
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420 + len(tokens),
        special_tokens=tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(WORDS * 20, trainer)
    if begins or ends:
        around = [names["bos"]] * begins + ["$A"] + [names["eos"]] * ends
        core.post_processor = processors.TemplateProcessing(
            single=" ".join(around),
            special_tokens=[(names[end], core.token_to_id(names[end])) for end in ("bos", "eos")],
        )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        padding_side=side,
        extra_special_tokens=named,
        **{f"{name}_token": token for name, token in names.items()},
    )


def ids(tokens: Any, **names: str) -> dict[str, int]:
    """The ids of tokens by the names that a configuration has for them."""
    return {name: tokens.convert_tokens_to_ids(token) for name, token in names.items()}


def special_ids(tokens: Any) -> dict[str, int]:
    return {
        "pad_token_id": tokens.pad_token_id,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
    }


def text(tokens: Any, model_type: str = "", **more: Any) -> dict[str, Any]:
    """Settings of a small decoder in Llama's terms, which most share."""
    kind = {"model_type": model_type} if model_type else {}
    return {
        **kind,
        "vocab_size": len(tokens),
        "hidden_size": WIDTH,
        "intermediate_size": 128,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 8192,
        **special_ids(tokens),
        **more,
    }


def without(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def tower(model_type: str = "", **more: Any) -> dict[str, Any]:
    """Settings of a small vision tower in ViT's terms, which most share."""
    kind = {"model_type": model_type} if model_type else {}
    return {
        **kind,
        "hidden_size": IMAGE_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
        **more,
    }


def clip(**more: Any) -> dict[str, Any]:
    return tower("clip_vision_model", projection_dim=IMAGE_WIDTH, **more)


def siglip(**more: Any) -> dict[str, Any]:
    return tower("siglip_vision_model", vision_use_head=False, **more)


def square(side: int = SIDE) -> dict[str, int]:
    return {"height": side, "width": side}


def clip_images(side: int = SIDE, **more: Any) -> Any:
    size = {"shortest_edge": side}
    return pil("CLIPImageProcessor", **{"size": size, "crop_size": square(side), **more})


def siglip_images(side: int = SIDE) -> Any:
    return pil("SiglipImageProcessor", size=square(side))


def chat(
    image: str, user: str = "USER: ", end: str = "\n", reply: str = "ASSISTANT:", start: str = ""
) -> str:
    """A chat template of users' and assistants' turns, with the image's placeholder.

    start: once, at the beginning, `{{ bos_token }}` say. end: after every turn. A reply follows a
    colon after a space, which the prompt for a reply leaves to the model, as LLaVA's template does.
    """
    turn = f"{reply} " if reply.endswith(":") else reply
    return (
        f"{start}{{%- for m in messages -%}}"
        f"{{{{ {user!r} if m['role'] == 'user' else {turn!r} }}}}"
        "{%- if m['content'] is string -%}{{ m['content'] }}{%- else -%}"
        "{%- for c in m['content'] -%}"
        f"{{{{ {image!r} if c['type'] == 'image' else c['text'] }}}}"
        "{%- endfor -%}{%- endif -%}"
        f"{{{{ {end!r} }}}}{{%- endfor -%}}"
        f"{{%- if add_generation_prompt -%}}{{{{ {reply!r} }}}}{{%- endif -%}}"
    )


BOS = "{{ bos_token }}"
CHATML = {"user": "<|im_start|>user\n", "end": "<|im_end|>\n", "reply": "<|im_start|>assistant\n"}
"""Turns as Qwen's models have them, and those that follow."""
