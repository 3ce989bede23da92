"""`bbtvp verify --receipt` and `bbtvp receipt`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bbtvp.prompt import preset
from bbtvp.prompt.bundle import read
from bbtvp.verify.receipt import Receipt
from tests.support import LABELS, SIDE, Ran, bbtvp, folder_of_patterns, install_plugin


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eye/…` as an installed plug-in."""
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    folder_of_patterns(Path("images"), per_class=60)
    prompt = preset("tone", SIDE).prompt(np.array([3.0, 0.0, 0.0]))
    prompt.save("p.vprompt", {"source_model": "eye/near"})


def verified(*more: object) -> Ran:
    command = ("verify", "p.vprompt", "--task", "images", "--model", "eye/near", "--receipt")
    return bbtvp(*command, "r.json", *more)


def checked(*more: object) -> Ran:
    return bbtvp("receipt", "check", "r.json", *more)


def test_a_receipt_is_written_shown_and_checked() -> None:
    ran = verified()
    assert ran.code == 0
    assert "receipt: r.json; it names eye/private-" in ran.err
    assert "keep it to yourself" in ran.err
    shown = bbtvp("receipt", "show", "r.json").out
    assert "verdict: go (gains)" in shown and "not reported" in shown
    assert not [label for label in LABELS if label in shown]
    found = checked("--task", "images", "--salt-file", "r.json.salt", "--bundle", "p.vprompt")
    assert found.out.splitlines()[0] == "verdict: go"
    assert "signature: none; it may be invented" in found.out
    assert "task: it is of these data" in found.out


def test_the_same_command_commits_to_the_same_data_and_another_salt_does_not() -> None:
    commitments = []
    for salt in ("one", "one", "two"):
        assert verified("--salt-file", salt).code == 0
        commitments.append(json.loads(Path("r.json").read_text())["task"]["commitment"])
    assert commitments[0] == commitments[1] != commitments[2]


def test_what_is_allowed_is_told() -> None:
    assert "of the task its name, labels" in verified("--allow", "name, labels,models").err
    task = json.loads(Path("r.json").read_text())
    assert (task["task"]["name"], task["task"]["question"]) == ("images", None)
    assert sorted(task["task"]["labels"]) == sorted(LABELS)
    assert task["models"][0]["model"] == "eye/near"


def test_the_evidence_goes_into_a_copy_of_the_bundle() -> None:
    before = Path("p.vprompt").read_bytes()
    assert verified("--into-bundle", "copy.vprompt").code == 0
    receipt = json.loads(Path("r.json").read_text())
    (entry,) = read(Path("copy.vprompt")).evidence
    assert (entry.receipt, entry.gain) == (receipt["digest"], receipt["models"][0]["gain"])
    assert entry.task is None
    assert entry.model.startswith("eye/private-")
    assert Path("p.vprompt").read_bytes() == before
    assert checked("--bundle", "p.vprompt").code == 0
    other = checked("--bundle", "copy.vprompt")
    assert (other.code, "but of another bundle with it" in other.err) == (1, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--allow", "images"), "unknown word of --allow 'images'"),
        (("--sign", "none.key"), "none.key: no key can be read"),
        (("--salt-file", "p.vprompt"), "salt"),
    ],
)
def test_what_no_receipt_can_be_made_with_is_told_before_a_query(
    options: tuple[str, ...], said: str
) -> None:
    ran = verified(*options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "verified:" not in ran.err
    assert not Path("r.json").exists()


def test_options_that_need_another_are_told() -> None:
    alone = bbtvp(
        "verify", "p.vprompt", "--task", "images", "--model", "eye/near", "--allow", "name"
    )
    assert (alone.code, "need --receipt FILE" in alone.err) == (2, True)
    assert verified().code == 0
    half = checked("--task", "images")
    assert (half.code, "--task and --salt-file go together" in half.err) == (2, True)


def test_an_unsigned_receipt_is_refused_where_a_signature_is_wanted() -> None:
    for name in ("own", "other"):
        assert bbtvp("bundle", "keygen", f"{name}.key").code == 0
    assert verified().code == 0
    unsigned = checked("--signed-by", "own.key.pub")
    assert (unsigned.code, "the receipt is not signed" in unsigned.err) == (1, True)
    assert verified("--sign", "own.key").code == 0
    assert "which is trusted" in checked("--signed-by", "own.key.pub").out
    assert "whose key is it?" in checked().out
    other = checked("--signed-by", "other.key.pub")
    assert (other.code, "signed by another key" in other.err) == (1, True)


def test_an_edited_receipt_is_told_in_one_line() -> None:
    assert verified().code == 0
    document = json.loads(Path("r.json").read_text())
    document["models"][0]["gained"] += 1
    Path("r.json").write_text(json.dumps(document))
    careless = checked()
    assert (careless.code, "the receipt was altered" in careless.err) == (1, True)
    sealed = Receipt.model_validate_json(json.dumps(document)).computed_digest()
    Path("r.json").write_text(json.dumps({**document, "digest": sealed}))
    skilled = checked()
    assert (skilled.code, "does not hold together" in skilled.err) == (1, True)
    assert bbtvp("receipt", "show", "r.json").code == 0


def test_the_schema_describes_every_field() -> None:
    schema = json.loads(bbtvp("receipt", "schema").out)
    assert schema["properties"]["schema"]["const"] == "bbtvp.receipt/1"
    assert set(schema["required"]) >= {"bbtvp", "date", "prompt", "task", "models", "verdict"}
    assert schema["additionalProperties"] is False
