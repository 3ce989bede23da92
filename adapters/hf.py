"""Any local model that transformers' AutoModelForImageTextToText loads, from a folder or a hub id.

    load_model("hf/llava-hf/llava-1.5-7b-hf", device="cuda", dtype="bfloat16", batch=16)
    load_model("hf/./my-folder")

Requests with labels are scored by log-probability: the prefix (image and question) runs once for all labels, and
log-softmax is taken in float32 whatever the model's dtype. Requests without labels get greedy text. Images of a
batch with equal token counts run together, so no padding ever enters, and an answer depends on nothing but its request.
"""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from bbtvp.adapters.layout import answer_ids, prompt_text
from bbtvp.adapters.pretrained import load_weights, loading, source_of, to_device
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.query.port import Capabilities, LabelScore, Model, Outcome, Reply, Request, Usage

LONGEST_SIDE = 10_000
"""Pixels; beyond that it is no side."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    batch: int = 32,
    revision: str | None = None,
    trust_remote_code: bool = False,
    spec: str | None = None,
) -> Model:
    """Load `name`, a hub id or a folder (`./…`, `/…`, `~/…`).

    device: torch device. dtype: float32, bfloat16 or float16. batch: sequences per forward pass.
    Raises UsageError for a bad option and ModelError for a folder that lacks weights or a processor.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if not isinstance(batch, int) or batch < 1:
        raise UsageError(f"batch must be a whole number, at least 1, got {batch!r}")
    if not isinstance(trust_remote_code, bool):  # from a command line: any word would count as yes
        raise UsageError(f"trust_remote_code must be true or false, got {trust_remote_code!r}")
    source = source_of(name)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    with loading(source, **options):
        processor = transformers.AutoProcessor.from_pretrained(source, **options)
        model = load_weights(transformers.AutoModelForImageTextToText, source, dtype=DTYPES[dtype], **options)
    if not hasattr(processor, "image_processor"):
        raise ModelError(f"{source} has no image processor; save one there with processor.save_pretrained(folder)")
    return HuggingFaceModel(spec or f"hf/{name}", to_device(model, device), processor, batch)


@final
class HuggingFaceModel(Model):
    """A loaded transformers model behind the port."""

    def __init__(self, spec: str, model: Any, processor: Any, batch: int) -> None:
        self.spec, self.model, self.processor, self.batch = spec, model, processor, batch
        self.encoder_decoder = bool(getattr(model.config.get_text_config(), "is_encoder_decoder", False))
        accepted = inspect.signature(model.forward).parameters
        self._keep_last = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._widths: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {}
        self._label_ids: dict[tuple[str, str], tuple[int, ...]] = {}
        self.capabilities = Capabilities(logprobs=True, deterministic=True, image_side=_image_side(processor))

    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer all requests; nothing is sent anywhere."""
        outcomes: dict[int, Outcome] = {}
        for indices in self._buckets(requests):
            chosen = [requests[i] for i in indices]
            with torch.inference_mode():
                replies = self._score(chosen) if chosen[0].labels is not None else self._write(chosen)
            outcomes.update(zip(indices, replies, strict=True))
        return [outcomes[i] for i in range(len(requests))]

    def _buckets(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Indices of requests that can run in one unpadded batch: equal widths, image size and answer form."""
        buckets: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for i, request in enumerate(requests):
            if request.labels is None:
                form: tuple[object, ...] = ("text", request.max_tokens)
            else:
                form = tuple(self._ids_of(request.text, label) for label in request.labels)
            buckets[(self._widths_of(request), request.image.shape, form)].append(i)
        for indices in buckets.values():
            for start in range(0, len(indices), self.batch):
                yield indices[start : start + self.batch]

    def _widths_of(self, request: Request) -> tuple[int, ...]:
        """Token counts of a prompt: one, or two where a Q-Former with a tokenizer of its own reads the question too."""
        shape = (request.text, request.image.shape)
        if shape not in self._widths:
            inputs = self._inputs([request])
            self._widths[shape] = tuple(inputs[key].shape[1] for key in sorted(inputs) if key.endswith("input_ids"))
        return self._widths[shape]

    def _inputs(self, requests: Sequence[Request]) -> Any:
        texts = [prompt_text(self.processor, request.text) for request in requests]
        images = [[Image.fromarray(request.image)] for request in requests]
        inputs = self.processor(images=images, text=texts, return_tensors="pt", padding=True)
        inputs.pop("labels", None)  # PaliGemma's processor adds training labels
        return inputs.to(self.model.device, self.model.dtype)

    # -- text ---------------------------------------------------------------------------------------------------------
    def _write(self, requests: Sequence[Request]) -> list[Reply]:
        inputs = self._inputs(requests)
        # A checkpoint's own generation settings may ask for beams.
        ids = self.model.generate(**inputs, max_new_tokens=requests[0].max_tokens, do_sample=False, num_beams=1)
        width = inputs["input_ids"].shape[1]
        if not self.encoder_decoder and ids.shape[1] >= width and torch.equal(ids[:, :width], inputs["input_ids"]):
            ids = ids[:, width:]
        tokenizer = self.processor.tokenizer
        special = {*tokenizer.all_special_ids}  # padding after a reply that ended early, among others
        written = [[token for token in row if token not in special] for row in ids.tolist()]
        return [
            Reply(text=tokenizer.decode(row, skip_special_tokens=True).strip(), usage=Usage(width, len(row)))
            for row in written
        ]

    # -- labels -------------------------------------------------------------------------------------------------------
    def _ids_of(self, text: str, label: str) -> tuple[int, ...]:
        if (text, label) not in self._label_ids:
            prompt = prompt_text(self.processor, text)
            found = answer_ids(self.processor, prompt, label, encoder_decoder=self.encoder_decoder)
            if not found:
                raise UsageError(f"label {label!r} is empty for this model's tokenizer; use a word")
            self._label_ids[text, label] = tuple(found)
        return self._label_ids[text, label]

    def _score(self, requests: Sequence[Request]) -> list[Reply]:
        labels = [self._ids_of(requests[0].text, label) for label in requests[0].labels or ()]
        inputs = self._inputs(requests)
        first, state = self._prefix(inputs)
        scores = torch.stack([first[:, ids[0]] for ids in labels], dim=1)
        by_length: dict[int, list[int]] = defaultdict(list)
        for column, ids in enumerate(labels):
            by_length[len(ids)].append(column)
        for length, columns in by_length.items():
            step = max(1, self.batch // len(requests))
            for start in range(0, len(columns) if length > 1 else 0, step):
                some = columns[start : start + step]
                scores[:, some] += self._continue(inputs, state, torch.tensor([labels[c] for c in some]))
        width = inputs["input_ids"].shape[1]
        tokens = [len(ids) for ids in labels]
        return [
            Reply(scores=tuple(map(LabelScore, row, tokens)), usage=Usage(width, sum(tokens)))
            for row in scores.tolist()
        ]

    def _prefix(self, inputs: Any) -> tuple[Tensor, Any]:
        """Log-probabilities (b, vocabulary) of the first answer token, float32, and what continues the prefix."""
        if self.encoder_decoder:
            out = self.model(**inputs, decoder_input_ids=self._start(len(inputs["input_ids"])))
        else:
            out = self.model(**inputs, use_cache=True, **self._keep_last)
        return out.logits[:, -1].float().log_softmax(-1), getattr(out, "language_model_outputs", None) or out

    def _start(self, rows: int) -> Tensor:
        start = self.model.config.get_text_config().decoder_start_token_id
        return torch.full((rows, 1), start, device=self.model.device)

    def _continue(self, inputs: Any, state: Any, ids: Tensor) -> Tensor:
        """(b, n) summed log-probabilities of tokens 2… of `n` labels (n, t) of equal length, after a shared prefix."""
        rows, (n, _) = len(inputs["input_ids"]), ids.shape
        ids = ids.to(self.model.device).repeat(rows, 1)
        mask = inputs["attention_mask"].repeat_interleave(n, 0)
        # BLIP-2's classes want an image at every call, so their language model is continued directly.
        reader = self.model.language_model if hasattr(self.model, "qformer") else self.model
        if self.encoder_decoder:
            seen = BaseModelOutput(last_hidden_state=state.encoder_last_hidden_state.repeat_interleave(n, 0))
            begun = torch.cat([self._start(rows * n), ids[:, :-1]], dim=1)
            logits = reader(encoder_outputs=seen, attention_mask=mask, decoder_input_ids=begun).logits[:, 1:]
        else:
            # Renamed in transformers 5.24, which warns at the old name.
            name = "cache" if "cache" in inspect.signature(reader.forward).parameters else "past_key_values"
            cache = copy.deepcopy(getattr(state, name))
            cache.batch_repeat_interleave(n)
            mask = torch.cat([mask, torch.ones_like(ids[:, :-1])], dim=1)
            logits = reader(input_ids=ids[:, :-1], attention_mask=mask, **{name: cache}).logits
        chosen = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None])
        summed: Tensor = chosen.sum((1, 2)).reshape(rows, n)
        return summed


def _image_side(processor: Any) -> int | None:
    images = processor.image_processor
    size = getattr(images, "crop_size", None) or getattr(images, "size", None) or {}
    side = size.get("height") or size.get("shortest_edge") or size.get("longest_edge")
    # Qwen's processors bound the number of pixels under these names, and take pictures of any side.
    return int(side) if side and size.get("longest_edge", 0) < LONGEST_SIDE else None
