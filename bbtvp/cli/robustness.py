"""`bbtvp robustness`; and what it shares with `bbtvp effects`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from bbtvp.cli.options import (
    give,
    json_flag,
    model_option_flag,
    model_options,
    prices_option,
    reader_option,
    say,
    seed_option,
    usd_option,
)  # fmt: skip
from bbtvp.core.errors import UsageError

if TYPE_CHECKING:
    from bbtvp.prompt import Prompt
    from bbtvp.query import Model
    from bbtvp.task import Task

question_option = click.option(
    "--question", help="Question, for a folder or file [default: the one the prompt was searched with]."
)
limit_option = click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1), help="Test images asked about, the first ones."
)
out_option = click.option("--out", type=click.Path(path_type=Path), help="Run folder: makes the check resumable.")
dry_run_flag = click.option("--dry-run", is_flag=True, help="Print how many image queries it takes; ask nothing.")


@click.command()
@click.argument("prompt", type=click.Path(path_type=Path))
@click.option("--task", required=True, help="As for optimize; its test split is used.")
@click.option("--model", "models", required=True, multiple=True, help="A model to ask; repeat for more.")
@click.option(
    "--families",
    default="noise,blur,weather,digital,channel,vendor",
    show_default=True,
    help="Families of corruptions, separated by commas.",
)
@click.option("--corruption", "names", multiple=True, help="One corruption by name, in place of families; repeatable.")
@click.option("--severities", default="1,2,3,4,5", show_default=True, help="Of 1 to 5, separated by commas.")
@click.option(
    "--where",
    type=click.Choice(["channel", "input"]),
    default="channel",
    show_default=True,
    help="What is corrupted: the image that is sent, prompt and all, or the camera's image before the prompt.",
)
@question_option
@limit_option
@usd_option
@prices_option
@reader_option
@seed_option
@model_option_flag
@out_option
@dry_run_flag
@json_flag
def robustness(
    prompt: Path, task: str, models: tuple[str, ...], families: str, names: tuple[str, ...], severities: str,
    where: Literal["channel", "input"], question: str | None, limit: int, usd: float | None, reader: str, seed: int,
    options: tuple[str, ...], out: Path | None, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Accuracy with and without PROMPT on corrupted images: noise, blur, weather, encoding, vendors' resizing."""
    from bbtvp.query import load_model
    from bbtvp.report.checks import robustness_table
    from bbtvp.verify.robustness import chosen, planned
    from bbtvp.verify.robustness import robustness as check

    loaded, subject = subject_of(prompt, task, question)
    asked = [load_model(spec, **model_options(options)) for spec in models]
    levels = _numbers(severities)
    kinds = chosen(loaded, () if names else [word.strip() for word in families.split(",")], names)
    if dry_run:
        most = planned(subject, kinds, levels, limit, len(asked))
        announce(most, asked, subject, loaded, as_json)
        return
    found = check(
        loaded, subject, asked, corruptions=[kind.name for kind in kinds], severities=levels, where=where, limit=limit,
        reader=reader, usd=usd, seed=seed, out=out, watch=Told(),
    )  # fmt: skip
    (give(found.as_json()) if as_json else click.echo("\n" + robustness_table(found)))


def _numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word in ("1", "2", "3", "4", "5") for word in words):
        raise UsageError(f"--severities {text!r}: give some of 1,2,3,4,5")
    return tuple(int(word) for word in words)


# -- shared -----------------------------------------------------------------------------------------------------------
def subject_of(prompt: Path, task: str, question: str | None) -> tuple[Prompt, Task]:
    """The prompt and its task, with the question that the bundle remembers where the task is a folder or a file."""
    from bbtvp.prompt import Prompt, bundle
    from bbtvp.task.registry import load_task

    loaded = Prompt.load(prompt)
    if question is None and Path(task).exists():
        question = bundle.read(prompt).meta.get("question")
    subject = load_task(task, **({"question": question} if question else {}))
    say(f"question: {subject.question}")
    return loaded, subject


def announce(queries: int, models: Sequence[Model], task: Task, prompt: Prompt, as_json: bool) -> None:
    """How many image queries at most, and for each endpoint what they cost at most; nothing is asked."""
    from bbtvp.endpoint.remote import Endpoint

    longest = max(len(prompt.ask(task.ask(sample))) for sample in task.test)
    share = -(-queries // len(models))
    costs = {
        model.spec: model.estimate(share, prompt.space.canvas, longest)
        for model in models
        if isinstance(model, Endpoint)
    }
    if as_json:
        document: dict[str, Any] = {"queries": queries}
        give(document | ({"costs": {spec: cost._asdict() for spec, cost in costs.items()}} if costs else {}))
        return
    click.echo(f"at most {queries} image queries")
    for spec, cost in costs.items():
        click.echo(f"{spec}: {cost}")


@dataclass
class Told:
    """A watch for people: one line for an event, a bar for cells on a terminal."""

    bar: Any = None

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell of one event."""
        if event == "corrupted":
            self._cell(facts)
            return
        for spec, findings in facts.get("probes", {}).items():
            say(f"{spec}: {'; '.join(findings)}")
        if "queries" in facts:
            say(f"at most {facts['queries']} image queries")
        if facts.get("resumed"):
            say(f"continuing: {facts['resumed']} image queries were sent before; answered ones are not sent again")
        if event == "strayed":
            say(f"{facts['task']}: {100 * facts['change']:+.1f} points on {facts['n']} images")
        if event == "looked":
            say(f"mapped: {facts['id']} {facts['arm']}, {facts['label']} {facts['score']:.2f}")

    def _cell(self, facts: Mapping[str, Any]) -> None:
        cell = facts["cell"]
        gain = f"{100 * cell['gain']:+.1f} points" if cell else "no answers"
        if not sys.stderr.isatty():
            say(f"{facts['done']}/{facts['cells']} {facts['model']} {facts['corruption']} {facts['severity']}: {gain}")
            return
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=facts["cells"], desc=facts["model"], leave=False)
        self.bar.update(facts["done"] - self.bar.n)
        self.bar.set_postfix_str(f"{facts['corruption']} {facts['severity']}: {gain}")
        if facts["done"] == facts["cells"]:
            self.bar.close()
            self.bar = None
