"""What runs in a worker's process: the whole model, asked in its own batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BbtvpError, ModelError, UsageError
from bbtvp.models import Budget, Capabilities, Model, Outcome, Probe, Request, Shown, load_model


@runtime_checkable
class BatchingModel(Protocol):
    """A model that says how it batches. Any other gets contiguous parts of the requests."""

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Return the indices of the requests of each batch.

        Only texts, labels and image shapes decide: pixels may be blank. A batch asked alone stays
        one batch.
        """


class LoadedModel(NamedTuple):
    """What a loaded model is, and the version of bbtvp that loaded it."""

    spec: str
    identity: str
    capabilities: Capabilities
    version: str


class RequestOutline(NamedTuple):
    """A request without its pixels."""

    shape: tuple[int, ...]
    text: str
    labels: tuple[str, ...] | None
    max_tokens: int
    forced: bool
    context: tuple[tuple[tuple[int, ...], str], ...] = ()

    @classmethod
    def of(cls, request: Request) -> RequestOutline:
        return cls(
            request.image.shape,
            request.text,
            request.labels,
            request.max_tokens,
            request.forced,
            tuple((shown.image.shape, shown.text) for shown in request.context),
        )

    def blank(self) -> Request:
        """A request of this outline, each of its images one byte in memory."""
        return Request(
            _blank(self.shape),
            self.text,
            self.labels,
            self.max_tokens,
            forced=self.forced,
            context=tuple(Shown(_blank(shape), text) for shape, text in self.context),
        )


def _blank(shape: tuple[int, ...]) -> Pixels:
    return np.broadcast_to(np.uint8(0), shape)


@final
class Worker:
    """A process that holds a model.

    Errors that are raised on purpose are returned instead, because Ray would wrap them.
    """

    def __init__(self, spec: str, options: dict[str, Any], threads: int, folder: str) -> None:
        self._spec = spec
        self._options = options
        self._model: Model | None = None
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch, which is not imported yet
        import ray  # here it is installed

        if "working_dir" not in ray.get_runtime_context().runtime_env:
            with suppress(OSError):  # so that hf/./folder is found, where the machine has it
                os.chdir(folder)

    def start(self) -> None:
        """Do nothing: the answer shows that the process runs."""

    def load(self) -> LoadedModel | BbtvpError:
        try:
            model = load_model(self._spec, **self._options)
        except BbtvpError as error:
            return error
        if model.is_endpoint:
            return UsageError(
                f"ray/ is for local models; an endpoint needs no workers: use {self._spec}"
            )
        self._model = model
        return LoadedModel(model.spec, model.identity, model.capabilities, version("bbtvp"))

    def split(self, outlines: Sequence[RequestOutline]) -> list[list[int]] | BbtvpError | None:
        """Return the model's own batches, None if it does not say."""
        model: object = self._model
        if not isinstance(model, BatchingModel):
            return None
        try:
            return model.batches([outline.blank() for outline in outlines])
        except BbtvpError as error:
            return error

    def probe_images(self, images: int) -> Probe | BbtvpError | None:
        """Find out whether the model takes so many images in a request."""
        if self._model is None:  # never: the driver asks those that loaded
            return ModelError(f"{self._spec} is not loaded")
        try:
            return self._model.probe_images(images, Budget())
        except BbtvpError as error:
            return error

    def answer(self, requests: Sequence[Request]) -> list[Outcome] | BbtvpError:
        if self._model is None:  # never: the driver asks those that loaded
            return ModelError(f"{self._spec} is not loaded")
        try:
            return self._model.query(requests)
        except BbtvpError as error:
            return error
