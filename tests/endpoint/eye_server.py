"""Chat completions over HTTP whose every answer is computed from the pixels that came in, as
`tests.support.Eye` does.

What the server makes of a field is a switch: it honours it, answers 200 and ignores it, or rejects
it.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from PIL import Image

from bbtvp.models import Request
from tests.adapters.recording import Asked
from tests.support import LABELS, Eye

FIELDS = ("logprobs", "response_format", "temperature", "seed", "n")


class EyeServer:
    """Give it to `recorder` as the answer. honours, rejects: of FIELDS; the others are ignored in
    silence.
    """

    def __init__(self, *, honours: Collection[str] = FIELDS, rejects: Collection[str] = ()) -> None:
        self.honours = set(honours)
        self.rejects = set(rejects)
        self.eye = Eye()
        self.images = 0

    def __call__(self, asked: Asked) -> dict[str, Any]:
        return self.reply(asked.json)

    def reply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """To a body of chat completions."""
        for name in self.rejects & body.keys():
            return {
                "error": {
                    "message": f"Unsupported parameter: {name}",
                    "type": "invalid_request_error",
                }
            }
        self.images += 1
        part, text = body["messages"][0]["content"]
        image = Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))
        scores = self._look(np.asarray(image.convert("RGB")))
        forced = body.get("response_format") if "response_format" in self.honours else None
        labels = (
            forced["json_schema"]["schema"]["properties"]["answer"]["enum"]
            if forced
            else list(LABELS)
        )
        label = max(labels, key=lambda name: scores.get(name, -9.0 - len(name)))
        said = ['{"', "answer", '":"', label, '"}'] if forced else [label, "."]
        tokens = [
            self._token(piece, scores if piece == label else {}, body.get("top_logprobs", 0))
            for piece in said
        ]
        shown = {"content": tokens} if body.get("logprobs") and "logprobs" in self.honours else None
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": shown,
            "message": {"role": "assistant", "content": "".join(said), "refusal": None},
        }
        count = body.get("n", 1) if "n" in self.honours else 1
        usage = {"prompt_tokens": 40 + len(text["text"]), "completion_tokens": len(said) * count}
        return {
            "id": "chat",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice | {"index": index} for index in range(count)],
            "usage": usage | {"total_tokens": sum(usage.values())},
        }

    def _look(self, pixels: Any) -> dict[str, float]:
        reply = self.eye.look(Request(pixels, "", LABELS))
        return {
            label: score.logprob for label, score in zip(LABELS, reply.scores or (), strict=True)
        }

    def _token(self, piece: str, scores: dict[str, float], top: int) -> dict[str, Any]:
        shown = sorted(
            {piece: scores.get(piece, math.log(0.999)), **scores}.items(), key=lambda pair: -pair[1]
        )[:top]
        described = [
            {"token": text, "logprob": logprob, "bytes": list(text.encode())}
            for text, logprob in shown
        ]
        own = {
            "token": piece,
            "logprob": scores.get(piece, math.log(0.999)),
            "bytes": list(piece.encode()),
        }
        return own | {"top_logprobs": described}
