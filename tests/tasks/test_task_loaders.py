from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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
    refused(pets, "bird holds no images; add some or remove the folder")
    image("g/train/a/0.png")
    image("g/val/a/0.png")
    refused(tmp_path / "g", "states splits and has no test images")
    refused(tmp_path / "pet", "no such file or folder: .*pet; did you mean .*pets")
    refused(tmp_path / "no" / "such", "no such file or folder: .*; check the path")
    (tmp_path / "t.xml").write_text("<a/>")
    refused(tmp_path / "t.xml", "t.xml is no task; give a folder .* or a table: .csv, .tsv, .jsonl")
    (tmp_path / "t.json").write_text("[]")
    refused(tmp_path / "t.json", "t.json is no task; write its samples one on each line, .*jsonl")


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
    path = table(csv_of("image,answer", *(f"img/{i}.png,sign {i}" for i in range(20))))
    refused(path, "t.csv has no question, and its answers are too many to be labels; give --quest")
    task = load(path, question="what?")
    assert (task.labels, task.metric) == (None, "exact")
    assert task.train[0].id.startswith("img/") and "#" not in task.train[0].id
    assert "20 distinct ones in 20 rows are too many for labels" in repr(task)


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
    assert task.labels is None and "'yes' has no row in train" in repr(task)


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
            "photo,answer\nimg/0.png,yes",
            r"line 1: no column 'image' \(found: photo, answer\); add it",
        ),
        (
            "image:answer\nimg/0.png:yes",
            r"line 1: no column 'image' \(found: image:answer\); did you mean image:answer",
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
        ("image,answer\nimg/0.png,yes".encode("utf-16-le"), "t.csv holds NUL characters"),
        ("Bild;Antwort\nimg/0.png;yes", r"no column 'image' \(found: Bild, Antwort\); add it"),
        ("image,answer\nhttps://x/0.png,yes", "line 2: the image 'https://x/0.png' is an address"),
        ("image,answer\nimg/0.png,yes".encode("utf-16")[:-1], "t.csv line 2: not UTF-16"),
        ("image,answer\nimg/0.png,schön".encode("cp1252"), "line 2: not UTF-8; .*CSV UTF-8"),
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
        (line(answer=None), "line 1: 'answer' is empty"),
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


# Labels of a table


def answers_of(*answers: object, header: str = "image,answer") -> str:
    return csv_of(header, *(f"img/{i}.png,{answer}" for i, answer in enumerate(answers)))


def test_few_answers_are_labels_and_give_a_question(table: Callable[..., Path]) -> None:
    task = load(table(answers_of(*("scratch", "dent", "none at all", "dent") * 5)))
    assert (task.labels, task.metric) == (("dent", "none at all", "scratch"), "accuracy")
    asked = "what is in the image? answer with one of: dent, none at all, scratch"
    assert task.ask(task.train[0]) == asked
    assert "labels are inferred from the 3 distinct answers (--labels none: free)" in repr(task)


def test_numbers_are_labels_in_their_order(table: Callable[..., Path]) -> None:
    task = load(table(answers_of(*(10, 9, 2, 10) * 5)), question="how many? {labels}")
    assert task.labels == ("2", "9", "10")
    assert task.question == "how many? 2, 9, 10"


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([f"a{i % 7}" for i in range(20)], "7 distinct ones in 20 rows are too many for labels"),
        (["yes"] * 20, "there is one answer, 'yes'"),
        (["yes"] * 10 + ["no"] * 9 + ["noo"], "'noo' occurs once, which may be a slip"),
        (["x" * 61] * 10 + ["y"] * 10, "some are longer than 60 characters"),
    ],
)
def test_answers_that_are_no_labels_are_free_and_it_is_said_why(
    answers: list[str], why: str, table: Callable[..., Path]
) -> None:
    task = load(table(answers_of(*answers)), question="what?")
    assert (task.labels, task.metric) == (None, "exact")
    assert why in repr(task)


@pytest.mark.parametrize("off", ["none", "None", (), ["none"], ""])
def test_labels_can_be_switched_off(off: Any, table: Callable[..., Path]) -> None:
    task = load(table(csv_of("image,answer", *plain())), question="what?", labels=off)
    assert (task.labels, task.metric) == (None, "exact")


def test_labels_may_be_numbers(table: Callable[..., Path]) -> None:
    assert load(table(answers_of(*(1, 2) * 10)), labels=[2, 1]).labels == ("2", "1")


@pytest.mark.parametrize("given", ["yes,no", "yes | no", ["yes", "no"], ("yes", "no")])
def test_labels_are_given_as_a_text_or_a_sequence(given: Any, table: Callable[..., Path]) -> None:
    task = load(table(csv_of("image,answer", *plain())), labels=given)
    assert task.labels == ("yes", "no")
    assert task.question.endswith("answer with one of: yes, no")


def test_one_label_is_refused(table: Callable[..., Path]) -> None:
    refused(table(csv_of("image,answer", *plain())), "one label, 'yes', leaves", labels="yes")


def test_answers_are_the_labels_that_they_read_like(table: Callable[..., Path]) -> None:
    task = load(
        table(answers_of(*("Cat", "cat", "\uff24\uff2f\uff27", "dog ") * 5)), labels="cat,dog"
    )
    assert {sample.answer for sample in task.train} == {"cat", "dog"}
    assert "10 answers are written otherwise than their label" in repr(task)


@pytest.mark.parametrize(("one", "two"), [("Cat", "cat"), ("\uff2f\uff2b", "OK"), ("a  b", "a b")])
def test_answers_that_read_the_same_are_refused(
    one: str, two: str, table: Callable[..., Path]
) -> None:
    path = table(answers_of(*(one, two, "other", one) * 5))
    refused(path, rf"t.csv: the answers '{one}' \(10 rows\) and '{two}' \(5 rows\) read the same")


def test_numbers_are_labels_by_their_value(table: Callable[..., Path]) -> None:
    path = table(answers_of(*("0.5", "1.0", "1", "0.5") * 5))
    refused(path, r"the answers '1.0' \(5 rows\) and '1' \(5 rows\) read the same")
    assert load(path, labels="0.5,1").labels == ("0.5", "1")


@pytest.mark.parametrize(("one", "two"), [("C++", "C#"), ("A+", "A-"), ("10⁵", "105")])
def test_signs_tell_labels_apart(one: str, two: str, table: Callable[..., Path]) -> None:
    assert set(load(table(answers_of(*(one, two) * 10))).labels or ()) == {one, two}


def test_labels_are_filled_into_every_kind_of_question(table: Callable[..., Path]) -> None:
    rows = [f"{row},is it so? {{labels}}" for row in plain()]
    task = load(table(csv_of("image,answer,question", *rows)))
    assert task.ask(task.train[0]) == "is it so? no, yes"
    options = [f"img/{i}.png,{i},{i}|{i + 1}" for i in range(20)]
    own = load(table(csv_of("image,answer,labels", *options)))
    one = own.train[0]
    assert own.ask(one).endswith(f"answer with one of: {one.answer}, {int(one.answer) + 1}")
    assert own.metric == "accuracy"


# Tables as people have them


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(separator: str, table: Callable[..., Path]) -> None:
    expected = load(table(csv_of("image,answer,note", *(f"{row},x" for row in plain())))).digest
    text = csv_of("image,answer,note", *(f"{row},x" for row in plain())).replace(",", separator)
    task = load(table(text))
    assert task.digest == expected
    assert (separator == ",") == ("separated by" not in repr(task))


def test_a_comma_in_a_cell_does_not_make_the_separator(table: Callable[..., Path]) -> None:
    rows = [f'img/{i}.png;"a, {"b;c"[i % 2 :]}"' for i in range(20)]
    assert load(table(csv_of("image;answer", *rows))).labels == ("a, ;c", "a, b;c")


def test_the_line_that_excel_reads_for_the_separator(table: Callable[..., Path]) -> None:
    text = "sep=;\r\n" + csv_of("Image;Label", *plain()).replace(",", ";")
    assert load(table(text)).labels == ("no", "yes")
    refused(table("sep=;\nimage;answer\nimg/0.png;yes;x"), "line 3: 3 cells, 2 columns")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_marks_of_the_encoding(encoding: str, table: Callable[..., Path]) -> None:
    text = answers_of(*("schön", "übel") * 10, header="image\tanswer").replace(",", "\t")
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    assert load(table((mark + text).encode(encoding), "t.tsv")).labels == ("schön", "übel")


@pytest.mark.parametrize(
    "header",
    [
        *("Image,Answer", "IMAGE,ANSWER", "path,label", "File Name,Class", "filename,target"),
        *("image_path,label", "file,category", "image-file,Ground Truth"),
    ],
)
def test_columns_by_their_usual_names(header: str, table: Callable[..., Path]) -> None:
    expected = load(table(csv_of("image,answer", *plain()))).digest
    task = load(table(csv_of(header, *plain())))
    assert task.digest == expected
    assert f"{header.split(',')[0]!r} as image" in repr(task)


def test_the_plain_names_go_first(table: Callable[..., Path]) -> None:
    rows = [f"{row},L{i % 2},img/0.png" for i, row in enumerate(plain())]
    task = load(table(csv_of("image,answer,label,file", *rows)))
    assert task.labels == ("no", "yes")
    assert task.train[0].fields.keys() == {"label", "file"}


@pytest.mark.parametrize("name", ["prompt", "Question", "text"])
def test_questions_by_their_usual_names(name: str, table: Callable[..., Path]) -> None:
    rows = [f"{row},is it {i}?" for i, row in enumerate(plain())]
    task = load(table(csv_of(f"image,answer,{name}", *rows)))
    assert task.question == f"{{{name}}}"
    assert f"questions are read from {name!r}" in repr(task)


def test_questions_that_are_not_in_every_row_are_not_used(table: Callable[..., Path]) -> None:
    rows = [f"{row},{'ok?' if i else ''}" for i, row in enumerate(plain())]
    task = load(table(csv_of("image,answer,question", *rows)))
    assert task.question == "what is in the image? answer with one of: no, yes"
    assert "the column 'question' is not read: 1 rows have none, line 2 first" in repr(task)


def test_a_text_that_asks_nothing_is_no_question(table: Callable[..., Path]) -> None:
    task = load(table(csv_of("image,answer,text", *(f"{row},a sign" for row in plain()))))
    assert task.question == "what is in the image? answer with one of: no, yes"


def test_the_index_that_pandas_writes_is_not_read(table: Callable[..., Path]) -> None:
    rows = [f"{i},{row}" for i, row in enumerate(plain())]
    task = load(table(csv_of(",image,answer", *rows)))
    assert task.digest == load(table(csv_of("image,answer", *plain()))).digest
    assert "columns without a name are not read: 1" in repr(task)


def test_a_workbook_is_refused_with_what_to_do(table: Callable[..., Path]) -> None:
    refused(table(b"PK", "t.xlsx"), "t.xlsx is a workbook; save its sheet as CSV UTF-8")


def test_groups_stay_in_one_split(table: Callable[..., Path]) -> None:
    rows = [f"{row},patient {i // 4}" for i, row in enumerate(plain())]
    task = load(table(csv_of("image,answer,group", *rows)), question="ill? {group}")
    homes = {name: {sample.group for sample in samples} for name, samples in task.splits.items()}
    assert sum(map(len, homes.values())) == len(set().union(*homes.values())) == 5


# Missing values and numbers


@pytest.mark.parametrize("answer", ["NaN", "nan", "#N/A", "<NA>", "#REF!", "NaT"])
def test_a_missing_answer_is_named_with_its_line(answer: str, table: Callable[..., Path]) -> None:
    path = table(answers_of(*(["yes", "no"] * 9), answer, "yes"))
    refused(path, f"t.csv line 20: the answer is '{answer}', a missing value; fill it in")


@pytest.mark.parametrize("answer", ["None", "NA", "n/a", "null"])
def test_none_may_be_a_label_but_is_no_number(answer: str, table: Callable[..., Path]) -> None:
    task = load(table(answers_of(*("scratch", answer) * 10)))
    assert set(task.labels or ()) == {"scratch", answer}
    said = f"the answer {answer!r} (10 rows) is read as a text, not as a missing value"
    assert said in repr(task)
    refused(table(answers_of(*(1, 2) * 9, answer)), f"line 20: the answer is {answer!r}, a missing")


def test_a_label_that_is_given_is_not_missing(table: Callable[..., Path]) -> None:
    task = load(table(answers_of(*("NaN", "Inf") * 10)), labels="NaN,Inf")
    assert task.labels == ("NaN", "Inf")


@pytest.mark.parametrize("value", ["NaN", "null", '""'])
def test_a_missing_answer_in_json(value: str, table: Callable[..., Path]) -> None:
    rows = [line(image=f"img/{i}.png") for i in range(5)]
    rows[2] = f'{{"image": "img/2.png", "answer": {value}}}'
    refused(table("\n".join(rows), "t.jsonl"), "line 3: 'answer' is empty; fill it in")


def test_whole_numbers_that_pandas_made_floats(table: Callable[..., Path]) -> None:
    task = load(table(answers_of(*("3.0", "0.0", "12.0", "-1.0") * 5)))
    assert task.labels == ("-1", "0", "3", "12")
    assert '"3.0" is read as "3"' in repr(task)
    rows = [
        line(image=f"img/{i}.png", answer=float(i % 3), labels=[0.0, 1.0, 2.0]) for i in range(20)
    ]
    assert load(table("\n".join(rows), "t.jsonl")).labels == ("0", "1", "2")
    mixed = load(table(answers_of(*("3.0", "2.5") * 10)))
    assert mixed.labels == ("2.5", "3.0")


def test_every_line_that_cannot_be_used_is_named_at_once(table: Callable[..., Path]) -> None:
    rows = [f"img/{i if i % 3 else f'gone{i}'}.png,{'yes' if i != 4 else ''}" for i in range(20)]
    with pytest.raises(DataError) as caught:
        load(table(csv_of("image,answer", *rows)))
    said = str(caught.value)
    assert "8 lines cannot be used: line 2: no image" in said
    assert "line 6: 'answer' is empty" in said
    assert said.endswith("likewise lines 14, 17, 20") and "\n" not in said


# Files of a folder


@pytest.mark.parametrize("suffix", ["avif", "jfif", "webp", "tif", "bmp", "jp2", "PNG"])
def test_what_pillow_decodes_is_taken(suffix: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "f" / name).mkdir(parents=True)
        for i in range(5):
            kind = "JPEG" if suffix == "jfif" else None
            picture = Image.new("RGB", (16, 16), (i, 0, 0))
            picture.save(tmp_path / "f" / name / f"{i}.{suffix}", kind)
    assert sum(map(len, load(tmp_path / "f").splits.values())) == 10


def test_files_that_are_passed_over_are_counted_by_kind(pets: Path, image: Write) -> None:
    litter = ["cat/Thumbs.db", "dog/Thumbs.db", "dog/.DS_Store", "cat/._0.png", "cat/a.heic"]
    litter += ["cat/b.heic", "cat/b/c.HEIC", "dog/0", "README.md", "cat/.x.png"]
    for name in litter:
        (pets / name).parent.mkdir(exist_ok=True)
        (pets / name).write_bytes(b"x")
    (pets / "cat" / "link.png").symlink_to(pets / "nowhere.png")
    (pets / "cat" / "more").symlink_to(pets / "dog")
    for name in ("pets/loose.png", "pets/__MACOSX/cat/0.png", "pets/cat/@eaDir/0.png"):
        image(name)
    task = load(pets)
    assert sum(map(len, task.splits.values())) == 30
    assert task.loading is not None
    (said,) = task.loading.lines()
    for part in (
        "passed over: 3 .heic (cat/a.heic, b/c.HEIC, cat/b.heic)",
        *("2 Thumbs.db", "1 .DS_Store", "1 ._ file of macOS", "1 hidden file", "1 .md"),
        *("1 file without a suffix (dog/0)", "1 in no class folder (pets/loose.png)"),
        *("1 broken link (cat/link.png)", "1 link to a folder (cat/more)"),
        *("1 folder __MACOSX", "1 folder @eaDir"),
    ):
        assert part in said, part


def test_a_folder_of_nothing_but_what_is_passed_over_says_so(pets: Path) -> None:
    (pets / "bird").mkdir()
    (pets / "bird" / "1.heic").write_bytes(b"x")
    refused(pets, r"bird holds no images \(passed over: 1 .heic \(bird/1.heic\)\); add some")
