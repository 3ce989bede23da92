from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks import Task, load

Write = Callable[[str], Path]


@pytest.fixture
def table(tmp_path: Path, image: Write) -> Callable[..., Path]:
    """Writes a table beside 20 images, img/0.png to img/19.png."""
    for i in range(20):
        image(f"img/{i}.png")

    def write(text: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def csv_of(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


def plain(n: int = 20) -> list[str]:
    return [f"img/{i}.png,{'yes' if i % 2 else 'no'}" for i in range(n)]


def ids(task: Task) -> dict[str, list[str]]:
    return {name: [sample.id for sample in samples] for name, samples in task.splits.items()}


def refused(path: Path, message: str, **options: Any) -> None:
    with pytest.raises((DataError, UsageError), match=message) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)


# Folders


def test_a_folder_by_class(pets: Path) -> None:
    task = load(str(pets))
    assert (task.name, task.labels, task.metric) == ("pets", ("cat", "dog"), "accuracy")
    assert task.ask(task.train[0]) == "what is in the image? answer with one of: cat, dog"
    assert [len(samples) for samples in task.splits.values()] == [15, 6, 9]
    assert Counter(sample.answer for sample in task.validation) == {"cat": 2, "dog": 4}
    one = task.test[0]
    assert one.id == f"{one.answer}/{Path(one.id).name}" and one.labels is None
    assert one.pixels().shape == (3, 4, 3)


def test_a_folder_elsewhere_gives_the_same_task(pets: Path, tmp_path: Path) -> None:
    first = load(pets)
    pets.rename(tmp_path / "moved")
    assert ids(load(tmp_path / "moved")) == ids(first)
    assert ids(load(tmp_path / "moved", seed=1)) != ids(first)


def test_options_of_a_folder(pets: Path) -> None:
    task = load(pets, question="cat or dog?", labels=["dog", "cat"], limit=3)
    assert (task.question, task.labels) == ("cat or dog?", ("dog", "cat"))
    assert [len(samples) for samples in task.splits.values()] == [3, 3, 3]
    assert ids(load(pets, limit=3))["test"] == ids(load(pets))["test"][:3]
    refused(pets, "a limit of 1 leaves nothing to compare", limit=1)
    refused(
        pets,
        r"sample 'cat/\d.png': unknown answer 'cat'; choose from: bird, dog",
        labels=["dog", "bird"],
    )


def test_other_files_and_hidden_ones_are_passed_over(pets: Path, image: Write) -> None:
    expected = load(pets).digest
    (pets / "README.txt").write_text("about")
    (pets / "cat" / "notes.txt").write_text("about")
    (pets / ".git").mkdir()
    image("pets/cat/.thumbnails/0.png")
    assert load(pets).digest == expected


def test_images_may_lie_deeper_and_labels_may_hold_braces(tmp_path: Path, image: Write) -> None:
    for i in range(10):
        image(f"f/{{x}}/deep/{i}.PNG")
        image(f"f/y/{i}.jpg")
    task = load(tmp_path / "f")
    assert task.ask(task.train[0]).endswith("one of: y, {x}")


def test_accents_are_composed_on_every_machine(tmp_path: Path, image: Write) -> None:
    for i in range(5):
        image(f"f/{unicodedata.normalize('NFD', 'café')}/{i}.png")
        image(f"f/bar/{i}.png")
    assert load(tmp_path / "f").labels == ("bar", "café")


def test_split_folders_fix_the_splits(tmp_path: Path, image: Write) -> None:
    for name, n in [("Train", 4), ("val", 2), ("test", 3)]:
        for i in range(n):
            image(f"f/{name}/a/{i}.png")
            image(f"f/{name}/b/{i}.png")
    task = load(tmp_path / "f", seed=5)
    assert [len(samples) for samples in task.splits.values()] == [8, 4, 6]
    assert all(sample.id.startswith("val/") for sample in task.validation)
    assert {name: set(part) for name, part in ids(load(tmp_path / "f")).items()} == {
        name: set(part) for name, part in ids(task).items()
    }


def test_validation_is_taken_from_train_where_it_is_not_stated(
    tmp_path: Path, image: Write
) -> None:
    for i in range(7):
        image(f"f/train/a/{i}.png")
        image(f"f/train/b/{i}.png")
        image(f"f/test/a/{i}.png")
    task = load(tmp_path / "f")
    assert [len(samples) for samples in task.splits.values()] == [10, 4, 7]
    assert all(sample.id.startswith("train/") for sample in task.validation)
    assert all(sample.id.startswith("test/") for sample in task.test)


def test_too_few_to_take_validation_from(tmp_path: Path, image: Write) -> None:
    for name in ("train/a", "test/a", "test/b"):
        image(f"f/{name}/0.png")
    refused(tmp_path / "f", "no validation images and too few in train")


def test_train_may_be_a_class_of_vehicles(tmp_path: Path, image: Write) -> None:
    for i in range(5):
        image(f"f/train/{i}.png")
        image(f"f/car/{i}.png")
    assert load(tmp_path / "f").labels == ("car", "train")


def test_bad_folders(tmp_path: Path, image: Write, pets: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(
        tmp_path / "empty",
        "empty has no class folders; put the images into one sub-folder per class",
    )
    image("flat/0.png")
    refused(tmp_path / "flat", "flat has no class folders")
    image("f/train/a/0.png")
    image("f/test/a/0.png")
    (tmp_path / "f" / "tests").mkdir()
    refused(tmp_path / "f", "f: unknown split 'tests'; did you mean test")
    (pets / "bird").mkdir()
    refused(pets, r"bird holds no images \(.bmp, .*\); add some or remove the folder")
    image("g/train/a/0.png")
    image("g/val/a/0.png")
    refused(tmp_path / "g", "states splits and has no test images")
    refused(tmp_path / "pet", "no such file or folder: .*pet; did you mean .*pets")
    refused(tmp_path / "no" / "such", "no such file or folder: .*; check the path")
    (tmp_path / "t.json").write_text("[]")
    refused(tmp_path / "t.json", r"t.json is no task; give a folder .* or a .csv or .jsonl file")


def test_a_file_name_that_is_not_unicode_is_named(tmp_path: Path, image: Write) -> None:
    try:
        image("f/a/\udcff.png")
    except OSError:
        pytest.skip("this file system only takes Unicode names")
    refused(tmp_path / "f", "not Unicode text; rename")


# Tables


def test_a_csv_with_labels_and_fields(table: Callable[..., Path]) -> None:
    rows = [f"img/{i}.png,{'yes' if i % 2 else 'no'},yes | no,dog {i}" for i in range(20)]
    task = load(table(csv_of("image,answer,labels,object", *rows)), question="is there a {object}?")
    assert (task.name, task.labels, task.metric) == ("t", ("yes", "no"), "accuracy")
    assert [len(samples) for samples in task.splits.values()] == [10, 4, 6]
    one = task.train[0]
    assert (
        one.fields.keys() == {"object"} and task.ask(one) == f"is there a {one.fields['object']}?"
    )
    assert one.id.startswith("img/") and "#" in one.id and one.pixels().shape == (3, 4, 3)


def test_free_answers_need_a_question(table: Callable[..., Path]) -> None:
    path = table(csv_of("image,answer", *plain()))
    refused(path, "t.csv has no question; give one, or add a column 'question'")
    task = load(path, question="what?")
    assert (task.labels, task.metric) == (None, "exact")
    assert task.train[0].id.startswith("img/") and "#" not in task.train[0].id
    assert load(path, labels=["yes", "no"]).question.endswith("answer with one of: yes, no")


def test_a_question_in_every_row(table: Callable[..., Path]) -> None:
    rows = [
        json.dumps({"image": "img/0.png", "answer": i, "question": f"how many {{{i}}}?"})
        for i in range(3)
    ]
    rows += [
        json.dumps({"image": f"img/{i}.png", "answer": 1, "question": f"how many? {i}"})
        for i in range(1, 20)
    ]
    task = load(table("\n".join(rows), "t.jsonl"))
    asked = {task.ask(sample) for samples in task.splits.values() for sample in samples}
    assert "how many {1}?" in asked and len(asked) == 22
    shared = [
        name
        for name, samples in task.splits.items()
        for sample in samples
        if sample.id.startswith("img/0.png")
    ]
    assert len(shared) == 3 and len(set(shared)) == 1, "questions about one image stay in one split"


def test_rows_with_their_own_options(table: Callable[..., Path]) -> None:
    rows = [
        {"image": f"img/{i}.png", "answer": f"a{i}", "labels": [f"a{i}", f"b{i}"], "id": f"row {i}"}
        for i in range(20)
    ]
    path = table("\n".join(map(json.dumps, rows)), "t.jsonl")
    task = load(path, question="which?")
    one = task.test[0]
    assert task.labels is None and task.metric == "accuracy"
    assert task.sample_labels(one) == (one.answer, one.answer.replace("a", "b"))
    assert one.id.startswith("row ") and not one.fields


def test_stated_splits_of_a_table(table: Callable[..., Path]) -> None:
    names = ["train", "VAL", "test", "validation"]
    path = table(
        csv_of("image,answer,split", *(f"{row},{names[i % 4]}" for i, row in enumerate(plain())))
    )
    task = load(path, question="?")
    assert [len(samples) for samples in task.splits.values()] == [5, 10, 5]
    assert "img/2.png" in ids(task)["test"]


@pytest.mark.parametrize(
    "encode", [lambda t: b"\xef\xbb\xbf" + t.encode(), lambda t: t.replace("\n", "\r\n").encode()]
)
def test_byte_order_mark_windows_lines_and_paths(
    table: Callable[..., Path], encode: Callable[[str], bytes]
) -> None:
    text = csv_of("image,answer", *plain())
    expected = load(table(text), question="?").digest
    assert load(table(encode(text)), question="?").digest == expected
    assert load(table(encode(text.replace("img/", ".\\img\\"))), question="?").digest == expected
    lines = "\n".join(
        json.dumps(dict(zip(("image", "answer"), row.split(","), strict=True))) for row in plain()
    )
    assert load(table(encode(lines + "\n\n"), "t.jsonl"), question="?").digest == expected


def test_quoted_cells_blank_lines_and_unicode(table: Callable[..., Path]) -> None:
    rows = [
        f'img/{i}.png,"a, b",the "quoted" one'.replace('the "quoted" one', '"two\nlines"')
        for i in range(20)
    ]
    task = load(
        table(csv_of(" image , answer,note", *rows[:10], "", ",,", *rows[10:])), question="{note}?"
    )
    assert task.ask(task.train[0]) == "two\nlines?" and task.train[0].answer == "a, b"
    line = json.dumps({"image": "img/0.png", "answer": "x\u2028y"}, ensure_ascii=False)
    rest = [json.dumps({"image": f"img/{i}.png", "answer": "z"}) for i in range(1, 20)]
    answers = {
        s.answer
        for part in load(table("\n".join([line, *rest]), "t.jsonl"), question="?").splits.values()
        for s in part
    }
    assert answers == {"x\u2028y", "z"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv has no rows"),
        ("image,answer\n", "t.csv has no rows"),
        (
            "image,anser\nimg/0.png,yes",
            r"line 1: no column 'answer' \(found: image, anser\); did you mean anser",
        ),
        (
            "file,answer\nimg/0.png,yes",
            r"line 1: no column 'image' \(found: file, answer\); add it",
        ),
        (
            "image;answer\nimg/0.png;yes",
            r"line 1: no column 'image' \(found: image;answer\); did you mean image;answer",
        ),
        (
            "image,answer,\nimg/0.png,yes,x",
            "line 1: column 3 is ''; give every column a name of its own",
        ),
        (
            "image,answer,x,x\nimg/0.png,yes,x,y",
            "line 1: column 4 is 'x'; give every column a name of its own",
        ),
        (
            "image,answer\nimg/0.png,yes\nimg/gone.png,no",
            r"line 3: no image .*gone.png; paths are relative",
        ),
        ("image,answer\nimg/0.png,yes\nimg,no", "line 3: no image"),
        (f"image,answer\n{'x' * 5000}.png,no", "line 2: no image"),
        (
            "image,answer\nimg/0.png,yes\n\nimg/0.png,no",
            r"line 4: repeats line 2 \(sample 'img/0.png'\)",
        ),
        ("image,answer\nimg/0.png,yes\nimg/../img//0.png,no", "line 3: repeats line 2"),
        ("image,answer\nimg/0.png,", "line 2: 'answer' is empty; fill it in"),
        ("image,answer\n,yes", "line 2: 'image' is empty"),
        (
            "image,answer\nimg/0.png,yes,no",
            "line 2: 3 cells, 2 columns; put cells with commas in quotes",
        ),
        ("image,answer\nimg/0.png", "line 2: 1 cells, 2 columns"),
        ('image,answer\nimg/0.png,"yes', "line 2: not CSV"),
        (
            "image,answer,split\nimg/0.png,yes,trian",
            "line 2: unknown split 'trian'; did you mean train",
        ),
        (
            "image,answer,split\nimg/0.png,yes,train\nimg/1.png,yes,",
            "line 3: no split, and other rows state one",
        ),
        (
            "image,answer,split\nimg/0.png,yes,test\nimg/1.png,yes,val",
            "states splits and has no train images",
        ),
        (
            "image,answer,split,k\nimg/0.png,yes,train,a\nimg/0.png,yes,test,b",
            "t.csv has no validation images",
        ),
        (b"image,answer\nimg/0.png,\xff", "t.csv line 2: not UTF-8; save the file as UTF-8"),
        ("image,answer\nimg/0.png,yes".encode("utf-16"), "t.csv line 1: not UTF-8"),
        ("image,answer\nimg/0.png,yes", "1 samples are too few"),
    ],
)
def test_bad_csv(table: Callable[..., Path], text: str | bytes, message: str) -> None:
    refused(table(text), message, question="?")


def line(**values: Any) -> str:
    return json.dumps({"image": "img/0.png", "answer": "yes"} | values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.jsonl has no rows"),
        (line() + "\n{'image': 1}", "t.jsonl line 2: not JSON .*; write one object per line"),
        ("[" * 100_000, "line 1: not JSON"),
        ("[1, 2]", "line 1: a list, not an object; write"),
        (
            '{"image": "img/0.png", "anser": "yes"}',
            "line 1: no column 'answer' .*; did you mean anser",
        ),
        (line(answer=None), "line 1: no column 'answer'"),
        (line(answer=" "), "line 1: 'answer' is empty"),
        (line(answer=True), "line 1: 'answer' is true; write a text or a number"),
        (line(box=[1, 2]), r"line 1: 'box' is \[1, 2\]; write a text or a number"),
        (line(labels="yes|no"), "line 1: 'labels' is \"yes|no\"; write a list such as"),
        (line(labels=[None, "no"]), "line 1: 'labels' is null; write a text"),
        (line(image="gone.png"), "line 1: no image"),
        (line() + "\n" + line(), "line 2: repeats line 1"),
        (
            line(id="a") + "\n" + line(id="a", image="img/1.png"),
            r"line 2: repeats line 1 \(sample 'a'\)",
        ),
        (line(split="dev"), "line 1: unknown split 'dev'"),
        ('{"image": "img/0.png", "answer": "\\ud800"}', "not Unicode text"),
        (b'{"image": "\xff"}', "t.jsonl line 1: not UTF-8"),
    ],
)
def test_bad_jsonl(table: Callable[..., Path], text: str | bytes, message: str) -> None:
    refused(table(text, "t.jsonl"), message.replace("|", r"\|"), question="?")


def test_one_image_in_two_stated_splits(table: Callable[..., Path]) -> None:
    rows = ["img/0.png,a,train,1", "img/1.png,a,val,1", "img/0.png,a,test,2"]
    refused(
        table(csv_of("image,answer,split,k", *rows)),
        r"overlap: .*0.png' is in train and in test",
        question="?",
    )


def test_an_answer_outside_the_labels_names_the_sample(table: Callable[..., Path]) -> None:
    path = table(
        csv_of(
            "image,answer,labels", *(f"{row},yes|no" for row in plain(19)), "img/19.png,yess,yes|no"
        )
    )
    refused(path, "sample 'img/19.png': unknown answer 'yess'; did you mean yes")
