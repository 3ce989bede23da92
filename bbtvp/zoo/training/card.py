"""The zoo card: measures every miniature and writes the tables.

Run `python -m bbtvp.zoo.training.card --out docs/zoo.md`.

In-distribution accuracy (the clean tasks), zero-shot on the suite, and the white-box ceilings from
`python -m bbtvp.zoo.training.ceiling`. All on test splits; nothing in the tables is typed by hand.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bbtvp.core.files import atomic_write
from bbtvp.core.table import markdown_table
from bbtvp.models import Model, load_model
from bbtvp.search import LogProbReader, ask
from bbtvp.zoo import suites, tasks
from bbtvp.zoo.catalogue import STANDS_FOR, card, independent, members, weights
from bbtvp.zoo.shifts import FAR, WIDE, Shift
from bbtvp.zoo.shifts.strengths import ABOVE_THE_MIDDLE, STRENGTH
from bbtvp.zoo.suites import SUITES
from bbtvp.zoo.training.recipes import RECIPES

CLEAN = (*tasks.SUBJECTS, "hallucination")


def accuracy(model: Model, name: str) -> float:
    """Share of right answers of an unprompted model on the test split of `zoo/<name>`."""
    task = tasks.load(name)
    return float(ask(model, LogProbReader(), task, task.test).correct.mean())


def members_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Parameters and accuracy on the clean tasks, with the mean over kinds of question."""
    sizes = {row["model"]: row["parameters"] for row in card()}
    rows = [
        [
            f"zoo/{name}",
            STANDS_FOR[name],
            f"{sizes[f'zoo/{name}'] / 1e6:.2f} M",
            *(f"{100 * scores[name][subject]:.1f}" for subject in CLEAN),
            f"**{100 * np.mean([scores[name][subject] for subject in CLEAN]):.1f}**",
        ]
        for name in scores
    ]
    head = ["miniature", "stands for", "parameters", *CLEAN, "mean"]
    return markdown_table([head, *rows], left=2)


def suite_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Zero-shot accuracy of each miniature on each task of the suite.

    Beside it stands the accuracy of the best constant answer.
    """
    rows = [
        [
            f"zoo/{name}",
            f"{100 * tasks.chance(tasks.load(name)):.1f}",
            *(f"{100 * scores[m][name]:.1f}" for m in scores),
        ]
        for name in suites.OLD
    ]
    return markdown_table([["task", "constant", *scores], *rows])


def shifts_table(shifts: Mapping[str, Shift], *names: str) -> str:
    """Each shift with its subjects in these suites and their strengths."""
    rows = [
        [shift, (function.__doc__ or "").splitlines()[0].replace("`", "*")]
        + [_subjects(suite, shift) for suite in names]
        for shift, function in shifts.items()
    ]
    return markdown_table([["shift", "what it does", *names], *rows], left=2 + len(names))


def _subjects(suite: str, shift: str) -> str:
    """The subjects of a shift in a suite, each with its strength; ↑ above the middle."""
    found = []
    for spec in SUITES[suite]:
        subject, own = tasks.parts(spec.removeprefix("zoo/"))
        if own == shift:
            above = " ↑" if (subject, shift) in ABOVE_THE_MIDDLE else ""
            found.append(f"{subject} {STRENGTH[subject][shift]:g}{above}")
    return ", ".join(found)


CONTROL = "empty_frame"
FRAMES = ("vp", "tvp")


def ceiling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """White-box gains over zero-shot, control / VP / TVP, and how many cells reach eight points."""
    names = list(dict.fromkeys(row["model"] for row in rows))
    cells = {(row["model"], row["task"]): row for row in rows}
    body = [
        [f"zoo/{name}", *(_gains(cells.get((model, f"zoo/{name}"))) for model in names)]
        for name in suites.OLD
    ]
    share = [
        f"At least 8 points over {than}, by the better frame: {many} of {len(rows)} cells (mean "
        f"{mean:+.1f})."
        for than, base in (("zero-shot", "zero_shot"), ("the empty frame", CONTROL))
        for many, mean in [_reached(rows, base)]
    ]
    head = ["task", *(name.removeprefix("zoo/") for name in names)]
    return "\n\n".join([markdown_table([head, *body]), *share])


def _gains(row: Mapping[str, Any] | None) -> str:
    return (
        ""
        if row is None
        else " / ".join(f"{100 * (row[arm] - row['zero_shot']):+.0f}" for arm in (CONTROL, *FRAMES))
    )


def _reached(rows: Sequence[Mapping[str, Any]], base: str) -> tuple[int, float]:
    """Cells where the better frame gains at least eight points over `base`.

    Also its mean gain, in points.
    """
    best = [max(row[frame] for frame in FRAMES) - row[base] for row in rows]
    return sum(gain >= 0.08 for gain in best), 100 * float(np.mean(best))


def recipes_table(names: Iterable[str]) -> str:
    """How each independent member was trained, and what its images are cut into."""
    rows = []
    for name in names:
        recipe = RECIPES[name]
        vision = json.loads((weights() / name / "config.json").read_text("utf-8"))["vision_config"]
        steps = [recipe.perception, recipe.instruction, recipe.refinement]
        rows.append(
            [
                f"zoo/{name}",
                vision["model_type"],
                f"{vision['image_size']} / {vision['patch_size']}",
                str(recipe.seed),
                " + ".join(f"{count:,}" for count in steps if count),
                f"{recipe.scenes:,}",
                str(recipe.threads),
            ]
        )
    head = ["miniature", "tower", "image / patch, px", "seed", "steps", "scenes", "threads"]
    return markdown_table([head, *rows], left=2)


def measured(names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Accuracy of each member on the clean tasks and on the suite; prints a line for each."""
    scores: dict[str, dict[str, float]] = {}
    for name in names:
        model = load_model(f"zoo/{name}")
        scores[name] = {task: accuracy(model, task) for task in (*CLEAN, *suites.OLD)}
        print(name, {task: round(score, 3) for task, score in scores[name].items()}, flush=True)
    return scores


def main() -> None:
    """Command line of the card."""
    parser = argparse.ArgumentParser(prog="python -m bbtvp.zoo.training.card", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/zoo.md"))
    parser.add_argument("--ceilings", type=Path, default=weights() / "ceilings.json")
    args = parser.parse_args()
    scores = measured(members())
    others = measured(independent())
    ceilings = json.loads(args.ceilings.read_text("utf-8")) if args.ceilings.exists() else []
    text = PAGE.format(
        members=members_table(scores),
        suite=suite_table(scores),
        wide=shifts_table(WIDE, "suite/wide", "suite/wide-dev"),
        far=shifts_table(FAR, "suite/far"),
        independent=members_table(others),
        recipes=recipes_table(others),
        independent_suite=suite_table(others),
        ceilings=ceiling_table(ceilings) if ceilings else "not measured",
    )
    atomic_write(args.out, text.encode())


PAGE = """# The miniature zoo

Real transformers classes at miniature size, trained on procedural scenes and UCI handwritten
digits, and loaded by the same Hugging Face adapter as a model of 7 billion parameters. `zoo/clip`
is the surrogate. Rebuild any of them with `python -m bbtvp.zoo.training.train NAME` (about 10 to 25
minutes on one core), this page with `python -m bbtvp.zoo.training.ceiling && python -m
bbtvp.zoo.training.card`.

LLaVA and CLIP are trained from nothing. The other members of the first table start from LLaVA's
vision tower and, if they have a Llama, from its decoder; MiniGPT-4 and InstructBLIP also from
BLIP-2's Q-Former: as the real ones start from a CLIP and an LLM that exist already. So transfer
among them is transfer between *related* encoders, as in TVP's own table. CLIP, the surrogate,
shares nothing with them, nor do the independent members.

LLaVA as shipped comes from an earlier training whose steps were not recorded. Rebuilt from nothing
by the trainer's defaults it reached a mean of 89.0 %; with more steps and another seed it became
`zoo/llava-seed1`, one of the independent members below, whose recipe is recorded.

## Members

Accuracy (%) on held-out questions of the kinds they were trained on: 500 test samples per kind,
label log-probabilities, and for `digits` handwritten digits that no member has seen.

{members}

## Zero-shot on the suite

Accuracy (%) without any prompt under a shift, 500 test samples each. `constant`: the best constant
answer. The strength of a shift is set so that LLaVA, the default source, lies between 5 points
above that and 70 %.

{suite}

## The wide suite

`suite/wide` and `suite/wide-dev` stand for lists of tasks wherever a list is taken: `bbtvp bench
--tasks suite/wide`, `task = "suite/wide"` in a grid of `bbtvp run`. The ten above are `suite/old`.
Thirteen shifts that no layer had been made for: `suite/wide` has each with two subjects (26 tasks,
every subject five or six times), `suite/wide-dev` with one other subject (13 tasks). Both were
frozen before anything was tuned against these shifts; a test holds their digests. Tuning may look
at `suite/wide-dev` only. Figures come from `suite/wide` and the independent members.

The strengths come from one rule: the strength where the zero-shot accuracy of zoo/llava lies in the
middle between chance and its accuracy without a shift, found by bisection on the training split
(`python -m bbtvp.zoo.training.strengths`). ↑: even the strongest setting leaves it above the
middle, and is taken.

{wide}

## The far suite

Once operations were made for the kinds of the wide suite, its figures no longer say what the prompt
does about a shift that nobody thought of. `suite/far` is for that: nine other shifts, five of them
kinds of ImageNet-C, each with two subjects (18 tasks, every subject three or four times), with
strengths by the same rule. They were chosen and frozen before any prompt was tried on them, and no
setting is tuned on them. A double image and solarisation were drafted too, and dropped: on four of
five subjects even the strongest setting left zoo/llava above the middle.

{far}

## Independent members

Members with towers of their own: other seeds, other scenes in another order, other resolutions and
patches. They share no weight with any other member and no setting was tuned on them, so they show
what transfers to models that are not related to the source. They are not among the models of the
tables above, of `bbtvp demo` or of `bbtvp bench`, unless they are named: `--targets
zoo/llava-seed1`. The transfer of the default prompt to them is in
[bench.md](bench.md#targets-with-towers-of-their-own).

{independent}

Each is rebuilt by `python -m bbtvp.zoo.training.train NAME`, which takes its recipe from
`bbtvp/zoo/training/recipes.py`: batches of 96 scenes, float32 on a CPU. Steps: perception,
instruction, refinement. Another kind of CPU or another torch rounds otherwise, and gives other
weights of about the same accuracy.

{recipes}

Zero-shot on the suite (%), as above:

{independent_suite}

## White-box ceilings

Gain (points) over zero-shot: empty frame (the control) / VP / TVP. VP and TVP are frames trained
with the model's own gradients on the full training split, in TVP's geometry (image 164/224 of the
canvas), scored as uint8 pixels on test; TVP's update, its last iterate, no choice among iterates. A
reference: the black-box path has no gradients, and its layers are not limited to a frame.

{ceilings}
"""


if __name__ == "__main__":
    main()
