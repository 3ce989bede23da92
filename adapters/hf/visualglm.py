"""VisualGLM: BLIP-2's image encoder and Q-Former in front of ChatGLM-6B.

ChatGLM (Zeng et al. 2022) reads a prompt in both directions and writes its answer from left to
right. Positions have two parts: the place in the prompt, which stays at `[gMASK]` during an answer,
and the place in the answer, which is 0 during the prompt. transformers has no such class;
`python -m bbtvp.adapters.hf.convert visualglm` makes folders. Sources: THUDM/VisualGLM-6B e314fb9,
`model/`, and the `modeling_chatglm.py` of the published folder THUDM/visualglm-6b f4f759a.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, final

import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

_ROTARY_BASE = 10000
_LONGEST_BLANK = 80
"""Most spaces that one token of the vocabulary stands for."""


@final
class VisualGlmTextConfig(transformers.PreTrainedConfig):  # type: ignore[misc]
    """Settings of ChatGLM. bos_token_id: the token `<sop>`, with which an answer begins."""

    model_type = "visualglm_text"
    base_config_key = "text_config"

    vocab_size: int = 130528
    hidden_size: int = 4096
    intermediate_size: int = 16384
    num_hidden_layers: int = 28
    num_attention_heads: int = 32
    layer_norm_eps: float = 1e-5
    max_position_embeddings: int = 2048
    gmask_token_id: int = 130001
    bos_token_id: int | None = 130004
    eos_token_id: int | list[int] | None = 130005
    pad_token_id: int | None = 3
    tie_word_embeddings: bool = False


@final
class VisualGlmConfig(transformers.Blip2Config):  # type: ignore[misc]
    """Settings of a VisualGlmForConditionalGeneration: those of BLIP-2 with a ChatGLM."""

    model_type = "visualglm"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        **transformers.Blip2Config.sub_configs_defaults,
        "text_config": VisualGlmTextConfig,
    }


class _Attention(nn.Module):
    def __init__(self, config: VisualGlmTextConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.query_key_value = nn.Linear(size, 3 * size)
        self.dense = nn.Linear(size, size)

    def forward(
        self, states: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor, cache: Any, layer: int
    ) -> Tensor:
        rows, width, size = states.shape
        # The published layer has query, key and value of a head beside each other.
        split = self.query_key_value(states).view(rows, width, self.heads, -1).transpose(1, 2)
        query, key, value = split.chunk(3, -1)
        query = _turned(query, *turns)
        key = _turned(key, *turns)
        if cache is not None:
            key, value = cache.update(key, value, layer)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, mask)
        mixed: Tensor = self.dense(seen.transpose(1, 2).reshape(rows, width, size))
        return mixed


class _Mlp(nn.Module):
    def __init__(self, config: VisualGlmTextConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        inner = nn.functional.gelu(self.dense_h_to_4h(states), approximate="tanh")
        out: Tensor = self.dense_4h_to_h(inner)
        return out


class _GlmBlock(nn.Module):
    def __init__(self, config: VisualGlmTextConfig) -> None:
        super().__init__()
        # What is carried past a layer is its normalised input, times this.
        self.alpha = (2 * config.num_hidden_layers) ** 0.5
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = _Attention(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = _Mlp(config)

    def forward(self, states: Tensor, *given: Any) -> Tensor:
        states = self.input_layernorm(states)
        states = states * self.alpha + self.attention(states, *given)
        states = self.post_attention_layernorm(states)
        out: Tensor = states * self.alpha + self.mlp(states)
        return out


class _Transformer(nn.Module):
    def __init__(self, config: VisualGlmTextConfig) -> None:
        super().__init__()
        self.turned = config.hidden_size // config.num_attention_heads // 2
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_GlmBlock(config) for _ in range(config.num_hidden_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, states: Tensor, positions: Tensor, mask: Tensor, cache: Any) -> Tensor:
        turns = _turns(positions, self.turned, states.dtype)
        for layer, block in enumerate(self.layers):
            states = block(states, turns, mask, cache, layer)
        out: Tensor = self.final_layernorm(states)
        return out


class _ChatGlm(nn.Module):
    """The language model, with the published names of its weights."""

    def __init__(self, config: VisualGlmTextConfig) -> None:
        super().__init__()
        self.transformer = _Transformer(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)


@final
class VisualGlmForConditionalGeneration(
    transformers.Blip2PreTrainedModel,  # type: ignore[misc]
    transformers.GenerationMixin,  # type: ignore[misc]
):
    """VisualGLM. A prompt ends with `[gMASK]<sop>`; the rows of a batch have equal lengths."""

    config_class = VisualGlmConfig
    main_input_name = "input_ids"
    _keep_in_fp32_modules: ClassVar[list[str]] = []
    _no_split_modules: ClassVar[list[str]] = ["_GlmBlock", "Blip2EncoderLayer", "Blip2QFormerLayer"]

    def __init__(self, config: VisualGlmConfig) -> None:
        super().__init__(config)
        queries = config.qformer_config.hidden_size
        self.vision_model = transformers.Blip2VisionModel._from_config(config.vision_config)
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_tokens, queries))
        self.qformer = transformers.Blip2QFormerModel._from_config(config.qformer_config)
        self.language_projection = nn.Linear(queries, config.text_config.hidden_size)
        self.language_model = _ChatGlm(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the embeddings of the language model's tokens."""
        return self.language_model.transformer.word_embeddings

    def get_output_embeddings(self) -> nn.Module:
        """Return the layer that makes logits."""
        return self.language_model.lm_head

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Return (b, queries, hidden) embeddings of images for the language model."""
        patches = self.vision_model(pixel_values=pixel_values).last_hidden_state
        queries = self.query_tokens.expand(len(patches), -1, -1)
        found = self.qformer(query_embeds=queries, encoder_hidden_states=patches)
        features: Tensor = self.language_projection(found.last_hidden_state)
        return features

    def forward(
        self,
        input_ids: Tensor,
        *,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return the logits of a prompt, of a prompt with an answer, or of more of an answer.

        input_ids: (b, n), what follows the cache if there is one. attention_mask: ones, not read.
        position_ids: (2, b, n), needed after a cache. kwargs: what `generate` adds, not read.
        """
        if use_cache and cache is None:
            cache = transformers.DynamicCache()
        past = 0 if cache is None else cache.get_seq_length()
        if position_ids is None:
            position_ids = self._positions(input_ids)
        states = self.get_input_embeddings()(input_ids)
        if pixel_values is not None and not past:
            image = (input_ids == self.config.image_token_index)[..., None]
            states = states.masked_scatter(image, self.get_image_features(pixel_values))
        # A token of the prompt is 0 in the answer, so it sees all others that are.
        written = position_ids[1]
        place = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)
        known = torch.arange(past + input_ids.shape[1], device=input_ids.device)
        mask = (known <= place[:, None])[None, None]
        if not past:
            mask = mask | (written == 0)[:, None, None]
        states = self.language_model.transformer(states, position_ids, mask, cache)
        logits = self.language_model.lm_head(states[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=logits, cache=cache if use_cache else None)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        cache: Any = None,
        pixel_values: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the inputs of the next step, with the positions of all tokens so far."""
        past = 0 if cache is None else cache.get_seq_length()
        return {
            "input_ids": input_ids[:, past:],
            "pixel_values": None if past else pixel_values,
            "position_ids": self._positions(input_ids)[..., past:],
            "cache": cache,
            "use_cache": kwargs.get("use_cache"),
        }

    def _positions(self, ids: Tensor) -> Tensor:
        """Return (2, b, n) places in the prompt and in the answer."""
        text = self.config.text_config
        answer = (ids == text.bos_token_id).cumsum(-1).clamp(max=1)
        mark = (ids == text.gmask_token_id).int().argmax(-1, keepdim=True)
        place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        return torch.stack([place.where(answer == 0, mark), answer.cumsum(-1)])


@final
class VisualGlmTokenizer(SentencePieceBackend):  # type: ignore[misc]
    """ChatGLM's tokenizer: a SentencePiece model with tokens for line feeds, tabs and spaces."""

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "ice_text.model"}
    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]

    def _tokenize(self, text: str, **options: Any) -> list[str]:
        text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
        text = re.sub(
            f" {{2,{_LONGEST_BLANK}}}", lambda found: f"<|blank_{len(found.group())}|>", text
        )
        pieces: list[str] = self.sp_model.encode(text, out_type=str)
        return pieces

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Return the text of tokens."""
        text = self.sp_model.decode(tokens).replace("<n>", "\n").replace("<|tab|>", "\t")
        return re.sub(r"<\|blank_(\d+)\|>", lambda found: " " * int(found.group(1)), text)


@final
class VisualGlmProcessor(transformers.Blip2Processor):  # type: ignore[misc]
    """BLIP-2's processor; the chat template writes the image's tokens."""


def _turns(positions: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return (b, 1, n, 2, size) cosines and sines of the two positions' angles.

    The published code rounds frequencies to half precision, and in half precision the angles too.
    """
    exponents = torch.arange(0, size, 2, device=positions.device).float() / size
    precision = torch.float16 if dtype == torch.float16 else torch.float32
    frequencies = (1.0 / _ROTARY_BASE**exponents).half().to(precision)
    angles = positions.to(precision)[..., None] * frequencies
    angles = torch.cat([angles, angles], -1).permute(1, 2, 0, 3)[:, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return states whose first half is turned by one position, the second by the other."""
    halves = states.view(*states.shape[:-1], 2, -1)
    left, right = halves.chunk(2, -1)
    turned: Tensor = halves * cos + torch.cat([-right, left], -1) * sin
    return turned.flatten(-2)


def register() -> None:
    """Make transformers' auto classes know VisualGLM. It does no harm twice."""
    transformers.AutoConfig.register(VisualGlmConfig.model_type, VisualGlmConfig, exist_ok=True)
    transformers.AutoTokenizer.register(
        VisualGlmConfig, slow_tokenizer_class=VisualGlmTokenizer, exist_ok=True
    )
    transformers.AutoProcessor.register(VisualGlmConfig, VisualGlmProcessor, exist_ok=True)
    transformers.AutoModelForImageTextToText.register(
        VisualGlmConfig, VisualGlmForConditionalGeneration, exist_ok=True
    )
