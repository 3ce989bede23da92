"""The servers, each started once when a test first needs it, and the miniatures that they serve."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers

from bbtvp.adapters.hf.prompts import prompt_text
from bbtvp.zoo.catalogue import weights
from tests.servers.servers import Environment, Server, free_port, serving
from tests.servers.support import KEY, Folder

SERVE = Environment(
    "BBTVP_SERVE_PYTHON",
    ("fastapi", "uvicorn", "accelerate", "openai", "PIL"),
    "-c constraints.txt 'transformers[serving]' pillow",
)
LITELLM = Environment(
    "BBTVP_LITELLM_PYTHON", ("litellm", "fastapi"), "-r tests/servers/litellm.txt"
)
LLAMA_CPP = Environment(
    "BBTVP_LLAMA_CPP_PYTHON", ("xllamacpp", "gguf", "safetensors"), "-r tests/servers/llama_cpp.txt"
)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a miniature that can be served for chat: where it has no chat template, a copy
    with one.

    The template writes what `prompt_text` writes, so both sides see the same prompt.
    """
    root = tmp_path_factory.mktemp("miniatures")

    def folder(name: str) -> Path:
        if (weights() / name / "chat_template.jinja").exists():
            return weights() / name
        if not (root / name).exists():
            shutil.copytree(weights() / name, root / name)
            prompt = prompt_text(
                transformers.AutoProcessor.from_pretrained(weights() / name), "QUESTION"
            )
            before, _, after = prompt.partition("QUESTION")
            text = (
                "{% for part in messages[0].content if part.type == 'text' %}{{ part.text "
                "}}{% endfor %}"
            )
            (root / name / "chat_template.jinja").write_text(before + text + after)
        return root / name

    return folder


@pytest.fixture(scope="session")
def siglip_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA that answers well, made of two miniatures: PaliGemma's tower before LLaVA's projector
    and Llama.

    The whole zoo starts from one tower, so they still understand each other; llama.cpp gets SigLIP
    right, not CLIP.
    """
    folder = tmp_path_factory.mktemp("siglip-llava")
    load = transformers.AutoModelForImageTextToText.from_pretrained
    tower = load(weights() / "paligemma", dtype=torch.float32).model.vision_tower
    llava = load(weights() / "llava", dtype=torch.float32)
    changed = {"vision_config": tower.config.to_dict(), "vision_feature_select_strategy": "full"}
    model = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(**llava.config.to_dict() | changed)
    )
    for part, source in {
        "vision_tower": tower,
        "multi_modal_projector": llava.model.multi_modal_projector,
        "language_model": llava.model.language_model,
    }.items():
        getattr(model.model, part).load_state_dict(source.state_dict())
    model.tie_weights()
    model.eval().save_pretrained(folder)
    processor = transformers.AutoProcessor.from_pretrained(weights() / "llava")
    processor.vision_feature_select_strategy = "full"
    processor.num_additional_image_tokens = 0
    processor.image_processor.image_mean = processor.image_processor.image_std = [0.5] * 3
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def transformers_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`transformers serve`: loads whatever folder a request names, in float32 as our own adapter
    does.
    """
    port = free_port()
    folder = tmp_path_factory.mktemp("transformers-serve")
    command = [
        SERVE.python(),
        "-c",
        "from transformers.cli.transformers import main; main()",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--model-timeout",
        "-1",
    ]
    with serving(
        command, port, folder, ready="/health", environment={"HF_HUB_OFFLINE": "1"}
    ) as server:
        yield server


@pytest.fixture(scope="session")
def litellm(
    tmp_path_factory: pytest.TempPathFactory, transformers_serve: Server
) -> Iterator[Server]:
    """LiteLLM's proxy before `transformers serve`; the model "llava" is the miniature."""
    port = free_port()
    folder = tmp_path_factory.mktemp("litellm")
    # With openai/ for hosted_vllm/, the proxy would ask for /v1/responses, and get a stream that it
    # cannot read.
    behind = {
        "model": f"hosted_vllm/{weights() / 'llava'}",
        "api_base": f"{transformers_serve.url}/v1",
    }
    config = {
        "model_list": [{"model_name": "llava", "litellm_params": behind}],
        "router_settings": {"disable_cooldowns": True, "num_retries": 0},
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [
        LITELLM.python(),
        "-m",
        "litellm.proxy.proxy_cli",
        "--config",
        "config.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--telemetry",
        "False",
    ]
    environment = {"LITELLM_MASTER_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with serving(
        command, port, folder, ready="/health/liveliness", environment=environment
    ) as server:
        yield server


@pytest.fixture(scope="session")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory, siglip_llava: Path) -> Iterator[Server]:
    """llama.cpp's server on the LLaVA with a SigLIP tower."""
    port = free_port()
    folder = tmp_path_factory.mktemp("llama-cpp")
    child = str(Path(__file__).with_name("llama_cpp_child.py"))
    command = [LLAMA_CPP.python(), child, str(siglip_llava), str(folder), str(port)]
    with serving(
        command, port, folder, ready="/health", environment={"LLAMA_API_KEY": KEY}
    ) as server:
        yield server
