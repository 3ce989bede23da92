"""The body of a request, changed where the prompt says so and nowhere else."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.deploy import APIS, api_of, transform_request
from bbtvp.prompt import Exemplars, Guidance, Identity, Layer, Prompt, PromptSpace
from tests.deploy.conftest import QUESTION, bodies


def encoded(body: Any, **style: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, **style).encode()


def sent_picture(before: str, after: str, picture: str) -> tuple[str, str]:
    """The base64 that took the picture's place, and the text with the picture put back."""
    head, _, tail = before.partition(picture)
    assert after.startswith(head)
    assert after.endswith(tail)
    new = after[len(head) : len(after) - len(tail)]
    return new, head + picture + tail


def decoded(data: str) -> Pixels:
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.array(image)


@pytest.mark.parametrize("style", [{}, {"indent": 3}, {"separators": (",", ":")}])
@pytest.mark.parametrize("api", APIS)
def test_the_picture_changes_and_every_other_byte_stays(
    api: str, style: dict[str, Any], prompt: Prompt, pixels: Pixels, picture: str
) -> None:
    body = encoded(bodies(picture)[api], **style)
    done = transform_request(body, api, prompt)
    assert (done.images, done.left) == (1, "")
    new, back = sent_picture(body.decode(), done.body.decode(), picture)
    assert np.array_equal(decoded(new), prompt.render(pixels))
    assert back.encode() == body


@pytest.mark.parametrize("api", APIS)
def test_another_format_changes_the_media_type(api: str, prompt: Prompt, picture: str) -> None:
    done = transform_request(encoded(bodies(picture)[api]), api, prompt, format="jpeg")
    text = done.body.decode()
    assert "image/png" not in text
    assert '"png"' not in text
    assert ('"jpeg"' in text) if api == "converse" else ("image/jpeg" in text)


@pytest.mark.parametrize("api", APIS)
def test_the_sentence_goes_before_the_first_words_beside_the_picture(
    api: str, speaking: Prompt, picture: str
) -> None:
    body = bodies(picture)[api]
    done = transform_request(encoded(body), api, speaking)
    words = json.dumps(json.loads(done.body), ensure_ascii=False)
    assert words.count(speaking.ask(QUESTION)) == words.count(QUESTION) == 1
    assert speaking.ask("One word.") not in words


EXAMPLES = [np.full((20, 30, 3), level, np.uint8) for level in (60, 180)]


def showing(*layers: Layer) -> Prompt:
    shown = [(image, f"Answer: {name}", name) for image, name in zip(EXAMPLES, "ab", strict=True)]
    space = PromptSpace((Exemplars.of(shown, [(0, 1)]), *layers), 64)
    return space.prompt(space.starts()[1])


@pytest.mark.parametrize("api", APIS)
def test_what_is_shown_before_goes_in_as_parts_of_the_same_form(
    api: str, picture: str, pixels: Pixels
) -> None:
    body = bodies(picture)[api]
    prompt = showing()
    done = transform_request(encoded(body, indent=2), api, prompt)
    assert (done.images, done.left) == (1, "")
    (before,) = [parts_of(turn, api) for turn in turns_of(body, api)]
    (after,) = [parts_of(turn, api) for turn in turns_of(json.loads(done.body), api)]
    place = next(i for i, part in enumerate(before) if picture in json.dumps(part))
    added = after[place : place + 4]
    assert after[:place] == before[:place]
    assert after[place + 5 :] == before[place + 1 :]
    for part, image in zip((*added[::2], after[place + 4]), [*EXAMPLES, None], strict=True):
        assert keys_of(part) == keys_of(before[place])
        expected = prompt.render(pixels) if image is None else image
        assert np.array_equal(decoded(data_of(part)), expected)
    assert [part["text"] for part in added[1::2]] == ["Answer: a", "Answer: b"]
    words = next(part for part in before if "text" in part)
    assert [keys_of(part) for part in added[1::2]] == [keys_of(words)] * 2


def test_examples_go_once_before_an_image_that_is_left_as_it_is(picture: str) -> None:
    body = bodies(picture)["messages"]
    (turn,) = body["messages"]
    turn["content"][0]["cache_control"] = {"type": "ephemeral"}
    body["messages"] = [turn, {"role": "assistant", "content": "rows"}, turn]
    done = transform_request(encoded(body), "messages", showing(Identity()))
    assert done.body.decode().count(picture) == 2
    assert done.body.decode().count("Answer: a") == 1
    assert done.body.decode().count("cache_control") == 2


def turns_of(body: Any, api: str) -> list[Any]:
    turns = body[{"responses": "input", "gemini": "contents"}.get(api, "messages")]
    return [turn for turn in turns if turn.get("role", "user") == "user"]


def parts_of(turn: Any, api: str) -> list[Any]:
    return list(turn["parts" if api == "gemini" else "content"])


def keys_of(part: Any) -> Any:
    return {key: keys_of(value) for key, value in part.items()} if isinstance(part, dict) else ""


def data_of(part: Any) -> str:
    """The longest text in a part: its base64."""
    texts = [data_of(value) if isinstance(value, dict) else str(value) for value in part.values()]
    return max(texts, key=len).rpartition(",")[2]


def test_all_pictures_of_all_turns_of_the_user(prompt: Prompt, picture: str) -> None:
    body = bodies(picture)["messages"]
    (turn,) = body["messages"]
    twice = {"role": "user", "content": 2 * turn["content"]}
    body["messages"] = [turn, {"role": "assistant", "content": "rows"}, twice]
    done = transform_request(encoded(body), "messages", prompt)
    assert done.images == 3
    assert picture not in done.body.decode()


def test_both_spellings_of_gemini_and_both_alphabets(
    prompt: Prompt, pixels: Pixels, picture: str
) -> None:
    safe = picture.replace("+", "-").replace("/", "_").rstrip("=")
    for outer in ("inlineData", "inline_data"):
        for inner in ("mimeType", "mime_type"):
            for data in (picture, safe):
                part = {outer: {"data": data, inner: "image/png"}}
                body = encoded({"contents": [{"parts": [part]}]})
                done = transform_request(body, "gemini", prompt)
                assert np.array_equal(
                    decoded(json.loads(done.body)["contents"][0]["parts"][0][outer]["data"]),
                    prompt.render(pixels),
                )


def test_what_a_tool_returned_is_left_alone(prompt: Prompt, picture: str) -> None:
    image = bodies(picture)["messages"]["messages"][0]["content"][0]
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    body = encoded({"messages": [{"role": "user", "content": [result]}]})
    assert transform_request(body, "messages", prompt).body == body


def test_the_identity_changes_nothing(picture: str) -> None:
    identity = Prompt(PromptSpace((Identity(),), 64), np.zeros(0))
    for api, body in bodies(picture).items():
        raw = encoded(body, indent=1)
        assert transform_request(raw, api, identity).body == raw


URL = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
LEFT = {
    "by its address": ("chat", [URL]),
    "a URL that is no string": ("chat", [{"type": "image_url", "image_url": {"url": 3}}]),
    "no base64": ("chat", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,é"}}]),
    "a damaged picture": (
        "chat",
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
    ),
    "a file of OpenAI's": ("responses", [{"type": "input_image", "file_id": "f"}]),
    "an address for Anthropic": (
        "messages",
        [{"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}],
    ),
    "a file of Google's": ("gemini", [{"fileData": {"mimeType": "image/png", "fileUri": "u"}}]),
    "an object of S3": (
        "converse",
        [{"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}}],
    ),
}


@pytest.mark.parametrize("case", LEFT)
def test_where_one_picture_cannot_be_prompted_nothing_is(
    case: str, prompt: Prompt, picture: str
) -> None:
    api, parts = LEFT[case]
    body = bodies(picture)[api]
    turns = body[{"responses": "input", "gemini": "contents"}.get(api, "messages")]
    turn = next(turn for turn in turns if turn.get("role", "user") == "user")
    turn["parts" if api == "gemini" else "content"] += parts
    done = transform_request(encoded(body), api, prompt)
    assert done.body == encoded(body)
    assert done.images == 0
    assert done.left
    assert "\n" not in done.left


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe{}",
        b'{"messages": 3}',
        b'{"messages": [3, {"role": "user", "content": "hello"}]}',
        b'{"messages": []}{"messages": []}',
        b'{"a": NaN, "messages": [null]}',
        b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_body_of_another_kind_goes_through(raw: bytes, prompt: Prompt) -> None:
    for api in APIS:
        done = transform_request(raw, api, prompt)
        assert done.body == raw
        assert done.images == 0


def test_a_key_given_twice_is_not_guessed_at(prompt: Prompt, picture: str) -> None:
    body = encoded(bodies(picture)["chat"])
    twice = body[:-1] + b', "messages": []}'
    done = transform_request(twice, "chat", prompt)
    assert done.body == twice
    assert "twice" in done.left


def test_a_picture_without_words_has_no_place_for_a_sentence(
    speaking: Prompt, picture: str
) -> None:
    body = encoded(bodies(picture)["converse"]).replace(b'{"text"', b'{"other"')
    done = transform_request(body, "converse", speaking)
    assert done.body == body
    assert "no words" in done.left


def test_an_unknown_api_is_refused(prompt: Prompt) -> None:
    with pytest.raises(UsageError, match="chat"):
        transform_request(b"{}", "completions", prompt)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(extra=st.dictionaries(st.text(), json_values, max_size=4), ascii_only=st.booleans())
def test_whatever_stands_beside_it_stays(
    extra: dict[str, Any], ascii_only: bool, prompt: Prompt, picture: str
) -> None:
    body = {**extra, **bodies(picture)["chat"]}
    text = json.dumps(body, ensure_ascii=ascii_only)
    raw = text.encode("utf-8", "surrogatepass")
    done = transform_request(raw, "chat", prompt)
    if done.left:  # a lone surrogate is no UTF-8
        assert done.body == raw
        return
    assert sent_picture(text, done.body.decode(), picture)[1] == text


def test_routes() -> None:
    known = {
        "/v1/chat/completions": "chat",
        "/openai/deployments/d/chat/completions": "chat",
        "/v1/responses": "responses",
        "/v1/messages": "messages",
        "/v1beta/models/gemini-4-flash:generateContent": "gemini",
        "/v1beta/models/gemini-4-flash:streamGenerateContent": "gemini",
        "/model/anthropic.claude%3A0/converse": "converse",
        "/model/m/converse-stream": "converse",
    }
    assert {path: api_of(path) for path in known} == known
    for path in ("/v1/messages/count_tokens", "/v1/embeddings", "/v1/responses/r/cancel", "/"):
        assert api_of(path) is None


@pytest.mark.parametrize("api", APIS)
def test_words_alone_change_the_question_and_no_byte_of_the_picture(api: str, picture: str) -> None:
    space = PromptSpace((Identity(), Guidance(("{question} One word.",))))
    body = encoded(bodies(picture)[api])
    done = transform_request(body, api, space.prompt(space.starts()[1]))
    assert (done.images, done.left) == (1, "")
    assert json.loads(done.body) == json.loads(
        body.decode().replace(QUESTION, f"{QUESTION} One word.")
    )
    assert picture.encode() in done.body
    assert transform_request(body, api, space.prompt(space.neutral())).body == body
