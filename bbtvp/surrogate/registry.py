"""From a surrogate's spec (`zoo/clip`, `hf/openai/clip-vit-base-patch32`) to a surrogate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.origin import Origin
from bbtvp.core.plugins import Registry
from bbtvp.surrogate.features import Compared, Surrogate
from bbtvp.surrogate.group import BETWEEN, SurrogateGroup

PROVIDERS = Registry(
    "bbtvp.surrogates",
    "surrogate provider",
    expected="a function (name, **options) that gives a Surrogate",
)


def load_surrogate(spec: str, **options: Any) -> Surrogate:
    """Load `zoo/clip`, `hf/openai/clip-vit-base-patch32`, `hf/./folder`, or a plug-in's.

    A spec that ends in `,features=pooled` compares pooled features in FCA instead of tokens.
    Several specs with " + " between them become one `SurrogateGroup`. options go to the providers:
    device, … Raises UsageError for an unknown provider or kind of features.
    """
    specs = [part.strip() for part in spec.split(BETWEEN)]
    if len(specs) > 1:
        surrogate: Surrogate = SurrogateGroup([_loaded(one, options) for one in specs])
    else:
        surrogate = _loaded(spec, options)
    surrogate.origin = Origin.of(spec, options)
    return surrogate


def _loaded(spec: str, options: Mapping[str, Any]) -> Surrogate:
    named, given, features = spec.partition(",features=")
    provider, slash, name = named.partition("/")
    if not slash or not name:
        known = " or ".join(f"{one}/…" for one in PROVIDERS.names())
        raise UsageError(f"surrogate {spec!r} needs a provider: zoo/clip, or {known}")
    if given and features not in get_args(Compared):
        raise unknown("features", features, get_args(Compared))
    surrogate = PROVIDERS.load(provider)(name, **options)
    if not isinstance(surrogate, Surrogate):
        raise UsageError(
            f"surrogate provider {provider!r} gave {type(surrogate).__name__}, not a Surrogate"
        )
    if features == "pooled":
        surrogate.compares = "pooled"
        surrogate.spec = spec
    return surrogate
