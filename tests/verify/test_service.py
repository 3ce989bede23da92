"""The protocol of docs/service.md by the command line: a provider's folder and a customer's, and
what goes from one to the other.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from bbtvp.tasks.registry import load_task
from tests.support import Ran, bbtvp

QUESTION = "which figure is on the picture of ward seven?"
MODEL = "zoo/llava"


def asked(*arguments: object) -> Ran:
    """A command that must succeed."""
    ran = bbtvp(*arguments)
    assert ran.code == 0, ran.err
    return ran


def private_images(folder: Path) -> list[bytes]:
    """Image files of a customer, a folder for each label; the pixels of each."""
    pixels = []
    for i, sample in enumerate(load_task("zoo/shapes-dark").test[:240]):
        file = folder / sample.answer / f"patient-{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.pixels()).save(file)
        pixels.append(sample.pixels().tobytes())
    return pixels


def inside(file: Path) -> bytes:
    """The bytes of a file, and of all that is packed in it."""
    data = file.read_bytes()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            data += b"".join(archive.read(name) for name in archive.namelist())
    return data


def test_nothing_of_the_customers_task_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = tmp_path / "provider"
    customer = tmp_path / "clinic-of-acme"
    for folder in (provider, customer):
        folder.mkdir()

    # The provider tunes, signs and sends.
    monkeypatch.chdir(provider)
    asked("bundle", "keygen", "provider.key")
    search = ("optimize", "--task", "zoo/shapes-dark", "--model", MODEL, "--queries", 120)
    asked(*search, "--out", "run")
    asked("bundle", "sign", "run/prompt.vprompt", "--key", "provider.key")
    shutil.copy("run/prompt.vprompt", customer)
    shutil.copy("provider.key.pub", customer)

    # The customer checks on private data, and reads what is sent back.
    monkeypatch.chdir(customer)
    pixels = private_images(Path("ward-7"))
    asked("bundle", "show", "prompt.vprompt", "--signed-by", "provider.key.pub")
    asked("bundle", "keygen", "customer.key")
    data = ("--task", "ward-7", "--question", QUESTION)
    receipt = ("--receipt", "receipt.json", "--sign", "customer.key")
    proof = bbtvp("verify", "prompt.vprompt", *data, "--model", MODEL, *receipt, "--json")
    assert proof.code in (0, 4, 5), proof.err
    shown = json.loads(asked("receipt", "show", "receipt.json", "--json").out)
    row = json.loads(proof.out)["models"][0]
    assert shown["models"][0]["gain"] == row["gain"]
    assert shown["models"][0]["version"] == row["version"]

    # It refines the prompt, and takes out what tells of the task.
    start = ("--start", "prompt.vprompt", "--queries", 160, "--out", "refined")
    asked("optimize", *data, "--model", MODEL, *start)
    asked("bundle", "strip", "refined/prompt.vprompt", "--out", "back.vprompt")
    asked("bundle", "diff", "prompt.vprompt", "back.vprompt", "--out", "back.vpatch")
    for file in ("receipt.json", "back.vpatch", "customer.key.pub"):
        shutil.copy(file, provider)

    # The provider checks both.
    monkeypatch.chdir(provider)
    signed_by = ("--signed-by", "customer.key.pub", "--bundle", "run/prompt.vprompt")
    checked = json.loads(asked("receipt", "check", "receipt.json", *signed_by, "--json").out)
    assert checked["signer_trusted"] and checked["bundle_checked"]
    assert "verdict" in checked["computed_again"]
    asked("bundle", "patch", "run/prompt.vprompt", "back.vpatch", "--out", "back.vprompt")
    assert inside(Path("back.vprompt")) == inside(customer / "back.vprompt")

    # Nothing of the task is in what came.
    # "square" is also a word of how to apply a prompt that averages.
    labels = [one.name for one in (customer / "ward-7").iterdir() if one.name != "square"]
    assert labels
    salt = (customer / "receipt.json.salt").read_text().strip()
    words = [*labels, QUESTION, "which figure", "ward", "patient", "acme", str(tmp_path), salt]
    for name in ("receipt.json", "back.vpatch", "back.vprompt"):
        came = inside(Path(name))
        assert not [word for word in words if word.encode() in came], name
        assert not any(image[:64] in came for image in pixels), name

    # In a dispute the customer shows which data it was, from any folder.
    shutil.copytree(customer / "ward-7", tmp_path / "elsewhere" / "ward-7")
    court = (customer / "receipt.json", "--salt-file", customer / "receipt.json.salt")
    moved = ("--task", tmp_path / "elsewhere" / "ward-7", "--question", QUESTION)
    asked("receipt", "check", *court, *moved)
    for file in (tmp_path / "elsewhere").rglob("*.png"):
        picture = Image.open(file).convert("RGB")
        picture.putpixel((0, 0), (255, 0, 255))
        picture.save(file)
    other = bbtvp("receipt", "check", *court, *moved)
    assert other.code == 1
    assert "the receipt is of other data" in other.err
