"""Weights of fewer bits, spread over devices, and on the disk; on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.adapters import hf
from bbtvp.core.errors import UsageError
from bbtvp.models import Reply, Request

Folder = Callable[[str], Path]

LABELS = ("one", "two cats", "seventeen elephants")
have_accelerate = pytest.mark.skipif(not find_spec("accelerate"), reason="needs bbtvp[memory]")
have_bits = pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs bbtvp[memory]")


def scores(folder: Path, **options: Any) -> tuple[str, np.ndarray]:
    """Return the model's identity without its spec, and the scores of three labels."""
    model = hf.load(str(folder), **options)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (reply,) = model.query([Request(image, "what?", LABELS)])
    assert isinstance(reply, Reply) and reply.scores is not None
    return model.identity.removeprefix(model.spec), np.array([s.logprob for s in reply.scores])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"bits": 3}, "bits must be 4 or 8"),
        ({"bits": "8"}, "bits must be 4 or 8"),
        ({"device_map": "autos"}, "did you mean auto"),
        ({"offload_folder": "./weights"}, "needs device_map=auto"),
    ],
)
def test_an_option_that_cannot_be_is_refused(
    options: dict[str, Any], told: str, untrained: Folder
) -> None:
    with pytest.raises(UsageError, match=told):
        hf.load(str(untrained("llava")), **options)


@pytest.mark.skipif(bool(find_spec("accelerate")), reason="accelerate is here")
@pytest.mark.parametrize("options", [{"bits": 8}, {"device_map": "auto"}])
def test_a_package_that_is_missing_is_named(options: dict[str, Any], untrained: Folder) -> None:
    with pytest.raises(UsageError, match=r"need accelerate: pip install .*'bbtvp\[memory\]'"):
        hf.load(str(untrained("llava")), **options)


@pytest.mark.slow
@have_accelerate
@pytest.mark.parametrize("family", ["llava", "blip2"])
def test_a_device_map_changes_no_score(family: str, untrained: Folder) -> None:
    identity, found = scores(untrained(family), device_map="auto")
    np.testing.assert_allclose(found, scores(untrained(family))[1], atol=1e-5)
    assert identity == ""


@pytest.mark.slow
@have_bits
@pytest.mark.parametrize("family", ["llava", "blip2"])
def test_eight_bits_move_scores_little_and_the_identity_says_so(
    family: str, untrained: Folder
) -> None:
    # The check finds that rounding differs from one way of scoring to another.
    identity, found = scores(untrained(family), bits=8, check=False)
    exact = scores(untrained(family))[1]
    assert identity == " (8 bits)"
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.5)
