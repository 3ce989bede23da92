"""From a model spec (`zoo/llava`, `hf/org/name`, `openai/…`) to a model.

A provider is an entry point of the group `bbtvp.models`: a function (name, **options) that gives a
`Model`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from bbtvp.core.errors import UsageError
from bbtvp.core.origin import Origin
from bbtvp.core.plugins import Registry
from bbtvp.models.function import FunctionModel
from bbtvp.models.port import Model
from bbtvp.models.preprocessing import Preprocessor

PROVIDERS = Registry(
    "bbtvp.models", "model provider", expected="a function (name, **options) that gives a Model"
)


PREPROCESSORS = Registry(
    "bbtvp.preprocessors",
    "preprocessor",
    expected="a function (name, **options) that gives a Preprocessor",
)
"""What providers of local models may offer beside a model, under the same name."""


AnyModel: TypeAlias = Model | str | Callable[..., Any]
"""What stands for a model everywhere: a `Model`, its spec, or a function (see `FunctionModel`)."""


def as_model(given: AnyModel) -> Model:
    """The model that is given, loaded by its spec or made of a function.

    Raises UsageError for anything else.
    """
    if isinstance(given, Model):
        return given
    return load_model(given)


def as_models(given: AnyModel | Sequence[AnyModel]) -> list[Model | str]:
    """One model or several as a list, in which functions are models and specs are not yet loaded.

    Raises UsageError for anything else.
    """
    if isinstance(given, Model | str) or callable(given) or not isinstance(given, Sequence):
        given = [given]
    return [one if isinstance(one, str) else as_model(one) for one in given]


def load_model(spec: str | Callable[..., Any], **options: Any) -> Model:
    """The model behind `spec`, which is split at the first slash into provider and name.

    spec: or a function, which becomes a `FunctionModel`. options: what the provider takes: device,
    dtype, batch, … Raises UsageError, in one line that names the plug-in, for an unknown provider
    or option, and for a provider that cannot be imported or gives something else than a `Model`.
    """
    if not isinstance(spec, str):
        return FunctionModel(spec, **options)
    provider, slash, name = spec.partition("/")
    if provider == "python":
        raise UsageError(
            f"{spec} is a function of a Python program; give the function itself, "
            "or make it a plug-in (docs/models.md)"
        )
    if not slash or not name:
        known = " or ".join(f"{provider}/…" for provider in PROVIDERS.names())
        raise UsageError(f"model {spec!r} needs a provider: {known}")
    loader = PROVIDERS.load(provider)
    try:
        model = loader(name, **options)
    except TypeError as error:
        if not options and _takes(loader, name):
            raise
        given = ", ".join(f"{key}={value}" for key, value in options.items()) or repr(name)
        raise UsageError(
            f"model provider {PROVIDERS.describe(provider)} cannot take {given}: {error}"
        ) from error
    if not isinstance(model, Model):
        raise UsageError(
            f"model provider {PROVIDERS.describe(provider)} gave {type(model).__name__}, "
            "not a bbtvp.Model"
        )
    model.origin = Origin.of(spec, options)
    return model


def load_preprocessor(spec: str, **options: Any) -> Preprocessor | None:
    """Load the image processor of a model, without its weights; None if its provider offers none.

    options: those of the model. Raises ModelError if the processor cannot be loaded, and UsageError
    as `load_model` does.
    """
    provider, _, name = spec.partition("/")
    if provider not in PREPROCESSORS.names():
        return None
    found: Preprocessor = PREPROCESSORS.load(provider)(name, **options)
    return found


def _takes(loader: Callable[..., object], name: str) -> bool:
    """Whether a provider can be called with a name alone."""
    try:
        inspect.signature(loader).bind(name)
    except TypeError:
        return False
    return True
