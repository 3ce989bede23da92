"""Filling in templates: all values are escaped, and a missing value is an error."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from bbtvp.report.html.words import Words


def rendered(template: str, words: Words, **values: Any) -> str:
    """The template of this name, in the language of `words`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bbtvp.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(t=words, version=version("bbtvp"), **values)
