"""Run the authors' own code on the files of `published.py`, and record what it says.

    PYTHONPATH=. python tests/paper/record.py CLONES

CLONES holds clones named as on GitHub: Vision-CAIR/MiniGPT-4 (d94738a), VPGTrans/VPGTrans
(32e885c), mlpc-ucsd/BLIVA (d99de3a), zycheiheihei/Transferable-Visual-Prompting (TVP, c1933ec),
THUDM/VisualGLM-6B (e314fb9), and samfunmula/visualGLM (8164134), which has the modeling_chatglm.py
of the folder THUDM/visualglm-6b. SwissArmyTransformer there is the unpacked wheel of 0.4.12. They
need transformers 4.33.3, peft 0.5.0, omegaconf, einops, iopath and webdataset, so an environment of
its own. Nothing of theirs is kept here.

Their models are made without their constructors, which download: the parts are their classes at
reduced size, and every method that runs is theirs.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import types
from collections.abc import Callable
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from tests.paper import published

MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073))[:, None, None]
STD = torch.tensor((0.26862954, 0.26130258, 0.27577711))[:, None, None]


def package(name: str, folder: Path | None, **names: Any) -> None:
    """Make a package importable without its own __init__, or an empty one."""
    module = types.ModuleType(name)
    module.__path__ = [str(folder)] if folder else []
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__dict__.update(names)
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, module)


def stand_ins() -> None:
    """Stand in for timm, torchvision and fairscale: only initial weights and training need them."""
    for name in ("timm", "timm.models", "torchvision", "torchvision.datasets"):
        package(name, None)
    unused = (
        "check_integrity",
        "download_file_from_google_drive",
        "extract_archive",
        "download_url",
    )
    package("torchvision.datasets.utils", None, **dict.fromkeys(unused))
    package(
        "timm.models.layers",
        None,
        drop_path=None,
        to_2tuple=lambda x: (x, x),
        trunc_normal_=nn.init.trunc_normal_,
    )
    package("timm.models.registry", None, register_model=lambda function: function)
    package("timm.models.hub", None, download_cached_file=None)
    for name in ("fairscale", "fairscale.nn", "fairscale.nn.checkpoint"):
        package(name, None)
    activations = "fairscale.nn.checkpoint.checkpoint_activations"
    package(activations, None, checkpoint_wrapper=None)


def tensor(pixels: np.ndarray) -> torch.Tensor:
    """What blip_image_eval does: torchvision resizes a Pillow image by Pillow."""
    small = Image.fromarray(pixels).resize(
        (published.SIDE, published.SIDE), Image.Resampling.BICUBIC
    )
    return (torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255 - MEAN) / STD


def vision(module: Any) -> nn.Module:
    return module.VisionTransformer(
        img_size=published.SIDE,
        patch_size=published.PATCH,
        use_mean_pooling=False,
        embed_dim=published.VISION,
        depth=published.LAYERS,
        num_heads=published.VISION // 88,
        mlp_ratio=4.3637,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )


def bert(module: Any, words: int = 0) -> nn.Module:
    """A Q-Former. words: rows of its embeddings if it reads text."""
    config = module.BertConfig(
        hidden_size=published.BERT,
        num_attention_heads=published.BERT // 64,
        num_hidden_layers=published.BERT_LAYERS,
        intermediate_size=published.BERT_MLP,
    )
    config.encoder_width = published.VISION
    config.add_cross_attention = True
    config.cross_attention_freq = 2
    config.query_length = published.QUERIES
    made = module.BertLMHeadModel(config=config)
    if words:
        made.resize_token_embeddings(words)
    made.cls = None
    if words:
        return made
    made.bert.embeddings.word_embeddings = None
    made.bert.embeddings.position_embeddings = None
    for layer in made.bert.encoder.layer:
        layer.output = None
        layer.intermediate = None
    return made


def loaded(model: nn.Module, folder: Path, own: str) -> nn.Module:
    """Load as the authors do: names that are not there are passed over; here all must be."""
    state = {f"visual_encoder.{k}": v for k, v in torch.load(folder / "eva_vit_g.pth").items()}
    for file in ("blip2_pretrained_flant5xxl.pth", own):
        state |= torch.load(folder / file)["model"]
    report = model.load_state_dict(state, strict=False)
    missing = [
        name for name in report.missing_keys if not name.startswith(("llama_model.", "llm_model."))
    ]
    if missing:
        raise SystemExit(f"missing: {missing}")
    return model.eval()


def assembled(cls: Any, layers: dict[str, Any], llama: Any, tokenizer: Any, folder: Path) -> Any:
    model = cls.__new__(cls)
    nn.Module.__init__(model)
    model.visual_encoder = vision(layers["eva_vit"])
    model.ln_vision = layers["base"].LayerNorm(published.VISION)
    model.Qformer = bert(layers["Qformer"])
    model.query_tokens = nn.Parameter(torch.zeros(1, published.QUERIES, published.BERT))
    model.llama_model = llama.LlamaForCausalLM.from_pretrained(folder / "llm").float()
    model.llama_tokenizer = tokenizer
    model.llama_proj = nn.Linear(published.BERT, published.LLAMA)
    model.max_txt_len = 160
    model.end_sym = ""
    return model


def tokenizer_of(folder: Path) -> Any:
    import transformers

    tokenizer = transformers.LlamaTokenizer.from_pretrained(folder / "llm", use_fast=False)
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def table(score: Callable[[np.ndarray, str, str], float]) -> list[list[float]]:
    """Log-probabilities of all labels, for each image with its question."""
    return [
        [score(pixels, question, label) for label in published.LABELS]
        for pixels, question in zip(published.images(), published.QUESTIONS, strict=True)
    ]


def parts(package_name: str) -> dict[str, Any]:
    return {n: importlib.import_module(f"{package_name}.{n}") for n in ("eva_vit", "Qformer")}


def minigpt4(clones: Path, folder: Path) -> list[list[float]]:
    """From `MiniGPT4.forward`, by which `multi_select` ranks."""
    root = clones / "MiniGPT-4" / "minigpt4"
    for part in ("", ".models", ".common", ".conversation"):
        package(f"minigpt4{part}", root / part.removeprefix("."))
    base = importlib.import_module("minigpt4.models.base_model")
    sys.modules["minigpt4.models"].BaseModel = base.BaseModel
    cls = importlib.import_module("minigpt4.models.minigpt4").MiniGPT4
    llama = importlib.import_module("minigpt4.models.modeling_llama")
    tokenizer = tokenizer_of(folder)
    layers = parts("minigpt4.models") | {"base": base}
    model = assembled(cls, layers, llama, tokenizer, folder)
    model.has_qformer = True
    model.max_context_len = 3800
    model.prompt_list = []
    loaded(model, folder, "pretrained_minigpt4_7b.pth")

    def score(pixels: np.ndarray, question: str, label: str) -> float:
        asked = f"###Human: <Img><ImageHere></Img> {question} ###Assistant: "
        given = {
            "image": tensor(pixels)[None],
            "instruction_input": [asked],
            "answer": [label],
        }
        loss = model.forward(given)["loss"]
        return -float(loss) * len(tokenizer(label, add_special_tokens=False).input_ids)

    return table(score)


def minigpt4_tvp(clones: Path, folder: Path) -> list[list[float]]:
    """From TVP's `model_loglikelihood_for_postfixes`, without its division by the length."""
    root = clones / "Transferable-Visual-Prompting"
    package("models", root / "models", DATA_DIR="")
    for part in ("", ".models", ".common"):
        package(f"models.minigpt4{part}", root / "models" / "minigpt4" / part.removeprefix("."))
    base = importlib.import_module("models.minigpt4.models.base_model")
    sys.modules["models.minigpt4.models"].BaseModel = base.BaseModel
    cls = importlib.import_module("models.minigpt4.models.mini_gpt4").MiniGPT4
    llama = importlib.import_module("models.minigpt4.models.modeling_llama")
    package("util", root / "util")
    util = importlib.import_module("util.minigpt4_utils")
    blip2 = importlib.import_module("models.minigpt4.models.blip2")
    layers = parts("models.minigpt4.models") | {"base": blip2}
    model = assembled(cls, layers, llama, tokenizer_of(folder), folder)
    model.low_resource = False
    loaded(model, folder, "pretrained_minigpt4_7b.pth")

    def score(pixels: np.ndarray, question: str, label: str) -> float:
        given = {
            "image": tensor(pixels)[None],
            "text_input": [question],
            "prompt": util.CLS_PROMPT,
        }
        return float(util.model_loglikelihood_for_postfixes(model, given, [label], normalize=False))

    return table(score)


def vpgtrans(clones: Path, folder: Path) -> list[list[float]]:
    """From the embeddings that the demo's `Chat` makes, and a forward pass of their Llama."""
    root = clones / "VPGTrans" / "lavis"
    for part in ("", ".models", ".models.blip2_models", ".common", ".conversation", ".processors"):
        package(f"lavis{part}", root / part.removeprefix(".").replace(".", "/"))
    base = importlib.import_module("lavis.models.base_model")
    sys.modules["lavis.models"].BaseModel = base.BaseModel
    cls = importlib.import_module("lavis.models.blip2_models.blip2_vicuna").Blip2Vicuna
    blip2 = importlib.import_module("lavis.models.blip2_models.blip2")
    layers = {
        "eva_vit": importlib.import_module("lavis.models.eva_vit"),
        "Qformer": importlib.import_module("lavis.models.blip2_models.Qformer"),
        "base": blip2,
    }
    llama = importlib.import_module("lavis.models.blip2_models.modeling_llama")
    talk = importlib.import_module("lavis.conversation.conversation")
    tokenizer = tokenizer_of(folder)
    model = loaded(assembled(cls, layers, llama, tokenizer, folder), folder, "vl-vicuna.pth")

    def score(pixels: np.ndarray, question: str, label: str) -> float:
        chat = talk.Chat(model, None, device="cpu")
        conversation = talk.CONV_VISION.copy()
        seen: list[torch.Tensor] = []
        chat.upload_img(tensor(pixels), conversation, seen)
        chat.ask(question, conversation)
        conversation.append_message(conversation.roles[1], None)
        asked = chat.get_context_emb(conversation, seen)
        ids = tokenizer(label, add_special_tokens=False, return_tensors="pt").input_ids
        embeddings = torch.cat([asked, model.llama_model.model.embed_tokens(ids)], dim=1)
        logits = model.llama_model(inputs_embeds=embeddings).logits
        chosen = logits[:, -ids.shape[1] - 1 : -1].log_softmax(-1).gather(2, ids[..., None])
        return float(chosen.sum())

    return table(score)


def bliva(clones: Path, folder: Path) -> list[list[float]]:
    """From BLIVA's `BLIVAVicuna`."""
    root = clones / "BLIVA" / "bliva"
    for part in ("", ".models", ".common"):
        package(f"bliva{part}", root / part.removeprefix("."))
    base = importlib.import_module("bliva.models.base_model")
    sys.modules["bliva.models"].BaseModel = base.BaseModel
    cls = importlib.import_module("bliva.models.bliva_vicuna7b").BLIVAVicuna
    layers = parts("bliva.models") | {"base": importlib.import_module("bliva.models.blip2")}
    return instructed(cls, layers, importlib.import_module("bliva.models.modeling_llama"), folder)


def instructblip(clones: Path, folder: Path) -> list[list[float]]:
    """From `Blip2VicunaInstruct` of LAVIS, in TVP's copy. BLIVA's file holds all that it needs."""
    root = clones / "Transferable-Visual-Prompting" / "models" / "instruct_blip"
    home = "models.instruct_blip"
    for part in ("", ".models", ".models.blip2_models", ".common"):
        package(f"{home}{part}", root / part.removeprefix(".").replace(".", "/"))
    base = importlib.import_module(f"{home}.models.base_model")
    sys.modules[f"{home}.models"].BaseModel = base.BaseModel
    inner = f"{home}.models.blip2_models"
    layers = {
        "eva_vit": importlib.import_module(f"{home}.models.eva_vit"),
        "Qformer": importlib.import_module(f"{inner}.Qformer"),
        "base": importlib.import_module(f"{inner}.blip2"),
    }
    cls = importlib.import_module(f"{inner}.blip2_vicuna_instruct").Blip2VicunaInstruct
    return instructed(cls, layers, importlib.import_module(f"{inner}.modeling_llama"), folder)


def instructed(cls: Any, layers: dict[str, Any], llama: Any, folder: Path) -> list[list[float]]:
    """From the logits of the language model in `forward`.

    The constructor also adds a row of random numbers to the vocabulary, for "[PAD]", which is left
    out here.
    """
    transformers = importlib.import_module("transformers")
    tokenizer = tokenizer_of(folder)
    tokenizer.add_special_tokens(dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>"))
    model = assembled(cls, layers, llama, tokenizer, folder)
    model.llm_model = model.llama_model
    model.llm_tokenizer = tokenizer
    del model.llama_model, model.llama_proj
    words = transformers.BertTokenizer.from_pretrained(folder / "bert", truncation_side="left")
    words.add_special_tokens({"bos_token": "[DEC]"})
    model.tokenizer = words
    model.Qformer = bert(layers["Qformer"], len(words))
    model.llm_proj = nn.Linear(published.BERT, published.LLAMA)
    model.vision_project = nn.Linear(published.VISION, published.LLAMA)
    model.qformer_text_input = True
    model.max_output_txt_len = 256
    loaded(model, folder, "bliva_vicuna7b.pth")
    seen: list[torch.Tensor] = []
    model.llm_model.register_forward_hook(lambda *call: seen.append(call[-1].logits))

    def score(pixels: np.ndarray, question: str, label: str) -> float:
        given = {
            "image": tensor(pixels)[None],
            "text_input": [question],
            "text_output": [label],
        }
        model.forward(given)
        ids = tokenizer(label, add_special_tokens=False, return_tensors="pt").input_ids
        logits = seen.pop()[:, -ids.shape[1] - 2 : -2]  # the end token is last
        return float(logits.log_softmax(-1).gather(2, ids[..., None]).sum())

    return table(score)


def visualglm(clones: Path, folder: Path) -> list[list[float]]:
    """From `ChatGLMForConditionalGenerationWithImage` of the published folder.

    The copy of its file has three lines more, which move tensors to a GPU; they are left out. The
    folder's visual.py is not at hand: the file of the same classes in the authors' repository takes
    its place. Two numbers that the classes take for granted, 28 layers and the width 4096, are set
    to those of the reduced size.
    """
    rotary = "sat.model.position_embedding.triton_rotary_embeddings"
    package(rotary, None, FastRotaryEmbedding=None)
    package("torchvision.transforms", None)
    package("torchvision.transforms.functional", None, InterpolationMode=None)
    sys.path.append(str(clones / "SwissArmyTransformer"))
    package("visualglm", clones / "VisualGLM-6B" / "model")
    transformers = importlib.import_module("transformers")
    package("visualglm.configuration_chatglm", None, ChatGLMConfig=transformers.PretrainedConfig)
    sys.modules["visualglm.visual"] = blip2 = importlib.import_module("visualglm.blip2")
    source = (clones / "visualGLM" / "modeling_chatglm.py").read_text("utf-8")
    lines = [line for line in source.splitlines() if ".to('cuda:0')" not in line]
    (folder / "modeling_chatglm.py").write_text("\n".join(lines), "utf-8")
    sys.modules["visualglm"].__path__.append(str(folder))
    module = importlib.import_module("visualglm.modeling_chatglm")
    common = {"model_parallel_size": 1, "skip_init": True, "mode": "inference"}
    vit = {
        "num_layers": published.LAYERS,
        "hidden_size": published.VISION,
        "num_attention_heads": published.VISION // 88,
        "vocab_size": 1,
        "layernorm_order": "pre",
        "inner_hidden_size": published.MLP,
        "use_final_layernorm": False,
        "layernorm_epsilon": 1e-6,
        "image_size": [published.SIDE, published.SIDE],
        "pre_len": 1,
        "post_len": 0,
        "in_channels": 3,
        "num_classes": 0,
        "patch_size": published.PATCH,
    }
    qformer = {
        "num_layers": published.BERT_LAYERS,
        "hidden_size": published.BERT,
        "inner_hidden_size": published.BERT_MLP,
        "num_attention_heads": published.BERT // 64,
        "vocab_size": published.GLM_QUERIES,
        "layernorm_order": "post",
        "max_sequence_length": 0,
        "is_decoder": [i % 2 == 0 for i in range(published.BERT_LAYERS)],
        "cross_attn_hidden_size": published.VISION,
        "layernorm_epsilon": 1e-12,
    }
    config = transformers.PretrainedConfig(
        **published.glm_settings(),
        pre_seq_len=None,
        prefix_projection=False,
        quantization_bit=0,
        use_cache=True,
        eva_config=vit | common,
        qformer_config=qformer | common,
        image_length=published.GLM_QUERIES,
    )
    encoder = blip2.BLIP2

    def small(*sizes: Any) -> Any:
        made = encoder(*sizes)
        made.glm_proj = nn.Linear(published.BERT, published.LLAMA)
        return made

    blip2.BLIP2 = small
    model = module.ChatGLMForConditionalGenerationWithImage(config).float().eval()
    for block in model.transformer.layers:
        block.num_layers = published.LLAMA_LAYERS
    state = torch.load(folder / "visualglm-6b" / "pytorch_model-00001-of-00001.bin")
    report = model.load_state_dict(state, strict=False)
    if report.missing_keys:
        raise SystemExit(f"missing: {report.missing_keys}")
    pieces = importlib.import_module("sentencepiece").SentencePieceProcessor(
        model_file=str(folder / "visualglm-6b" / "ice_text.model")
    )

    def score(pixels: np.ndarray, question: str, label: str) -> float:
        before = pieces.encode("<img>")
        after = pieces.encode(f"</img>问：{question}<n>答：")
        image = [pieces.unk_id()] * published.GLM_QUERIES
        answer = pieces.encode(label)
        begun = [config.gmask_token_id, config.bos_token_id]
        ids = torch.tensor([[*before, *image, *after, *begun, *answer]])
        logits = model(
            input_ids=ids, images=tensor(pixels)[None], pre_image_length=len(before)
        ).logits[:, -len(answer) - 1 : -1]
        return float(logits.log_softmax(-1).gather(2, ids[:, -len(answer) :, None]).sum())

    return table(score)


RECORDERS = (minigpt4, minigpt4_tvp, vpgtrans, bliva, instructblip, visualglm)


def main() -> None:
    clones = Path(sys.argv[1])
    stand_ins()
    with tempfile.TemporaryDirectory() as made, torch.no_grad():
        folder = published.write(Path(made) / "published")
        found = {recorder.__name__: recorder(clones, folder) for recorder in RECORDERS}
    (published.HERE / "expected.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
