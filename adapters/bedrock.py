"""Any model that Amazon Bedrock's Converse API reaches.

    load_model("bedrock/us.anthropic.claude-sonnet-5-5", region="us-east-1")

The key is AWS_BEARER_TOKEN_BEDROCK, or else the AWS credentials that botocore finds: environment,
profile, container or instance. They need botocore: pip install 'bbtvp[bedrock]'. There are no log-
probabilities and no seed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Protocol, final
from urllib.parse import quote

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.endpoint.access import Service, planning
from bbtvp.endpoint.forced import most_tokens, schema
from bbtvp.endpoint.known import known, reply_tokens
from bbtvp.endpoint.provider import (
    ApiFeatures,
    EncodedImage,
    HttpRequest,
    Json,
    ParsedReply,
    Parts,
    ProviderApi,
    interleaved,
)
from bbtvp.endpoint.reading import (
    json_object,
    json_objects,
    optional_object,
    raise_reported_error,
    served_by,
    single_answer,
    token_total,
    usage_in,
)
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Model, Request

TOKEN = "AWS_BEARER_TOKEN_BEDROCK"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


class Signer(Protocol):
    """Proves to AWS who sends a request."""

    def headers(self, url: str, body: bytes) -> dict[str, str]:
        """Return headers for this body, which are valid for minutes."""

    def secrets(self) -> list[str]:
        """Return what no message may show."""


@final
class Bearer(Signer):
    """A Bedrock API key."""

    def __init__(self, token: str) -> None:
        self._token = token

    def headers(self, url: str, body: bytes) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def secrets(self) -> list[str]:
        return [self._token]


@final
class SigV4(Signer):
    """AWS's signature, version 4, made by botocore with credentials that it renews."""

    def __init__(self, credentials: Any, region: str) -> None:
        self._credentials = credentials
        self._region = region
        botocore = _botocore()
        self._sign = botocore.auth.SigV4Auth
        self._request = botocore.awsrequest.AWSRequest
        self._failure: type[Exception] = botocore.exceptions.BotoCoreError

    @classmethod
    def of(cls, session: Any, region: str) -> SigV4:
        """Sign with the credentials of a botocore session. Raises UsageError if it finds none."""
        try:
            credentials = session.get_credentials()
        except _botocore().exceptions.BotoCoreError as error:
            raise UsageError(f"no AWS credentials: {error}") from error
        if credentials is None:
            raise UsageError(
                f"no AWS credentials: export {TOKEN}=…, "
                "or AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…"
            )
        return cls(credentials, region)

    def headers(self, url: str, body: bytes) -> dict[str, str]:
        request = self._request(
            "POST", url, headers={"Content-Type": "application/json"}, data=body
        )
        self._sign(self._frozen(), "bedrock", self._region).add_auth(request)
        return dict(request.headers.items())

    def secrets(self) -> list[str]:
        held = self._frozen()
        return [secret for secret in (held.secret_key, held.token) if secret]

    def _frozen(self) -> Any:
        """Return the current credentials: those of a role last about an hour."""
        try:
            return self._credentials.get_frozen_credentials()
        except self._failure as error:
            raise ModelError(f"AWS credentials cannot be renewed: {error}") from error


@final
class Converse(ProviderApi):
    """The Converse operation for one model."""

    at: ClassVar[Service] = Service(
        "bedrock",
        keys=(TOKEN, "AWS_ACCESS_KEY_ID"),
        urls=("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"),
    )
    service: ClassVar[str] = at.name
    top = 0
    can_force = True
    can_sample = True
    can_seed = False
    can_show = True
    can_repeat = False

    def __init__(self, model: str, signer: Signer, base: str, *, effort: str | None = None) -> None:
        self.spec = f"bedrock/{model}"
        self.model = model
        self.url = f"{base.rstrip('/')}/model/{quote(model, safe='')}/converse"
        self.effort = effort
        self._signer = signer

    @classmethod
    def load(
        cls,
        name: str,
        *,
        region: str | None = None,
        profile: str | None = None,
        base_url: str | None = None,
        effort: str | None = None,
        **options: Any,
    ) -> Model:
        """Load the model, inference profile or ARN that Bedrock knows as `name`.

        region: else AWS_REGION, AWS_DEFAULT_REGION or the profile's. profile: one of AWS's
        configuration files. base_url: another host than the region's. effort: in the words of a
        model that accepts one. options: those of every endpoint. Raises UsageError for a bad
        option, without credentials or a region, or if botocore is needed and missing.
        """
        spec = f"bedrock/{name}"
        if effort or known(cls.service, name).thinks in ("always", "by default"):
            options.setdefault("max_tokens", reply_tokens(cls.service, name))
        token = os.environ.get(TOKEN, "") if profile is None else ""
        session = None if token.strip() else _botocore().session.Session(profile=profile)
        if session and planning() and session.get_credentials() is None:
            session = None
        region = _region(region, session, spec)
        service = replace(cls.at, url=f"https://bedrock-runtime.{region}.amazonaws.com")
        base = service.base(base_url, spec)
        if session:
            signer: Signer = SigV4.of(session, region)
            api = cls(name, signer, base, effort=effort)
            return Endpoint.of(
                api, key_variable="AWS_ACCESS_KEY_ID", secrets=signer.secrets(), **options
            )
        access = service.at_base(base, spec=spec, model=name, key_env=TOKEN)
        return access.endpoint(cls(name, Bearer(access.key), base, effort=effort), **options)

    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        content = interleaved(parts, _picture, lambda text: {"text": text})
        config: Json = {"maxTokens": most_tokens(request, features)}
        if features.temperature is not None:
            config["temperature"] = features.temperature
        output: Json = {"effort": self.effort} if self.effort else {}
        if features.forced and request.labels:
            # Bedrock takes the schema as text.
            definition = {
                "name": "answer",
                "schema": json.dumps(schema(request.labels), ensure_ascii=False),
            }
            output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": definition}}
        body: Json = {
            "messages": [{"role": "user", "content": content}],
            "inferenceConfig": config,
        }
        return body | ({"outputConfig": output} if output else {})

    def headers(self, body: bytes) -> Mapping[str, str]:
        return self._headers(self.url, body)

    def _headers(self, url: str, body: bytes) -> Mapping[str, str]:
        return {"Content-Type": "application/json"} | self._signer.headers(url, body)

    def count_request(self, request: Request, parts: Parts) -> HttpRequest:
        messages = self.body(request, parts, ApiFeatures(temperature=None))["messages"]
        body = json.dumps({"input": {"converse": {"messages": messages}}}).encode()
        url = f"{self.url.removesuffix('/converse')}/count-tokens"
        return HttpRequest("POST", url, self._headers(url, body), body)

    def parse(self, reply: Json) -> ParsedReply:
        raise_reported_error(reply)
        stopped = reply["stopReason"]
        message = json_object(json_object(reply["output"], "output")["message"], "message")
        blocks = json_objects(message["content"], "content")
        text = "".join(block["text"] for block in blocks if "text" in block)
        usage = usage_in(reply, "usage")
        trace = optional_object(reply, "trace")  # only a router says which model answered
        return single_answer(
            text,
            ended=stopped,
            input_tokens=token_total(
                usage, "inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"
            ),
            output_tokens=token_total(usage, "outputTokens"),
            model=served_by(trace.get("promptRouter"), "invokedModelId"),
            thought=any("reasoningContent" in block for block in blocks),
        )

    def error(self, status: int, reply: Json) -> tuple[str, str]:
        code = str(reply.get("__type") or reply.get("code") or "").rpartition("#")[2]
        message = str(reply.get("message") or reply.get("Message") or "")
        # The error for a bad signature quotes the signed headers, the session's token among them.
        for secret in self._signer.secrets():
            message = message.replace(secret, "…")
        return code, message


def _picture(image: EncodedImage) -> Json:
    return {"image": {"format": image.format, "source": {"bytes": image.base64}}}


def _region(given: str | None, session: Any, spec: str) -> str:
    """Return the region: as given, from the environment, or of the profile.

    Raises UsageError if there is none, or if it is no region's name.
    """
    named = given or next(filter(None, map(os.environ.get, REGIONS)), None)
    region = str(named or _configured_region(session))
    if not re.fullmatch(r"[a-z]{2}(-[a-z0-9]+)+", region):
        raise UsageError(f"{spec} needs a region, not {region!r}: export {REGIONS[0]}=us-east-1")
    return region


def _configured_region(session: Any) -> str:
    """Return the profile's region, "" for none. Raises UsageError if there is no such profile."""
    try:
        return str(session.get_config_variable("region") or "") if session else ""
    except _botocore().exceptions.BotoCoreError as error:
        raise UsageError(f"AWS profile: {error}") from error


def _botocore() -> _Botocore:
    """Import botocore, which is an extra. Raises UsageError if it is not installed."""
    try:
        from botocore import auth, awsrequest, exceptions, session
    except ImportError as error:
        raise UsageError(
            f"AWS credentials need botocore: pip install 'bbtvp[bedrock]', or export {TOKEN}=…"
        ) from error
    return _Botocore(auth, awsrequest, exceptions, session)


class _Botocore(NamedTuple):
    """The modules of botocore that are used."""

    auth: Any
    awsrequest: Any
    exceptions: Any
    session: Any


load = Converse.load
