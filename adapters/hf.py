"""Any local model that AutoModelForImageTextToText loads, from a folder or a hub id.

    load_model("hf/llava-hf/llava-1.5-7b-hf", device="cuda", dtype="bfloat16", batch=16)
    load_model("hf/./my-folder")

Requests with labels are scored by log-probability. The prefix (image and question) runs once for
all labels, and log-softmax is taken in float32 whatever the model's dtype and the caller's
autocast. Requests without labels get greedy text. Images of a batch with equal token counts run
together, so no padding enters a prompt, and an answer depends on nothing but its request. Where
memory runs out, fewer run together from then on.

A thought that the model's chat template opens is closed before the answer, and a warning says so.
Where that cannot be done, labels are not scored.

Safe to use from many threads. They take turns on a GPU, whose memory one of them fills, and run at
once on the CPU.
"""

from __future__ import annotations

import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, final

import torch
import transformers

from bbtvp.adapters.hf_batches import FULL, BatchSizer
from bbtvp.adapters.hf_inputs import Prompts, placed
from bbtvp.adapters.hf_prompts import ThoughtWarning, answer_prompt, thought_note
from bbtvp.adapters.hf_scoring import Scorer
from bbtvp.adapters.pretrained import load_weights, loading, source_of, to_device
from bbtvp.core.digest import digest
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.models import (
    Budget,
    Capabilities,
    LabelScore,
    Model,
    Outcome,
    QueryFailed,
    Reply,
    Request,
    Usage,
)

LONGEST_SIDE = 10_000
"""Pixels. A larger value is not the side of an image."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_BLOCKS = 64
_BLOCK = 4096
"""How much of a weights file a revision reads: the number of blocks, and bytes per block."""


def load(
    name: str,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    batch: int = 32,
    tokens: int | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    spec: str | None = None,
) -> Model:
    """Load `name`, a hub id or a folder (`./…`, `/…`, `~/…`).

    device: torch device. dtype: float32, bfloat16 or float16. batch: most sequences per forward
    pass. tokens: most tokens of all sequences of a forward pass together; a longer sequence runs
    alone; no bound if None. Raises UsageError for a bad option, and ModelError for a folder that
    lacks weights or a processor.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if not isinstance(trust_remote_code, bool):  # from a command line: any word would count as yes
        raise UsageError(f"trust_remote_code must be true or false, got {trust_remote_code!r}")
    label = spec or f"hf/{name}"
    sizer = BatchSizer(label, batch, tokens)
    source = source_of(name)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    with loading(source, **options):
        processor = transformers.AutoProcessor.from_pretrained(source, **options)
        model = load_weights(
            transformers.AutoModelForImageTextToText, source, dtype=DTYPES[dtype], **options
        )
        found = revision_of(source, model)
    if not hasattr(processor, "image_processor"):
        raise ModelError(
            f"{source} has no image processor; "
            "save one there with processor.save_pretrained(folder)"
        )
    return HuggingFaceModel(label, to_device(model, device), processor, sizer, revision=found)


def revision_of(source: str, model: Any) -> str:
    """Return a model's revision: the hub's commit, or 12 hex digits of a folder's content.

    All settings of a folder (.json, .jinja) are read. Of each .safetensors file, the name, the size
    and 64 evenly spaced blocks of 4 KiB are read: any other training changes them, and gigabytes
    need not be read.
    """
    commit = getattr(model.config, "_commit_hash", None)
    if commit or not Path(source).is_dir():
        return str(commit or "")
    parts: list[bytes] = []
    for file in sorted(Path(source).iterdir()):
        if file.suffix in (".json", ".jinja"):
            parts += [file.name.encode(), file.read_bytes()]
        elif file.suffix == ".safetensors":
            size = file.stat().st_size
            parts += [file.name.encode(), str(size).encode()]
            with file.open("rb") as weights:
                for i in range(_BLOCKS):
                    weights.seek(max(0, size - _BLOCK) * i // (_BLOCKS - 1))
                    parts.append(weights.read(_BLOCK))
    return digest(*parts)[:12]


@final
class HuggingFaceModel(Model):
    """A loaded transformers model behind the port.

    sizer: what fits in a forward pass, or a number of sequences.
    """

    def __init__(
        self, spec: str, model: Any, processor: Any, sizer: BatchSizer | int, *, revision: str = ""
    ) -> None:
        self.spec = spec
        self.model = model
        self.processor = processor
        self.sizer = sizer if isinstance(sizer, BatchSizer) else BatchSizer(spec, sizer)
        self.encoder_decoder = bool(
            getattr(model.config.get_text_config(), "is_encoder_decoder", False)
        )
        self._prompts = Prompts(processor, encoder_decoder=self.encoder_decoder)
        self._scorer = Scorer(model, self.sizer, encoder_decoder=self.encoder_decoder)
        # Qwen-VL's classes and similar ones keep the positions of the last prefix in the model
        # itself.
        keeps = any(hasattr(part, "rope_deltas") for part in model.modules())
        alone = keeps or model.device.type != "cpu"
        self._turn: AbstractContextManager[Any] = threading.Lock() if alone else nullcontext()
        prompt = answer_prompt(processor, "Which of these is it?")
        if told := thought_note(spec, prompt):
            warnings.warn(told, ThoughtWarning, stacklevel=2)
        self.capabilities = Capabilities(
            logprobs=prompt.closed,
            deterministic=True,
            image_side=_image_side(processor),
            revision=revision,
            thinks=not prompt.closed,
        )

    @property
    def batch(self) -> int:
        """Most sequences per forward pass."""
        return self.sizer.batch

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer all requests; nothing is sent anywhere.

        A request that does not fit in memory, alone in a forward pass, is a failed query. Raises
        ModelError if that is so of all of them and the model never answered any.
        """
        outcomes: dict[int, Outcome] = {}
        for indices in self.batches(requests):
            chosen = [requests[i] for i in indices]
            answers = self.sizer.run(chosen, self._width(chosen[0]), self._answer)
            outcomes.update(zip(indices, answers, strict=True))
        failed = [isinstance(outcome, QueryFailed) for outcome in outcomes.values()]
        if failed and all(failed) and not self.sizer.proven:
            raise ModelError(
                f"{self.spec}: {FULL} for one image query; try dtype=bfloat16, or another device"
            )
        return [outcomes[i] for i in range(len(requests))]

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Return the indices of the requests of each unpadded batch.

        They have equal widths, image sizes and forms of answer. Pixels are not looked at. A batch
        asked alone stays one batch.
        """
        buckets: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for i, request in enumerate(requests):
            if request.labels is None:
                form: tuple[object, ...] = ("text", request.max_tokens)
            else:
                form = tuple(self._ids_of(request.text, label) for label in request.labels)
            buckets[(self._prompts.widths(request), request.image.shape, form)].append(i)
        found = []
        for indices in buckets.values():
            size = self.sizer.rows(self._width(requests[indices[0]]))
            found += [indices[start : start + size] for start in range(0, len(indices), size)]
        return found

    def _width(self, request: Request) -> int:
        """Return the tokens of a request's sequence: its prompt, and the text that may follow."""
        written = request.max_tokens if request.labels is None else 0
        return max(self._prompts.widths(request)) + written

    def _answer(self, requests: Sequence[Request]) -> list[Outcome]:
        inputs = self._inputs(requests)
        with self._turn, _exact(self.model.device):
            if requests[0].labels is None:
                return self._write(requests, inputs)
            return self._score(requests, inputs)

    def _inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        return placed(self._prompts.inputs(requests), self.model.device, self.model.dtype)

    def _write(self, requests: Sequence[Request], inputs: dict[str, Any]) -> list[Outcome]:
        # A checkpoint's own generation settings may ask for beams.
        ids = self.model.generate(
            **inputs, max_new_tokens=requests[0].max_tokens, do_sample=False, num_beams=1
        )
        width = inputs["input_ids"].shape[1]
        if (
            not self.encoder_decoder
            and ids.shape[1] >= width
            and torch.equal(ids[:, :width], inputs["input_ids"])
        ):
            ids = ids[:, width:]
        tokenizer = self.processor.tokenizer
        special = {*tokenizer.all_special_ids}  # such as padding after a reply that ended early
        written = [[token for token in row if token not in special] for row in ids.tolist()]
        return [
            Reply(
                text=tokenizer.decode(row, skip_special_tokens=True).strip(),
                usage=Usage(width, len(row)),
            )
            for row in written
        ]

    def _ids_of(self, text: str, label: str) -> tuple[int, ...]:
        found = self._prompts.label_ids(text, label)
        if not found:
            raise UsageError(f"label {label!r} is empty for this model's tokenizer; use a word")
        return found

    def _score(self, requests: Sequence[Request], inputs: dict[str, Any]) -> list[Outcome]:
        labels = [self._ids_of(requests[0].text, label) for label in requests[0].labels or ()]
        tokens = [len(ids) for ids in labels]
        usage = Usage(inputs["input_ids"].shape[1], sum(tokens))
        rows = self._scorer(inputs, labels).tolist()
        return [Reply(scores=tuple(map(LabelScore, row, tokens)), usage=usage) for row in rows]


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """No gradients, and no autocast of the caller's, which would change the losses."""
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield


def _image_side(processor: Any) -> int | None:
    images = processor.image_processor
    size = getattr(images, "crop_size", None) or getattr(images, "size", None) or {}
    side = size.get("height") or size.get("shortest_edge") or size.get("longest_edge")
    # Qwen's processors bound the number of pixels under these names, and take pictures of any side.
    return int(side) if side and size.get("longest_edge", 0) < LONGEST_SIDE else None
