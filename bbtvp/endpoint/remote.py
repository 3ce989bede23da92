"""`Endpoint`: a model behind HTTP, made of a dialect and of what all endpoints share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, final

from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import ModelError
from bbtvp.endpoint.batch import BatchRunner
from bbtvp.endpoint.caller import Caller, Ended, Job, Refused, Unusable
from bbtvp.endpoint.faults import redact
from bbtvp.endpoint.fleet import Fleet
from bbtvp.endpoint.forced import WRAPPING
from bbtvp.endpoint.images import check, encode, fitting_canvas, input_tokens
from bbtvp.endpoint.labels import label_scores
from bbtvp.endpoint.limiter import RateLimiter
from bbtvp.endpoint.prices import Estimate, Price, Prices, estimate
from bbtvp.endpoint.probe import MOST, QUESTION, RED, run_probe
from bbtvp.endpoint.provider import ApiFeatures, HttpRequest, Json, ParsedReply, ProviderApi
from bbtvp.endpoint.settings import EndpointSettings
from bbtvp.endpoint.transport import Transport
from bbtvp.models import (
    Budget,
    Capabilities,
    Model,
    Outcome,
    Probe,
    QueryFailed,
    Reply,
    Request,
    Usage,
)
from bbtvp.models.store import ReplyStore, reply_key

VERSION = "1"
"""Of how replies are read; another one makes the store forget. Bodies speak for themselves."""


@final
class Endpoint(Model):
    """A vendor's model. Until `probe` has been called it is trusted with text alone.

    Threads may share it, a job each: limits, store and probe are then one for all, and what ends
    one job ends no other.
    """

    is_endpoint = True

    def __init__(
        self,
        dialect: ProviderApi,
        settings: EndpointSettings,
        *,
        key_variable: str,
        secrets: Sequence[str],
    ) -> None:
        self.dialect = dialect
        self.settings = settings
        self.spec = dialect.spec
        self.capabilities = Capabilities(logprobs=False, deterministic=False)
        self._features = ApiFeatures(temperature=None)
        self._price = Prices.load(settings.prices).price(dialect.service, dialect.model)
        self.lasting = settings.batch
        self._key_variable = key_variable
        self._secrets = tuple(secrets)
        self._store = _open_store(settings)
        self._probing = threading.Lock()
        self._probed: Probe | None = None
        self._transport = Transport(settings.timeouts)
        self._fleet = Fleet(dialect.servers, dialect.model, shown=self._shown)
        self._caller = Caller(
            self._transport,
            RateLimiter(requests=settings.rpm, tokens=settings.tpm, most=settings.concurrency),
            explain=dialect.error,
            key_variable=key_variable,
            secrets=self._secrets,
            retries=settings.retries,
            stop_after=settings.stop_after,
            fleet=self._fleet,
        )

    @classmethod
    def of(
        cls, dialect: ProviderApi, *, key_variable: str, secrets: Sequence[str], **options: Any
    ) -> Endpoint:
        """As adapters make it. UsageError for an option that is unknown or wrong, or a price file
        that is.
        """
        return cls(
            dialect, EndpointSettings.of(**options), key_variable=key_variable, secrets=secrets
        )

    @property
    def identity(self) -> str:
        """Address and settings too; those of speed and money change no reply, nor does which server
        of a fleet.
        """
        settings = self.settings
        dialect = self.dialect
        how = [
            settings.format,
            settings.quality,
            settings.max_tokens,
            *asdict(settings.wished).values(),
        ]
        return canonical_json([self.spec, dialect.url, dialect.version, *how])

    # -- asking ------------------------------------------------------------------------------------
    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer from the store what was paid for before; ask the rest, all at once as far as the
        limits allow.
        """
        batch = self.settings.batch
        errands = [
            _Errand(self, request, self._features_for(request), batch=batch) for request in requests
        ]
        outcomes: dict[str, Outcome] = {}
        fresh: dict[str, _Errand] = {}
        for errand in errands:
            known = self._store.recall(errand.key) if self._store else None
            if known is None:
                fresh[errand.key] = errand
            else:
                outcomes[errand.key] = known
        run = self._run_batch if batch else self._run
        outcomes |= run(fresh, Budget() if budget is None else budget)
        return [outcomes[errand.key] for errand in errands]

    def abandon(self) -> None:
        """The process is about to exit: every call, now and later, ends within two seconds in
        KeyboardInterrupt.

        As Ctrl-C in the thread of that call would: what is answered in the next second is kept. For
        a thread that has caught the interrupt while others ask; a signal handler must not, since it
        may have interrupted a holder of the locks. Who waits for a batch is not woken: the batch
        stays with the vendor.
        """
        self._caller.abandon()

    def _run(self, fresh: Mapping[str, _Errand], budget: Budget) -> dict[str, Outcome]:
        errands = list(fresh.values())
        jobs = [Job(errand.wire, errand.bound, errand.tokens) for errand in errands]

        def read(index: int, reply: Json) -> float:
            return errands[index].read(reply)

        ended = self._caller.run(jobs, budget, read)
        return {errand.key: errand.outcome(end) for errand, end in zip(errands, ended, strict=True)}

    def _run_batch(self, fresh: Mapping[str, _Errand], budget: Budget) -> dict[str, Outcome]:
        """The same by the vendor's batch interface. Every request is one attempt."""
        batch = self.dialect.batch
        if batch is None or self._store is None:
            why = "keeps no replies (store=false)" if batch else "has no batch interface"
            raise ModelError(f"{self.spec} {why}, so batch=true cannot be used")
        ended: dict[str, Ended] = {}
        for errand in fresh.values():
            budget.reserve(errand.bound)

        def read(key: str, status: int, reply: Json) -> None:
            if status != 200:
                code, message = self.dialect.error(status, reply)
                ended[key] = Ended(self._shown(f"status {status} {code}: {message}"), False, 1, 0.0)
                return
            try:
                ended[key] = Ended(None, False, 1, fresh[key].read(reply))
            except (Refused, Unusable) as error:
                usd = fresh[key].bound if error.usd is None else error.usd
                ended[key] = Ended(self._shown(str(error)), isinstance(error, Refused), 1, usd)

        runner = BatchRunner(
            batch,
            self._transport,
            self._store,
            model=self.spec,
            poll=self.settings.poll,
            explain=self.dialect.error,
            key_variable=self._key_variable,
            secrets=self._secrets,
        )
        for key, reason in runner.run(
            {key: errand.body for key, errand in fresh.items()}, read
        ).items():
            ended.setdefault(key, Ended(reason, False, 1, 0.0))
        for key, errand in fresh.items():
            budget.settle(errand.bound, ended[key].usd)
        return {key: errand.outcome(ended[key]) for key, errand in fresh.items()}

    def _features_for(self, request: Request) -> ApiFeatures:
        """Scores by what the probe found; a forced label where it is honoured; else a plain text."""
        if request.labels is None:
            return replace(self._features, top=0, forced=False)
        if request.forced:
            return replace(self._features, top=0, forced=True)
        return self._features

    # -- money -------------------------------------------------------------------------------------
    def max_cost(self, request: Request) -> float:
        return self.usd(*self.tokens(request), batch=self.settings.batch)

    def fitting_canvas(self, wanted: int) -> int:
        return fitting_canvas(self.dialect.service, self.dialect.model, wanted)

    def need_price(self) -> None:
        Prices.load(self.settings.prices).need(self.dialect.service, self.dialect.model)

    def estimate(
        self, queries: int, canvas: int, characters: int, max_tokens: int = 16
    ) -> Estimate:
        """What so many image queries cost at most, for a canvas of that side and questions of so
        many characters.
        """
        return estimate(
            self.dialect.service,
            self.dialect.model,
            queries,
            canvas=canvas,
            text_characters=characters,
            max_tokens=max(max_tokens, self.settings.max_tokens or 0),
            rpm=self.settings.rpm,
            batch=self.settings.batch,
            singly=MOST if self.settings.probe else 0,
        )

    def tokens(self, request: Request) -> tuple[int, int]:
        """Input and output tokens of one attempt, at most."""
        characters = len(request.text) + sum(map(len, request.labels or ()))
        asked = input_tokens(self.dialect.service, self.dialect.model, _size(request), characters)
        return asked, max(request.max_tokens, self.settings.max_tokens or 0) + WRAPPING

    def usd(self, asked: int, answered: int, *, batch: bool) -> float:
        """US dollars for so many tokens; 0 if the price is not known."""
        price: Price | None = self._price
        return price.usd(asked, answered, batch) if price else 0.0

    # -- what it can do ----------------------------------------------------------------------------
    def probe(self, budget: Budget) -> Probe:
        """See `Model`. What was found is kept in the store, so that a run which goes on finds
        the same.

        Of several threads the first asks, and the others get what it found at no cost.
        """
        with self._probing:
            known = self._probed
            self._probed = known or self._explored(budget)
            return self._probed if known is None else replace(known, queries=0, usd=0.0)

    def _explored(self, budget: Budget) -> Probe:
        if not self.settings.probe:
            return Probe(self.capabilities, ("not probed: only text is trusted",), 0, 0.0)
        wished = self.settings.wished
        plain = _Errand(self, Request(RED, QUESTION), ApiFeatures(temperature=None), batch=False)
        key = digest(b"probe", plain.key.encode(), canonical_json(asdict(wished)).encode())
        known = self._store.recall(key) if self._store else None
        if known is not None and known.text is not None:
            found = json.loads(known.text)
            self._settle(ApiFeatures(**found["features"]), Capabilities(**found["capabilities"]))
            return Probe(self.capabilities, tuple(found["findings"]), 0, 0.0)
        counted = _Counted(budget)

        def ask(request: Request, features: ApiFeatures) -> ParsedReply:
            errand = _Errand(self, request, features, batch=False)
            kept: list[ParsedReply] = []

            def read(index: int, reply: Json) -> float:
                parsed, usd = errand.parsed(reply)
                kept.append(parsed)
                return usd

            (ended,) = self._caller.run(
                [Job(errand.wire, errand.bound, errand.tokens)], counted, read
            )
            if not kept:
                raise ModelError(ended.reason or "no answer")
            return kept[-1]

        features, capabilities, findings = run_probe(self.dialect, ask, wished)
        capabilities = replace(capabilities, revision=self._shown(capabilities.revision))
        self._settle(features, capabilities)
        if self._store:
            facts = {
                "features": asdict(features),
                "capabilities": asdict(capabilities),
                "findings": findings,
            }
            self._store.keep(key, Reply(json.dumps(facts)), model=self.spec)
        return Probe(
            capabilities, (*findings, *self._fleet.left_out), counted.attempts, counted.usd
        )

    def _shown(self, text: str) -> str:
        """The text without secrets, on one line."""
        return redact(text, self._secrets)

    def _settle(self, features: ApiFeatures, capabilities: Capabilities) -> None:
        self._features = features
        self.capabilities = capabilities
        self._fleet.expect(capabilities.revision)


def bounds(
    models: Sequence[Model],
    queries: int | Sequence[int],
    sides: Iterable[int],
    texts: Iterable[str],
) -> dict[str, Estimate]:
    """What image queries cost at most, by spec, on those of the models that are endpoints.

    queries: of each model, or of all together, dealt to them in turn. sides: longer sides of the
    images, in pixels; texts: what is asked. The largest counts, and neither is read without an
    endpoint.
    """
    shares = (
        [-(-queries // max(1, len(models)))] * len(models) if isinstance(queries, int) else queries
    )
    endpoints = [
        (each, share)
        for each, share in zip(models, shares, strict=True)
        if isinstance(each, Endpoint)
    ]
    if not endpoints:
        return {}
    side = max(sides)
    longest = max(map(len, texts), default=0)
    return {each.spec: each.estimate(share, side, longest) for each, share in endpoints}


@final
class _Counted(Budget):
    """Another budget, with a count of what went through it: attempts that were turned down too."""

    def __init__(self, inner: Budget) -> None:
        super().__init__()
        self.inner = inner
        self.attempts = 0

    def reserve(self, usd: float) -> None:
        self.inner.reserve(usd)
        self.attempts += 1

    def settle(self, reserved: float, usd: float) -> None:
        self.inner.settle(reserved, usd)
        self.usd += usd


@final
class _Errand:
    """One request on its way: its bytes, its key in the store, what it can cost, what came of it."""

    def __init__(
        self, endpoint: Endpoint, request: Request, features: ApiFeatures, *, batch: bool
    ) -> None:
        self.endpoint = endpoint
        self.request = request
        self.features = features
        self.batch = batch
        settings = endpoint.settings
        dialect = endpoint.dialect
        picture = encode(request.image, settings.format, settings.quality)
        check(
            dialect.service,
            dialect.model,
            _size(request),
            len(picture.data),
            format=settings.format,
        )
        most = max(request.max_tokens, settings.max_tokens or 0)
        if features.seed is not None:  # a replicate is another draw
            features = replace(features, seed=features.seed + request.replicate)
        body = dialect.body(replace(request, max_tokens=most), picture, features)
        self.body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        # The labels decide how tokens are read, and are not always in the body.
        how = canonical_json([VERSION, dialect.version, request.labels, asdict(features)])
        self.key = reply_key(dialect.url, self.body, request.replicate, how)
        asked, answered = endpoint.tokens(request)
        self.bound = endpoint.usd(asked, answered, batch=batch)
        self.tokens = asked + answered
        self._reply: Reply | None = None

    def wire(self) -> HttpRequest:
        """Made anew for every attempt: a signature has its time."""
        return self.endpoint.dialect.http_request(self.body)

    def parsed(self, reply: Json) -> tuple[ParsedReply, float]:
        """What the reply says and cost. Raises Unusable if it says nothing."""
        try:
            parsed = self.endpoint.dialect.parse(reply)
        except (LookupError, TypeError, ValueError) as error:
            raise Unusable(f"a reply that is not of this API: {error}", usd=self.bound) from error
        if parsed.refusal:
            parsed = replace(parsed, refusal=self.endpoint._shown(parsed.refusal))
        asked, answered = self.endpoint.tokens(self.request)
        tokens = (
            asked if parsed.input_tokens is None else parsed.input_tokens,
            answered if parsed.output_tokens is None else parsed.output_tokens,
        )
        return parsed, self.endpoint.usd(*tokens, batch=self.batch)

    def read(self, reply: Json) -> float:
        """Keep the answer, in the store too, and say what it cost. Raises Refused, or Unusable if
        there is none.
        """
        parsed, usd = self.parsed(reply)
        if parsed.refusal:
            raise Refused(parsed.refusal, usd=usd)
        text = parsed.texts[0] if parsed.texts else ""
        if not text.strip():
            hint = "; raise -M max_tokens" if parsed.truncated else ""
            raise Unusable(f"an empty reply{hint}", usd=usd)
        if self.request.forced and text.strip() not in (self.request.labels or ()):
            raise Unusable("a reply that is none of the labels it was held to", usd=usd)
        scores = None
        if self.request.labels is not None and not self.request.forced:
            if not parsed.tokens:
                raise Unusable("no log-probabilities, which the probe had found", usd=usd)
            scores = label_scores(parsed.tokens, self.request.labels) or ()
        usage = Usage(parsed.input_tokens or 0, parsed.output_tokens or 0, 1, usd)
        self._reply = Reply(text, scores, usage)
        if self.endpoint._store:
            self.endpoint._store.keep(self.key, self._reply, model=self.endpoint.spec)
        return usd

    def outcome(self, end: Ended) -> Outcome:
        """The outcome with all its attempts counted."""
        if self._reply is None:
            return QueryFailed(
                end.reason or "no answer", Usage(attempts=end.attempts, usd=end.usd), end.refused
            )
        usage = self._reply.usage._replace(attempts=end.attempts, usd=end.usd)
        return replace(self._reply, usage=usage)


def _size(request: Request) -> tuple[int, int]:
    """(width, height) in pixels."""
    return request.image.shape[1], request.image.shape[0]


def _open_store(settings: EndpointSettings) -> Store | None:
    if settings.store is False:
        return None
    return ReplyStore(None if settings.store is True else settings.store)
