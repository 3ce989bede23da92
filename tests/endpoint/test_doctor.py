"""`bbtvp doctor`, for every service, with neither key nor network."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import transformers
from click.testing import CliRunner, Result
from PIL import Image

from bbtvp.cli.doctor import doctor
from bbtvp.core.errors import BbtvpError, DataError, ModelError, UsageError
from bbtvp.models import Budget, Capabilities, Model, Outcome, Probe, Reply, Request
from bbtvp.report.doctor import ModelName
from tests.adapters.recording import Asked as HttpAsked
from tests.adapters.recording import Recorder, recorder
from tests.support import Eye

SERVICES = {
    "openai/gpt-4o": "OPENAI_API_KEY",
    "openai/never-heard-of": "OPENAI_API_KEY",
    "azure/my-deployment": "AZURE_OPENAI_API_KEY",
    "anthropic/claude-sonnet-4-5": "ANTHROPIC_API_KEY",
    "gemini/gemini-2.5-flash": "GEMINI_API_KEY",
    "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0": "AWS_BEARER_TOKEN_BEDROCK",
    "bedrock/amazon.nova-lite-v1:0": "AWS_BEARER_TOKEN_BEDROCK",
    "openai-api/lm-studio/qwen/qwen3-vl": "LM_STUDIO_API_KEY",
    "openai-api/serve//models/llava": "SERVE_API_KEY",
    "hf/llava-hf/llava-1.5-7b-hf": "HF_TOKEN",
}
SECRET = "sk-a-key-that-must-not-be-seen"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {*SERVICES.values(), "GOOGLE_API_KEY", "AWS_ACCESS_KEY_ID", "HF_TOKEN"}
    for name in (*names, "BBTVP_PRICES", "BBTVP_LIMITS"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> Result:
    """What the command did; errors raised on purpose come through as they are."""
    result = CliRunner().invoke(doctor, arguments)
    if isinstance(result.exception, BbtvpError):
        raise result.exception
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def document(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def photo(path: Path, width: int = 300, height: int = 200) -> str:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).resize(
        (width, height)
    ).save(path)
    return str(path)


# -- every service ---------------------------------------------------------------------------------
@pytest.mark.parametrize("spec", SERVICES)
def test_each_service_is_told_without_a_key(spec: str) -> None:
    text = run("--model", spec).output
    assert text.startswith(f"{spec}\n")
    assert re.search(
        r"any image -> canvas (\d+) x \1 px \((chosen to fit|default)\) -> png, at most [\d,]+ "
        r"bytes",
        text,
    )
    assert "refused" not in text
    assert SERVICES[spec] in text and "set" in text
    found = document("--model", spec)
    assert found["schema"] == "bbtvp.doctor/1"
    assert found["model"] == spec and found["refused"] is None
    assert found["keys"][SERVICES[spec]] is False
    assert ("the price" in found["unknown"]) is (found["price"] is None)
    assert ("whether the image is resampled" in found["unknown"]) is (found["scale"] is None)
    assert found["sources"]["resize"]


@pytest.mark.parametrize("spec", SERVICES)
def test_a_key_is_named_when_it_is_set_and_never_shown(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVICES[spec], SECRET)
    for arguments in (["--model", spec], ["--model", spec, "--json"]):
        output = run(*arguments).output
        assert SECRET not in output
    assert f"{SERVICES[spec]} is set" in run("--model", spec).output
    assert document("--model", spec)["keys"][SERVICES[spec]] is True


def test_a_key_of_your_own_name_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_KEY", SECRET)
    assert "TEAM_KEY is set" in run("--model", "openai/gpt-4o", "-M", "key_env=TEAM_KEY").output


def test_the_second_variable_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        "neither GEMINI_API_KEY nor GOOGLE_API_KEY is set"
        in run("--model", "gemini/gemini-2.5-flash").output
    )
    monkeypatch.setenv("GOOGLE_API_KEY", SECRET)
    assert "GOOGLE_API_KEY is set" in run("--model", "gemini/gemini-2.5-flash").output


def test_a_canvas_that_is_scaled_down_is_told_with_the_size_that_passes() -> None:
    found = document("--model", "openai/gpt-4o", "--canvas", "1024")
    assert (found["refused"], found["largest_canvas"]) == (None, 768)
    assert [step["width"] for step in found["steps"]] == [768, 768]
    assert found["image_tokens"] == {"expected": 765, "at_most": 765}
    text = run("--model", "openai/gpt-4o", "--canvas", "1024").output
    assert "warning  scaled down to 75% of its side" in text
    assert document("--model", "openai/gpt-4o", "--canvas", "768")["warnings"] != found["warnings"]


def test_the_canvas_is_chosen_to_fit(tmp_path: Path) -> None:
    large = photo(tmp_path / "large.png", 1500, 1000)
    chosen = {spec: document("--model", spec, "--image", large)["canvas"] for spec in SERVICES}
    assert chosen["openai/gpt-4o"] == 768
    assert chosen["gemini/gemini-2.5-flash"] == 384
    own = document("--model", "openai/gpt-4o", "--image", large)["own_shape"]
    assert own["sent"] == [1500, 1000] and own["steps"][0] == "scaled down to 1152 x 768 px"
    text = run("--model", "openai/gpt-4o", "--image", large).output
    assert "as it is 1500 x 1000 px -> scaled down to 1152 x 768 px; cut into" in text
    assert chosen["bedrock/amazon.nova-lite-v1:0"] == 896


# -- an image of your own --------------------------------------------------------------------------
def test_how_many_images_a_request_may_hold_is_told_where_it_is_documented() -> None:
    assert document("--model", "bedrock/amazon.nova-lite-v1:0")["images_per_request"] > 1
    assert "images in a request: at most 1,500" in run("--model", "openai/gpt-4o").output
    found = document("--model", "openai-api/vllm/mine")
    assert found["images_per_request"] is None
    assert any("several images" in item for item in found["unknown"])


def test_an_image_gives_its_exact_bytes(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png")
    found = document("--model", "openai/gpt-4o", "--image", path)
    assert (found["canvas"], found["bytes_exact"]) == (300, True)
    assert (
        100_000 < found["bytes"] < document("--model", "openai/gpt-4o", "--canvas", "300")["bytes"]
    )
    assert (
        f"{path} 300 x 200 px -> canvas 300 x 300 px"
        in run("--model", "openai/gpt-4o", "--image", path).output
    )


def test_a_lossy_format_sends_fewer_bytes(tmp_path: Path) -> None:
    arguments = ["--model", "openai/gpt-4o", "--image", photo(tmp_path / "photo.png")]
    png, jpeg, webp = (
        document(*arguments, "--format", name)["bytes"] for name in ("png", "jpeg", "webp")
    )
    assert jpeg < png and webp < png
    assert document(*arguments, "-M", "format=jpeg")["bytes"] == jpeg
    assert document(*arguments, "-M", "format=jpeg", "-M", "quality=50")["bytes"] < jpeg


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(DataError, match=r"a\.png: not an image"):
        run("--model", "openai/gpt-4o", "--image", str(tmp_path / "a.png"))


# -- money -----------------------------------------------------------------------------------------
def test_the_price_row_and_the_cost_are_told() -> None:
    text = run("--model", "openai/gpt-4o", "-M", "rpm=500").output
    assert re.search(
        r"price +\$2.5 in, \$10 out per million tokens \(openai gpt-4o; genai-prices [\d.]+\)",
        text,
    )
    assert (
        "1,000 image queries, at most 455,000 tokens in and 16,000 out, at most $1.30, 2 min at "
        "the rate limit" in text
    )
    longer = ("-M", "max_tokens=1000")
    half = ("-M", "batch=true")
    whole = document("--model", "openai/gpt-4o")["usd_per_1000"]
    assert document("--model", "openai/gpt-4o", *longer)["usd_per_1000"] > whole
    assert document("--model", "openai/gpt-4o", *half)["usd_per_1000"] == whole / 2


def test_files_of_your_own_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        '[[price]]\nservice = "openai-api"\nmodel = "*"\ninput = 0\noutput = 0\ndate = '
        '2026-11-25\nsource = "ours"\n'
    )
    (tmp_path / "l.toml").write_text(
        '[[limits]]\nservice = "openai-api"\nresize = { kind = "square", side = 448, tokens = '
        "256 }\n"
        'sources.resize = "me"\n'
    )
    found = document(
        "--model",
        "openai-api/vllm/m",
        "--prices",
        str(tmp_path / "p.toml"),
        "--limits",
        str(tmp_path / "l.toml"),
    )
    assert (found["usd_per_1000"], found["canvas"], found["sources"]["resize"]) == (0, 448, "me")


# -- local models ----------------------------------------------------------------------------------
def folder(path: Path, kind: str, **settings: Any) -> str:
    """A model's folder with an image processor and no weights."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    getattr(transformers, f"{kind}Pil")(**settings).save_pretrained(path)
    return f"hf/{path}"


def test_a_folder_s_own_processor_is_measured(tmp_path: Path) -> None:
    size = {"height": 112, "width": 112}
    spec = folder(tmp_path / "model", "SiglipImageProcessor", size=size)
    found = document("--model", spec)
    assert (found["canvas"], found["scale"], found["frame_survives"]) == (112, 1, True)
    assert found["measured"]["canvas"]["inputs"] == {"pixel_values": [1, 3, 112, 112]}
    text = run("--model", spec, "--canvas", "448").output
    assert "scaled down to 112 x 112 px" in text and "the frame does not survive" in text
    assert "largest canvas that is known to pass unscaled: 112 px" in text


def test_a_bound_on_pixels_is_no_side(tmp_path: Path) -> None:
    spec = folder(tmp_path / "qwen", "Qwen2VLImageProcessor", min_pixels=3136, max_pixels=160_000)
    found = document("--model", spec, "--canvas", "768")
    assert [step["width"] for step in found["steps"]] == [392]
    assert found["largest_canvas"] is None and found["frame_survives"] is False
    chosen = document("--model", spec, "--image", photo(tmp_path / "photo.png", 1500, 1000))
    assert (chosen["canvas"], chosen["scale"]) == (392, 1)


def test_a_frame_that_a_crop_cuts_does_not_survive(tmp_path: Path) -> None:
    spec = folder(
        tmp_path / "cropped",
        "CLIPImageProcessor",
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
    )
    found = document("--model", spec)
    assert (found["canvas"], found["scale"], found["frame_survives"]) == (256, 1, False)
    assert found["measured"]["canvas"]["views"][0]["box"] == [16, 16, 240, 240]
    assert found["measured"]["canvas"]["frame_arrives"] == pytest.approx(0.49, abs=0.03)
    text = run("--model", spec).output
    assert "cut to the inner 224 x 224 px" in text
    assert "warning  the frame does not arrive whole" in text


def test_a_model_that_was_never_downloaded_is_not_measured() -> None:
    found = document("--model", "hf/llava-hf/llava-1.5-7b-hf")
    assert found["measured"] is None and found["scale"] is None


@pytest.mark.parametrize("content", ["{", "[]", '{"size": 3}'])
def test_a_folder_without_a_processor_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(ModelError):
        run("--model", f"hf/{tmp_path}")
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        run("--model", f"hf/{tmp_path}/none")


def test_the_miniatures_need_no_key_and_cost_nothing() -> None:
    found = document("--model", "zoo/llava")
    assert (found["canvas"], found["keys"], found["usd_per_1000"], found["unknown"]) == (
        56,
        {},
        0,
        [],
    )
    assert "not resampled, not cut" in run("--model", "zoo/llava").output
    with pytest.raises(UsageError, match="did you mean zoo/llava"):
        run("--model", "zoo/lava")


# -- asking ----------------------------------------------------------------------------------------
@final
class Asked(Model):
    """A model that tells of its probe."""

    spec = "openai/gpt-4o"
    capabilities = Capabilities(logprobs=True, deterministic=False)
    is_endpoint = True

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [Reply("yes") for _ in requests]

    def probe(self, budget: Budget) -> Probe:
        budget.reserve(0.0)
        return Probe(
            self.capabilities, ("log-probabilities: 20 per token", "seed: ignored"), 3, 0.0021
        )


def test_a_probe_is_asked_only_on_demand_and_its_findings_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[tuple[str, dict[str, Any]]] = []

    def load(spec: str, **options: Any) -> Asked:
        loaded.append((spec, options))
        return Asked()

    monkeypatch.setattr("bbtvp.models.load_model", load)
    run("--model", "openai/gpt-4o")
    assert loaded == []
    text = run("--model", "openai/gpt-4o", "--format", "webp", "-M", "top=5", "--probe").output
    assert loaded == [("openai/gpt-4o", {"top": 5, "format": "webp"})]
    assert "probe    seed: ignored" in text and "3 image queries, $0.0021" in text
    found = document("--model", "openai/gpt-4o", "--probe")["probe"]
    assert found["findings"] == ["log-probabilities: 20 per token", "seed: ignored"]
    assert found["capabilities"]["logprobs"] is True and found["queries"] == 3


def test_a_local_model_has_nothing_to_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bbtvp.models.load_model", lambda spec, **options: Eye())
    found = document("--model", "zoo/llava", "--format", "jpeg", "--probe")["probe"]
    assert found["queries"] == 0 and found["capabilities"] == Eye().capabilities.__dict__


# -- misuse ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "opena/x"], "unknown model provider 'opena'; did you mean openai"),
        (["--model", "gpt-4o"], "needs a provider and a name"),
        (["--model", "openai/"], "needs a provider and a name"),
        (["--model", "openai-api/vllm"], "must be openai-api/<service>/<model>"),
        (["--model", "openai/gpt-4o", "-M", "format=gif"], "unknown image format 'gif'"),
        (
            ["--model", "openai/gpt-4o", "-M", "quality=high"],
            "-M quality=high must be a whole number",
        ),
        (["--model", "openai/gpt-4o", "-M", "rpm=true"], "-M rpm=True must be a whole number"),
        (["--model", "openai/gpt-4o", "--prices", "none.toml"], "none.toml: cannot be read"),
    ],
)
def test_misuse_says_what_to_type(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        run(*arguments)


def test_help_teaches() -> None:
    text = run("--help").output
    assert "asks nothing" in text
    for example in re.findall(r"bbtvp doctor --model (\S+)", text):
        ModelName.of(example)
    assert text.count("bbtvp doctor --model") >= 4


# -- what is known of a model ----------------------------------------------------------------------
def test_the_end_of_a_model_and_its_thinking_are_told() -> None:
    text = run("--model", "openai/o4-mini").output
    assert "ends     the vendor shut this model down on 2026-10-23; use gpt-6-luna instead" in text
    assert "thinks   always" in text
    found = document("--model", "openai/gpt-4o")
    assert (found["shutdown"], found["successor"]) == ("2027-01-14", "gpt-6-luna")
    assert found["thinks"] == "never"
    luna = document("--model", "openai/gpt-6-luna")
    assert (luna["thinks"], luna["shutdown"], luna["lifetime"]) == ("by default", None, None)
    told_not_to = document("--model", "openai/gpt-6-luna", "-M", "reasoning_effort=none")
    assert told_not_to["usd_per_1000"] < luna["usd_per_1000"] / 10
    unknown = "whether it thinks before it answers: --probe sees it"
    assert unknown in document("--model", "openai/gpt-99")["unknown"]


def test_another_level_of_detail_has_another_bound() -> None:
    def tokens(*arguments: str) -> int:
        found = document("--model", "openai/gpt-6-luna", "--canvas", "2000", *arguments)
        return int(found["image_tokens"]["at_most"])

    assert tokens() == 3000 < tokens("-M", "detail=original") == 4763
    argon = ("--model", "gemini/gemini-3.8-flash")
    low = document(*argon, "-M", "media_resolution=low")["image_tokens"]["at_most"]
    assert (low, document(*argon)["image_tokens"]["at_most"]) == (280, 1120)


def test_a_price_of_yours_that_has_ended_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        '[[price]]\nservice = "openai"\nmodel = "gpt-6-luna"\ninput = 1\noutput = 1\n'
        'date = 2026-10-01\nvalid_until = 2026-11-01\nsource = "me"\n'
    )
    arguments = ("--model", "openai/gpt-6-luna", "--prices", str(tmp_path / "p.toml"))
    assert "price    " in (text := run(*arguments).output)
    assert "the price of openai/gpt-6-luna ended on 2026-11-01 (valid_until)" in text
    assert document(*arguments)["price"] is None


class Vendor:
    """Claude, of which the vendor says more at no cost. largest: side that is not scaled down."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.server: Recorder | None = None

    def __call__(self, asked: HttpAsked) -> dict[str, Any]:
        assert self.server is not None
        self.server.status = 200
        if asked.method == "GET":
            thinking = {"thinking": {"supported": True}}
            return {
                "id": "claude-nova-9",
                "lifecycle": "deprecated",
                "retires_at": "2027-08-01T00:00:00Z",
                "capabilities": thinking,
                "max_input_tokens": 1_000_000,
            }
        if not asked.path.endswith("/count_tokens"):
            return {
                "content": [{"type": "text", "text": "red"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 90, "output_tokens": 2},
                "model": "claude-nova-9",
            }
        image = asked.json["messages"][0]["content"][0]
        data = base64.b64decode(image["source"]["data"])
        side = Image.open(io.BytesIO(data)).size[0]
        if "transformations" in image and side > self.largest:
            self.server.status = 400
            message = f"image is {side}x{side}; the largest that fits is {self.largest}"
            return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        return {"input_tokens": (side // 28) ** 2 + 20}


@pytest.mark.parametrize(("canvas", "whole"), [(560, True), (840, False)])
def test_a_probe_asks_the_vendor_too_at_no_cost(
    canvas: int, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    vendor = Vendor(700)
    with recorder(vendor) as server:
        vendor.server = server
        given = ("-M", f"base_url={server.url}", "-M", "store=false", "--canvas", str(canvas))
        text = run("--model", "anthropic/claude-nova-9", *given, "--probe").output
    assert "vendor   shut down on 2027-08-01" in text
    assert "vendor   lifecycle: deprecated" in text
    assert "vendor   thinking: supported" in text
    assert "vendor   input: at most 1,000,000 tokens" in text
    count, half = ((side // 28) ** 2 + 20 for side in (canvas, canvas // 2))
    told = f"tokens with a short question: {count:,} at {canvas} px, {half:,} at {canvas // 2} px"
    assert told in text
    assert f"(counted by the vendor: {count:,})" in text
    scaled = f"an image of {canvas} px would be refused or scaled down: image is {canvas}x{canvas}"
    assert (f"an image of {canvas} px is not scaled down" in text) is whole
    assert (scaled in text) is not whole
    assert SECRET not in text
