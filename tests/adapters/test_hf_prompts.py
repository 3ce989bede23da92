"""Prompts and labels as token ids: what transformers itself would make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers as hf
from conftest import Folder
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

from bbtvp.adapters.hf.inputs import InputNames, Prompts
from bbtvp.adapters.hf.labels import continuation
from bbtvp.adapters.hf.layout import image_layout
from bbtvp.adapters.hf.prompts import prompt_text
from bbtvp.core.errors import ModelError
from bbtvp.core.rng import stream
from bbtvp.models import Request
from bbtvp.zoo.families import tokenizer

QUESTION = "what digit is this?"
SIDE = {"height": 64, "width": 64}
KEYS = ("pixel_values", "input_ids", "attention_mask")


def asked(question: str = QUESTION, rows: int = 1) -> list[Request]:
    draws = stream(0, "prompts").integers(0, 256, (rows, 64, 64, 3)).astype(np.uint8)
    return [Request(image, question, ("one",)) for image in draws]


def template(start: str = "", invitation: str = "ASSISTANT:", turn: str = "") -> str:
    """A chat template: its start, the user's turn, and the assistant's turn around {answer}."""
    return (
        f"{start}{{% for m in messages %}}{{% if m['role'] == 'user' %}}USER: "
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}"
        f"{{% endif %}}{{% endfor %}} {{% else %}}{turn}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{invitation}{{% endif %}}"
    )


def chat_processor(written: str, *extra: str, adds_bos: bool = False) -> Any:
    """LLaVA's processor with this chat template."""
    words = tokenizer(*extra)
    if adds_bos:
        words.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", words.bos_token_id)]
        )
    return hf.LlavaProcessor(
        image_processor=hf.CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size=SIDE),
        tokenizer=words,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=written,
    )


def tokens(processor: Any, ids: Any) -> list[str]:
    return list(processor.tokenizer.convert_ids_to_tokens(ids))


# -- the prompt ------------------------------------------------------------------------------------
@pytest.mark.parametrize("start", ["", "{{ bos_token }}", "<s>", "<s><s>"])
@pytest.mark.parametrize("adds_bos", [True, False])
def test_a_prompt_has_the_tokens_that_transformers_gives_the_chat(
    start: str, adds_bos: bool
) -> None:
    processor = chat_processor(template(start), adds_bos=adds_bos)
    requests = asked(rows=2)
    prompts = Prompts(processor, encoder_decoder=False)
    found = prompts.inputs(requests)
    chats = [
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": Image.fromarray(request.image)},
                    {"type": "text", "text": request.text},
                ],
            }
        ]
        for request in requests
    ]
    expected = processor.apply_chat_template(
        chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert found.keys() == expected.keys()
    assert found["input_ids"].tolist() == expected["input_ids"].tolist()
    assert prompts.widths(requests[0]) == (expected["input_ids"].shape[1],)


def test_a_chat_template_that_raises_is_told_in_one_line() -> None:
    processor = chat_processor("{{ raise_exception('no images here') }}")
    with pytest.raises(ModelError, match=r"chat template of LlavaProcessor.*no images") as told:
        prompt_text(processor, QUESTION)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "written",
    ["{{ messages[0]['content'][1]['text'] }}", "{{ messages[0]['content'] + '?' }}", "{% if %}"],
)
def test_a_chat_template_that_leaves_the_image_out_or_breaks_is_refused(written: str) -> None:
    with pytest.raises(ModelError, match="LlavaProcessor"):
        Prompts(chat_processor(written), encoder_decoder=False).inputs(asked())


def test_a_question_that_names_the_image_token_is_refused_in_one_line() -> None:
    prompts = Prompts(chat_processor(template()), encoder_decoder=False)
    with pytest.raises(ModelError, match="ask another question") as told:
        prompts.widths(asked("what does <image> mean?")[0])
    assert "\n" not in str(told.value)


class Telling(hf.CLIPImageProcessorPil):
    """Says of each image whether it is light, which the model is not given."""

    def preprocess(self, images: Any, **options: Any) -> Any:
        made = super().preprocess(images, **options)
        made["light"] = [bool(pixels.mean() > 0) for pixels in made["pixel_values"]]
        return made


class Reading(hf.LlavaProcessor):
    """Leaves out what the image processor says, and may write more about light images."""

    more = ""

    @property
    def unused_input_names(self) -> list[str]:
        return ["light"]

    def get_text_with_replacements(self, text: list[str], *images: Any, **more: Any) -> Any:
        made = super().get_text_with_replacements(text, *images, **more)
        return [f"{row}{self.more}" for row in made[0]], made[1]


def reading_processor() -> Any:
    plain = chat_processor(template())
    return Reading(
        image_processor=Telling(size={"shortest_edge": 64}, crop_size=SIDE),
        tokenizer=plain.tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=plain.chat_template,
    )


def test_a_text_is_kept_for_images_of_which_the_image_processor_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = Prompts(reading_processor(), encoder_decoder=False)
    shades = [
        Request(np.full((64, 64, 3), value, np.uint8), QUESTION, ("one",)) for value in (0, 255)
    ]
    expected = [prompts.inputs([request])["input_ids"].tolist() for request in shades]
    assert expected[0] == expected[1]
    monkeypatch.setattr(Reading, "__call__", None)  # from here on the question is known
    outcomes = []
    for request in shades:
        try:
            outcomes.append(prompts.inputs([request]).keys() == {*KEYS})
        except ModelError:  # the whole processor was asked
            outcomes.append(None)
    assert sorted(outcomes, key=str) == [None, True]
    with pytest.raises(ModelError):
        prompts.inputs(shades)


def test_a_prompt_whose_length_depends_on_what_the_image_shows_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = Prompts(reading_processor(), encoder_decoder=False)
    shades = [
        Request(np.full((64, 64, 3), value, np.uint8), QUESTION, ("one",)) for value in (0, 255)
    ]
    prompts.widths(shades[0])
    monkeypatch.setattr(Reading, "more", " and it is light")
    with pytest.raises(ModelError, match="depends on what the image shows"):
        prompts.inputs(shades)


# -- processors without a chat template ------------------------------------------------------------
def plain_tokenizer(**more: Any) -> Any:
    return tokenizer("<s_answer>", roles={}, side="right", **more)


def bert_tokenizer() -> Any:
    """A tokenizer that puts [CLS] before a text and [SEP] after it."""
    words = plain_tokenizer()
    words.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", words.cls_token_id), ("[SEP]", words.sep_token_id)],
    )
    return words


def blip_images() -> Any:
    return hf.BlipImageProcessorPil(size=SIDE)


def clip_images() -> Any:
    return hf.CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size=SIDE)


def florence() -> Any:
    images = clip_images()
    images.image_seq_length = 5
    return hf.Florence2Processor(image_processor=images, tokenizer=tokenizer())


def paligemma() -> Any:
    images = hf.SiglipImageProcessorPil(size=SIDE)
    images.image_seq_length = 5
    return hf.PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer())


def chameleon() -> Any:
    words = tokenizer("<racm3:break>", "<eoss>", "<sep>")
    words.sep_token = "<sep>"
    return hf.ChameleonProcessor(clip_images(), words, image_seq_length=5)


PLAIN = {
    "blip": lambda: hf.BlipProcessor(blip_images(), bert_tokenizer()),
    "blip-2": lambda: hf.Blip2Processor(blip_images(), plain_tokenizer(), num_query_tokens=4),
    "git": lambda: hf.GitProcessor(clip_images(), bert_tokenizer()),
    "donut": lambda: hf.DonutProcessor(hf.DonutImageProcessorPil(size=SIDE), plain_tokenizer()),
    "trocr": lambda: hf.TrOCRProcessor(hf.ViTImageProcessorPil(size=SIDE), plain_tokenizer()),
    "idefics": lambda: hf.IdeficsProcessor(
        hf.IdeficsImageProcessorPil(image_size=64),
        tokenizer("<fake_token_around_image>", roles={}),
    ),
    "florence2": florence,
    "paligemma": paligemma,
    "got_ocr2": lambda: hf.GotOcr2Processor(
        hf.GotOcr2ImageProcessorPil(size=SIDE), tokenizer("<imgpad>", roles={})
    ),
    "chameleon": chameleon,
}


@pytest.mark.parametrize(
    ("family", "placeholder", "images", "end"),
    [
        ("blip", "", 0, ["?", "[SEP]"]),
        ("blip-2", "", 4, ["?"]),
        ("git", "", 0, ["?", "[SEP]"]),
        ("donut", "", 0, ["?"]),
        ("idefics", "", 1, ["?"]),
        ("florence2", "", 5, ["?", "</s>"]),
        ("paligemma", "<image>", 5, ["Ċ"]),
        ("got_ocr2", "<imgpad>", 256, ["?"]),
        ("chameleon", "<image>", 5, ["?", "<sep>"]),
    ],
)
def test_a_processor_without_a_template_gets_the_image_before_the_question(
    family: str, placeholder: str, images: int, end: list[str]
) -> None:
    processor = PLAIN[family]()
    assert prompt_text(processor, QUESTION) == f"{placeholder}{QUESTION}"
    found = Prompts(processor, encoder_decoder=True).inputs(asked(rows=2))
    assert len(found["input_ids"]) == len(found["pixel_values"]) == 2
    for row in found["input_ids"]:
        written = tokens(processor, row)
        marks = [i for i, token in enumerate(written) if token in ("<image>", "<imgpad>")]
        assert len(marks) == images
        assert written[-len(end) :] == end
        assert not marks or "".join(written[marks[-1] :]).replace("Ġ", " ").count(QUESTION) == 1


class Forward:
    """A model of which only the signature of its forward pass is looked at."""

    generate = hf.GenerationMixin.generate

    def forward(self, pixel_values: Any, input_ids: Any = None, attention_mask: Any = None) -> None:
        raise NotImplementedError


class OwnGenerate(Forward):
    def generate(self) -> None:
        raise NotImplementedError


class DecoderForward(Forward):
    def forward(  # type: ignore[override]
        self,
        pixel_values: Any,
        decoder_input_ids: Any = None,
        decoder_attention_mask: Any = None,
        **others: Any,
    ) -> None:
        raise NotImplementedError


def test_an_answer_does_not_follow_an_end_token() -> None:
    processor = PLAIN["git"]()
    prompts = Prompts(processor, encoder_decoder=False, model=Forward())
    found = prompts.inputs(asked(rows=2))
    assert tokens(processor, found["input_ids"][0])[0] == "[CLS]"
    assert tokens(processor, found["input_ids"][1])[-1] == "?"
    assert found["input_ids"].shape == found["attention_mask"].shape
    assert prompts.widths(asked()[0]) == (found["input_ids"].shape[1],)


def test_a_model_that_may_take_the_end_token_off_by_itself_is_refused() -> None:
    """As BLIP's `generate` does, and another class may not."""
    with pytest.raises(ModelError, match="OwnGenerate changes its prompt when it generates"):
        Prompts(PLAIN["blip"](), encoder_decoder=False, model=OwnGenerate())
    plain = Prompts(PLAIN["blip-2"](), encoder_decoder=False, model=OwnGenerate())
    assert plain.inputs(asked())["input_ids"].shape == (1, plain.widths(asked()[0])[0])


def test_a_question_that_the_decoder_reads_has_the_decoders_names() -> None:
    processor = PLAIN["donut"]()
    prompts = Prompts(processor, encoder_decoder=True, model=DecoderForward())
    found = prompts.inputs(asked())
    assert found.keys() == {"pixel_values", "decoder_input_ids", "decoder_attention_mask"}
    assert tokens(processor, prompts.label_ids(QUESTION, "one")) == ["Ġone"]
    assert tokens(processor, prompts.label_ids(f"{QUESTION}<s_answer>", "one")) == ["one"]


def test_a_model_that_gets_no_question_has_no_tokens() -> None:
    prompts = Prompts(PLAIN["trocr"](), encoder_decoder=True, model=DecoderForward())
    assert prompts.inputs(asked()).keys() == {"pixel_values"}
    assert prompts.widths(asked()[0]) == (1,)


def test_a_model_that_writes_no_text_is_refused() -> None:
    with pytest.raises(ModelError, match="writes no text"):
        InputNames.of(object())


def test_a_model_gets_no_input_that_it_does_not_take() -> None:
    known = InputNames.of(Forward())
    assert known.chosen({"pixel_values": 1, "num_crops": 2, "labels": 3}) == {"pixel_values": 1}
    assert InputNames.of(None).chosen({"num_crops": 2, "labels": 3}) == {"num_crops": 2}


def test_a_processor_that_takes_no_image_with_a_question_is_refused_in_one_line() -> None:
    processor = PLAIN["blip"]()
    processor.image_processor.do_resize = False
    processor.image_processor = None
    with pytest.raises(ModelError, match="BlipProcessor takes no image with a question") as told:
        image_layout(processor)
    assert "\n" not in str(told.value)


# -- labels ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("invitation", "turn", "expected"),
    [
        ("ASSISTANT:", "", ["Ġone"]),  # the template says nothing of answers: as text goes on
        ("ASSISTANT:\n", "", ["one"]),
        ("[/INST]", "", ["one"]),  # a special token
        ("ASSISTANT:", "ASSISTANT: {{ m['content'][0]['text'] }}</s>", ["Ġone"]),
        ("ASSISTANT:", "ASSISTANT: {{ m['content'] }}</s>", ["Ġone"]),
        ("ASSISTANT:", "ASSISTANT:{{ m['content'][0]['text'] }}</s>", ["one"]),
        ("ASSISTANT:", "ASSISTANT:\n{{ m['content'][0]['text'] | trim }}</s>", ["Ċ", "one"]),
        ("[/INST]", "[/INST] {{ m['content'][0]['text'] }}</s>", ["Ġone"]),
        ("[/INST]", "[/INST]{{ m['content'][0]['text'] }}</s>", ["one"]),
        ("ASSISTANT:", "{{ raise_exception('no answers') }}", ["Ġone"]),
        ("ASSISTANT:", "{{ '' + m['content'] }}", ["Ġone"]),
    ],
)
def test_a_label_stands_where_the_template_puts_an_answer(
    invitation: str, turn: str, expected: list[str]
) -> None:
    processor = chat_processor(template("", invitation, turn), "[/INST]")
    prompts = Prompts(processor, encoder_decoder=False)
    assert tokens(processor, prompts.label_ids(QUESTION, "one")) == expected
    assert prompts.label_ids(QUESTION, "") == ()
    fresh = Prompts(processor, encoder_decoder=True)
    assert tokens(processor, fresh.label_ids(QUESTION, "one")) == ["one"]


def test_an_answer_after_a_switched_off_thought_is_read_from_the_same_template() -> None:
    turn = "ASSISTANT:<think>\n</think>\n{{ m['content'] }}</s>"
    off = "ASSISTANT:{{ '<think>\n</think>' if enable_thinking is false else '<think>' }}"
    processor = chat_processor(template("", off, turn))
    assert prompt_text(processor, QUESTION).endswith("</think>")
    prompts = Prompts(processor, encoder_decoder=False)
    assert tokens(processor, prompts.label_ids(QUESTION, "one")) == ["Ċ", "one"]


def prefixed_tokenizer() -> Any:
    """Llama 2's kind: every text gets a space before it, which marks its first word."""
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    core.train_from_iterator(["USER: which? ASSISTANT: one", " one two\n"] * 20, trainer)
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ("USER: which? ASSISTANT:", " one"),
        ("USER: which? ASSISTANT:\n", "one"),
        ("USER: which? ASSISTANT: ", "one"),  # the space is a token of its own, and stays one
        ("USER: which?", " one two"),
    ],
)
def test_a_space_that_a_tokenizer_puts_before_every_text_is_not_in_a_label(
    context: str, text: str
) -> None:
    words = prefixed_tokenizer()
    prompt = words(context, add_special_tokens=False)["input_ids"]
    found = continuation(words, context, text)
    plain = words(text, add_special_tokens=False)["input_ids"]
    assert words.decode([*prompt, *found]).strip() == f"{context}{text}"
    assert found != plain


def test_labels_of_the_zoo_are_those_that_its_members_were_trained_on(untrained: Folder) -> None:
    expected = {"llava": "Ġone", "idefics3": "Ġone", "paligemma": "one", "blip2": "one"}
    for family, token in expected.items():
        processor = hf.AutoProcessor.from_pretrained(Path(untrained(family)))
        prompts = Prompts(processor, encoder_decoder=family == "blip2")
        assert tokens(processor, prompts.label_ids(QUESTION, "one")) == [token]
