"""How large a patch is beside the bundle that it makes: the table of docs/sharing.md.

python tests/benchmarks/patch_sizes.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bbtvp.bundles.patch import diff, patch
from bbtvp.core.arrays import Vector
from bbtvp.prompt import PromptSpace, preset

PRESETS = ("default", "frame", "tvp")
PROOF = {
    "model": "zoo/llava",
    "date": "2026-11-30",
    "images": 200,
    "gain": 0.1,
    "ci": [0.05, 0.15],
    "p": 0.001,
    "verdict": "go",
}
FACTS: dict[str, Any] = {"task": "pets", "source_model": "zoo/llava", "evidence": [PROOF]}
MORE = {**FACTS, "evidence": [PROOF, {**PROOF, "model": "zoo/paligemma", "gain": 0.07}]}


def sizes(space: PromptSpace, folder: Path) -> list[int]:
    """Bytes of the new bundle and of the patch, where every variable moved, one did, or none."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal(space.dim)
    one = z.copy()
    one[0] += 0.3
    old = folder / "old.vprompt"
    space.prompt(z).save(old, FACTS)
    moved = z + 1e-3 * rng.standard_normal(space.dim)
    found = [patched(space, old, moved, FACTS), patched(space, old, one, FACTS)]
    added = patched(space, old, z, MORE)
    return [found[0][0], found[0][1], found[1][1], added[1]]


def patched(space: PromptSpace, old: Path, z: Vector, facts: dict[str, Any]) -> tuple[int, int]:
    """Bytes of the bundle of z and of the patch that makes it, which is seen to do so."""
    new = old.with_name("new.vprompt")
    made = old.with_name("made.vprompt")
    space.prompt(z).save(new, facts)
    size = diff(old, new, old.with_name("x.vpatch")).size
    patch(old, old.with_name("x.vpatch"), made)
    if made.read_bytes() != new.read_bytes():
        raise SystemExit("the patch does not make the new bundle")
    return new.stat().st_size, size


if __name__ == "__main__":
    for name in PRESETS:
        space = preset(name)
        with TemporaryDirectory() as folder:
            row = sizes(space, Path(folder))
        print(f"| `{name}` | {space.dim:,} | " + " | ".join(f"{value:,}" for value in row) + " |")
