"""From a surrogate's spec (`zoo/clip`, `hf/openai/clip-vit-base-patch32`) to a surrogate."""

from __future__ import annotations

from typing import Any

from bbtvp.core.errors import UsageError
from bbtvp.core.origin import Origin
from bbtvp.core.plugins import Registry
from bbtvp.surrogate.features import Surrogate

PROVIDERS = Registry(
    "bbtvp.surrogates",
    "surrogate provider",
    expected="a function (name, **options) that gives a Surrogate",
)


def load_surrogate(spec: str, **options: Any) -> Surrogate:
    """Load `zoo/clip`, `hf/openai/clip-vit-base-patch32`, `hf/./folder`, or a plug-in's.

    options go to the provider: device, … Raises UsageError for an unknown provider.
    """
    provider, slash, name = spec.partition("/")
    if not slash or not name:
        known = " or ".join(f"{one}/…" for one in PROVIDERS.names())
        raise UsageError(f"surrogate {spec!r} needs a provider: zoo/clip, or {known}")
    surrogate = PROVIDERS.load(provider)(name, **options)
    if not isinstance(surrogate, Surrogate):
        raise UsageError(
            f"surrogate provider {provider!r} gave {type(surrogate).__name__}, not a Surrogate"
        )
    surrogate.origin = Origin.of(spec, options)
    return surrogate
