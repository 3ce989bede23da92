"""Log-probabilities of labels from a local model; what labels share is read once.

Labels are token sequences. The prefix (image and question) gives the first token of all of them.
After it, each label is read without its last token. A label that begins another is read with it,
and labels that differ in their last token only are read as one. These chains run packed, several
for each prefix, on keys and values that stay in place: each layer repeats its own only while it
attends.

What a continuation is given comes from the model itself: from `_update_model_kwargs_for_generation`
and `prepare_inputs_for_generation`, as in `generate`. A model that keeps no cache, or whose cache
cannot be continued, is scored by full forwards: image, question and label together, for each chain.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from bbtvp.adapters.hf.batches import FULL, BatchSizer, unless_full
from bbtvp.core.errors import ModelError

Ids = tuple[int, ...]


class _Prefix(NamedTuple):
    """A prefix that was read.

    first: (b, vocabulary) float32 log-probabilities of the first answer token. ids: (b, tokens)
    that the answer follows. width: tokens of the prompt. inputs: what else the model was given.
    reader: the part of the model that reads the answer. output: its output, without logits. past:
    its cache, by the name that the reader gives it, {} for none.
    """

    first: Tensor
    ids: Tensor
    width: int
    inputs: dict[str, Any]
    reader: Any
    output: Any
    past: dict[str, Any]

    @property
    def rows(self) -> int:
        return len(self.ids)


class Chain(NamedTuple):
    """Tokens to be read after the prefix, and the positions of the labels that they score."""

    ids: Ids
    labels: list[int]


@final
class Scorer:
    """Scores labels with a loaded model.

    cached: whether labels continue a cache of the prefix; if not, they are scored by full forwards.
    """

    def __init__(
        self, model: Any, sizer: BatchSizer, *, encoder_decoder: bool, cached: bool = True
    ) -> None:
        self.model = model
        self.cached = cached
        self._sizer = sizer
        self._encoder_decoder = encoder_decoder
        self._ids = "decoder_input_ids" if encoder_decoder else "input_ids"
        accepted = inspect.signature(model.forward).parameters
        self._keeps_last = "logits_to_keep" in accepted

    def __call__(self, inputs: dict[str, Any], labels: Sequence[Ids]) -> Tensor:
        """Return (b, labels) float32 log-probabilities in nats, of each label after each prompt."""
        prefix = self._prefix(inputs)
        device = prefix.first.device
        scores = prefix.first[:, torch.tensor([ids[0] for ids in labels], device=device)]
        left = chains(labels)
        if not prefix.past:
            for chain in left:
                logits = self._full(prefix, inputs, chain)
                scores[:, chain.labels] += _summed(logits, [chain], labels)
            return scores
        options = self._options(prefix) if left else {}
        while left:
            # Shorter chains are padded on the right, where causality hides it, to at most twice
            # their length.
            most = self._sizer.chains(prefix.rows, prefix.width, len(left[0].ids))
            some = [chain for chain in left[:most] if 2 * len(chain.ids) >= len(left[0].ids)]
            found = unless_full(partial(self._continue, prefix, options, some, labels))
            if found is not None:
                scores[:, [c for chain in some for c in chain.labels]] += found
                left = left[len(some) :]
            elif len(some) > 1:
                self._sizer.fewer_chains(len(some))
            else:
                raise torch.OutOfMemoryError(FULL)
        return scores

    def first(self, inputs: dict[str, Any]) -> Tensor:
        """Return (b, vocabulary) float32 log-probabilities of the first token of an answer."""
        return self._prefix(inputs).first

    def _prefix(self, inputs: dict[str, Any]) -> _Prefix:
        given = self._begun(inputs) if self._encoder_decoder else dict(inputs)
        out = self.model(**given, use_cache=self.cached, **self._last(1))
        # BLIP-2's classes need an image at every call, so their language model is continued.
        inner = getattr(out, "language_model_outputs", None)
        reader, state = (self.model, out) if inner is None else (self.model.language_model, inner)
        ids = given.pop(self._ids)
        prefix = _Prefix(
            first=out.logits[:, -1].float().log_softmax(-1),
            ids=ids,
            width=given.get("input_ids", ids).shape[1],
            inputs=given,
            reader=reader,
            output=state,
            past=_past(state) if self.cached else {},
        )
        # The logits of a whole prompt would be the largest tensor of a large vocabulary.
        out.logits = state.logits = None
        return prefix

    def _options(self, prefix: _Prefix) -> dict[str, Any]:
        """Return what a continuation depends on, besides tokens and cache, as in `generate`."""
        inputs = prefix.inputs
        if prefix.reader is not self.model:  # a language model, which has seen the image
            inputs = {key: inputs[key] for key in ("attention_mask",) if key in inputs}
        options = {"use_cache": True, **inputs}
        if self._encoder_decoder:
            for key in ("input_ids", self.model.main_input_name):
                options.pop(key, None)
            encoded = prefix.output.encoder_last_hidden_state
            return options | {"encoder_outputs": BaseModelOutput(last_hidden_state=encoded)}
        reader = prefix.reader
        if "position_ids" in inspect.signature(reader.forward).parameters:
            positions = reader._prepare_position_ids_for_generation(prefix.ids, options)
            options["position_ids"] = positions
        if "attention_mask" in options and bool(options["attention_mask"].all()):
            # Without padding, a row's past is all of its prefix.
            del options["attention_mask"]
        return options

    def _last(self, tokens: int) -> dict[str, int]:
        """Return the option that makes a forward pass compute the last logits only, if any does."""
        return {"logits_to_keep": tokens} if self._keeps_last else {}

    def _continue(
        self,
        prefix: _Prefix,
        options: dict[str, Any],
        some: Sequence[Chain],
        labels: Sequence[Ids],
    ) -> Tensor:
        """Return (b, labels of the chains) summed log-probabilities, without each first token."""
        n = len(some)
        length = len(some[0].ids)
        options = _updated(prefix.reader, prefix.output, options, length)
        given = prefix.reader.prepare_inputs_for_generation(
            _followed(prefix.ids, some[0].ids),
            next_sequence_length=length,
            is_first_iteration=False,
            **options | prefix.past,
        )
        given = {key: _expanded(key, value, prefix.rows, n) for key, value in given.items()}
        padded = prefix.ids.new_tensor([_filled(chain.ids, length) for chain in some])
        given[self._ids] = padded.repeat(prefix.rows, 1)
        given |= {name: repeated(cache, prefix.rows, n) for name, cache in prefix.past.items()}
        logits = prefix.reader(**given).logits
        return _summed(logits.reshape(prefix.rows, n, *logits.shape[1:]), some, labels)

    def _full(self, prefix: _Prefix, inputs: dict[str, Any], chain: Chain) -> Tensor:
        """Return (b, 1, tokens, vocabulary) logits from prompt and chain together, without a cache.

        Row t is for the token after t + 1 tokens of the chain.
        """
        length = len(chain.ids)
        ids = _followed(prefix.ids, chain.ids)
        options = {**inputs, "use_cache": False}
        options.pop(self._ids, None)
        if self._encoder_decoder:
            given = {**options, self._ids: ids}
        else:
            grown = _updated(self.model, prefix.output, options, length)
            grown = _aligned(grown, prefix.ids.shape[1], length)
            given = self.model.prepare_inputs_for_generation(ids, is_first_iteration=True, **grown)
        logits: Tensor = self.model(**given | self._last(length)).logits
        return logits[:, None, -length:]

    def _begun(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs with the tokens that the decoder begins with, as `generate` has them.

        That is a prompt of its own if it has one, after the start token, and a token that the
        settings force to come first. Raises ModelError if no setting names the start token.
        """
        model = self.model
        main = inputs[model.main_input_name]
        start = torch.tensor(start_token(model), device=main.device)
        prompt = {key: value for key, value in inputs.items() if key.startswith("decoder_")}
        ids, prompt = model._prepare_decoder_input_ids_for_generation(
            len(main), model.main_input_name, prompt, start, device=main.device
        )
        forced = getattr(model.generation_config, "forced_bos_token_id", None)
        if forced is not None and ids.shape[1] == 1:
            ids = _followed(ids, (forced,))
        return {**inputs, **prompt, self._ids: ids}


def start_token(model: Any) -> int:
    """Return the token that the decoder of an encoder-decoder model starts with.

    Raises ModelError if no setting names it.
    """
    text = model.config.get_text_config(decoder=True)
    for settings in (model.generation_config, text, model.config):
        start = getattr(settings, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    start = getattr(model.generation_config, "bos_token_id", None)
    if start is None:
        raise ModelError(
            f"{type(model).__name__} does not say with which token its decoder starts; "
            "set decoder_start_token_id in its generation_config.json"
        )
    return int(start)


def _past(output: Any) -> dict[str, Any]:
    """Return the cache of an output by its name; it was renamed in transformers 5.24."""
    known = set(output.keys())  # `in` would answer to the old name too, and warn
    names = [name for name in ("cache", "past_key_values") if name in known]
    return {name: output[name] for name in names[:1]}


def _updated(reader: Any, output: Any, options: dict[str, Any], length: int) -> dict[str, Any]:
    """Return the options after `length` more tokens, as the model itself updates them."""
    options = dict(options)
    for _ in range(length):
        options = reader._update_model_kwargs_for_generation(
            output, options, is_encoder_decoder=reader.config.is_encoder_decoder
        )
    return options


def _aligned(options: dict[str, Any], width: int, length: int) -> dict[str, Any]:
    """Return the options with what still runs along a prompt of `width` tokens made longer.

    The last column, which stands for text, is repeated. A Q-Former's prompt is one of its own.
    """
    own = tuple(name.removesuffix("input_ids") for name in options if name.endswith("_input_ids"))

    def grown(name: str, value: Any) -> Any:
        along = isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == width
        if not along or value.is_floating_point() or name.startswith(("pixel", *own)):
            return value
        return torch.cat([value, value[:, -1:].expand(-1, length, *value.shape[2:])], 1)

    return {name: grown(name, value) for name, value in options.items()}


def _followed(ids: Tensor, more: Ids) -> Tensor:
    return torch.cat([ids, ids.new_tensor(more).expand(len(ids), -1)], 1)


def _expanded(key: str, value: Any, rows: int, times: int) -> Any:
    """Return an input with every row `times` times in a row."""
    if isinstance(value, BaseModelOutput):
        return BaseModelOutput(**{k: _expanded(k, v, rows, times) for k, v in value.items()})
    if not isinstance(value, Tensor):
        return value
    # Positions of several dimensions come with the dimensions first.
    axis = 1 if key.endswith("position_ids") and value.dim() == 3 else 0
    if value.dim() <= axis or value.shape[axis] != rows:
        return value
    return value.repeat_interleave(times, axis)


def _summed(logits: Tensor, some: Sequence[Chain], labels: Sequence[Ids]) -> Tensor:
    """Return (b, labels) summed log-probabilities of some chains' labels, without first tokens.

    logits: (b, chains, tokens, vocabulary). The columns are in the chains' order.
    """
    device = logits.device
    rests = [labels[column][1:] for chain in some for column in chain.labels]
    most = max(map(len, rests))
    place = torch.arange(most, device=device)
    token = torch.tensor([_filled(rest, most) for rest in rests], device=device)
    count = torch.tensor([[len(rest)] for rest in rests], device=device)
    owner = torch.tensor([[j] for j, chain in enumerate(some) for _ in chain.labels], device=device)
    # Row by row: all rows in float32 would be the largest tensor of a model with a large
    # vocabulary.
    chosen = torch.stack([row.float().log_softmax(-1)[owner, place, token] for row in logits])
    return chosen.where(place < count, 0).sum(-1)


def chains(labels: Sequence[Ids]) -> list[Chain]:
    """Return what has to be read after the prefix, the longest chain first.

    Each label is read without its last token, unless another label begins with that: then the two
    are read together.
    """
    wanted = sorted({ids[:-1] for ids in labels if len(ids) > 1})
    read: dict[Ids, list[int]] = {}
    owner: dict[Ids, Ids] = {}
    for ids in reversed(wanted):  # sorted, a sequence stands right before one that it begins
        last = next(reversed(read), ())
        owner[ids] = last if last[: len(ids)] == ids else ids
        read.setdefault(owner[ids], [])
    for column, label in enumerate(labels):
        if len(label) > 1:
            read[owner[label[:-1]]].append(column)
    return sorted(
        (Chain(ids, columns) for ids, columns in read.items()), key=lambda chain: -len(chain.ids)
    )


def _filled(ids: Ids, length: int) -> Ids:
    return ids + ids[-1:] * (length - len(ids))


def repeated(cache: Any, rows: int, times: int) -> Any:
    """Return a cache of `rows` rows with every row `times` times in a row.

    The given cache is not changed, and its full attention layers are not copied.
    """
    if isinstance(cache, EncoderDecoderCache):
        view = copy.copy(cache)
        view.self_attention_cache = repeated(cache.self_attention_cache, rows, times)
        view.cross_attention_cache = repeated(cache.cross_attention_cache, rows, times)
        view.is_updated = dict(cache.is_updated)
        return view
    if type(cache) is not DynamicCache:
        return _reordered(cache, rows, times)
    view = copy.copy(cache)
    view.layers = [
        _RepeatedLayer(layer, times)
        if type(layer) is DynamicLayer and layer.is_initialized
        else _reordered(layer, rows, times)
        for layer in cache.layers
    ]
    return view


def _reordered(state: Any, rows: int, times: int) -> Any:
    """Return a copy of a cache, or of a layer of one, with every row `times` times in a row.

    All of them can be reordered, for beam searches: sliding windows, convolutions and recurrent
    states too.
    """
    own = copy.deepcopy(state)
    own.reorder_cache(torch.arange(rows).repeat_interleave(times))
    return own


@final
class _RepeatedLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of a prefix, for one pass of `times` continuations of each row.

    Its keys and values are repeated when they are needed, and never kept.
    """

    def __init__(self, layer: Any, times: int) -> None:
        self._once: tuple[Tensor, Tensor] = (layer.keys, layer.values)
        self._times = times
        self.is_initialized = True

    @property
    def keys(self) -> Tensor:
        return torch.repeat_interleave(self._once[0], self._times, 0)

    @property
    def values(self) -> Tensor:
        return torch.repeat_interleave(self._once[1], self._times, 0)

    def get_seq_length(self) -> int:
        return int(self._once[0].shape[-2])

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._joined(self._once[0], keys), self._joined(self._once[1], values)

    def _joined(self, once: Tensor, own: Tensor) -> Tensor:
        rows, heads, width, size = once.shape
        seen = once[:, None].expand(rows, self._times, heads, width, size)
        return torch.cat([seen, own.reshape(rows, self._times, *own.shape[1:])], -2).flatten(0, 1)
