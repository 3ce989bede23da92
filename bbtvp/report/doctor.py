"""The text of `bbtvp doctor`: what happens to an image on its way to a model, and what it costs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.endpoint import images
from bbtvp.endpoint.access import Service, key_variables
from bbtvp.endpoint.images import ImagePlan
from bbtvp.endpoint.known import KnownModel, known, reply_tokens
from bbtvp.endpoint.limits import Limits
from bbtvp.endpoint.prices import Estimate, Price, Prices, estimate
from bbtvp.endpoint.resizing import ResizeResult, ResizeStep
from bbtvp.models.preprocessing import Preprocessor
from bbtvp.models.registry import PROVIDERS
from bbtvp.prompt import Prompt, open_image, preset
from bbtvp.report.arrival import Arrival
from bbtvp.search.canvas import LARGEST_CANVAS, USUAL_CANVAS, canvas_seen

SCHEMA = "bbtvp.doctor/1"
QUERIES = 1000
QUESTION = 200
"""Characters of question and labels in the estimate."""

LOCAL = ("hf", "zoo")
"""Providers whose models run on this machine."""
_LOCAL_KEYS = {"hf": ("HF_TOKEN",)}


@final
@dataclass(frozen=True)
class ModelName:
    """A model by its spec alone: nothing is loaded.

    spec: "provider/name". keys: environment variables that may hold its key.
    """

    spec: str
    service: str
    model: str
    keys: tuple[str, ...]

    @classmethod
    def of(cls, spec: str, key_env: str | None = None) -> ModelName:
        """From "provider/name". key_env: the variable with the key. UsageError without a name."""
        service, _, name = spec.partition("/")
        if not service or not name:
            raise UsageError(
                f"model {spec!r} needs a provider and a name, such as openai/gpt-6-luna"
            )
        owner = service
        if service == "openai-api":
            owner, _, name = name.partition("/")
            if not owner or not name:
                raise UsageError(
                    f"{spec!r} must be openai-api/<service>/<model>, "
                    "such as openai-api/vllm/my-model"
                )
        found = (key_env,) if key_env else _key_variables(service, owner)
        return cls(spec, service, name, found)

    @property
    def local(self) -> bool:
        """Whether the model runs on this machine."""
        return self.service in LOCAL


def _key_variables(provider: str, owner: str) -> tuple[str, ...]:
    """Return the environment variables that may hold a provider's key, in order of precedence.

    owner: the service whose name the variable has by convention: <OWNER>_API_KEY.
    """
    if provider in LOCAL:
        return _LOCAL_KEYS.get(provider, ())
    convention = Service(owner).key_variables
    try:
        return key_variables(PROVIDERS.load(provider)) or convention
    except UsageError:  # unknown, or a package of it is missing
        return convention


@final
@dataclass(frozen=True)
class Diagnosis:
    """All that `bbtvp doctor` says without asking the model.

    source: the image. canvas: side in pixels; chosen: whether it was chosen to fit. bytes: of the
    encoded image, an upper bound unless `exact`. largest: side of the largest canvas that is not
    scaled. arrival: what arrives at a local model; None for others, and where none was measured.
    refused: why the endpoint would refuse the image, None if it would not. ended: what to do about
    a price of yours that has ended. known: what is known of the model. cost: of `QUERIES` image
    queries. own_shape: what happens to the image in its own shape; None without one.
    """

    subject: ModelName
    source: str
    canvas: int
    chosen: bool
    format: str
    bytes: int
    exact: bool
    plan: ImagePlan
    largest: int | None
    refused: str | None
    arrival: Arrival | None
    price: Price | None
    ended: str | None
    known: KnownModel
    cost: Estimate
    own_shape: ImagePlan | None = None
    several: int | None = None

    @property
    def survives(self) -> bool | None:
        """Whether the frame survives; None if that is not known."""
        whole = self.arrival is None or self.arrival.survives
        return self.plan.survives and whole

    def as_json(self) -> dict[str, Any]:
        """A `bbtvp.doctor/1` document."""
        plan = self.plan
        price = self.price
        return {
            "schema": SCHEMA,
            "model": self.subject.spec,
            "source": self.source,
            "canvas": self.canvas,
            "format": self.format,
            "bytes": self.bytes,
            "bytes_exact": self.exact,
            "steps": [
                {"what": step.what, "width": step.width, "height": step.height}
                for step in plan.steps
            ],
            "scale": plan.scale,
            "frame_survives": self.survives,
            "largest_canvas": self.largest,
            "measured": self.arrival and self.arrival.as_json(),
            "refused": self.refused,
            "warnings": list(plan.warnings),
            "image_tokens": {"expected": plan.tokens, "at_most": plan.at_most},
            "images_per_request": self.several,
            "own_shape": self.own_shape and _plan_json(self.own_shape),
            "price": price and price.model_dump(mode="json", exclude_none=True),
            "price_ended": self.ended,
            "usd_per_1000": self.cost.usd_bound,
            "thinks": self.known.thinks,
            "shutdown": self.known.shutdown and self.known.shutdown.isoformat(),
            "successor": self.known.successor or None,
            "lifetime": self.known.lifetime(),
            "keys": {name: bool(os.environ.get(name)) for name in self.subject.keys},
            "sources": {**plan.sources, **self.known.sources},
            "unknown": list(self.unknown()),
        }

    def lines(self) -> Iterator[str]:
        """The same as lines of text."""
        why = ""
        if self.chosen:
            why = " (default)" if self.plan.scale is None else " (chosen to fit)"
        canvas = f"canvas {self.canvas} x {self.canvas} px{why}"
        sent = f"{self.format}, {'' if self.exact else 'at most '}{self.bytes:,} bytes"
        yield self.subject.spec
        yield f"  image    {self.source} -> {canvas} -> {sent}"
        yield from (f"           {line}" for line in self._path())
        if self.own_shape:
            yield f"  as it is {_plan_text(self.own_shape)}"
        yield from (
            f"  warning  {warning}" for warning in self.plan.warnings if warning != self.refused
        )
        if self.refused:
            yield f"  refused  {self.refused}"
        yield from (f"  ends     {line}" for line in self._end())
        if self.known.thinks:
            yield f"  thinks   {self.known.thinks}"
        unpriced = self.ended or "not known: a run with a cap on money would not start"
        yield f"  price    {self.price or unpriced}"
        if not self.subject.local:
            yield f"           {self.cost}"
        yield f"  key      {self._key()}"
        sources = {**self.plan.sources, **self.known.sources}
        yield from (f"  source   {name}: {source}" for name, source in sources.items())
        yield from (f"  unknown  {item}" for item in self.unknown())

    def _end(self) -> Iterator[str]:
        line = self.known.lifetime()
        if line:
            yield line
        elif self.known.shutdown:
            yield f"{self.known.shutdown}, by the vendor's announcement"

    def _path(self) -> Iterator[str]:
        yield from self.arrival.lines() if self.arrival else ()
        yield from map(str, self.plan.steps)
        if not self.plan.steps and self.plan.scale == 1:
            yield "not resampled, not cut: the model gets these pixels"
        if self.survives is not None:
            yield f"the frame {'survives' if self.survives else 'does not survive'}"
        if self.largest is not None:
            yield f"the largest canvas that is known to pass unscaled: {self.largest} px"
        if self.several is not None:
            yield f"images in a request: at most {self.several:,}, by the table of limits"
        if not self.subject.local:
            expected = f"{self.plan.tokens:,} expected, " if self.plan.tokens is not None else ""
            yield f"image tokens: {expected}at most {self.plan.at_most:,}, by the table of limits"

    def _key(self) -> str:
        if not self.subject.keys:
            return "none is needed"
        found = [name for name in self.subject.keys if os.environ.get(name)]
        if found:
            return f"{found[0]} is set"
        names = self.subject.keys
        missing = f"neither {' nor '.join(names)}" if len(names) > 1 else names[0]
        told = f"{missing} is {'' if len(names) > 1 else 'not '}set"
        if self.subject.local:
            return f"{told}: only models that are gated need it"
        need = ", if the server wants a key" if self.subject.service == "openai-api" else ""
        return f"{told}: export {names[0]}=…{need}"

    def unknown(self) -> Iterator[str]:
        """What neither the options nor the data files say."""
        if self.plan.scale is None:
            yield "whether the image is resampled"
        if self.plan.tokens is None and not self.subject.local:
            yield "image tokens: the bound is an assumption"
        if self.price is None:
            yield "the price"
        if self.several is None and not self.subject.local:
            yield "whether a request may hold several images: --exemplars tries it"
        if self.known.thinks is None and not self.subject.local:
            yield "whether it thinks before it answers: --probe sees it"
        if not self.subject.local:
            yield (
                "whether the endpoint honours log-probabilities, forced labels, seed: "
                "--probe asks it"
            )


def _plan_json(plan: ImagePlan) -> dict[str, Any]:
    return {
        "sent": list(plan.sent),
        "steps": list(map(str, plan.steps)),
        "image_tokens": {"expected": plan.tokens, "at_most": plan.at_most},
    }


def _plan_text(plan: ImagePlan) -> str:
    steps = "; ".join(map(str, plan.steps)) or ("not resampled" if plan.scale == 1 else "unknown")
    tokens = "" if plan.tokens is None else f"; {plan.tokens:,} image tokens expected"
    return f"{plan.sent[0]} x {plan.sent[1]} px -> {steps}{tokens}"


def diagnose(
    subject: ModelName,
    *,
    canvas: int | None = None,
    image: Path | None = None,
    format: str = "png",
    quality: int = 90,
    max_tokens: int | None = None,
    rpm: int | None = None,
    batch: bool = False,
    detail: str | None = None,
    preprocessor: Preprocessor | None = None,
    prices: Prices | None = None,
    limits: Limits | None = None,
) -> Diagnosis:
    """Follow one image to the model, which is neither asked nor loaded.

    canvas: side in pixels, chosen to fit if not given. image: a file to place on it; without one,
    the bytes are those of noise, which is more than any photo has. format, quality: how it is
    encoded. max_tokens (by default what a model that thinks needs, else 16), rpm (requests per
    minute), batch: for the estimate of costs. detail: the level at which images are sent, if it is
    not the usual one. preprocessor: the image processor of a local model, which is measured.

    Raises UsageError for a bad option or data file, DataError for a bad image, and ModelError for a
    processor that cannot be measured.
    """
    table = limits or Limits.load()
    service = subject.service
    model = subject.model if detail is None else f"{subject.model}@{detail}"
    facts = known(service, subject.model)
    pixels = open_image(image) if image else None
    fitting = canvas or _fitting(subject, model, pixels, preprocessor, table)
    sent = _noise(fitting) if pixels is None else _placed(pixels, fitting)
    size = len(images.encode(sent, format, quality).data)
    arrival = Arrival.measure(preprocessor, fitting) if preprocessor else None
    plan = images.plan(
        service,
        model,
        fitting,
        bytes=size,
        format=format,
        measured=arrival and arrival.result(),
        limits=table,
    )
    refused = None
    try:
        images.check(service, model, fitting, size, format=format, limits=table)
    except UsageError as error:
        refused = str(error)
    source = (
        f"{image} {pixels.shape[1]} x {pixels.shape[0]} px" if pixels is not None else "any image"
    )
    return Diagnosis(
        subject,
        source,
        fitting,
        canvas is None,
        format,
        size,
        pixels is not None,
        plan,
        arrival.largest if arrival else images.largest_canvas(service, model, limits=table),
        refused,
        arrival,
        (prices or Prices.load()).price(service, subject.model),
        (prices or Prices.load()).ended(service, subject.model),
        facts,
        estimate(
            service,
            model,
            QUERIES,
            canvas=fitting,
            text_characters=QUESTION,
            max_tokens=max_tokens or _reply_tokens(subject, facts),
            rpm=rpm,
            batch=batch,
            prices=prices,
            limits=table,
        ),
        _own_shape(subject.service, model, pixels, preprocessor, limits=table),
        images.most_images(service, model, limits=table),
    )


def _own_shape(
    service: str,
    model: str,
    pixels: Pixels | None,
    preprocessor: Preprocessor | None,
    *,
    limits: Limits,
) -> ImagePlan | None:
    """What happens to the image in its own shape, as a search sends it by default."""
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    measured = None
    if preprocessor is not None:
        found = preprocessor.measure(width, height, frame=1)
        view = found.views[0]
        step = ResizeStep("made" if found.whole else "its middle made", view.width, view.height)
        measured = ResizeResult((step,), found.scale, None, 0)
    return images.plan(service, model, (width, height), measured=measured, limits=limits)


def _reply_tokens(subject: ModelName, facts: KnownModel) -> int:
    thinks = facts.thinks in ("always", "by default")
    return reply_tokens(subject.service, subject.model) if thinks else 16


def _fitting(
    subject: ModelName,
    model: str,
    pixels: Pixels | None,
    preprocessor: Preprocessor | None,
    limits: Limits,
) -> int:
    """The side that a search would choose: nothing that the model could see is scaled away."""
    longer = max(pixels.shape[:2]) if pixels is not None else 0
    if preprocessor is None:
        wanted = min(LARGEST_CANVAS, max(USUAL_CANVAS, longer))
        return images.fitting_canvas(subject.service, model, wanted, limits=limits)
    seen = canvas_seen(preprocessor.side(), preprocessor.fitting)
    wanted = min(LARGEST_CANVAS, max(seen, longer))
    return min(wanted, preprocessor.fitting(wanted))


def _noise(side: int) -> Pixels:
    return stream(0, "doctor").integers(0, 256, (side, side, 3), np.uint8)


def _placed(pixels: Pixels, side: int) -> Pixels:
    space = preset("default", side)
    return Prompt(space, np.zeros(space.dim)).render(pixels)
