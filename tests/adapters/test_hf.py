"""The Hugging Face adapter against plain forward passes of the same models, one label and one image
at a time.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from bbtvp.adapters import hf
from bbtvp.adapters.hf.prompts import ThoughtWarning, prompt_text
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import Capabilities, Outcome, Reply, Request, load_model
from bbtvp.zoo.families import FAMILIES, tokenizer

Folder = Callable[[str], Path]
families = pytest.mark.parametrize("family", sorted(FAMILIES))

LABELS = ("seven", "one", "seventeen elephants", "seventeen cats", "a", "elephants")
"""Single tokens, several tokens, and two labels that begin alike."""

QUESTIONS = (
    "what digit is this?",
    "is there a red circle in the image?",
    "what?",
    "what shape is this?",
    "what digit is this?",
)
"""Of different lengths, one of them twice."""


def images(n: int, side: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(n)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(n)]


def requests(labels: tuple[str, ...] | None = LABELS, **options: Any) -> list[Request]:
    return [
        Request(image, text, labels, **options)
        for image, text in zip(images(len(QUESTIONS)), QUESTIONS, strict=True)
    ]


def load(folder: Path, **options: Any) -> hf.HuggingFaceModel:
    model = hf.load(str(folder), **options)
    assert isinstance(model, hf.HuggingFaceModel)
    return model


def scores(outcomes: list[Outcome]) -> np.ndarray:
    """(requests, labels) log-probabilities."""
    replies = [outcome.scores for outcome in outcomes if isinstance(outcome, Reply)]
    assert len(replies) == len(outcomes)
    return np.array([[score.logprob for score in row or ()] for row in replies])


def texts(outcomes: list[Outcome]) -> list[str | None]:
    return [outcome.text for outcome in outcomes if isinstance(outcome, Reply)]


def label_ids(model: hf.HuggingFaceModel, text: str, label: str) -> list[int]:
    """As the miniatures were trained: after a space, unless the answer starts a line or a decoder
    of its own.
    """
    fresh = (
        model.encoder_decoder
        or "PaliGemma" in type(model.processor).__name__
        or text[-1:].isspace()
    )
    return list(
        model.processor.tokenizer(label if fresh else f" {label}", add_special_tokens=False)[
            "input_ids"
        ]
    )


def inputs_of(model: hf.HuggingFaceModel, request: Request) -> tuple[str, dict[str, torch.Tensor]]:
    text = prompt_text(model.processor, request.text)
    inputs = dict(
        model.processor(images=[[Image.fromarray(request.image)]], text=[text], return_tensors="pt")
    )
    inputs.pop("labels", None)
    inputs["pixel_values"] = inputs["pixel_values"].to(model.model.dtype)
    return text, inputs


def next_tokens(
    model: hf.HuggingFaceModel, inputs: dict[str, torch.Tensor], ids: list[int]
) -> torch.Tensor:
    """(len(ids) + 1, vocabulary) float32 log-probabilities of what follows the prompt and each of
    `ids`.

    One forward pass over everything: no cache, no batch, no padding.
    """
    tail = torch.tensor([ids], dtype=torch.long)
    with torch.inference_mode():
        if model.encoder_decoder:
            start = torch.tensor([[model.model.config.get_text_config().decoder_start_token_id]])
            logits = model.model(**inputs, decoder_input_ids=torch.cat([start, tail], 1)).logits
        else:
            full = {**inputs, "input_ids": torch.cat([inputs["input_ids"], tail], 1)}
            full["attention_mask"] = torch.ones_like(full["input_ids"])
            if "token_type_ids" in inputs:
                # PaliGemma reads the prompt in both directions and the answer, 1, in one. Gemma 3
                # reads images, 1, in both and text in one.
                kind = int(model.model.config.model_type == "paligemma")
                full["token_type_ids"] = torch.cat(
                    [inputs["token_type_ids"], torch.full_like(tail, kind)], 1
                )
            logits = model.model(**full, use_cache=False).logits[
                :, inputs["input_ids"].shape[1] - 1 :
            ]
    return logits[0].float().log_softmax(-1)


def reference_score(model: hf.HuggingFaceModel, request: Request, label: str) -> float:
    text, inputs = inputs_of(model, request)
    ids = label_ids(model, text, label)
    return float(next_tokens(model, inputs, ids)[:-1].gather(-1, torch.tensor(ids)[:, None]).sum())


# -- labels ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("labels", [LABELS, None])
def test_replies_report_the_digest_of_the_files(
    labels: tuple[str, ...] | None, untrained: Folder
) -> None:
    model = load(untrained("llava"))
    replies = model.query(requests(labels)[:2])
    assert re.fullmatch("[0-9a-f]{12}", model.capabilities.revision)
    versions = {reply.version for reply in replies if isinstance(reply, Reply)}
    assert versions == {model.capabilities.revision}


@families
def test_a_label_scores_as_a_forward_pass_of_its_own_does(family: str, untrained: Folder) -> None:
    model = load(untrained(family), batch=4)
    asked = requests()
    expected = [[reference_score(model, request, label) for label in LABELS] for request in asked]
    np.testing.assert_allclose(scores(model.query(asked)), expected, atol=1e-4)


@families
def test_the_tokens_of_a_label_are_counted(family: str, untrained: Folder) -> None:
    model = load(untrained(family))
    (reply,) = model.query(requests()[:1])
    assert isinstance(reply, Reply) and reply.scores is not None
    text = prompt_text(model.processor, QUESTIONS[0])
    assert [score.tokens for score in reply.scores] == [
        len(label_ids(model, text, label)) for label in LABELS
    ]
    assert [score.tokens for score in reply.scores][:2] == [1, 1]
    assert max(score.tokens for score in reply.scores) > 5


@families
def test_an_answer_depends_on_its_request_alone(family: str, untrained: Folder) -> None:
    """Equal up to 1e-5 nats of float32 rounding, since a product of another height may sum in
    another order.
    """
    asked = requests() + requests(("no", "yes"))
    together = load(untrained(family), batch=16).query(asked)
    alone = [load(untrained(family), batch=1).query([request])[0] for request in asked]
    for some, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(scores([some]), scores([one]), atol=1e-5)


@families
def test_the_order_of_requests_is_kept(family: str, untrained: Folder) -> None:
    model = load(untrained(family))
    asked = requests()
    shuffled = [3, 0, 4, 2, 1]
    expected = scores(model.query(asked))[shuffled]
    np.testing.assert_allclose(
        scores(model.query([asked[i] for i in shuffled])), expected, atol=1e-5
    )
    assert len({tuple(row) for row in expected.round(3)}) == len(asked), (
        "the requests must differ for this to tell"
    )


@families
def test_images_of_several_sizes_share_a_call(family: str, untrained: Folder) -> None:
    model = load(untrained(family))
    asked = [Request(images(1, side)[0], QUESTIONS[0], LABELS) for side in (64, 32, 100, 64)]
    expected = [[reference_score(model, request, label) for label in LABELS] for request in asked]
    np.testing.assert_allclose(scores(model.query(asked)), expected, atol=1e-4)


def test_a_question_that_ends_a_line_changes_the_label_and_not_its_neighbour(
    untrained: Folder,
) -> None:
    """Both prompts have the same length: in one batch, one must not lend its label tokens to the
    other.
    """
    model = load(untrained("minigpt4"))
    asked = [
        Request(image, text, ("one", "two cats"))
        for image, text in zip(images(2), ("what?\n", "what??"), strict=True)
    ]
    widths = {inputs_of(model, request)[1]["input_ids"].shape[1] for request in asked}
    assert len(widths) == 1
    expected = [
        [reference_score(model, request, label) for label in ("one", "two cats")]
        for request in asked
    ]
    np.testing.assert_allclose(scores(model.query(asked)), expected, atol=1e-4)
    np.testing.assert_allclose(scores(model.query(asked[::-1])), expected[::-1], atol=1e-4)


def test_a_q_former_with_a_tokenizer_of_its_own_is_never_padded(tmp_path: Path) -> None:
    """Equal width for the language model, unequal for the Q-Former: such questions must not share a
    batch.
    """
    model, processor = FAMILIES["instructblip"].build()
    short = "what digit is this?"
    long = "what shape is this?"
    processor.qformer_tokenizer = tokenizer(roles={})
    processor.qformer_tokenizer.add_tokens(["shape is this?"])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    opened = load(tmp_path)
    asked = [
        Request(image, text, LABELS) for image, text in zip(images(2), (short, long), strict=True)
    ]
    shapes = [
        {key: value.shape[1] for key, value in inputs_of(opened, request)[1].items()}
        for request in asked
    ]
    assert shapes[0]["input_ids"] == shapes[1]["input_ids"]
    assert shapes[0]["qformer_input_ids"] != shapes[1]["qformer_input_ids"]
    alone = np.concatenate([scores(opened.query([request])) for request in asked])
    np.testing.assert_allclose(scores(opened.query(asked)), alone, atol=1e-5)


def test_a_label_without_tokens_is_refused(untrained: Folder) -> None:
    with pytest.raises(UsageError, match="label '' is empty"):
        load(untrained("blip2")).query([Request(images(1)[0], "what?", ("", "one"))])


def test_nothing_asked_is_nothing_answered(untrained: Folder) -> None:
    assert load(untrained("llava")).query([]) == []


@pytest.mark.parametrize("family", ["llava", "blip2"])
def test_log_softmax_is_float32_for_a_bfloat16_model(family: str, untrained: Folder) -> None:
    model = load(untrained(family), dtype="bfloat16")
    assert model.model.dtype == torch.bfloat16
    single = ("one", "two", "three", "four", "five", "six")
    asked = requests(single)
    found = torch.from_numpy(scores(model.query(asked))).float()
    rounded = found.bfloat16().float()
    assert (found != rounded).float().mean() > 0.8, "a log-softmax in bfloat16 leaves 8 bits"
    expected = [[reference_score(model, request, label) for label in single] for request in asked]
    np.testing.assert_allclose(
        found, expected, atol=0.1
    )  # bfloat16 matrix products, of other shapes


# -- text ------------------------------------------------------------------------------------------
def greedy(model: hf.HuggingFaceModel, request: Request, tokens: int) -> str:
    """The likeliest token, again and again, by full forward passes."""
    _, inputs = inputs_of(model, request)
    ids: list[int] = []
    while len(ids) < tokens:
        token = int(next_tokens(model, inputs, ids)[-1].argmax())
        if token == model.processor.tokenizer.eos_token_id:
            break
        ids.append(token)
    return str(model.processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()


@families
def test_a_text_reply_is_greedy_and_holds_no_prompt(family: str, untrained: Folder) -> None:
    model = load(untrained(family))
    asked = requests(None, max_tokens=5)
    assert texts(model.query(asked)) == [greedy(model, request, 5) for request in asked]


@pytest.mark.parametrize("family", ["llava", "blip2"])
def test_generation_settings_of_a_checkpoint_do_not_make_it_sample_or_search(
    family: str, damaged: Folder
) -> None:
    folder = damaged(family)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(
        json.dumps(settings | {"num_beams": 4, "do_sample": True, "top_k": 5})
    )
    model = load(folder)
    asked = requests(None, max_tokens=5)
    assert model.model.generation_config.num_beams == 4, (
        "the setting must have been read for this to tell"
    )
    assert texts(model.query(asked)) == [greedy(model, request, 5) for request in asked]


@families
def test_text_does_not_depend_on_the_batch(family: str, untrained: Folder) -> None:
    asked = requests(None, max_tokens=6)
    together = load(untrained(family), batch=16).query(asked)
    alone = load(untrained(family), batch=1)
    assert together == [alone.query([request])[0] for request in asked], "usage included"


@pytest.mark.parametrize("family", ["llava", "blip2"])
def test_a_reply_ends_at_its_limit(family: str, untrained: Folder) -> None:
    for limit in (1, 3):
        replies = load(untrained(family)).query(requests(None, max_tokens=limit))
        assert all(isinstance(r, Reply) and r.usage.output_tokens <= limit for r in replies)


@pytest.mark.parametrize("name", ["llava", "blip2"])
def test_a_reply_that_the_limit_ended_is_cut(name: str) -> None:
    model = load_model(f"zoo/{name}")
    image = np.full((64, 64, 3), 30, np.uint8)
    image[4:16, 8:20] = image[44:56, 40:52] = (220, 40, 40)
    question = "are the two objects side by side or stacked?"
    replies = {
        limit: model.query([Request(image, question, max_tokens=limit)])[0] for limit in (3, 16)
    }
    assert [isinstance(one, Reply) and one.cut for one in replies.values()] == [True, False]
    assert replies[3].usage.output_tokens == 3
    asked = [Request(image, "what shape is this?", max_tokens=limit) for limit in (1, 2)]
    assert [isinstance(one, Reply) and one.cut for one in model.query(asked)] == [True, False]


def test_text_and_labels_may_be_asked_in_one_call(untrained: Folder) -> None:
    model = load(untrained("llava"))
    outcomes = model.query([*requests(None), *requests()])
    assert [isinstance(o, Reply) and o.text is not None for o in outcomes] == [True] * 5 + [
        False
    ] * 5
    assert [isinstance(o, Reply) and o.scores is not None for o in outcomes] == [False] * 5 + [
        True
    ] * 5


# -- layout ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("llava", "USER: <image>\nwhat? ASSISTANT:"),
        ("idefics3", "<s>User:<image>what?<end_of_utterance>\nAssistant:"),
        ("paligemma", "<image>what?"),
        ("blip2", "what?"),
        ("minigpt4", "what?"),
        ("instructblip", "what?"),
    ],
)
def test_the_chat_template_is_used_where_there_is_one(
    family: str, text: str, untrained: Folder
) -> None:
    assert prompt_text(load(untrained(family)).processor, "what?") == text


# -- thoughts --------------------------------------------------------------------------------------
OFF = "enable_thinking is defined and enable_thinking is false"
QWEN = "{{ '<think>\\n\\n</think>\\n\\n' if " + OFF + " else '<think>\\n' }}"
HYBRID = "{{ '<think>\\n\\n</think>\\n\\n' if " + OFF + " else '' }}"


def thinker(damaged: Folder, tail: str) -> Path:
    """The miniature with a chat template whose invitation to answer ends in this."""
    folder = damaged("llava")
    template = folder / "chat_template.jinja"
    written = template.read_text().rstrip("\n")
    template.write_text(f"{written}{{% if add_generation_prompt %}}{tail}{{% endif %}}")
    return folder


@pytest.mark.parametrize(
    ("tail", "end", "told"),
    [
        ("<think>\n", "<think>\n\n</think>\n\n", "closed with </think>"),
        ("<think>", "<think>\n\n</think>\n\n", "closed with </think>"),
        ("<thinking>\n", "<thinking>\n\n</thinking>\n\n", "closed with </thinking>"),
        ("◁think▷", "◁think▷\n\n◁/think▷\n\n", "closed with ◁/think▷"),
        ("[THINK]", "[THINK]\n\n[/THINK]\n\n", "closed with [/THINK]"),
        ("<seed:think>\n", "<seed:think>\n\n</seed:think>\n\n", "closed with </seed:think>"),
        (
            "<|begin_of_thought|>\n",
            "<|begin_of_thought|>\n\n<|end_of_thought|>\n\n",
            "closed with <|end_of_thought|>",
        ),
        (
            "<|START_THINKING|>",
            "<|START_THINKING|>\n\n<|END_THINKING|>\n\n",
            "closed with <|END_THINKING|>",
        ),
        (QWEN, "<think>\n\n</think>\n\n", "enable_thinking=False"),
        (HYBRID, "<think>\n\n</think>\n\n", "may think before it answers"),
        ("{% if thinking is not false %}<think>{% else %}</think>{% endif %}", "</think>", "off"),
    ],
)
def test_a_thought_that_the_template_opens_is_closed_before_the_answer(
    tail: str, end: str, told: str, damaged: Folder
) -> None:
    with pytest.warns(ThoughtWarning, match=re.escape(told)) as warned:
        model = load(thinker(damaged, tail))
    assert "think" in str(warned[0].message)
    assert "\n" not in str(warned[0].message)
    assert model.capabilities.logprobs
    assert prompt_text(model.processor, "what?").endswith(f"ASSISTANT:{end}")
    asked = requests()[:1]
    np.testing.assert_allclose(
        scores(model.query(asked))[0],
        [reference_score(model, asked[0], label) for label in LABELS],
        atol=1e-4,
    )


def test_a_thought_that_cannot_be_closed_is_told_and_nothing_is_scored(damaged: Folder) -> None:
    with pytest.warns(ThoughtWarning, match="labels cannot be scored"):
        model = load(thinker(damaged, "<|channel|>analysis<|message|>"))
    assert not model.capabilities.logprobs
    assert model.capabilities.thinks


def test_a_model_that_may_open_a_thought_by_itself_is_told(damaged: Folder) -> None:
    folder = damaged("llava")
    template = folder / "chat_template.jinja"
    template.write_text(
        template.read_text().replace("m['content'] }}", "m['content'].split('</think>')[-1] }}")
    )
    with pytest.warns(ThoughtWarning, match=r"may think before it answers: .* \(</think>\)"):
        load(folder)


@pytest.mark.parametrize("tail", ["<think>\n\n</think>\n\n", " I think:", "[/THINK]"])
def test_a_template_that_leaves_no_thought_open_is_left_alone(tail: str, damaged: Folder) -> None:
    model = load(thinker(damaged, tail))
    assert prompt_text(model.processor, "<think> or not?").endswith(f"ASSISTANT:{tail}")


@families
def test_capabilities_tell_what_the_processor_makes(family: str, untrained: Folder) -> None:
    model = load(untrained(family))
    side = inputs_of(model, requests()[0])[1]["pixel_values"].shape[-1]
    expected = Capabilities(logprobs=True, deterministic=True, image_side=side)
    assert replace(model.capabilities, revision="") == expected


def test_the_spec_is_the_one_that_was_given(untrained: Folder) -> None:
    folder = untrained("llava")
    assert load_model(f"hf/{folder}").spec == f"hf/{folder}"
    assert hf.load(str(folder), spec="zoo/llava").spec == "zoo/llava"


# -- what can go wrong -----------------------------------------------------------------------------
def refusal(kind: type[Exception], folder: Path | str, **options: Any) -> str:
    """The message of the one error that loading must raise: one line, and not too long."""
    with pytest.raises(kind) as caught:
        hf.load(str(folder), **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400 + len(str(folder))
    return message


def test_a_wrong_dtype_names_the_nearest(untrained: Folder) -> None:
    assert "did you mean bfloat16" in refusal(UsageError, untrained("llava"), dtype="bfloat")


@pytest.mark.parametrize("batch", [0, -1, "many"])
def test_a_batch_must_be_a_positive_number(batch: Any, untrained: Folder) -> None:
    assert "at least 1" in refusal(UsageError, untrained("llava"), batch=batch)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str, untrained: Folder) -> None:
    assert repr(device) in refusal(UsageError, untrained("llava"), device=device)


@pytest.mark.parametrize("name", ["./no-such-folder", "~/no-such-folder", "."])
def test_a_folder_without_a_model_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "holds no config.json" in refusal(ModelError, name)


def test_a_folder_without_a_processor_says_how_to_save_one(damaged: Folder) -> None:
    folder = damaged("llava")
    for file in (
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ):
        (folder / file).unlink()
    assert "processor.save_pretrained(folder)" in refusal(ModelError, folder)


def test_a_folder_without_weights_is_refused(damaged: Folder) -> None:
    folder = damaged("llava")
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(ModelError, folder)


def test_half_a_weights_file_is_refused(damaged: Folder) -> None:
    folder = damaged("llava")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "damaged or cut off; download it again" in refusal(ModelError, folder)


def test_weights_that_lack_a_tensor_are_not_made_up(damaged: Folder) -> None:
    from safetensors.torch import load_file, save_file

    file = damaged("llava") / "model.safetensors"
    tensors = load_file(file)
    lost = next(name for name in tensors if "multi_modal_projector" in name)
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != lost},
        file,
        metadata={"format": "pt"},
    )
    assert lost in refusal(ModelError, file.parent)


def test_weights_of_another_shape_are_refused(damaged: Folder) -> None:
    folder = damaged("llava")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    assert "weights of other shapes than its config.json says" in refusal(ModelError, folder)


@pytest.mark.parametrize("text", ["{", '{"model_type": "nonesuch"}', "{}"])
def test_a_config_that_means_nothing_is_refused(text: str, damaged: Folder) -> None:
    folder = damaged("llava")
    (folder / "config.json").write_text(text)
    refusal(ModelError, folder)


def test_a_model_that_answers_nothing_is_refused(untrained: Folder) -> None:
    assert "CLIPConfig" in refusal(ModelError, untrained("clip"))


def test_a_hub_id_offline_says_that_the_hub_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        transformers.AutoProcessor, "from_pretrained", None
    )  # one file is looked up, not all of them
    assert "hub cannot be reached" in refusal(ModelError, "no-such-organisation/no-such-model")


def remote_code(folder: Path, marker: Path) -> Path:
    """A folder that asks for a module of its own; the marker tells whether that module ever ran."""
    config = json.loads((folder / "config.json").read_text())
    classes = {
        "AutoConfig": "own_code.OwnConfig",
        "AutoModelForImageTextToText": "own_code.OwnModel",
    }
    (folder / "config.json").write_text(
        json.dumps(config | {"model_type": "own", "auto_map": classes})
    )
    (folder / "own_code.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    return folder


def test_code_in_a_folder_is_not_run_unless_it_is_trusted(
    damaged: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    folder = remote_code(damaged("llava"), marker)
    assert "trust_remote_code=true" in refusal(ModelError, folder)
    assert not marker.exists()
    # the control: were it trusted, it would run
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    refusal(ModelError, folder, trust_remote_code=True)
    assert marker.exists()


@pytest.mark.parametrize("word", ["no", "false", 0, None])
def test_trust_is_a_plain_yes_or_no(word: Any, untrained: Folder) -> None:
    assert "true or false" in refusal(UsageError, untrained("llava"), trust_remote_code=word)


@pytest.mark.parametrize("shown", [True, False])
def test_loading_leaves_progress_bars_as_they_were(shown: bool, untrained: Folder) -> None:
    logging = transformers.utils.logging
    was_on = logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        load(untrained("llava"))
        assert logging.is_progress_bar_enabled() is shown
    finally:
        (logging.enable_progress_bar if was_on else logging.disable_progress_bar)()
