"""What is measured of a family: bbtvp's adapter, from a saved folder, against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL import Image

import bbtvp
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BbtvpError
from bbtvp.models import Outcome, Reply, Request
from tests.families.kit import Family, save
from tests.families.reference import Reference

QUESTION = "which one is this?"
LABELS = ("cat", "caterpillar", "caterpillars on it")
"""One token, one or several, several; each begins the next."""

TOLERANCE = 1e-4
"""Nats. Float32 log-probabilities of two ways of computing them differ by some 1e-6."""

SEEN = 1e-3
"""Nats. If two images change no label by more, the model does not look at them."""

TOKENS = 4
CANVAS = 224
RIM = 4
"""Pixels: the side of the canvas that shows what a processor does, and the width of its rim."""

SAME = "same"
PROVEN = "proven"
REFUSED = "refused"
FAULT = "transformers' own fault"


@final
@dataclass(frozen=True)
class Row:
    """What was found of one family.

    status: PROVEN, REFUSED, FAULT, or what is wrong. reason: for a refusal or a fault. prompt:
    SAME if the token ids are those of transformers. score, batch: largest differences, in nats.
    frame: what the processor does to an image. needs: packages beyond bbtvp's own.
    """

    name: str
    status: str
    reason: str = ""
    prompt: str = ""
    score: float | None = None
    batch: float | None = None
    text: bool | None = None
    search: bool | None = None
    frame: str = ""
    needs: tuple[str, ...] = ()


def picture(seed: int, height: int = 112, width: int = 112) -> Pixels:
    """(height, width, 3) smooth blobs of colour."""
    blobs = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blobs).resize((width, height), Image.Resampling.BILINEAR))


REQUESTS = (
    Request(picture(1), QUESTION, LABELS),
    Request(picture(2), QUESTION, LABELS),
    Request(picture(3, 64, 160), QUESTION, LABELS),
    Request(picture(4, 160, 64), "what colour is it?", LABELS),
)


def missing(family: Family) -> list[str]:
    """The packages that the family needs and that are not installed here."""
    return [name for name in family.needs if find_spec(name) is None]


def measure(family: Family, folder: Path) -> Row:
    """Build a family, save it, load it with the adapter and compare the two.

    Raises what the family's classes raise, and what the adapter raises, unless that is one of
    bbtvp's own errors, which is a refusal.
    """
    reference = Reference(family)
    save(reference.model, reference.processor, folder)
    if family.fault:
        status = FAULT if _fails(reference) else "wrong: transformers' fault is gone"
        if not _refused(folder):
            status = "wrong: loads, although its own classes fail"
        return Row(family.name, status, family.fault, needs=family.needs)
    try:
        model = bbtvp.load_model(f"hf/{folder}")
        return _compared(family, reference, model)
    except BbtvpError as error:
        reason = str(error).replace(f"hf/{folder}", "the folder").replace(str(folder), "the folder")
        return Row(family.name, REFUSED, reason, needs=family.needs)


def _fails(reference: Reference) -> bool:
    """Whether a family's own classes fail: they raise, or do not look at the image."""
    try:
        one, other = (reference.scores(q.image, q.text, LABELS[:1])[0] for q in REQUESTS[:2])
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return True
    return abs(one - other) < SEEN


def _refused(folder: Path) -> bool:
    """Whether the adapter refuses a folder in one line, at the latest when it is asked."""
    try:
        bbtvp.load_model(f"hf/{folder}").query(REQUESTS[:1])
    except BbtvpError as error:
        return "\n" not in str(error)
    return False


def _compared(family: Family, reference: Reference, model: Any) -> Row:
    together = _scores(model.query(REQUESTS))
    wanted = np.array([reference.scores(one.image, one.text, LABELS) for one in REQUESTS])
    alone = np.concatenate([_scores(model.query([request])) for request in REQUESTS])
    prompt = _prompt(reference, model)
    score = float(np.abs(together - wanted).max())
    batch = float(np.abs(together - alone).max())
    text = _texts(reference, model)
    search = _searches(model)
    faults = {
        "the image changes no score": np.abs(wanted[0] - wanted[1]).max() < SEEN,
        "other weights than were saved": _changed(reference, model),
        "other prompt": prompt != SAME,
        "other scores": not score <= TOLERANCE,
        "other scores in a batch": not batch <= TOLERANCE,
        "other text": not text,
        "optimise or verify fails": not search,
    }
    wrong = ", ".join(fault for fault, found in faults.items() if found)
    return Row(
        family.name,
        f"wrong: {wrong}" if wrong else PROVEN,
        prompt=prompt,
        score=score,
        batch=batch,
        text=text,
        search=search,
        frame=_frame(reference),
        needs=family.needs,
    )


def _scores(outcomes: Sequence[Outcome]) -> np.ndarray:
    """(requests, labels) log-probabilities; NaN for a failed query."""
    rows = []
    for outcome in outcomes:
        scores = outcome.scores if isinstance(outcome, Reply) else None
        rows.append([score.logprob for score in scores or ()] or [np.nan] * len(LABELS))
    return np.array(rows)


def _prompt(reference: Reference, model: Any) -> str:
    """Whether the adapter's token ids are the reference's, or how many differ."""
    for request in REQUESTS:
        ours = model._prompts.inputs([request])
        theirs = reference.inputs(request.image, request.text)
        name = "input_ids" if "input_ids" in theirs else "decoder_input_ids"
        if name not in theirs:
            continue
        one, other = ours[name][0].tolist(), theirs[name][0].tolist()
        if one != other:
            return f"{len(one)} tokens for {len(other)}"
    return SAME


def _texts(reference: Reference, model: Any) -> bool:
    """Whether greedy replies are the reference's."""
    asked = [Request(one.image, one.text, None, TOKENS) for one in REQUESTS[:2]]
    wanted = [reference.text(one.image, one.text, TOKENS) for one in asked]
    return [getattr(outcome, "text", None) for outcome in model.query(asked)] == wanted


def _searches(model: Any) -> bool:
    """Whether a search of 24 image queries and a proof of its best prompt answer every query."""
    labels = LABELS[:2]
    splits = {
        split: tuple(
            bbtvp.Sample(f"{split}-{i}", labels[i % 2], picture(seed + i, 56, 56)) for i in range(4)
        )
        for split, seed in (("train", 10), ("validation", 20), ("test", 30))
    }
    task = bbtvp.Task(name="families", question=QUESTION, labels=labels, **splits)
    run = bbtvp.optimize(task, model, queries=24, prompt="tone", images=2, popsize=3)
    proof = bbtvp.verify(run.best, task, [model])
    return run.failed == 0 and proof.rows[0].failed == 0


def _changed(reference: Reference, model: Any) -> bool:
    """Whether saving and loading, which is transformers' own, changed a weight."""
    before = reference.model.state_dict()
    after = model.model.state_dict()
    if before.keys() != after.keys():
        return True
    return any(not torch.equal(before[name], after[name]) for name in before)


def _frame(reference: Reference) -> str:
    """What the family's own processor makes of a square canvas, and whether its rim counts."""
    canvas = picture(3, CANVAS, CANVAS)
    framed = 255 - canvas
    framed[RIM:-RIM, RIM:-RIM] = canvas[RIM:-RIM, RIM:-RIM]
    one, other = (_pixels(reference.inputs(image, QUESTION)) for image in (canvas, framed))
    kept = "cut" if one.shape == other.shape and torch.equal(one, other) else "kept"
    return f"{' × '.join(map(str, one.shape))}, rim {kept}"


def _pixels(inputs: dict[str, Any]) -> torch.Tensor:
    """The first input that holds pixels."""
    named = [name for name in inputs if "pixel" in name or "patches" in name]
    found = inputs[named[0]]
    while not isinstance(found, torch.Tensor):
        found = found[0]
    return found
