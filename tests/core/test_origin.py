"""Names of models without the paths that stand in them."""

from __future__ import annotations

import pytest

from bbtvp.core.origin import is_among, without_paths


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("hf//data/models/llava/", "hf/./llava"),
        ("hf/../x/llava", "hf/./llava"),
        ("hf/~/m/llava", "hf/./llava"),
        ("hf/~alice/llava", "hf/./llava"),
        (r"hf/C:\Users\alice\llava", "hf/./llava"),
        (r"hf/\\server\share\llava", "hf/./llava"),
        ("openai-api/vllm//srv/models/llava", "openai-api/vllm/./llava"),
        ("exec//home/alice/read-sign --fast", "exec/./read-sign --fast"),
        ("exec/python scripts/read.py", "exec/python ./read.py"),
        ("hf/llava-hf/llava-1.5-7b-hf", "hf/llava-hf/llava-1.5-7b-hf"),
        ("openai-api/openrouter/qwen/qwen3-vl", "openai-api/openrouter/qwen/qwen3-vl"),
        ("zoo/llava", "zoo/llava"),
        ("no-slash", "no-slash"),
        ("", ""),
    ],
)
def test_of_a_path_the_last_part_stays(spec: str, told: str) -> None:
    assert without_paths(spec) == told
    assert without_paths(told) == told


def test_a_model_is_found_by_the_name_that_a_bundle_gives_it() -> None:
    assert is_among("hf//new/place/llava", ["hf/./llava"])
    assert is_among("hf//old/llava", ["hf//old/llava"])
    assert not is_among("hf//new/llava", ["hf//old/llava"])
    assert not is_among("hf/org/llava", ["hf/./llava"])
