"""The examples: what a user copies must run, offline, as it stands."""

from __future__ import annotations

import ast
import base64
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bbtvp
from bbtvp.endpoint.probe import QUESTION as PROBING
from bbtvp.models import Request
from bbtvp.zoo import catalogue
from bbtvp.zoo.catalogue import members
from bbtvp.zoo.families import FAMILIES
from tests.adapters.recording import Asked, recorder
from tests.endpoint.eye_server import EyeServer
from tests.support import LABELS, Eye, folder_of_patterns

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
MAX_LINES = 100
STANDARD = {
    "__future__",
    "argparse",
    "collections",
    "pathlib",
    "random",
    "tempfile",
    "time",
    "typing",
}
COMMON = ("--model", "--task", "--queries", "--seed", "--out")
HERE = ("--device", "--dtype")
"""Options of a model that runs on this machine."""

VENDORS = {
    "gpt": ("OPENAI_API_KEY",),
    "azure": ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
    "claude": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY",),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK",),
}
"""Examples of models that are paid for, with the variables that they need."""

ENDPOINTS = (*VENDORS, "compatible_server")
READERS = ("ocr",)
"""Examples of models that are no multimodal LLM, and need an extra."""

NEWER = ("qwen_vl", "smolvlm", "internvl")
"""Families without a miniature of their own."""

REAL = {
    "ocr": "ocr/rapidocr",
    "gpt": "openai/gpt-6-luna",
    "azure": "azure/my-deployment",
    "claude": "anthropic/claude-haiku-5-5",
    "gemini": "gemini/gemini-3.5-flash-lite",
    "bedrock": "bedrock/us.anthropic.claude-haiku-5-5",
    "compatible_server": "openai-api/vllm/Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen_vl": "hf/Qwen/Qwen2.5-VL-3B-Instruct",
    "smolvlm": "hf/HuggingFaceTB/SmolVLM-256M-Instruct",
    "internvl": "hf/OpenGVLab/InternVL3-1B-hf",
    "llava": "hf/llava-hf/llava-1.5-7b-hf",
    "paligemma": "hf/google/paligemma-3b-mix-224",
    "blip2": "hf/Salesforce/blip2-flan-t5-xl",
    "minigpt4": "hf/Salesforce/blip2-opt-2.7b",
    "instructblip": "hf/Salesforce/instructblip-vicuna-7b",
    "idefics3": "hf/HuggingFaceM4/Idefics3-8B-Llama3",
    "private_images": "hf/llava-hf/llava-1.5-7b-hf",
}
"""The real model that each script says how to use."""

examples = pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])


def options(script: Path) -> tuple[str, ...]:
    """What a script must offer."""
    if script.stem in READERS:
        return (*COMMON, "--limit")
    if script.stem not in ENDPOINTS:
        return (*COMMON, *HERE, *(["--limit"] if script.stem in NEWER else []))
    return (*COMMON, "--limit", *(["--usd"] if script.stem in VENDORS else ["--base-url"]))


def run(script: Path, *arguments: str, **environment: str) -> str:
    """What the script prints; it must succeed, and say nothing about an error."""
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_every_family_has_an_example_and_the_table_names_them_all() -> None:
    assert (
        {script.stem for script in SCRIPTS}
        == {*members(), *ENDPOINTS, *NEWER, *READERS, "private_images"}
        == {*REAL}
    )
    table = (FOLDER / "README.md").read_text("utf-8")
    for script in SCRIPTS:
        assert f"[{script.name}]({script.name})" in table
        assert REAL[script.stem] in table


@examples
def test_an_example_is_short_and_says_which_model_it_stands_for(script: Path) -> None:
    source = script.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert source.count("\n") < MAX_LINES
    assert REAL[script.stem] in docstring
    assert f"python examples/{script.name} --model {REAL[script.stem]}" in re.sub(
        r"--folder.*\n *", "", docstring
    )
    for needed in VENDORS.get(
        script.stem,
        () if script.stem in ENDPOINTS + READERS else ("--device cuda --dtype bfloat16",),
    ):
        assert needed in docstring
    catalogued = catalogue.STANDS_FOR.get(script.stem, "")
    assert "/" not in catalogued or f"hf/{catalogued}" == REAL[script.stem]


@examples
def test_an_example_uses_the_public_names_alone(script: Path) -> None:
    tree = ast.parse(script.read_text("utf-8"))
    packages = {*imports(tree)}
    ours = {name for name in packages if name.startswith("bbtvp")}
    assert ours <= {"bbtvp", "bbtvp.prompt", "bbtvp.search.events", "bbtvp.verify.events"}
    assert {name.split(".")[0] for name in packages - ours} <= STANDARD | {"PIL"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "bbtvp"
    }
    assert {"load_model", "optimize", "verify"} <= used <= {*bbtvp.__all__}


@examples
def test_the_command_in_the_docstring_uses_options_that_exist(script: Path) -> None:
    tree = ast.parse(script.read_text("utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and "add_argument" in ast.unparse(node.func)
    ]
    known = {ast.literal_eval(call.args[0]) for call in calls}
    assert known >= {*options(script)}
    assert script.stem not in ENDPOINTS or known.isdisjoint(HERE)
    assert {*re.findall(r"--[a-z]+(?:-[a-z]+)*", ast.get_docstring(tree) or "")} <= known


@examples
def test_help_works_and_shows_the_command_for_the_real_model(script: Path) -> None:
    shown = run(script, "--help")
    assert REAL[script.stem] in shown and all(option in shown for option in options(script))


@pytest.mark.parametrize("stem", ENDPOINTS)
def test_the_vendor_and_the_options_that_an_example_names_exist(
    stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter takes the spec and the keywords that the script passes, with no more than the
    variables it names.
    """
    for variable in VENDORS.get(stem, ()):
        monkeypatch.setenv(
            variable, "https://my-resource.openai.azure.com" if "ENDPOINT" in variable else "a-key"
        )
    passed: dict[str, dict[str, Any]] = {
        "azure": {"api_version": "2024-10-21"},
        "gpt": {"reasoning_effort": "none"},
        "gemini": {"thinking": "minimal", "media_resolution": "low"},
        "bedrock": {"region": "us-east-1"},
        "compatible_server": {"base_url": "http://127.0.0.1:8000/v1", "concurrency": 4},
    }
    given = re.search(r"given = (\{.*\})", (FOLDER / f"{stem}.py").read_text("utf-8"))
    written = {*re.findall(r'"(\w+)":', given[1])} if given else set()
    assert written - {"prices", "profile"} == passed.get(stem, {}).keys()
    model = bbtvp.load_model(REAL[stem], **passed.get(stem, {}))
    assert model.is_endpoint
    assert (model.max_cost(Request(np.zeros((224, 224, 3), np.uint8), "?")) > 0) == (
        stem in {*VENDORS} - {"azure"}
    )


# -- runs ------------------------------------------------------------------------------------------
def untrained(family: str, folder: Path) -> str:
    """The spec of an untrained member: it answers, if not well."""
    torch.manual_seed(0)
    model, processor = FAMILIES[family].build()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"hf/{folder}"


def check(printed: str, out: Path) -> None:
    """A gain was printed, and the bundle that was saved can be loaded and applied.

    A search that did not improve saves the prompt that leaves every image as it is.
    """
    assert re.search(r"gain [+-]\d+\.\d%", printed), printed
    assert f"saved {out}" in printed
    prompted = bbtvp.Prompt.load(out).apply(Image.new("RGB", (80, 40), "red"))
    assert prompted.size == (80, 40) or prompted.size[0] == prompted.size[1] >= 56


def test_a_folder_of_ones_own_goes_start_to_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)).save(
                tmp_path / f"pets/{name}/{i}.png"
            )
    out = tmp_path / "pets.vprompt"
    prompted = tmp_path / "prompted"
    printed = run(
        FOLDER / "private_images.py",
        "--folder",
        str(tmp_path / "pets"),
        "--question",
        "which animal is this?",
        "--model",
        untrained("llava", tmp_path / "model"),
        "--queries",
        "150",
        "--out",
        str(out),
        "--prompted",
        str(prompted),
    )
    check(printed, out)
    images = sorted(prompted.iterdir())
    assert f"{len(images)} images held out" in printed and len(images) == 12
    with Image.open(images[0]) as image:
        # The images are 70 × 60. An untrained model seldom gains, and then they stay as they are.
        assert image.size in ((70, 60), (70, 70))


class Messages:
    """Anthropic's API before an eye that slips every seventh time: the same request may get another
    answer.
    """

    def __init__(self) -> None:
        self.count = itertools.count(1)

    def __call__(self, asked: Asked) -> dict[str, Any]:
        body = asked.json
        image, text = body["messages"][0]["content"]
        pixels = np.asarray(
            Image.open(io.BytesIO(base64.b64decode(image["source"]["data"]))).convert("RGB")
        )
        scores = Eye().look(Request(pixels, text["text"], LABELS)).scores or ()
        seen = max(LABELS, key=lambda label: scores[LABELS.index(label)].logprob)
        schema = body.get("output_config", {}).get("format", {}).get("schema")
        allowed = schema["properties"]["answer"]["enum"] if schema else list(LABELS)
        label = allowed[-1] if next(self.count) % 7 == 0 or seen not in allowed else seen
        said = json.dumps({"answer": label}) if schema else f"It is {label}."
        return {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "stop_reason": "end_turn",
            "content": [{"type": "text", "text": said}],
            "usage": {"input_tokens": 90, "output_tokens": 6},
        }


class Filter:
    """Azure before the same eye: filters by the grey of the first pixel, which has nothing to do
    with the answer.
    """

    def __init__(self) -> None:
        self.eye = EyeServer()
        self.filtered = 0

    def __call__(self, asked: Asked) -> dict[str, Any]:
        part, text = asked.json["messages"][0]["content"]
        image = Image.open(
            io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
        ).convert("RGB")
        reply = self.eye(asked)
        if text["text"] != PROBING and np.asarray(image)[0, 0, 0] % 6 == 0:
            self.filtered += 1
            message = {"role": "assistant", "content": None, "refusal": None}
            reply["choices"][0] |= {
                "finish_reason": "content_filter",
                "message": message,
                "logprobs": None,
            }
        return reply


def on_patterns(stem: str, folder: Path, *arguments: str, **environment: str) -> str:
    """What the example for a vendor prints, for the vendor's own model and a folder of faint
    patterns.
    """
    out = folder / "found.vprompt"
    printed = run(
        FOLDER / f"{stem}.py",
        "--model",
        REAL[stem],
        "--task",
        str(folder_of_patterns(folder / "patterns")),
        "--queries",
        "300",
        "--out",
        str(out),
        *arguments,
        **environment,
    )
    check(printed, out)
    return printed


def only(pattern: str, printed: str) -> re.Match[str]:
    """The one place that matches."""
    (match,) = re.finditer(pattern, printed)
    return match


def gain(printed: str) -> float:
    """In percent."""
    return float(only(r"gain ([+-]\d+\.\d)%", printed)[1])


def test_gpt_through_the_real_adapter_is_probed_capped_and_paid_for(tmp_path: Path) -> None:
    with recorder(EyeServer()) as server:
        printed = on_patterns(
            "gpt",
            tmp_path,
            "--effort",
            "none",
            "--usd",
            "1",
            OPENAI_API_KEY="sk-mine",
            OPENAI_BASE_URL=server.url,
        )
    paths = {asked.path for asked in server.asked}
    assert paths == {"/chat/completions", "/responses/input_tokens"}  # the second one counts, free
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-mine"}
    assert "sk-mine" not in printed
    assert (
        "openai/gpt-6-luna: forced labels: honoured" in printed
        and "answers are read by logprob (top" in printed
    )
    queries, dollars = zip(*re.findall(r"(\d+) image queries, \$(\d\.\d{4})", printed), strict=True)
    sent = [asked for asked in server.asked if asked.path == "/chat/completions"]
    assert sum(map(int, queries)) == len(sent) > 300
    assert 0 < sum(map(float, dollars)) <= 1
    assert gain(printed) > 10


def test_claude_through_the_real_adapter_is_read_by_labels_that_it_is_held_to(
    tmp_path: Path,
) -> None:
    with recorder(Messages()) as server:
        printed = on_patterns(
            "claude",
            tmp_path,
            "--reader",
            "label",
            ANTHROPIC_API_KEY="sk-mine",
            ANTHROPIC_BASE_URL=server.url,
        )
    bodies = [asked.json for asked in server.asked]
    assert not any({"temperature", "seed", "top_p"} & body.keys() for body in bodies)
    enums = [
        body["output_config"]["format"]["schema"]["properties"]["answer"]["enum"]
        for body in bodies[9:]
    ]
    assert len(enums) > 300 and all(sorted(enum) == sorted(LABELS) for enum in enums)
    assert (
        "the same answer: not promised" in printed and "unparsed with the prompt: 0 of" in printed
    )
    assert float(only(r"for \$(\d\.\d{4})", printed)[1]) > 0
    assert "sk-mine" not in printed
    assert gain(printed) > 5


@pytest.mark.slow
def test_what_azure_filters_is_counted_and_scored_by_nobody(tmp_path: Path) -> None:
    answers = Filter()
    with recorder(answers) as server:
        printed = on_patterns(
            "azure", tmp_path, AZURE_OPENAI_API_KEY="mine", AZURE_OPENAI_ENDPOINT=server.url
        )
    failed, refused = (
        sum(map(int, re.findall(rf"(\d+) {what}", printed)))
        for what in ("without", "of these refused")
    )
    assert failed == refused == answers.filtered > 20
    assert "many refusals" in printed
    used, total = map(int, only(r"on (\d+) of (\d+) images", printed).groups())
    assert 0 < used < total


@pytest.mark.slow
def test_servers_of_ones_own_are_searched_and_proved_on(tmp_path: Path) -> None:
    with recorder(EyeServer(honours=())) as source, recorder(EyeServer()) as target:
        printed = on_patterns(
            "compatible_server",
            tmp_path,
            "--base-url",
            source.url,
            "--also",
            "openai-api/ollama/qwen3-vl:8b",
            OLLAMA_BASE_URL=target.url,
        )
    assert (
        "log-probabilities: answered 200, but ignored" in printed
        and "answers are read by text" in printed
    )
    assert {asked.json["model"] for asked in source.asked} == {"Qwen/Qwen2.5-VL-3B-Instruct"}
    assert {asked.json["model"] for asked in target.asked} == {"qwen3-vl:8b"}
    # By text alone so short a search may gain nothing: each target image is then asked about once.
    assert len(source.asked) > 300 > len(target.asked) > 40
    assert re.search(
        r"openai-api/ollama/qwen3-vl:8b, target: .* gain .*, 0 queries failed", printed
    )


def test_a_canvas_that_qwen_would_resize_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "qwen_vl.py"), "--canvas", "768"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "multiple of 28" in done.stderr


@pytest.mark.slow
@examples
def test_an_example_runs_on_the_miniature(script: Path, tmp_path: Path) -> None:
    if script.stem in READERS:
        pytest.skip("it stands for no model")
    text = ast.unparse(ast.parse(script.read_text("utf-8")).body[-2])
    wanted = {*re.findall(r"default=\[?'zoo/(\w+)'", text)} & {*catalogue.STANDS_FOR}
    assert wanted
    missing = {
        name for name in wanted if not (catalogue.weights() / name / "config.json").is_file()
    }
    if missing:
        pytest.skip(
            f"not trained: {', '.join(sorted(missing))}; python -m bbtvp.zoo.training.train all"
        )
    out = tmp_path / "found.vprompt"
    check(run(script, "--queries", "150", "--out", str(out)), out)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs the extra ocr")
def test_ocr_reads_more_signs_with_its_prompt(tmp_path: Path) -> None:
    out = tmp_path / "signs.vprompt"
    printed = run(FOLDER / "ocr.py", "--queries", "250", "--limit", "60", "--out", str(out))
    check(printed, out)
    assert "verdict: go: ocr/rapidocr gains" in printed
