"""A hosted service that speaks chat completions, as a third party adds it: one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from bbtvp.adapters.compatible import CompatibleApi
from bbtvp.endpoint.access import Service
from bbtvp.endpoint.provider import ApiFeatures, Json, Parts
from bbtvp.models import Request


class Acme(CompatibleApi):
    """Acme takes no seed, and wants to know who asks."""

    at: ClassVar[Service] = Service("acme", url="https://api.acme.example/v1")
    service: ClassVar[str] = at.name
    defaults: ClassVar[Mapping[str, Any]] = {"token_field": "max_tokens"}

    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        return super().body(request, parts, features) | {"app": "bbtvp"}


load = Acme.load
