"""A vendor with an API of its own, as a third party adds it: one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

from bbtvp.endpoint.access import Access, Service
from bbtvp.endpoint.provider import ApiFeatures, Json, ParsedReply, Parts, ProviderApi
from bbtvp.endpoint.reading import json_text, raise_reported_error, token_total
from bbtvp.models import Model, Request


@final
class OwnApi(ProviderApi):
    """`POST /ask`: an image, a question, and a temperature."""

    at: ClassVar[Service] = Service(
        "own", url="https://own.example", keys=("OWN_TOKEN",), urls=("OWN_HOST",)
    )
    service: ClassVar[str] = at.name
    top = 0
    can_force = False
    can_sample = True
    can_seed = False
    can_repeat = False

    def __init__(self, access: Access) -> None:
        self.spec = access.spec
        self.model = access.model
        self.url = f"{access.base}/ask"
        self._key = access.key

    @classmethod
    def load(cls, name: str, *, base_url: str | None = None, **options: Any) -> Model:
        access = cls.at.access(name, base_url=base_url)
        return access.endpoint(cls(access), **options)

    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        picture = parts[-1].image.base64
        body: Json = {"model": self.model, "picture": picture, "question": request.text}
        if features.temperature is not None:
            body["temperature"] = features.temperature
        return body

    def headers(self, body: bytes) -> Mapping[str, str]:
        return {"Content-Type": "application/json", "X-Token": self._key}

    def parse(self, reply: Json) -> ParsedReply:
        raise_reported_error(reply)
        return ParsedReply(
            texts=(json_text(reply["said"]),),
            input_tokens=token_total(reply, "read"),
            output_tokens=token_total(reply, "written"),
        )


load = OwnApi.load
