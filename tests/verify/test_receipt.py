"""Receipts: what they hide, what of them can be computed again, and what strangers may send."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.core.errors import BbtvpError, BundleError, DataError, UsageError
from bbtvp.core.origin import without_paths
from bbtvp.core.rng import stream
from bbtvp.core.signing import check_signature, generate_key
from bbtvp.models import FunctionModel, Model
from bbtvp.prompt import Prompt, preset
from bbtvp.report.receipt import receipt_text
from bbtvp.tasks import Sample, Task
from bbtvp.verify import Proof, Rule, verify
from bbtvp.verify.commitment import (
    ShownNames,
    is_public,
    keep_salt,
    new_salt,
    read_salt,
    task_commitment,
)
from bbtvp.verify.receipt import Receipt, check_receipt, parsed_receipt, read_receipt
from bbtvp.verify.recount import recount
from tests.support import LABELS, QUESTION, SIDE, Eye, Flaky, patterns

SALT = bytes(range(32))
TASK = patterns(name="ward-7")
TONE = preset("tone", SIDE).prompt(np.array([3.0, 0.0, 0.0]))
FLAT = preset("tone", SIDE).prompt(np.array([-3.0, 0.0, 0.0]))
BUNDLE = "b" * 64


def graded_task() -> Task:
    return patterns(
        labels=None,
        metric="token-f1",
        **{
            split: tuple(
                Sample(sample.id, f"it is {sample.answer}", sample.image)
                for sample in getattr(TASK, split)
            )
            for split in ("train", "validation", "test")
        },
    )


def leaky_task() -> Task:
    """A quarter of the test images is in train too."""
    count = len(TASK.test) // 4
    known = tuple(replace(sample, id=f"again-{sample.id}") for sample in TASK.test[:count])
    return patterns(train=TASK.train + known)


NEAR, FAR, KEEN = Eye(), Eye("eye/far", gain=15), Eye("eye/keen", gain=200)
PROOFS: dict[str, tuple[Prompt, Sequence[Model], dict[str, Any]]] = {
    "plain": (TONE, [NEAR, FAR], {"source": "eye/near", "calibration": 32}),
    "no-go": (FLAT, [KEEN, FAR], {}),
    "harm": (FLAT, [FAR, KEEN], {"source": "eye/far"}),
    "failures": (TONE, [Flaky(Eye(logprobs=False), share=0.1)], {"reader": "text"}),
    "sequential": (TONE, [FAR, NEAR], {"source": "eye/near", "sequential": True}),
    "sequential-no-go": (FLAT, [FAR, KEEN], {"source": "eye/keen", "sequential": True}),
    "level": (TONE, [FAR, NEAR], {"source": "eye/near", "rule": Rule(level=0.01)}),
    "sequential-level": (TONE, [FAR, NEAR], {"sequential": True, "rule": Rule(level=0.001)}),
}


def proved(kind: str) -> tuple[Proof, Task]:
    if kind == "overlap":
        task = leaky_task()
        return verify(TONE, task, [NEAR], seed=7), task
    if kind == "one-answer":
        test = tuple(sample for sample in patterns().test if sample.answer == "rows")
        more = [replace(sample, id=f"{i}-{sample.id}") for i in (1, 2) for sample in test]
        task = patterns(test=(*test, *more))
        return verify(TONE, task, [NEAR]), task
    if kind == "graded":
        task = graded_task()
        return verify(TONE, task, [Eye(logprobs=False)], reader="text"), task
    prompt, models, options = PROOFS[kind]
    return verify(prompt, TASK, models, **options), TASK


KINDS = (*PROOFS, "overlap", "one-answer", "graded")


@cache
def receipt(kind: str = "plain") -> Receipt:
    proof, task = proved(kind)
    return Receipt.of(proof, task, bundle=BUNDLE, salt=SALT)


def resealed(document: dict[str, Any]) -> bytes:
    """The bytes of an edited receipt, its digest made to fit, as who edits on purpose would."""
    text = json.dumps(document)
    try:
        model = Receipt.model_validate_json(text)
    except ValueError:
        return text.encode("utf-8", "surrogatepass")
    return json.dumps({**document, "digest": model.computed_digest()}).encode()


def document(kind: str = "plain") -> dict[str, Any]:
    found: dict[str, Any] = receipt(kind).model_dump(by_alias=True, mode="json")
    return copy.deepcopy(found)


# -- what it says ----------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_and_its_figures_hold(kind: str, tmp_path: Path) -> None:
    receipt(kind).write(tmp_path / "receipt.json")
    found = read_receipt(tmp_path / "receipt.json")
    assert found == receipt(kind)
    counted = recount(found)
    assert ("verdict" in counted.equal) == (kind != "graded")
    assert found.verdict.word in receipt_text(found)


def test_it_says_what_the_proof_does() -> None:
    proof, _ = proved("plain")
    found = receipt()
    (first, other) = found.models
    row = proof.rows[0]
    assert (first.gain, first.gain_ci95, first.p, first.n) == (
        row.gain,
        row.gain_ci95,
        row.paired.p,
        row.n,
    )
    assert (first.role, other.role) == ("source", "target")
    assert {"empty_frame", "best_constant", "calibrated"} == first.controls.keys()
    assert (found.prompt, found.bundle, found.task.images) == (
        TONE.digest,
        BUNDLE,
        len(TASK.test),
    )
    assert found.queries.sent == proof.queries
    assert receipt("failures").models[0].failed > 0
    assert receipt("sequential-no-go").models[0].images < len(TASK.test)


def test_nothing_of_the_task_is_in_it_unless_it_is_allowed() -> None:
    words = {"ward-7", QUESTION, *LABELS, *(sample.id for sample in TASK.test)}
    for kind in KINDS:
        text = json.dumps(document(kind))
        assert not [word for word in words if f'"{word}"' in text or f"{word}/" in text]
        assert "ward" not in text and "near" not in text
    told = Receipt.of(proved("plain")[0], TASK, salt=SALT, allow=("name", "question", "labels"))
    assert (told.task.name, told.task.question, told.task.labels) == ("ward-7", QUESTION, LABELS)
    assert recount(parsed_receipt(resealed(told.model_dump(by_alias=True, mode="json")), "r"))


def test_too_few_images_make_no_receipt() -> None:
    small = patterns(test=TASK.test[:29])
    with pytest.raises(UsageError, match=r"receipt of 29 test images .* give at least 30"):
        check_receipt(small, ())
    proof = verify(TONE, small, [Eye()])
    with pytest.raises(UsageError, match="give at least 30"):
        Receipt.of(proof, small, salt=SALT)
    row = proof.rows[0]
    hardly = replace(proof, rows=(replace(row, paired=row.paired._replace(n=19)),))
    with pytest.raises(UsageError, match="fewer than 20 would say nearly what each answer was"):
        Receipt.of(hardly, TASK, salt=SALT)


def test_an_unknown_word_of_allow_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown word of --allow 'lables'; did you mean labels"):
        check_receipt(TASK, ("lables",))


# -- names -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spec", "public"),
    [
        ("openai/gpt-4o-2024-08-06", True),
        ("bedrock/us.anthropic.claude-sonnet-5-5-v1:0", True),
        ("hf/llava-hf/llava-1.5-7b-hf", True),
        ("openai-api/openrouter/qwen/qwen3-vl-235b-a22b-instruct", True),
        ("zoo/llava", True),
        ("openai/ft:gpt-4o-mini:acme-clinic::a1", False),
        ("bedrock/arn:aws:bedrock:us-east-1:123456789012:inference-profile/x", False),
        ("azure/acme-radiology", False),
        ("openai-api/acme/llava", False),
        ("openai-api/vllm//srv/models/llava", False),
        ("hf/./models/ward-7", False),
        ("hf//srv/models/llava", False),
        ("hf/~/llava", False),
        ("exec/python /home/eve/ask.py", False),
        ("python/ask_the_ward", False),
        ("eye/near", False),
        ("no-slash", False),
    ],
)
def test_names_that_only_their_owner_knows_are_digests(spec: str, public: bool) -> None:
    assert is_public(spec) == public
    shown = ShownNames(SALT).model(spec)
    assert (shown == spec) == public
    if not public:
        provider, _, name = shown.partition("/")
        assert provider in (spec.partition("/")[0], "model")
        assert name.startswith("private-") and len(name) == len("private-") + 8
        assert ShownNames(new_salt()).model(spec) != shown
    assert ShownNames(SALT, shown=True).model(spec) == without_paths(spec)


def test_a_version_is_told_where_the_model_is_and_looks_like_one() -> None:
    names = ShownNames(SALT)
    for version in ("gpt-4o-2024-08-06 fp_1", "gemini-3-pro", "tesseract 5.3.0, psm 6, eng"):
        assert names.version(version, "openai/gpt-4o") == version
        assert names.version(version, "azure/acme").startswith("private-")
    for version in ("/srv/models/llava", "http://10.0.0.7/v1", "ft:gpt-4o:acme::1"):
        assert names.version(version, "openai/gpt-4o").startswith("private-")


def test_a_model_without_a_version_has_none() -> None:
    def yes(image: Any, question: str) -> str:
        return "rows"

    for model, version in [
        (FunctionModel(yes), None),
        (FunctionModel(yes, name="ocr/reader", version="2.1"), "2.1"),
    ]:
        proof = verify(TONE, TASK, [model], reader="text")
        assert Receipt.of(proof, TASK, salt=SALT).models[0].version == version


# -- the commitment --------------------------------------------------------------------------------
def test_a_commitment_is_of_the_test_split_and_the_salt() -> None:
    own = task_commitment(TASK, SALT)
    other = patterns(
        name="elsewhere",
        test=tuple(replace(sample, id=f"copy-{i}") for i, sample in enumerate(reversed(TASK.test))),
    )
    assert task_commitment(other, SALT) == own
    assert task_commitment(TASK, new_salt()) != own
    first = TASK.test[0]
    pixels = first.pixels().copy()
    pixels[0, 0, 0] ^= 1
    wrong = next(label for label in LABELS if label != first.answer)
    for changed in (replace(first, image=pixels), replace(first, answer=wrong)):
        assert task_commitment(patterns(test=(changed, *TASK.test[1:])), SALT) != own
    for parts in ({"question": "what?"}, {"metric": "exact"}, {"test": TASK.test[1:]}):
        assert task_commitment(patterns(**parts), SALT) != own


def test_a_salt_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "salt"
    salt = keep_salt(file)
    assert len(salt) == 32
    assert keep_salt(file) == read_salt(file) == salt
    assert file.stat().st_mode & 0o777 == 0o600
    for content in (b"", b"\xff", salt.hex()[1:].encode(), b"0" * 100_000):
        (tmp_path / "none").write_bytes(content)
        with pytest.raises(UsageError, match="salt"):
            keep_salt(tmp_path / "none")
    with pytest.raises(UsageError, match="no salt can be read"):
        read_salt(tmp_path / "missing")


# -- edited receipts -------------------------------------------------------------------------------
CLAIMED = {
    "bbtvp",
    "date",
    "prompt",
    "bundle",
    "task",
    "queries",
    "reader",
    "normalise",
    "calibration",
    "max_harm",  # where no model is a target, and others
    "notes",
    "role",
    "model",
    "version",
    "versions",
    "unversioned",
    "failed",
    "unparsed",
    "noise",
    "collapsed",
    "digest",
    "signature",
}
"""Fields of which the counts say nothing."""


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all numbers, outside the claimed fields."""
    if path and path[-1] in CLAIMED:
        return
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, held in items:
            yield from numbers(held, (*path, key))
    elif isinstance(value, int | float):
        yield path


def edited(kind: str, path: tuple[Any, ...], value: Any) -> bytes:
    made = document(kind)
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return resealed(made)


def moved(value: Any) -> Any:
    """Another value: a count by 3, a share by 3 points, a word by its opposite."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 3
    return value + 0.03 if value < 0.9 else value - 0.03


@pytest.mark.parametrize("kind", ["plain", "sequential"])
def test_any_figure_that_is_edited_alone_is_found(kind: str) -> None:
    paths = list(numbers(document(kind)))
    assert len(paths) > 60
    unnoticed = []
    for path in paths:
        value = document(kind)
        for key in path:
            value = value[key]
        data = edited(kind, path, moved(value))
        try:
            recount(parsed_receipt(data, "edited"))
        except DataError:
            continue
        unnoticed.append(".".join(map(str, path)))
    # Margins and counts that leave the verdict as it is change nothing that is claimed.
    names = ("level", "min_gain", "deciding", "others", "seed")
    quiet = {f"settings.{name}" for name in names}
    assert set(unnoticed) <= quiet


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "graded"])
def test_no_verdict_but_its_own_fits_a_receipt(kind: str) -> None:
    for word in {"go", "no-go", "undecided"} - {receipt(kind).verdict.word}:
        with pytest.raises(DataError, match="does not hold together"):
            recount(parsed_receipt(edited(kind, ("verdict", "word"), word), "edited"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({("verdict", "word"): "no-go"}, "no model gains little enough for a no-go"),
        ({("settings", "min_gain"): 0.99}, "gains too little for a go"),
        (
            {
                ("models", 0, "gained"): 1,
                ("models", 0, "evidence", "changed", "gained"): 1,
            },
            "the gain of .* its counts allow",
        ),
        ({("models", 0, "controls", "empty_frame", "gained"): 1}, "over empty_frame .* allow"),
        ({("models", 0, "controls", "empty_frame", "gain"): 0.5}, "the score of empty_frame"),
        ({("models", 0, "controls", "empty_frame", "n"): 10_000}, "has 10000 images"),
        ({("models", 0, "controls", "empty_frame", "gain_ci95"): [-1.0, -0.9]}, "its interval"),
        ({("models", 0, "p_holm"): 0.5}, "the adjusted p"),
    ],
)
def test_figures_of_graded_scores_may_not_contradict_each_other(
    changes: dict[tuple[str | int, ...], Any], said: str
) -> None:
    assert receipt("graded").verdict.word == "go"
    made = document("graded")
    for path, value in changes.items():
        place: Any = made
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
    with pytest.raises(DataError, match=said):
        recount(parsed_receipt(resealed(made), "edited"))


def test_a_careless_edit_is_found_by_the_digest() -> None:
    text = json.dumps(document()).replace('"date": "20', '"date": "19')
    with pytest.raises(DataError, match="receipt was altered"):
        parsed_receipt(text.encode(), "edited")


def test_numbers_may_be_spelt_another_way() -> None:
    """As another program writes them: 1 for 1.0, fields in another order, no spaces."""
    made = document()

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(value[key]) for key in reversed(value)}
        if isinstance(value, list):
            return [plain(one) for one in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    assert parsed_receipt(json.dumps(plain(made)).encode(), "r") == receipt()


# -- signatures ------------------------------------------------------------------------------------
def test_a_signature_is_of_this_receipt_and_key(tmp_path: Path) -> None:
    public = generate_key(tmp_path / "own.key")
    other = generate_key(tmp_path / "other.key")
    signed = receipt().signed(tmp_path / "own.key")
    signed.write(tmp_path / "receipt.json")
    found = read_receipt(tmp_path / "receipt.json")
    assert check_signature(found.digest, found.signature_of(), [public], kind="receipt") == public
    with pytest.raises(BundleError, match="signed by another key"):
        check_signature(found.digest, found.signature_of(), [other], kind="receipt")
    with pytest.raises(BundleError, match="does not belong to this receipt"):
        check_signature(receipt("no-go").digest, found.signature_of(), kind="receipt")
    with pytest.raises(BundleError, match="does not belong to this bundle"):
        check_signature(found.digest, found.signature_of(), kind="bundle")


# -- strangers' files ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no bbtvp.receipt/1 receipt"),
        (b"{}", "Field required"),
        (b"[" * 100_000, "no bbtvp.receipt/1 receipt"),
        (b'{"schema":"bbtvp.receipt/2"}', "a newer bbtvp wrote it, upgrade"),
        (b'{"schema":"bbtvp.prompt/1"}', "no bbtvp.receipt/1 receipt"),
        (b'{"\\ud800":1}', "no bbtvp.receipt/1 receipt"),
        (b'{"a\\u001b[2J":1}', "no bbtvp.receipt/1 receipt"),
        (b" " * (1 << 20) + b"{}", "over 1,048,576 bytes"),
    ],
)
def test_what_is_no_receipt_is_told_in_one_line(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        read_receipt(tmp_path / "r.json")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_receipt(path)


JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    10**7,
    10**30,
    1e308,
    -0.5,
    0.999999,
    1.0,
    math.nan,
    math.inf,
    "",
    "go",
    "\x1b[2Jx",
    "\ud800",
    "x" * 5000,
    "0" * 64,
    [],
    {},
    [[[[]]]],
    [1, 2],
    {"a": 1},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, held in items:
            yield from places(held, (*path, key))


def spoilt(draw: np.random.Generator) -> bytes:
    """A receipt with one to three values replaced, removed or doubled, and a digest that fits."""
    made = document(KINDS[draw.integers(len(KINDS))])
    for _ in range(draw.integers(1, 4)):
        every = list(places(made))
        path = every[draw.integers(len(every))]
        place = made
        for key in path[:-1]:
            place = place[key]
        match draw.integers(4):
            case 0:
                del place[path[-1]]
            case 1 if isinstance(place, list):
                place += place * 3
            case 2 if isinstance(place[path[-1]], int | float):
                place[path[-1]] = place[path[-1]] * float(draw.choice([0.5, 0.99, 1.01, 2]))
            case _:
                place[path[-1]] = JUNK[draw.integers(len(JUNK))]
    return resealed(made)


def flipped(draw: np.random.Generator) -> bytes:
    """A receipt with bytes changed, cut off or inserted."""
    data = bytearray(json.dumps(document()).encode())
    for _ in range(draw.integers(1, 6)):
        at = int(draw.integers(len(data)))
        data[at : at + int(draw.integers(0, 9))] = draw.bytes(int(draw.integers(0, 9)))
    return bytes(data)


@pytest.mark.parametrize("make", [spoilt, flipped])
def test_whatever_is_wrong_with_a_receipt_only_one_line_comes_out(make: Any) -> None:
    draw = stream(0, "receipts", make.__name__)
    read = 0
    told = set()
    for _ in range(2000):
        data = make(draw)
        try:
            found = parsed_receipt(data, "r.json")
            read += 1
            assert all(line.isprintable() for line in receipt_text(found).split("\n"))
            found.signature_of()
            recount(found)
        except BbtvpError as error:
            told.add(str(error))
    assert all(line.isprintable() and len(line) < 600 for line in told)
    assert read > (100 if make is spoilt else -1)
