"""From a model spec (`zoo/llava`, `hf/org/name`, `openai/…`) to a model, through the entry points
of `bbtvp.models`.
"""

from __future__ import annotations

from typing import Any

from bbtvp.core.errors import UsageError
from bbtvp.core.origin import Origin
from bbtvp.core.plugins import Registry
from bbtvp.models.port import Model

PROVIDERS = Registry(
    "bbtvp.models", "model provider", expected="a function (name, **options) that gives a Model"
)


def load_model(spec: str, **options: Any) -> Model:
    """Load the model behind `spec`, split at the first slash into provider and name.

    options go to the provider: device, dtype, batch, … Raises UsageError for an unknown provider or
    option.
    """
    provider, slash, name = spec.partition("/")
    if not slash or not name:
        raise UsageError(
            f"model {spec!r} needs a provider: {' or '.join(f'{p}/…' for p in PROVIDERS.names())}"
        )
    loader = PROVIDERS.load(provider)
    try:
        model = loader(name, **options)
    except TypeError as error:
        if not options:
            raise
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        raise UsageError(f"model provider {provider!r} cannot take {given}: {error}") from error
    if not isinstance(model, Model):
        raise UsageError(
            f"model provider {provider!r} gave {type(model).__name__}, not a bbtvp.models.Model"
        )
    model.origin = Origin.of(spec, options)
    return model
