"""Published prompts as chat templates."""

from __future__ import annotations

from typing import NamedTuple


class PublishedPrompt(NamedTuple):
    """The words of a published prompt, around the question and around the answer.

    The image stands where the message has it: `image[0]`, its tokens, `image[1]`.
    """

    ask: tuple[str, str]
    answer: tuple[str, str]
    image: tuple[str, str] = ("<Img>", "</Img> ")
    gap: str = ""
    """What stands between the beginning of an answer and its first word, if anything."""


SPACE = "▁"
"""A space as Llama's tokenizer keeps it in its vocabulary.

A prompt that ends with it keeps it as a token of its own. After a plain space, a tokenizer would
join it with the first word of the answer.
"""

MINIGPT4 = PublishedPrompt(("###Human: ", " "), (f"###Assistant:{SPACE}", "###"))
"""`prompt_template` of MiniGPT-4's eval_configs/minigpt4_eval.yaml, with prompts/alignment.txt."""

VPGTRANS = PublishedPrompt(("###Human: ", " "), ("###Assistant:", " ###"), gap=" ")
"""`CONV_VISION` of VPGTrans' lavis/conversation/conversation.py."""

VISUALGLM = PublishedPrompt(
    ("", "\n答：[gMASK]<sop>"), ("", "<eop>"), image=("<img>", "</img>问：")
)
"""`build_inputs_with_image` of VisualGLM's modeling_chatglm.py."""

VISUALGLM_TVP = PublishedPrompt(("", "[gMASK]<sop>"), ("", "<eop>"), image=("<img>", "</img> "))
"""`CLS_PROMPT` of TVP's util/visualglm_utils.py."""

TVP = PublishedPrompt(("", ""), ("", ""), gap=" ")
"""`CLS_PROMPT` of TVP's util/minigpt4_utils.py and util/vpgtrans_utils.py: no turns at all."""

_TEMPLATE = """\
{%- for message in messages -%}
{%- set asked = message['role'] == 'user' -%}
{{- ASK_BEGIN if asked else (ANSWER_BEGIN + GAP if message['role'] == 'assistant' else '') -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{{- IMAGE if part['type'] == 'image' else part['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- ASK_END if asked else (ANSWER_END if message['role'] == 'assistant' else '') -}}
{%- endfor -%}
{{- ANSWER_BEGIN if add_generation_prompt else '' -}}
"""


def chat_template(prompt: PublishedPrompt, token: str, tokens: int) -> str:
    """Return a prompt as a chat template; an image takes `tokens` times the text `token`."""
    words = {
        "ASK_BEGIN": prompt.ask[0],
        "ASK_END": prompt.ask[1],
        "ANSWER_BEGIN": prompt.answer[0],
        "ANSWER_END": prompt.answer[1],
        "GAP": prompt.gap,
        "IMAGE": prompt.image[0] + token * tokens + prompt.image[1],
    }
    return "".join(f"{{%- set {name} = {text!r} -%}}\n" for name, text in words.items()) + _TEMPLATE
