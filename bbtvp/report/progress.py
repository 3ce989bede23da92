"""What a run tells while it goes: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TextIO, final

from bbtvp.search.plan import describe_plan
from bbtvp.verify import ProofPlan

LINES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "planned": lambda f: f"plan: {describe_plan(f['plan'])}; answers read as {f['reader']}",
    "validated": lambda f: (
        f"validation: {f['name']:<16} {100 * f['accuracy']:5.1f} % right, loss {f['loss']:.3f}"
    ),
    "started": lambda f: (
        (
            "search begins at "
            + (f"starting point {f['chosen']}" if f["chosen"] else "the image as it is")
        )
        + f": best mean fall of the loss {f['fall'] or 0:.3f}"
    ),
    "stopped": lambda f: f"{f['stage']}: stopped, {f['why']}",
    "skipped": lambda f: f"{f['stage']}: skipped, {f['why']}",
    "verifying": lambda f: (
        f"verification: at most {f['queries']} image queries over {f['models']} models\n{describe_power(f['plan'])}"
    ),
    "verified": lambda f: (
        f"verified: {f['model']:<18} {100 * f['gain']:+.1f} points on {f['n']} test images"
    ),
}
"""What is said of an event."""


def describe_power(plan: ProofPlan) -> str:
    """What so many test images can show, in one line."""
    if plan.seen is None:
        return f"{plan.images} test images are too few to show any gain"
    lost = f"{100 * plan.lost:g} % of the answers are spoilt"
    counts = [
        f"{count:,} for {100 * gain:g}" for gain, count in plan.needed.items() if count is not None
    ]
    needed = f"; needed: {', '.join(counts)} points" if counts else ""
    return (
        f"{plan.images} test images show that a gain of {100 * plan.seen:.1f} points passes the minimum (80 % power, "
        f"if {lost}){needed}"
    )


@final
class Progress:
    """A `Watch` for people. Lines go to `say`; the bar to `screen`, if that is a terminal."""

    def __init__(self, say: Callable[[str], None], screen: TextIO) -> None:
        self._say = say
        self._screen = screen
        self._bar: Any = None

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell of one event."""
        if event == "generation":
            self._generation(facts)
            return
        self._close()
        for spec, findings in facts.get("probes", {}).items():
            self._say(f"{spec}: {'; '.join(findings)}")
        if event in LINES:
            self._say(LINES[event](facts))
        if facts.get("resumed"):
            self._say(
                f"continuing: {facts['resumed']} image queries were answered before and are not sent again"
            )

    def _generation(self, facts: Mapping[str, Any]) -> None:
        terms = (
            f", FCA {facts['fca']:.3f}, TSE {facts['tse']:+.3f}"
            if facts["fca"] or facts["tse"]
            else ""
        )
        line = f"loss {facts['mean']:.3f} (best {facts['best']:.3f}{terms}), {facts['queries']} queries"
        if not self._screen.isatty():
            self._say(f"{facts['stage']} {facts['generation']}/{facts['generations']}: {line}")
            return
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=facts["generations"], desc=facts["stage"], leave=False, file=self._screen
            )
        self._bar.update(facts["generation"] - self._bar.n)
        self._bar.set_postfix_str(line)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
