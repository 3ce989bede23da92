"""A card: what a bundle says of itself, as Markdown for people who decide about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bbtvp.core.digest import digest
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import Bundle, files_of, read, steps
from bbtvp.prompt.bundle.manifest import EvidenceEntry

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def card(path: Path) -> str:
    """The card of a bundle, from the bundle alone. BundleError for one that cannot be loaded.

    Texts of the bundle are shown as they are and never as Markdown or HTML of their own.
    """
    prompt = Prompt.load(path)
    held = read(path)
    sections = (
        _what(prompt, held),
        _how(prompt, path),
        _evidence(held),
        _harms(held),
        _limits(held),
        _origin(held),
        _digests(prompt, held, path),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _what(prompt: Prompt, held: Bundle) -> Iterator[str]:
    about = held.about
    yield f"# Visual prompt {prompt.digest[:12]}"
    yield ""
    named = f" for the task {_plain(about.task)}" if about.task else ""
    yield f"A change of an image{named}, made before a multimodal model sees it."
    yield ""
    yield f"- image: {_plain(prompt.space.describe(prompt.z))}; {prompt.space.canvas_text}"
    if prompt.words is not None:
        yield f"- words: {_plain(prompt.words)}"
    if about.question:
        yield f"- question of the search: {_plain(about.question)}"
    if about.labels:
        yield f"- answers: {_plain(', '.join(about.labels))}"
    if about.reading:
        yield f"- answers are read by: {_plain(str(about.reading.get('name', '?')))}"


def _how(prompt: Prompt, path: Path) -> Iterator[str]:
    yield "## How to apply it"
    yield "In Python, with numpy and Pillow:"
    yield ""
    yield "```python"
    yield "from bbtvp import Prompt"
    yield ""
    yield f"prompt = Prompt.load({path.name!r})"
    yield 'prompt.apply("photo.jpg").save("prompted.png")'
    yield 'question = prompt.ask("YOUR QUESTION")'
    yield "```"
    yield ""
    yield "In any language (docs/bundle.md says what each layer does):"
    yield ""
    space = prompt.space
    told = steps(space.layers, space.canvas, space.shape, theta=prompt.theta, words=prompt.words)
    yield from (f"{number}. {_plain(line)}" for number, line in enumerate(told, 1))


def _evidence(held: Bundle) -> Iterator[str]:
    yield "## Evidence"
    if not held.evidence:
        yield "None is in this bundle: whether it helps is not known. `bbtvp verify` says so."
        return
    titles = ("model", "version", "date", "task", "images", "without", "control", "with", "gain")
    yield _row((*titles, "95 %", "verdict"))
    yield _row(["---"] * (len(titles) + 2))
    for entry in held.evidence:
        yield _row(_cells(entry))
    yield ""
    yield "Accuracies in percent, on the same images. Control: the image placed alike, and no more."


def _cells(entry: EvidenceEntry) -> list[str]:
    interval = "" if entry.ci is None else " to ".join(_points(end) for end in entry.ci)
    return [
        *(_plain(entry.model), _plain(entry.version or "not reported"), _plain(entry.date or "")),
        *(_plain(entry.task or ""), "" if entry.images is None else str(entry.images)),
        *(_percent(entry.zero_shot), _percent(entry.empty_frame), _percent(entry.prompted)),
        *(_points(entry.gain), interval, _plain(entry.verdict or "")),
    ]


def _harms(held: Bundle) -> Iterator[str]:
    yield "## Known harms"
    if not held.about.harms:
        yield "None is written down, which does not mean that there are none."
    yield from (f"- {_plain(harm)}" for harm in held.about.harms)


def _limits(held: Bundle) -> Iterator[str]:
    yield "## Limits"
    if not held.about.improved:
        yield "- The search that made it saw no gain on its validation images."
    sources = ", ".join(map(_plain, held.about.source_models))
    if sources:
        yield f"- It was searched on {sources}. On any other model it has to be verified."
    yield "- Nothing is known of other tasks, and of model versions that are not in the evidence."
    if held.about.contains_data:
        yield f"- **It holds {len(held.files)} images of its task**: keep it where the task may be."


def _origin(held: Bundle) -> Iterator[str]:
    about = held.about
    yield "## Origin"
    yield f"- licence: {_plain(about.licence or 'not said')}"
    for model, versions in about.source_versions.items():
        yield f"- {_plain(model)} reported the version {_plain(', '.join(versions))}"
    if about.queries:
        cost = f", {about.usd:.2f} US dollars" if about.usd else ""
        yield f"- the search took {sum(about.queries.values())} image queries{cost}"
    yield f"- made by bbtvp {_plain(about.bbtvp or 'of a version that is not said')}"
    yield f"- parent: {about.parent or 'none'}"


def _digests(prompt: Prompt, held: Bundle, path: Path) -> Iterator[str]:
    yield "## Digests (SHA-256)"
    yield f"- bundle: `{held.digest}`"
    yield f"- prompt: `{prompt.digest}`"
    for name, data in files_of(path).items():
        yield f"- {name}: `{digest(data)}`"
    signed = held.signature
    yield f"- signed by: `{signed.public_key}` (not checked here)" if signed else "- not signed"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _points(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.1f}"


def _plain(text: str) -> str:
    """A text on one line, in which nothing is Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
