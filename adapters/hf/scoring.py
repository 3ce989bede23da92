"""Log-probabilities of labels from a local model; what labels share is read once.

Labels are token sequences. The prefix (image and question) gives the first token of all of them.
After it, each label is read without its last token. A label that begins another is read with it,
and labels that differ in their last token only are read as one. These chains run packed, several
for each prefix, on keys and values that stay in place: each layer repeats its own only while it
attends.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from bbtvp.adapters.hf.batches import FULL, BatchSizer, unless_full

Ids = tuple[int, ...]


class _Prefix(NamedTuple):
    """A prefix that was read.

    first: (b, vocabulary) float32 log-probabilities of the first answer token.
    """

    rows: int
    width: int
    first: Tensor
    cache: Any
    encoded: Tensor | None


class Chain(NamedTuple):
    """Tokens to be read after the prefix, and the positions of the labels that they score."""

    ids: Ids
    labels: list[int]


@final
class Scorer:
    """Scores labels with a loaded model."""

    def __init__(self, model: Any, sizer: BatchSizer, *, encoder_decoder: bool) -> None:
        self.model = model
        self._sizer = sizer
        self._encoder_decoder = encoder_decoder
        accepted = inspect.signature(model.forward).parameters
        self._keep_last = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        # BLIP-2's classes need an image at every call, so their language model is continued
        # directly.
        self._reader = model.language_model if hasattr(model, "qformer") else model
        # Renamed in transformers 5.24, which warns at the old name.
        renamed = "cache" in inspect.signature(self._reader.forward).parameters
        self._cache = "cache" if renamed else "past_key_values"

    def __call__(self, inputs: dict[str, Any], labels: Sequence[Ids]) -> Tensor:
        """Return (b, labels) float32 log-probabilities in nats, of each label after each prompt."""
        prefix = self._prefix(inputs)
        device = prefix.first.device
        scores = prefix.first[:, torch.tensor([ids[0] for ids in labels], device=device)]
        left = chains(labels)
        while left:
            # Shorter chains are padded on the right, where causality hides it, to at most twice
            # their length.
            most = self._sizer.chains(prefix.rows, prefix.width, len(left[0].ids))
            some = [chain for chain in left[:most] if 2 * len(chain.ids) >= len(left[0].ids)]
            columns = [c for chain in some for c in chain.labels]
            found = unless_full(partial(self._continue, prefix, some, [labels[c] for c in columns]))
            if found is not None:
                scores[:, columns] += found
                left = left[len(some) :]
            elif len(some) > 1:
                self._sizer.fewer_chains(len(some))
            else:
                raise torch.OutOfMemoryError(FULL)
        return scores

    def _prefix(self, inputs: dict[str, Any]) -> _Prefix:
        rows, width = inputs["input_ids"].shape
        if self._encoder_decoder:
            start = self.model.config.get_text_config().decoder_start_token_id
            begun = torch.full((rows, 1), start, device=inputs["input_ids"].device)
            out = self.model(**inputs, decoder_input_ids=begun, use_cache=True)
        else:
            out = self.model(**inputs, use_cache=True, **self._keep_last)
        state = getattr(out, "language_model_outputs", None) or out
        encoded = state.encoder_last_hidden_state if self._encoder_decoder else None
        return _Prefix(
            rows,
            width,
            out.logits[:, -1].float().log_softmax(-1),
            getattr(state, self._cache),
            encoded,
        )

    def _continue(self, prefix: _Prefix, some: Sequence[Chain], labels: Sequence[Ids]) -> Tensor:
        """Return (b, labels) summed log-probabilities of the tokens of some chains' labels.

        The first token of each label is left out. The columns are in the chains' order.
        """
        device = prefix.first.device
        n = len(some)
        longest = len(some[0].ids)
        padded = torch.tensor(
            [_filled(chain.ids, longest) for chain in some], device=device
        ).repeat(prefix.rows, 1)
        # There is no padding before them, so no mask is needed: a row's past is all of its prefix.
        given: dict[str, Any] = {self._cache: repeated(prefix.cache, n)}
        if prefix.encoded is None:
            given["input_ids"] = padded
        else:
            given["decoder_input_ids"] = padded
            given["encoder_outputs"] = BaseModelOutput(
                last_hidden_state=prefix.encoded.repeat_interleave(n, 0)
            )
        logits = self._reader(**given).logits
        logits = logits.reshape(prefix.rows, n, *logits.shape[1:])

        rests = [ids[1:] for ids in labels]
        most = max(map(len, rests))
        place = torch.arange(most, device=device)
        token = torch.tensor([_filled(rest, most) for rest in rests], device=device)
        count = torch.tensor([[len(rest)] for rest in rests], device=device)
        owner = torch.tensor(
            [[j] for j, chain in enumerate(some) for _ in chain.labels], device=device
        )
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


def repeated(cache: Any, times: int) -> Any:
    """Return a cache with every row `times` times in a row.

    The given cache is neither changed nor copied.
    """
    view = copy.copy(cache)
    if isinstance(cache, EncoderDecoderCache):
        view.self_attention_cache = repeated(cache.self_attention_cache, times)
        view.cross_attention_cache = repeated(cache.cross_attention_cache, times)
        view.is_updated = dict(cache.is_updated)
        return view
    view.layers = [_repeated_layer(layer, times) for layer in cache.layers]
    return view


def _repeated_layer(layer: Any, times: int) -> Any:
    if type(layer) is DynamicLayer and layer.is_initialized:
        return _RepeatedLayer(layer, times)
    own = copy.deepcopy(layer)  # sliding windows and recurrent states repeat themselves
    if hasattr(own, "batch_repeat_interleave"):
        own.batch_repeat_interleave(times)
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
