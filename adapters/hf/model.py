"""A loaded model of transformers behind the interface of a model."""

from __future__ import annotations

import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, final

import torch

from bbtvp.adapters.hf.batches import FULL, BatchSizer
from bbtvp.adapters.hf.check import check, check_prompt, check_several
from bbtvp.adapters.hf.frame import ImageProcessor
from bbtvp.adapters.hf.inputs import Prompts, placed
from bbtvp.adapters.hf.layout import PROBE
from bbtvp.adapters.hf.pretrained import UNFIT, told
from bbtvp.adapters.hf.prompts import ThoughtWarning, answer_prompt, thought_note
from bbtvp.adapters.hf.scoring import Scorer
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import (
    Budget,
    Capabilities,
    Delivered,
    LabelScore,
    Model,
    Outcome,
    Probe,
    QueryFailed,
    Reply,
    Request,
    Usage,
)


@final
class HuggingFaceModel(Model):
    """A loaded transformers model behind the port.

    sizer: what fits in a forward pass, or a number of sequences. variant: what changes scores
    besides the files, "" for nothing.
    """

    def __init__(
        self,
        spec: str,
        model: Any,
        processor: Any,
        sizer: BatchSizer | int,
        *,
        revision: str = "",
        variant: str = "",
    ) -> None:
        self.spec = spec
        self._variant = variant
        self.model = model
        self.processor = processor
        self.sizer = sizer if isinstance(sizer, BatchSizer) else BatchSizer(spec, sizer)
        # BLIP-2 says it of its language model only, T5Gemma 2 of the whole only.
        settings = (model.config, model.config.get_text_config())
        self.encoder_decoder = any(getattr(one, "is_encoder_decoder", False) for one in settings)
        self._prompts = Prompts(processor, encoder_decoder=self.encoder_decoder, model=model)
        self._scorer = Scorer(model, self.sizer, encoder_decoder=self.encoder_decoder)
        # Qwen-VL's classes and similar ones keep the positions of the last prefix in the model
        # itself.
        keeps = any(hasattr(part, "rope_deltas") for part in model.modules())
        alone = keeps or model.device.type != "cpu"
        self._turn: AbstractContextManager[Any] = threading.Lock() if alone else nullcontext()
        prompt = answer_prompt(processor, PROBE)
        if note := thought_note(spec, prompt):
            warnings.warn(note, ThoughtWarning, stacklevel=2)
        self._several_alone = False
        """Whether requests of several images run one at a time."""
        self._frame = ImageProcessor(processor.image_processor)
        self.capabilities = Capabilities(
            logprobs=prompt.closed,
            deterministic=True,
            image_side=_side(self._frame),
            revision=revision,
            thinks=not prompt.closed,
        )

    def check(self) -> None:
        """Make sure that labels are scored as by a full forward pass for each of them.

        A model that is not does so from then on, slower, and a warning says so. Raises ModelError
        if that is not right either, or if a prompt has other tokens than transformers gives it.
        """
        before = _state(self.model)
        with self._turn, _exact(self.model.device):
            check(self.spec, self._inputs, self._ids_of, self._scorer, self.sizer)
            check_prompt(self.spec, self.processor, self._inputs)
        after = _state(self.model)
        if any(after[name] is not value for name, value in before.items()):
            self._turn = threading.Lock()

    def probe_images(self, images: int, budget: Budget) -> Probe | None:
        """See `Model`. The model itself is tried, which costs no image query."""
        if images <= self.capabilities.images:
            return None
        try:
            with self._turn, _exact(self.model.device):
                together = check_several(self._inputs, self._ids_of, self._scorer, images)
        except ModelError as error:
            return Probe(self.capabilities, (f"{images} images in a request: {error}",), 0, 0.0)
        self._several_alone = self._several_alone or not together
        self.capabilities = replace(self.capabilities, images=images)
        return Probe(self.capabilities, (f"{images} images in a request: accepted",), 0, 0.0)

    def _need_images(self, images: int) -> None:
        """Raise UsageError where the model does not take so many images in a request."""
        found = self.probe_images(images, Budget())
        if found is not None and self.capabilities.images < images:
            raise UsageError(f"{self.spec}: {found.findings[0]}; show fewer")

    @property
    def identity(self) -> str:
        """The spec, with what moves scores beside the files, so that a run goes on only with it.

        That is an image processor that is not Pillow's, the bits of weights, and half precision.
        """
        return f"{self.spec} ({self._variant})" if self._variant else self.spec

    @property
    def batch(self) -> int:
        """Most sequences per forward pass."""
        return self.sizer.batch

    def fitting_canvas(self, wanted: int) -> int:
        """Return the side nearest to `wanted` pixels that arrives as it is.

        `wanted` itself where the processor makes all images one size, or cannot be measured.
        """
        try:
            return self._frame.fitting(wanted)
        except ModelError:
            return wanted

    def delivered(self, width: int, height: int) -> Delivered | None:
        """Return what the processor makes of a picture; None if it cannot be measured."""
        try:
            return self._frame.delivered(width, height)
        except ModelError:
            return None

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer all requests; nothing is sent anywhere.

        A request that does not fit in memory, alone in a forward pass, is a failed query. Raises
        ModelError if that is so of all of them and the model never answered any, and for whatever
        the processor or the model raises; UsageError for more images than the model takes.
        """
        outcomes: dict[int, Outcome] = {}
        self._need_images(max((request.images for request in requests), default=1))
        with told(self.spec, *UNFIT):
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
            before = (shown.image.shape for shown in request.context)
            shapes = (*before, request.image.shape)
            buckets[(self._prompts.widths(request), shapes, form)].append(i)
        found = []
        for indices in buckets.values():
            size = self.sizer.rows(self._width(requests[indices[0]]))
            if requests[indices[0]].context and self._several_alone:
                size = 1
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
        ids = self._reply_of(ids, inputs)
        width = max(self._prompts.widths(requests[0]))
        tokenizer = self.processor.tokenizer
        special = {*tokenizer.all_special_ids}  # such as padding after a reply that ended early
        ends = self._ends
        rows = ids.tolist()
        written = [[token for token in row if token not in special] for row in rows]
        return [
            Reply(
                text=tokenizer.decode(words, skip_special_tokens=True).strip(),
                usage=Usage(width, len(words)),
                cut=bool(row) and row[-1] not in ends,
                version=self.capabilities.revision,
            )
            for row, words in zip(rows, written, strict=True)
        ]

    @property
    def _ends(self) -> set[int]:
        """The tokens one of which a reply ends with, unless the limit of tokens ends it."""
        settings = self.model.generation_config
        ends = settings.eos_token_id
        return {*(ends if isinstance(ends, list) else [ends]), settings.pad_token_id}

    def _reply_of(self, ids: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """Return what `generate` wrote without the prompt, which some models return too.

        A decoder's prompt may stand after its start token.
        """
        prompt = inputs.get("decoder_input_ids" if self.encoder_decoder else "input_ids")
        if prompt is None:
            return ids
        for start in range(2 if self.encoder_decoder else 1):
            end = start + prompt.shape[1]
            if torch.equal(ids[:, start:end], prompt):
                return ids[:, end:]
        return ids

    def _ids_of(self, text: str, label: str) -> tuple[int, ...]:
        found = self._prompts.label_ids(text, label)
        if not found:
            raise UsageError(f"label {label!r} is empty for this model's tokenizer; use a word")
        return found

    def _score(self, requests: Sequence[Request], inputs: dict[str, Any]) -> list[Outcome]:
        labels = [self._ids_of(requests[0].text, label) for label in requests[0].labels or ()]
        tokens = [len(ids) for ids in labels]
        usage = Usage(max(self._prompts.widths(requests[0])), sum(tokens))
        rows = self._scorer(inputs, labels).tolist()
        version = self.capabilities.revision
        return [
            Reply(scores=tuple(map(LabelScore, row, tokens)), usage=usage, version=version)
            for row in rows
        ]


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """No gradients, and no autocast of the caller's, which would change the losses."""
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield


def _state(model: Any) -> dict[tuple[str, str], Any]:
    """Return what a forward pass could leave in a model: its buffers, and tensors beside them."""
    found = {}
    for name, module in model.named_modules():
        for key, value in (*vars(module).items(), *module._buffers.items()):
            if value is None or isinstance(value, torch.Tensor):
                found[name, key] = value
    return found


def _side(processor: ImageProcessor) -> int | None:
    try:
        return processor.side()
    except ModelError:  # it cannot be measured, as `bbtvp doctor` says
        return None
