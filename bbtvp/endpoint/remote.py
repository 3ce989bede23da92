"""`Endpoint`: a model behind HTTP, made of a provider's API and of what all endpoints share."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import ModelError
from bbtvp.endpoint.batch import BatchRunner
from bbtvp.endpoint.caller import Caller
from bbtvp.endpoint.counting import counter
from bbtvp.endpoint.fleet import Fleet
from bbtvp.endpoint.images import encode, fitting_canvas, most_images, resized
from bbtvp.endpoint.inquiry import inquire
from bbtvp.endpoint.known import check_lifetime
from bbtvp.endpoint.limiter import RateLimiter
from bbtvp.endpoint.pending import RefusedReply, UnusableReply
from bbtvp.endpoint.prices import Estimate, Prices, estimate
from bbtvp.endpoint.probe import MOST, QUESTION, RED, is_cut_thought, run_probe
from bbtvp.endpoint.provider import (
    ApiFeatures,
    EncodedImage,
    Json,
    ParsedReply,
    ProviderApi,
)
from bbtvp.endpoint.query import ImageQuery, ProbeQuery, QueryContext
from bbtvp.endpoint.settings import EndpointSettings
from bbtvp.endpoint.several import ACCEPTED, seen_several, several
from bbtvp.endpoint.transport import HttpResponse, Transport
from bbtvp.models import (
    Budget,
    Capabilities,
    Delivered,
    Model,
    Outcome,
    Probe,
    Reply,
    Request,
    Shown,
    Usage,
)


@final
class Endpoint(Model):
    """A vendor's model. Until `probe` has been called, only its text is used.

    Several threads may share it, one job each. They then share its limits, store and probe, and an
    error that ends one job ends no other.
    """

    is_endpoint = True

    def __init__(
        self,
        api: ProviderApi,
        settings: EndpointSettings,
        *,
        key_variable: str,
        secrets: Sequence[str],
    ) -> None:
        self.api = api
        self.settings = settings
        self.spec = api.spec
        self.capabilities = Capabilities(
            logprobs=False, deterministic=False, images=self._documented_images()
        )
        self.lasting = settings.batch
        self._features = ApiFeatures(temperature=None)
        self._context = QueryContext(api, settings, secrets)
        self._key_variable = key_variable
        self._probing = threading.Lock()
        self._probed: Probe | None = None
        self._transport = Transport(settings.timeouts)
        self._fleet = Fleet(api.servers, api.model, shown=self._context.shown)
        self._caller = Caller(
            self._transport,
            RateLimiter(requests=settings.rpm, tokens=settings.tpm, most=settings.concurrency),
            explain=api.error,
            key_variable=key_variable,
            secrets=secrets,
            retries=settings.retries,
            stop_after=settings.stop_after,
            fleet=self._fleet,
        )

    @classmethod
    def of(
        cls, api: ProviderApi, *, key_variable: str, secrets: Sequence[str], **options: Any
    ) -> Endpoint:
        """Build an endpoint from the options of a command line, as adapters do.

        Raises UsageError for an unknown or wrong option, or a price file that cannot be used.
        """
        settings = EndpointSettings.of(**options)
        return cls(api, settings, key_variable=key_variable, secrets=secrets)

    @property
    def identity(self) -> str:
        """The spec, the address, and the settings that change replies.

        Settings of speed and money change none, and neither does the server of a fleet.
        """
        settings = self.settings
        how = [
            settings.format,
            settings.quality,
            settings.max_tokens,
            *asdict(settings.wished).values(),
        ]
        return canonical_json([self.spec, self.api.url, self.api.version, *how])

    # -- asking ------------------------------------------------------------------------------------
    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer from the store what was paid for before, and ask the rest.

        All are asked at once, as far as the limits allow. Raises UsageError for a model that the
        vendor has shut down.
        """
        batch = self.settings.batch
        store = self._context.store
        queries = [
            ImageQuery(self._context, request, self._features_for(request), batch=batch)
            for request in requests
        ]
        outcomes: dict[str, Outcome] = {}
        fresh: dict[str, ImageQuery] = {}
        for query in queries:
            known = store.recall(query.key) if store else None
            if known is None:
                fresh[query.key] = query
            else:
                outcomes[query.key] = known
        spent = Budget() if budget is None else budget
        if fresh:
            self._check_lifetime()
        if batch:
            self._run_batch(fresh, spent)
        else:
            self._caller.run(list(fresh.values()), spent)
        outcomes |= {key: query.outcome() for key, query in fresh.items()}
        return [outcomes[query.key] for query in queries]

    def abandon(self) -> None:
        """End every call, now and later, because the process is about to exit.

        Within two seconds each call raises KeyboardInterrupt, as Ctrl-C in its thread would. What
        is answered in the next second is kept. This is for a thread that has caught the interrupt
        while others ask. A signal handler must not call it, since it may have interrupted a holder
        of the locks. A thread that waits for a batch is not woken: the batch stays with the vendor.
        """
        self._caller.abandon()

    def _run_batch(self, fresh: Mapping[str, ImageQuery], budget: Budget) -> None:
        """Make the queries through the vendor's batch interface, one attempt each."""
        batch = self.api.batch
        store = self._context.store
        if batch is None or store is None:
            why = "keeps no replies (store=false)" if batch else "has no batch interface"
            raise ModelError(f"{self.spec} {why}, so batch=true cannot be used")
        for query in fresh.values():
            budget.reserve(query.max_usd)
        runner = BatchRunner(
            batch,
            self._transport,
            store,
            model=self.spec,
            poll=self.settings.poll,
            explain=self.api.error,
            key_variable=self._key_variable,
            secrets=self._context.secrets,
        )

        def read(key: str, status: int, reply: Json) -> None:
            self._read_result(fresh[key], status, reply)

        failures = runner.run({key: query.body for key, query in fresh.items()}, read)
        for key, query in fresh.items():
            if not query.attempts:
                query.attempts = 1
                query.fail(failures[key])
            budget.settle(query.max_usd, query.usd)

    def _read_result(self, query: ImageQuery, status: int, reply: Json) -> None:
        """Note the outcome of a query in a batch."""
        query.attempts = 1
        if status != 200:
            decision = self._caller.decide(
                HttpResponse(status, {}, json.dumps(reply).encode(), 0.0)
            )
            query.fail(decision.reason, refused=decision.refused)
            return
        try:
            query.usd = query.read(reply)
        except UnusableReply as error:
            query.usd = query.max_usd if error.usd is None else error.usd
            reason = self._context.shown(str(error))
            query.fail(reason, refused=isinstance(error, RefusedReply))

    def _features_for(self, request: Request) -> ApiFeatures:
        """Return the features for a request.

        Labels are scored in the way that the probe found, or forced where the request says so. All
        other requests ask for plain text.
        """
        if request.labels is None:
            return replace(self._features, top=0, forced=False)
        if request.forced:
            return replace(self._features, top=0, forced=True)
        return self._features

    # -- money -------------------------------------------------------------------------------------
    def max_cost(self, request: Request) -> float:
        asked, answered = self._context.tokens(request)
        return self._context.usd(asked, answered, batch=self.settings.batch)

    def cost_of(self, usage: Usage) -> float | None:
        if self._context.price is None or not usage.input_tokens:
            return None
        return self._context.usd(usage.input_tokens, usage.output_tokens, batch=self.settings.batch)

    def fitting_canvas(self, wanted: int) -> int:
        return fitting_canvas(self.api.service, self.api.image_name, wanted)

    def delivered(self, width: int, height: int) -> Delivered | None:
        found = resized(self.api.service, self.api.image_name, (width, height))
        if found.scale is None:
            return None
        across, down = (max(1, round(side * found.scale)) for side in (width, height))
        return Delivered(across, down)

    def image_tokens(self, width: int, height: int) -> int | None:
        return resized(self.api.service, self.api.image_name, (width, height)).tokens

    def image_usd(self, width: int, height: int) -> float | None:
        tokens = self.image_tokens(width, height)
        if tokens is None or self._context.price is None:
            return None
        return self._context.usd(tokens, 0, batch=self.settings.batch)

    def need_price(self) -> None:
        Prices.load(self.settings.prices).need(self.api.service, self.api.model)

    def estimate(
        self,
        queries: int,
        canvas: int,
        characters: int,
        max_tokens: int = 16,
        *,
        context: Sequence[Shown] = (),
    ) -> Estimate:
        """Return the most that so many image queries can cost.

        canvas: its side in pixels. characters: length of a question. context: what every query
        shows before its own image. Raises UsageError for a model that the vendor has shut down.
        """
        self._check_lifetime()
        return estimate(
            self.api.service,
            self.api.image_name,
            queries,
            canvas=canvas,
            text_characters=characters + sum(len(shown.text) for shown in context),
            context=[(shown.image.shape[1], shown.image.shape[0]) for shown in context],
            max_tokens=max(max_tokens, self._context.room),
            rpm=self.settings.rpm,
            batch=self.settings.batch,
            singly=MOST if self.settings.probe else 0,
            prices=Prices.load(self.settings.prices),
        )

    def examine(self, canvas: int) -> list[str]:
        """Return what the vendor answers about the model, and how dear an image is, at no cost.

        canvas: side of the image in pixels.
        """
        found = list(inquire(self.api, self._transport, self._encoded, canvas))
        self._context.images.count = self._count
        bound = self._context.images.at_most((canvas, canvas))
        tokens = f"tokens at {canvas} px with a short question: at most {bound.tokens:,}"
        return [*map(self._context.shown, found), f"{tokens} ({bound.source})"]

    def _encoded(self, pixels: Pixels) -> EncodedImage:
        return encode(pixels, self.settings.format, self.settings.quality)

    # -- what it can do ----------------------------------------------------------------------------
    def probe(self, budget: Budget) -> Probe:
        """See `Model`. The findings are stored, so that a run that continues finds the same.

        The first of several threads asks. The others get what it found at no cost.
        """
        with self._probing:
            known = self._probed
            self._probed = known or self._explored(budget)
            return self._probed if known is None else replace(known, queries=0, usd=0.0)

    def probe_images(self, images: int, budget: Budget) -> Probe | None:
        """See `Model`. One question about so many images; its answer is stored as any other is."""
        if images <= self.capabilities.images or not self.api.can_show:
            return None
        if self._documented_images() > 1:  # fewer than are wanted, which no question changes
            return None
        query = ProbeQuery(self._context, several(images), replace(self._features, top=0))
        found = f"{images} images in a request"
        key = digest(b"images", query.key.encode())
        store = self._context.store
        known = store.recall(key) if store else None
        said = known.text if known else None
        if said is None:
            self._caller.run([query], budget)
            said = seen_several(query.answer, query.failure, self._context.images.seen)
            if store and query.answer is not None:
                store.keep(key, Reply(said), model=self.spec)
        if said == ACCEPTED:
            self.capabilities = replace(self.capabilities, images=images)
        return Probe(self.capabilities, (f"{found}: {said}",), query.attempts, query.usd)

    def _check_lifetime(self) -> None:
        check_lifetime(self.api.service, self.api.model, self.api.url)
        ended = Prices.load(self.settings.prices).ended(self.api.service, self.api.model)
        if ended:
            self._context.say(ended)

    def _explored(self, budget: Budget) -> Probe:
        self._check_lifetime()
        if not self.settings.probe:
            return Probe(self.capabilities, ("not probed: only text is trusted",), 0, 0.0)
        wished = self.settings.wished
        store = self._context.store
        if budget.usd_cap is not None:
            self._context.images.count = self._count
        plain = ImageQuery(self._context, Request(RED, QUESTION), ApiFeatures(temperature=None))
        key = digest(b"probe", plain.key.encode(), canonical_json(asdict(wished)).encode())
        known = store.recall(key) if store else None
        if known is not None and known.text is not None:
            found = json.loads(known.text)
            self._context.images.seen = found.get("billed")
            self._settle(ApiFeatures(**found["features"]), Capabilities(**found["capabilities"]))
            return Probe(self.capabilities, tuple(found["findings"]), 0, 0.0)
        queries: list[ProbeQuery] = []

        def ask(request: Request, features: ApiFeatures) -> ParsedReply:
            query = ProbeQuery(self._context, request, features)
            queries.append(query)
            self._caller.run([query], budget)
            if query.answer is None:
                raise ModelError(query.failure or "no answer")
            return query.answer

        def ask_with_room(request: Request, features: ApiFeatures) -> ParsedReply:
            reply = ask(request, features)
            if self._context.room or not is_cut_thought(reply):
                return reply
            self._context.thinks = True
            return ask(request, features)

        features, capabilities, findings = run_probe(self.api, ask_with_room, wished)
        thinks = features.thinks or self._context.thinks
        features = replace(features, thinks=thinks)
        revision = self._context.shown(capabilities.revision)
        capabilities = replace(capabilities, thinks=thinks, revision=revision)
        self._context.images.seen = queries[-1].answer and queries[-1].answer.input_tokens
        self._settle(features, capabilities)
        if store:
            facts = {
                "features": asdict(features),
                "capabilities": asdict(capabilities),
                "findings": findings,
                "billed": self._context.images.seen,
            }
            store.keep(key, Reply(json.dumps(facts)), model=self.spec)
        attempts = sum(query.attempts for query in queries)
        usd = sum(query.usd for query in queries)
        return Probe(capabilities, (*findings, *self._fleet.left_out), attempts, usd)

    def _count(self, size: tuple[int, int]) -> int | None:
        """Return the vendor's own count of the tokens of an image, kept for later runs."""
        store = self._context.store
        key = digest(b"count", canonical_json([self.spec, self.api.url, *size]).encode())
        known = store.recall(key) if store else None
        if known is not None and known.text:
            return int(known.text)
        count = counter(self.api, self._transport, self._encoded)(size)
        if store and count is not None:
            store.keep(key, Reply(str(count)), model=self.spec)
        return count

    def _documented_images(self) -> int:
        """Return how many images a request may hold by the API and the table of limits."""
        if not self.api.can_show:
            return 1
        return most_images(self.api.service, self.api.image_name) or 1

    def _settle(self, features: ApiFeatures, capabilities: Capabilities) -> None:
        self._features = features
        self._context.thinks = features.thinks
        self.capabilities = replace(capabilities, images=self.capabilities.images)
        self._fleet.expect(capabilities.revision)


def bounds(
    models: Sequence[Model],
    queries: int | Sequence[int],
    sides: Iterable[int],
    texts: Iterable[str],
    context: Sequence[Shown] = (),
) -> dict[str, Estimate]:
    """Return the most that image queries can cost, by spec, for those models that are endpoints.

    queries: of each model, or of all together, which are dealt to them in turn. sides: longer sides
    of the images, in pixels. texts: the questions. The largest of each counts, and neither is read
    without an endpoint. context: what every query shows before its own image.
    """
    shares = queries
    if isinstance(shares, int):
        shares = [math.ceil(shares / max(1, len(models)))] * len(models)
    endpoints = [
        (model, share)
        for model, share in zip(models, shares, strict=True)
        if isinstance(model, Endpoint)
    ]
    if not endpoints:
        return {}
    side = max(sides)
    longest = max(map(len, texts), default=0)
    return {
        model.spec: model.estimate(share, side, longest, context=context)
        for model, share in endpoints
    }
