"""Where prompts are shared: `Prompt.push_to_hub` and `Prompt.from_pretrained`.

What talks to a hub stands above this room, so it is found by its entry point.
"""

from __future__ import annotations

from typing import Any

from bbtvp.core.plugins import Registry


def _is_hub(found: Any) -> bool:
    return callable(found) and all(
        callable(getattr(found, name, None)) for name in ("push_to_hub", "from_pretrained")
    )


HUBS = Registry(
    "bbtvp.hubs",
    "hub",
    check=_is_hub,
    expected="a class like huggingface_hub.ModelHubMixin, made of the path of a bundle",
)
"""By name; "huggingface" is ours."""
