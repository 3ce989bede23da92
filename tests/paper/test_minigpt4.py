"""The converters of MiniGPT-4 and VPGTrans against what the authors' code says of equal weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from click.testing import CliRunner

from bbtvp.adapters import hf
from bbtvp.adapters.hf.convert import minigpt4, templates
from bbtvp.adapters.hf.convert.__main__ import main
from bbtvp.adapters.hf.convert.folder import spec_of
from bbtvp.adapters.hf.convert.llama import IMAGE, language_config, tokenizer_of
from bbtvp.adapters.hf.convert.weights import Checkpoint, write_shards
from bbtvp.core.errors import ModelError
from bbtvp.models import Reply, Request, load_model
from tests.paper import published
from tests.paper.support import EXPECTED, scores


def arguments(project: str, files: Path, out: Path) -> dict[str, Any]:
    own = {"minigpt4": ["pretrained_minigpt4_7b.pth", "blip2_pretrained_flant5xxl.pth"]}
    return {
        "llm": files / "llm",
        "checkpoints": [files / name for name in own.get(project, ["vl-vicuna.pth"])],
        "vit": files / "eva_vit_g.pth",
        "out": out,
        "prompt": PROMPTS[project],
        "vision_layers": published.LAYERS,
    }


PROMPTS = {
    "minigpt4": templates.MINIGPT4,
    "minigpt4_tvp": templates.TVP,
    "vpgtrans": templates.VPGTRANS,
}


def converted(project: str, files: Path, out: Path) -> hf.HuggingFaceModel:
    given = arguments(project.removesuffix("_tvp"), files, out)
    minigpt4.convert(**given | {"prompt": PROMPTS[project]})
    model = hf.load(str(out))
    assert isinstance(model, hf.HuggingFaceModel)
    return model


@pytest.mark.parametrize("project", PROMPTS)
def test_it_scores_as_the_authors_code_does(project: str, files: Path, tmp_path: Path) -> None:
    model = converted(project, files, tmp_path / "out")
    np.testing.assert_allclose(scores(model), EXPECTED[project], rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_not_taken_for_a_fault(dtype: str, files: Path, tmp_path: Path) -> None:
    """A part that stays in float32, the queries, comes first among the weights. No warning."""
    converted("minigpt4", files, tmp_path / "out")
    model = hf.load(str(tmp_path / "out"), dtype=dtype)
    np.testing.assert_allclose(scores(model), EXPECTED["minigpt4"], rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("project", "before", "after"),
    [
        ("minigpt4", "###Human: <Img>", "</Img> {} ###Assistant: "),
        ("minigpt4_tvp", "<Img>", "</Img> {}"),
        ("vpgtrans", "###Human: <Img>", "</Img> {} ###Assistant:"),
    ],
)
def test_the_prompt_has_the_published_tokens(
    project: str, before: str, after: str, files: Path, tmp_path: Path
) -> None:
    model = converted(project, files, tmp_path / "out")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(files / "llm/tokenizer.model"))
    for question in published.QUESTIONS:
        text = model.processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        ids = model.processor.tokenizer(text)["input_ids"]
        image = [0] * published.QUERIES
        assert ids == [1, *pieces.encode(before), *image, *pieces.encode(after.format(question))]


def test_a_reply_ends_where_the_next_turn_begins(files: Path, tmp_path: Path) -> None:
    model = converted("minigpt4", files, tmp_path / "out")
    request = Request(published.images()[0], "what is in the image?", max_tokens=4)
    (before,) = model.query([request])
    assert isinstance(before, Reply) and before.usage and before.usage.output_tokens == 4
    llama = model.model.language_model
    states: list[torch.Tensor] = []
    hook = llama.lm_head.register_forward_hook(lambda _, given, out: states.append(given[0]))
    model.query([request])
    hook.remove()
    stop = model.processor.tokenizer.convert_tokens_to_ids("▁###")
    with torch.no_grad():  # the second token will be the mark
        llama.lm_head.weight[stop] = 100 * states[1][0, -1]
        llama.lm_head.weight[stop] -= 100 * states[0][0, -1]
    (after,) = model.query([request])
    assert isinstance(after, Reply) and after.usage
    assert after.usage.output_tokens == 1
    assert after.text == before.text[: len(after.text)]
    assert "#" not in after.text


def test_a_vocabulary_without_the_mark_is_left_as_it_is(files: Path) -> None:
    tokenizer = tokenizer_of(files / "llm", stop="no such token")
    config = language_config(files / "llm", tokenizer)
    assert config.eos_token_id == [2]
    assert config.bos_token_id == 1  # the folder says 0
    assert len(tokenizer) == published.VOCABULARY


def test_the_tokenizer_is_that_of_sentencepiece(files: Path) -> None:
    """Of a part of a prompt that follows the image, and of one that does not."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(files / "llm/tokenizer.model"))
    tokenizer = tokenizer_of(files / "llm")
    for text in ("</Img> what?", "###Human: 12 é 漢 😀", "a  b\n c", "dog"):
        wanted = pieces.encode(text)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == wanted
        after = tokenizer(IMAGE + text, add_special_tokens=False)["input_ids"]
        assert after == [0, *wanted]


def altered(
    files: Path, tmp_path: Path, name: str, change: Callable[[dict[str, Any]], object]
) -> Path:
    """Copy all files, and change the tensors of one."""
    copy = tmp_path / "altered"
    shutil.copytree(files, copy)
    content = torch.load(copy / name, weights_only=True)
    change(content.get("model", content))
    torch.save(content, copy / name)
    return copy


@pytest.mark.parametrize(
    ("name", "lost", "told"),
    [
        ("pretrained_minigpt4_7b.pth", "llama_proj.bias", "--checkpoint"),
        ("blip2_pretrained_flant5xxl.pth", "ln_vision.weight", "--qformer"),
        ("eva_vit_g.pth", "blocks.1.attn.q_bias", "--vit"),
        ("llm/pytorch_model-00001-of-00002.bin", "model.embed_tokens.weight", "--llm"),
    ],
)
def test_a_missing_weight_is_named_with_its_option(
    name: str, lost: str, told: str, files: Path, tmp_path: Path
) -> None:
    less = altered(files, tmp_path, name, lambda tensors: tensors.pop(lost))
    with pytest.raises(ModelError, match=f"{lost}; give {told}"):
        minigpt4.convert(**arguments("minigpt4", less, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_wrong_shape_is_named(files: Path, tmp_path: Path) -> None:
    wide = altered(
        files,
        tmp_path,
        "pretrained_minigpt4_7b.pth",
        lambda tensors: tensors.update({"llama_proj.weight": torch.zeros(80, published.BERT)}),
    )
    with pytest.raises(
        ModelError, match=r"llama_proj.weight has the shape \(80, 128\).*\(64, 128\)"
    ):
        minigpt4.convert(**arguments("minigpt4", wide, tmp_path / "out"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("vl-vicuna.pth", b"<html>quota exceeded</html>", "download it again"),
        ("vl-vicuna.pth", b"", "download it again"),
        ("eva_vit_g.pth", None, "does not exist"),
        ("llm/tokenizer.model", None, "tokenizer"),
        ("llm/config.json", None, "config.json"),
        ("llm/config.json", b'{"model_type": "opt"}', "not a Llama"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    name: str, content: bytes | None, told: str, files: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(files, copy)
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(ModelError) as error:
        minigpt4.convert(**arguments("vpgtrans", copy, tmp_path / "out"))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checkpoint_with_code_is_refused(files: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(files, copy)
    torch.save({"model": {}, "hook": Path}, copy / "vl-vicuna.pth")
    with pytest.raises(ModelError, match=r"vl-vicuna\.pth cannot be read as weights"):
        minigpt4.convert(**arguments("vpgtrans", copy, tmp_path / "out"))


def test_a_folder_in_use_is_left_alone(files: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="is not empty"):
        minigpt4.convert(**arguments("minigpt4", files, tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_shards_hold_what_was_given_in_the_published_dtypes(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((8, 8), i, dtype=torch.float16) for i in range(5)}
    write_shards(tmp_path, tensors.items(), shard=300)
    assert sorted(file.name for file in tmp_path.glob("*.safetensors")) == [
        "model-00001.safetensors",
        "model-00002.safetensors",
        "model-00003.safetensors",
    ]
    read = Checkpoint(tmp_path)
    assert set(read) == set(tensors)
    assert all(torch.equal(read.tensor(name), tensors[name]) for name in tensors)
    assert all(read.tensor(name).dtype == torch.float16 for name in tensors)


def test_the_command_tells_what_is_missing(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["minigpt4", "--help"]).output
    for option in ("--llm", "--checkpoint", "--qformer", "--vit", "--out", "parts of 1 GB"):
        assert option in told
    given = ["--llm", tmp_path, "--checkpoint", tmp_path / "a", "--vit", tmp_path / "b"]
    result = CliRunner().invoke(main, ["vpgtrans", *map(str, given), "--out", str(tmp_path / "o")])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1


def test_a_folder_is_named_as_one(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without "./" it would be a hub id."""
    monkeypatch.chdir(tmp_path)
    converted("vpgtrans", files, Path("made").absolute())
    assert isinstance(load_model(spec_of(Path("made"))), hf.HuggingFaceModel)
