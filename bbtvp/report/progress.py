"""What a run tells while it goes: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TextIO, final

from bbtvp.study.optimize import describe_plan


@final
class Progress:
    """A `Watch` for people. Lines go to `say`; the bar to `screen`, if that is a terminal."""

    def __init__(self, say: Callable[[str], None], screen: TextIO) -> None:
        self._say, self._screen = say, screen
        self._bar: Any = None

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell of one event."""
        if event == "generation":
            self._generation(facts)
            return
        self._close()
        if event == "planned":
            self._say(f"plan: {describe_plan(facts['plan'])}; answers read as {facts['reader']}")
            if facts["resumed"]:
                self._say(f"continuing: {facts['resumed']} image queries were answered before and are not sent again")
        elif event == "validated":
            self._say(
                f"validation: {facts['name']:<16} {100 * facts['accuracy']:5.1f} % right, loss {facts['loss']:.3f}"
            )
        elif event == "started":
            chosen = f"starting point {facts['chosen']}" if facts["chosen"] else "the image as it is"
            self._say(f"search begins at {chosen}: mean fall of the loss {facts['fall'] or 0:.3f}")
        elif event == "stopped":
            self._say(f"{facts['stage']}: stopped, {facts['why']}")
        elif event == "skipped":
            self._say(f"{facts['stage']}: skipped, {facts['why']}")
        elif event == "verifying":
            self._say(f"verification: at most {facts['queries']} image queries over {facts['models']} models")
        elif event == "verified":
            self._say(f"verified: {facts['model']:<18} {100 * facts['gain']:+.1f} points on {facts['n']} test images")

    def _generation(self, facts: Mapping[str, Any]) -> None:
        terms = f", FCA {facts['fca']:.3f}, TSE {facts['tse']:+.3f}" if facts["fca"] or facts["tse"] else ""
        line = f"loss {facts['mean']:.3f} (best {facts['best']:.3f}{terms}), {facts['queries']} queries"
        if not self._screen.isatty():
            self._say(f"{facts['stage']} {facts['generation']}/{facts['generations']}: {line}")
            return
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=facts["generations"], desc=facts["stage"], leave=False, file=self._screen)
        self._bar.update(facts["generation"] - self._bar.n)
        self._bar.set_postfix_str(line)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
