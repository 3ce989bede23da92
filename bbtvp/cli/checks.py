"""What `verify`, `robustness` and `effects` share: options, what they load, and progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, assert_never, final

import click

from bbtvp.cli.options import (
    MAX_TOKENS_HELP,
    METRIC_HELP,
    asked,
    json_flag,
    model_option_flag,
    model_options,
    number_option,
    out_option,
    prices_option,
    reader_option,
    say,
    seed_option,
    together,
    usd_option,
)

if TYPE_CHECKING:
    from bbtvp.checks.events import CheckEvent
    from bbtvp.checks.robustness import CellTried
    from bbtvp.endpoint.prices import Estimate
    from bbtvp.models import Model
    from bbtvp.prompt import Prompt
    from bbtvp.tasks import Task
    from bbtvp.verify.events import CheckPlanned
    from bbtvp.verify.session import CheckOptions

prompt_argument = click.argument("prompt", type=click.Path(path_type=Path))
tested_task_option = click.option(
    "--task", required=True, help="As for optimize; its test split is used."
)
question_option = click.option(
    "--question",
    help="Question, for a folder or file [default: the one the prompt was searched with].",
)
labels_option = click.option(
    "--labels",
    help="The answers allowed, as for optimize [default: of a table, those that the prompt was "
    "searched with].",
)
scoring_options = together(
    click.option("--metric", help=f"{METRIC_HELP} [default: as the prompt was searched]."),
    click.option(
        "--max-tokens",
        type=click.IntRange(1),
        help=f"{MAX_TOKENS_HELP} [default: as the prompt was searched].",
    ),
)
asking_options = together(usd_option, prices_option, reader_option, seed_option, model_option_flag)
check_options = together(
    question_option,
    labels_option,
    scoring_options,
    number_option(
        "--limit",
        default=100,
        type=click.IntRange(1),
        help="Test images asked about, the first ones.",
    ),
    asking_options,
    out_option("Run folder: makes the check resumable."),
    click.option(
        "--dry-run", is_flag=True, help="Print how many image queries it takes; ask nothing."
    ),
    json_flag,
)


def tested_models_option(help: str) -> Callable[..., Any]:
    """`--model`, one or more."""
    return click.option("--model", "models", required=True, multiple=True, help=help)


class CheckArguments(TypedDict):
    """What `check_options` gives a command."""

    question: str | None
    labels: str | None
    metric: str | None
    max_tokens: int | None
    limit: int
    usd: float | None
    reader: str
    seed: int
    options: tuple[str, ...]
    out: Path | None
    dry_run: bool
    as_json: bool


def session_options(given: CheckArguments) -> CheckOptions:
    """The options of a check, with progress for people."""
    return {
        "reader": given["reader"],
        "usd": given["usd"],
        "seed": given["seed"],
        "out": given["out"],
        "watch": CheckProgress(),
    }


@final
@dataclass(frozen=True)
class CheckInputs:
    """What a check needs: a prompt, the facts in its bundle, a task, and models."""

    prompt: Prompt
    facts: Mapping[str, Any]
    task: Task
    models: Sequence[Model]

    @classmethod
    def load(
        cls,
        prompt: Path | None,
        task: str,
        models: Sequence[str],
        *,
        question: str | None,
        labels: str | None,
        metric: str | None,
        max_tokens: int | None,
        options: tuple[str, ...],
        signed_by: Sequence[str] = (),
    ) -> CheckInputs:
        """Load all of it.

        prompt: None for the identity. signed_by: as of `Prompt.load`. question: of a task that is a
        folder or a file; by default the one in the bundle. labels: of a table, metric and
        max_tokens likewise.
        """
        from bbtvp.models import load_model
        from bbtvp.prompt import PromptSpace
        from bbtvp.verify.inputs import open_prompt

        given_prompt = PromptSpace.identity() if prompt is None else prompt
        opened = open_prompt(given_prompt, signed_by=signed_by)
        found = opened.task(task, **asked(question, labels, metric, max_tokens))
        say(f"question: {found.question}")
        given = model_options(options)
        models_loaded = [load_model(spec, **given) for spec in models]
        return cls(opened.prompt, opened.facts, found, models_loaded)

    def costs(self, queries: int | Sequence[int]) -> dict[str, Estimate]:
        """What each endpoint costs at most; queries: of all models together, or of each."""
        from bbtvp.endpoint.remote import bounds

        canvas = self.prompt.space.canvas
        test = self.task.test
        # Zero-shot sends the image as it is, which may be larger than the canvas.
        sides = (max(canvas, *sample.pixels().shape[:2]) for sample in test)
        questions = (self.prompt.ask(self.task.ask(sample)) for sample in test)
        return bounds(self.models, queries, sides, questions, self.prompt.context())

    def announce(self, queries: int, as_json: bool) -> None:
        """Print the most image queries, and the most that they cost; nothing is asked."""
        from bbtvp.cli.plan import tell

        lines = [f"at most {queries} image queries"]
        tell({"queries": queries}, lines, self.costs(queries), as_json)


@final
@dataclass
class CheckProgress:
    """A `Watch` that prints a line for each event, or a bar for corruptions on a terminal."""

    bar: Any = None

    def __call__(self, event: CheckEvent) -> None:
        """Print one event."""
        from bbtvp.checks.effects import TaskEffect
        from bbtvp.checks.robustness import CellTried
        from bbtvp.checks.saliency import SaliencyMap
        from bbtvp.report.figures import points
        from bbtvp.verify.events import CheckPlanned, ModelProbed

        match event:
            case CellTried():
                self._cell(event)
            case ModelProbed(spec, findings):
                say(f"{spec}: {'; '.join(findings)}")
            case CheckPlanned():
                self._planned(event)
            case TaskEffect():
                change = points(event.paired.gain)
                say(f"{event.task}: {change} points on {event.paired.n} images")
            case SaliencyMap():
                say(f"mapped: {event.id} {event.arm}, {event.label} {event.score:.2f}")
            case _:
                assert_never(event)

    def _planned(self, event: CheckPlanned) -> None:
        say(f"at most {event.queries} image queries")
        if event.resumed:
            say(
                f"continuing: {event.resumed} image queries were sent before; "
                "answered ones are not sent again"
            )

    def _cell(self, event: CellTried) -> None:
        from bbtvp.report.figures import points

        gain = f"{points(event.gain.paired.gain)} points" if event.gain else "no answers"
        name = f"{event.corruption} {event.severity}: {gain}"
        if not sys.stderr.isatty():
            say(f"{event.done}/{event.cells} {event.model} {name}")
            return
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=event.cells, desc=event.model, leave=False)
        self.bar.update(event.done - self.bar.n)
        self.bar.set_postfix_str(name)
        if event.done == event.cells:
            self.bar.close()
            self.bar = None
