"""What holds for every data set of the field, and what each has of its own."""

from __future__ import annotations

import gc
import re
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bbtvp.tasks.task
from bbtvp.core import plugins
from bbtvp.core.errors import DataError, UsageError
from bbtvp.prompt import preset
from bbtvp.tasks import Task
from bbtvp.tasks.formats import cifar, clevr, digits, folders, memes, pope, scienceqa
from bbtvp.tasks.registry import load_task
from tests.tasks.formats import writers
from tests.tasks.formats.writers import ALL, Published

every = pytest.mark.parametrize("name", ALL)


def written(name: str, tmp_path: Path) -> str:
    """The spec of a small copy, without the entry point's name."""
    root = tmp_path / "d"
    if not root.exists():
        root.mkdir()
        ALL[name].write(root)
    return f"{root}{ALL[name].options}"


def loaded(name: str, tmp_path: Path, **options: Any) -> Task:
    return ALL[name].load(written(name, tmp_path), **options)


def refused(load: Any, spec: object, message: str, **options: Any) -> None:
    with pytest.raises((DataError, UsageError), match=message) as caught:
        load(str(spec), **options)
    assert "\n" not in str(caught.value)


# -- all of them -----------------------------------------------------------------------------------
@every
def test_splits_ids_and_digest(name: str, tmp_path: Path) -> None:
    task = loaded(name, tmp_path)
    assert tuple(map(len, task.splits.values())) == ALL[name].sizes
    ids = [sample.id for samples in task.splits.values() for sample in samples]
    assert len(set(ids)) == len(ids)
    assert task.metric == "accuracy" and task.name.startswith(
        "d" if name == "imagefolder" else name
    )
    again = loaded(name, tmp_path)
    assert again.digest == task.digest
    assert [[s.id for s in part] for part in again.splits.values()] == [
        [s.id for s in part] for part in task.splits.values()
    ]
    other = loaded(name, tmp_path, seed=1)
    assert [s.id for s in other.test] != [
        s.id for s in task.test
    ]  # the order, at least: what a limit keeps


@every
def test_a_copy_elsewhere_is_the_same_task(name: str, tmp_path: Path) -> None:
    task = loaded(name, tmp_path)
    shutil.move(tmp_path / "d", tmp_path / "elsewhere" / "d")
    assert ALL[name].load(written(name, tmp_path / "elsewhere")).digest == task.digest


@every
def test_every_image_can_be_shown(name: str, tmp_path: Path) -> None:
    task = loaded(name, tmp_path)
    prompt = preset("default", 56)
    for sample in task.test[:3]:
        assert sample.pixels().ndim == 3 and not sample.pixels().flags.writeable
        assert prompt.prompt(np.zeros(prompt.dim)).render(sample.pixels()).shape == (56, 56, 3)
        assert len(task.ask(sample)) > 10


@every
def test_nothing_is_decoded_when_it_is_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = written(name, tmp_path)
    monkeypatch.setattr(
        bbtvp.tasks.task, "open_image", lambda path: pytest.fail(f"{path} was decoded")
    )
    ALL[name].load(spec)


@every
def test_a_missing_file_is_named_and_where_to_get_it(name: str, tmp_path: Path) -> None:
    spec = written(name, tmp_path)
    needed = tmp_path / "d" / ALL[name].needs
    shutil.rmtree(needed) if needed.is_dir() else needed.unlink()
    refused(
        ALL[name].load,
        spec,
        rf"lacks .*{re.escape(needed.name)}.*; get |no images in train, or in nothing else",
    )
    refused(ALL[name].load, tmp_path / "gone", "no such folder: .*gone; check the path")


@every
def test_a_limit_keeps_the_first_of_each_split(name: str, tmp_path: Path) -> None:
    if name in ("cifar100", "cifar100-coarse"):
        refused(
            ALL[name].load,
            written(name, tmp_path),
            "has no images in train; .*raise the limit",
            limit=4,
        )
    limit = (
        max(2, *(len(loaded(name, tmp_path).labels or ()), 8)) if "cifar100" not in name else 200
    )
    whole = loaded(name, tmp_path)
    part = loaded(name, tmp_path, limit=limit)
    for split, samples in part.splits.items():
        assert [s.id for s in samples] == [s.id for s in whole.splits[split]][:limit]
    refused(
        ALL[name].load, written(name, tmp_path), "a limit of 1 leaves nothing to compare", limit=1
    )


@every
def test_other_words_for_the_same_classes(name: str, tmp_path: Path) -> None:
    task = loaded(name, tmp_path)
    if task.labels is None:
        refused(
            ALL[name].load,
            written(name, tmp_path),
            "options of its own; leave labels out",
            labels="a|b",
        )
        return
    named = [f"class {{{number}}}" for number in range(len(task.labels))]
    other = loaded(name, tmp_path, labels=named, question="which of {labels}?")
    assert other.labels == tuple(named)
    assert other.ask(other.test[0]) == f"which of {', '.join(named)}?"
    for one, two in zip(task.test, other.test, strict=True):
        assert one.id == two.id and named[task.labels.index(one.answer)] == two.answer
    refused(
        ALL[name].load,
        written(name, tmp_path),
        "3 labels for the .*name all of them",
        labels="a|b|c",
    )


@every
def test_options_in_the_spec(name: str, tmp_path: Path) -> None:
    spec = written(name, tmp_path)
    join = "&" if "?" in spec else "?"
    by_spec = ALL[name].load(f"{spec}{join}limit=200&seed=3&question=what+is+it%3F")
    assert by_spec.digest == ALL[name].load(spec, limit=200, seed=3, question="what is it?").digest
    assert (
        by_spec.digest
        == ALL[name].load(f"{spec}{join}limit=200&seed=4&question=what+is+it%3F", seed=3).digest
    )
    refused(ALL[name].load, f"{spec}{join}sed=3", "unknown option of .* 'sed'; did you mean .*seed")
    refused(
        ALL[name].load, f"{spec}{join}limit=few", "the option limit is 'few'; give a whole number"
    )
    refused(ALL[name].load, f"{spec}{join}limit", "no option; write FOLDER.option=value")


def test_a_spec_reaches_its_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the entry points of an installation do."""
    points = [
        EntryPoint(name, f"{module}:{attribute}", "bbtvp.datasets")
        for name, module, attribute in (
            ("cifar10", "bbtvp.tasks.formats.cifar", "cifar10"),
            ("hateful-memes", "bbtvp.tasks.formats.memes", "hateful_memes"),
            ("pope", "bbtvp.tasks.formats.pope", "pope"),
        )
    ]
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [point for point in points if point.group == group]
    )
    for name in ("hateful-memes", "cifar10", "pope"):
        spec = written(name, tmp_path / name) if (tmp_path / name).mkdir() is None else ""
        assert load_task(f"{name}:{spec}").digest == loaded(name, tmp_path / name).digest
    hateful = load_task(f"hateful-memes:{tmp_path / 'hateful-memes/d'}", question=None, limit=None)
    assert hateful.question.endswith("Is it hateful?")


def test_a_folder_with_a_question_mark_in_its_name(tmp_path: Path) -> None:
    root = tmp_path / "what?seed=7"
    root.mkdir()
    writers.cifar10(root)
    assert cifar.cifar10(str(root)).digest == cifar.cifar10(f"{root}?seed=0").digest


# -- images in memory ------------------------------------------------------------------------------
def test_cifar_reads_planes_as_pixels(tmp_path: Path) -> None:
    task = loaded("cifar10", tmp_path)
    assert task.question == "This is a photo of a" and list(task.labels or ()) == writers.NAMES10
    data = np.fromfile(tmp_path / "d" / "test_batch.bin", np.uint8).reshape(20, 3073)
    for sample in task.test:
        record = data[int(sample.id.rpartition("/")[2])]
        assert sample.answer == writers.NAMES10[record[0]]
        assert np.array_equal(sample.pixels()[4, 9], record[1:].reshape(3, 32, 32)[:, 4, 9])


def test_both_levels_of_cifar100(tmp_path: Path) -> None:
    fine = loaded("cifar100", tmp_path)
    coarse = cifar.cifar100(f"{tmp_path / 'd'}?level=coarse")
    answers = {sample.id: sample.answer for sample in coarse.test}
    assert (len(fine.labels or ()), len(coarse.labels or ())) == (100, 20)
    for sample in fine.test:
        assert answers[sample.id] == f"coarse {int(sample.answer.removeprefix('fine ')) // 5}"
    refused(
        cifar.cifar100,
        f"{tmp_path / 'd'}?level=middle",
        "unknown level 'middle'; choose from: coarse, fine",
    )


def test_images_are_views_of_what_was_read(tmp_path: Path) -> None:
    """The bytes of the files are held once, and beside them no more than the samples."""
    records = np.zeros((1500, 3073), np.uint8)
    records[:, 0] = np.arange(1500) % 10
    for stem in (*cifar.TRAIN, "test_batch"):
        records.tofile(tmp_path / f"{stem}.bin")
    (tmp_path / "batches.meta.txt").write_text("\n".join(writers.NAMES10))
    gc.collect()
    tracemalloc.start()
    try:
        task = cifar.cifar10(str(tmp_path))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = 6 * records.nbytes
    assert size < held < 1.35 * size and peak < 1.45 * size
    owners = {id(_owner(sample.image)) for samples in task.splits.values() for sample in samples}
    assert len(owners) == 6


def _owner(array: Any) -> Any:
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def test_severities_and_corruptions(tmp_path: Path) -> None:
    task = loaded("cifar10c", tmp_path)
    assert task.name == "cifar10c-fog-2" and {s.pixels()[0, 0, 0] for s in task.test} == {2}
    root = tmp_path / "d"
    for corruption, severity in (("gaussian_noise", 5), ("fog", 1)):
        other = cifar.cifar10c(f"{root}?corruption={corruption}", severity=severity)
        assert {s.pixels()[0, 0, 0] for s in other.test} == {severity}
        assert [s.id for s in other.test] == [
            s.id for s in task.test
        ]  # the same images are held out
    assert cifar.cifar10c(str(root)).name == "cifar10c-gaussian_noise-3"
    clean = tmp_path / "clean"
    clean.mkdir()
    writers.cifar10(clean)
    trained = cifar.cifar10c(f"{root}?corruption=fog&train={clean}")
    assert tuple(map(len, trained.splits.values())) == (71, 29, 40)
    assert [s.id for s in trained.train] == [s.id for s in cifar.cifar10(str(clean)).train]
    refused(
        cifar.cifar10c, f"{root}?corruption=frog", "unknown corruption 'frog'; did you mean fog"
    )
    refused(cifar.cifar10c, f"{root}?severity=6", "no severity 6; give 1 to 5")


def test_a_pickle_is_refused_and_not_opened(tmp_path: Path) -> None:
    trap = b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    for root, name, load in (
        ("cifar-10-batches-py", "data_batch_1", cifar.cifar10),
        ("cifar-100-python", "train", cifar.cifar100),
    ):
        (tmp_path / root).mkdir()
        (tmp_path / root / name).write_bytes(trap)
        for place in (tmp_path, tmp_path / root):
            refused(
                load,
                place,
                "a pickle, which can run code: it is not opened; get the binary version, "
                "cifar-100?-bin",
            )
    writers.cifar10c(tmp_path)
    objects = np.array([{}, {}], dtype=object)
    np.save(tmp_path / "fog.npy", objects, allow_pickle=True)
    refused(cifar.cifar10c, f"{tmp_path}?corruption=fog", "fog.npy: no whole .npy array")
    assert not (tmp_path / "ran").exists()


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "truncated":
        del data[-7:]
    elif how == "empty":
        data.clear()
    elif how == "label":
        data[0] = 10
    elif how == "magic":
        data[:4] = b"\x00\x00\x0d\x03"
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("name", "file", "how", "message"),
    [
        (
            "cifar10",
            "data_batch_2.bin",
            "truncated",
            "data_batch_2.bin holds 61453 bytes, no whole records of 3073",
        ),
        ("cifar10", "test_batch.bin", "empty", "test_batch.bin holds 0 bytes"),
        (
            "cifar10",
            "test_batch.bin",
            "label",
            "test_batch.bin: record 0 has the label 10, and there are 10 classes",
        ),
        ("cifar10", "batches.meta.txt", "empty", "batches.meta.txt holds 0 class names"),
        ("cifar100", "train.bin", "truncated", "train.bin holds .* no whole records of 3074"),
        ("cifar10c", "fog.npy", "truncated", "fog.npy: no whole .npy array"),
        ("cifar10c", "fog.npy", "magic", "fog.npy: no whole .npy array"),
        ("cifar10c", "labels.npy", "empty", "labels.npy: no whole .npy array"),
        (
            "mnist",
            "train-images-idx3-ubyte.gz",
            "truncated",
            "train-images-idx3-ubyte.gz cannot be read",
        ),
        (
            "mnist",
            "t10k-labels-idx1-ubyte",
            "truncated",
            r"holds 13 values, and says \[20\]: truncated",
        ),
        (
            "mnist",
            "t10k-labels-idx1-ubyte",
            "magic",
            "begins with 00000d03, not 00000801: no IDX file",
        ),
        ("mnist", "t10k-labels-idx1-ubyte", "empty", "begins with , not 00000801"),
        ("svhn", "train_32x32.mat", "truncated", "train_32x32.mat: no whole MATLAB file"),
        ("svhn", "train_32x32.mat", "empty", "train_32x32.mat: no whole MATLAB file"),
        (
            "clevr",
            "scenes/CLEVR_val_scenes.json",
            "truncated",
            "no JSON object with a whole list 'scenes'",
        ),
        (
            "clevr-questions",
            "questions/CLEVR_val_questions.json",
            "empty",
            "no JSON object with a whole list",
        ),
        (
            "pope",
            "coco_pope_popular.json",
            "truncated",
            "coco_pope_popular.json line 120: not JSON",
        ),
        ("pope", "coco_pope_popular.json", "empty", "coco_pope_popular.json is empty"),
        ("hateful-memes", "train.jsonl", "truncated", "train.jsonl line 20: not JSON"),
        ("hateful-memes", "train.jsonl", "empty", "the train split is empty"),
        ("scienceqa", "problems.json", "truncated", "problems.json: not JSON"),
    ],
)
def test_damaged_files(name: str, file: str, how: str, message: str, tmp_path: Path) -> None:
    spec = written(name, tmp_path)
    damage(tmp_path / "d" / file, how)
    refused(ALL[name].load, spec, message)


def test_any_damage_is_a_data_error(tmp_path: Path) -> None:
    """Bytes changed at random: either it still loads or a DataError names the file."""
    rng = np.random.default_rng(0)
    refusals: Counter[str] = Counter()
    for name, file in (
        ("svhn", "test_32x32.mat"),
        ("mnist", "t10k-images-idx3-ubyte.gz"),
        ("cifar10c", "fog.npy"),
    ):
        (tmp_path / name).mkdir()
        spec = written(name, tmp_path / name)
        path = tmp_path / name / "d" / file
        whole = path.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            for at in rng.integers(0, 200, 4):
                data[at] = rng.integers(256)
            path.write_bytes(bytes(data))
            error = failure(ALL[name].load, spec)
            assert error is None or file in error
            refusals[name] += error is not None
    assert min(refusals[name] for name in ("svhn", "mnist", "cifar10c")) > 10


def failure(load: Callable[..., Task], spec: str) -> str | None:
    try:
        load(spec)
    except DataError as error:
        return str(error)
    return None


def test_mnist_is_grey_and_fashion_mnist_is_named(tmp_path: Path) -> None:
    task = loaded("mnist", tmp_path)
    image = task.test[0].pixels()
    assert image.shape == (28, 28, 3) and (image == image[..., :1]).all()
    assert image.strides[2] == 0  # one byte, seen three times
    fashion = "T-shirt|trouser|pullover|dress|coat|sandal|shirt|sneaker|bag|boot"
    assert digits.mnist(f"{tmp_path / 'd'}?labels={fashion}").labels == tuple(fashion.split("|"))
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for path in (tmp_path / "d").iterdir():
        path.rename(tmp_path / "MNIST/raw" / path.name.replace("-idx", ".idx"))
    assert digits.mnist(str(tmp_path)).digest == task.digest


def test_label_ten_of_svhn_is_zero(tmp_path: Path) -> None:
    task = loaded("svhn", tmp_path)
    whole = writers.pixels(32, 32, 3, 20)
    for sample in task.test:
        number = int(sample.id.rpartition("/")[2])
        assert sample.answer == str((number % 10 + 1) % 10)
        assert np.array_equal(sample.pixels(), whole[..., number])


def test_other_mat_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "digitStruct.mat").touch()
    refused(
        digits.svhn,
        tmp_path,
        r"lacks train_32x32.mat; get the cropped digits.*full numbers \(format 1.*not read",
    )
    head = b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM"
    (tmp_path / "train_32x32.mat").write_bytes(head + b"\x89HDF\r\n\x1a\n" + bytes(600))
    refused(digits.svhn, tmp_path, "train_32x32.mat is a MATLAB 7.3 file")
    writers.savemat(tmp_path / "train_32x32.mat", {"Z": np.zeros(3)})
    refused(digits.svhn, tmp_path, "train_32x32.mat has no X of")
    writers.savemat(
        tmp_path / "train_32x32.mat", {"X": writers.pixels(32, 32, 3, 2), "y": np.array([[0], [3]])}
    )
    refused(digits.svhn, tmp_path, "labels from 0 to 3, not 1 to 10")
    writers.savemat(
        tmp_path / "train_32x32.mat", {"X": writers.pixels(32, 32, 3, 2), "y": np.array([[1]])}
    )
    refused(digits.svhn, tmp_path, "1 labels for 2 images")


# -- folders ---------------------------------------------------------------------------------------
def test_imagenette_has_names_for_wordnet_ids(tmp_path: Path) -> None:
    task = loaded("imagenette", tmp_path)
    assert task.labels == tuple(folders.IMAGENETTE_NAMES.values())
    for sample in task.test:
        assert (
            sample.id.startswith("val/")
            and folders.IMAGENETTE_NAMES[sample.id.split("/")[1]] == sample.answer
        )
    (tmp_path / "d").rename(tmp_path / "imagenette2-320")
    assert folders.imagenette(str(tmp_path)).digest == task.digest
    writers.picture(tmp_path / "imagenette2-320" / "train" / "n02086240" / "dog.JPEG")
    refused(folders.imagenette, tmp_path, "a class folder 'n02086240', unknown in imagenette")


def test_any_imagefolder(tmp_path: Path) -> None:
    task = loaded("imagefolder", tmp_path)
    assert task.name == "d" and task.labels == ("cat", "dog")
    assert task.ask(task.test[0]) == "what is in the image? answer with one of: cat, dog"
    for number in range(4):
        for name in ("cat", "dog"):
            writers.picture(tmp_path / "d" / "test" / name / f"{number}.png")
    three = folders.imagefolder(str(tmp_path / "d"))
    assert tuple(map(len, three.splits.values())) == (12, 6, 8)
    assert {s.id.split("/")[0] for s in three.validation} == {"val"}
    one = folders.imagefolder(str(tmp_path / "d" / "train"))
    assert tuple(map(len, one.splits.values())) == (6, 2, 4)


def test_eurosat_in_coops_words(tmp_path: Path) -> None:
    task = loaded("eurosat", tmp_path)
    assert "annual crop land" in task.ask(task.test[0])
    (tmp_path / "EuroSAT").mkdir()
    (tmp_path / "d").rename(tmp_path / "EuroSAT" / "2750")
    assert folders.eurosat(str(tmp_path)).digest == task.digest


# -- questions -------------------------------------------------------------------------------------
def test_clevr_counts_what_its_scenes_hold(tmp_path: Path) -> None:
    task = loaded("clevr", tmp_path)
    assert task.labels == tuple(map(str, range(3, 11)))
    for sample in (*task.train, *task.test):
        number = int(sample.id.removesuffix(".png").rpartition("_")[2])
        assert sample.answer == str(3 + number % 8)
        assert sample.fields["caption"].startswith(
            f"{sample.answer} objects: small red metal cube, small"
        )
    assert {s.id.split("/")[0] for s in task.test} == {"val"}


def test_clevr_asks_its_own_questions(tmp_path: Path) -> None:
    task = loaded("clevr-questions", tmp_path)
    assert task.labels is None
    for sample in task.test:
        wanted = ("yes", "no") if "Is there" in task.ask(sample) else tuple(map(str, range(11)))
        assert task.sample_labels(sample) == wanted
    assert not {s.image for s in task.train} & {s.image for s in task.validation}
    refused(clevr.clevr, f"{tmp_path / 'd'}?ask=colors", "unknown ask 'colors'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no JSON object with a whole list 'scenes'"),
        ('{"info": {}}', "no JSON object with a whole list 'scenes'"),
        ('{"scenes": [3]}', r"scenes\[0\] is int, not an object"),
        ('{"scenes": []}', "is an empty list"),
        ('{"scenes": [{"objects": []}]}', r"scenes\[0\]: 'image_filename' is missing, not a text"),
        (
            '{"scenes": [{"image_filename": "x.png", "objects": 3}]}',
            r"scenes\[0\]: 'objects' is 3, not a list",
        ),
        (
            '{"scenes": [{"image_filename": "x.png", "objects": [{}]}]}',
            r"scenes\[0\]: an object .* lacks 'size'",
        ),
        (
            '{"scenes": [{"image_filename": "x.png", "objects": []}]}',
            r"scenes\[0\]: no image .*train.x.png",
        ),
        ('{"scenes": [{"image_filename": "../val/x.png", "objects": []}]}', "lies outside"),
        ("[" * 100_000, "no JSON object with a whole list"),
        ('{"info": ' + "[" * 100_000, "no JSON object with a whole list"),
    ],
)
def test_scenes_that_are_none(content: str, message: str, tmp_path: Path) -> None:
    spec = written("clevr", tmp_path)
    (tmp_path / "d/scenes/CLEVR_train_scenes.json").write_text(content)
    refused(clevr.clevr, spec, message)


def test_pope_splits_images_the_same_way_under_all_samplings(tmp_path: Path) -> None:
    root = written("pope", tmp_path).partition("?")[0]
    tasks = [pope.pope(root, sampling=sampling) for sampling in pope.SAMPLINGS]
    assert [task.name for task in tasks] == ["pope-random", "pope-popular", "pope-adversarial"]
    for task in tasks:
        assert Counter(s.answer for s in task.test) == {"yes": 18, "no": 18}
        for split, samples in task.splits.items():
            assert {s.image for s in samples} == {s.image for s in tasks[0].splits[split]}
    assert pope.pope(root).digest == tasks[0].digest
    sample = next(s for s in tasks[2].train if s.answer == "no")
    assert tasks[2].ask(sample) == "Is there a fork in the image?"
    assert sample.fields["object"] == "fork"
    assert sample.fields["caption"].startswith("this is a photo of dining table")
    own = pope.pope(root, question="do you see a {object}?", sampling="adversarial")
    assert own.ask(own.train[0]).startswith("do you see a ")
    refused(
        pope.pope,
        f"{root}?sampling=adverse",
        "unknown sampling 'adverse'; did you mean adversarial",
    )


def test_pope_with_its_images_elsewhere(tmp_path: Path) -> None:
    root = Path(written("pope", tmp_path).partition("?")[0])
    before = pope.pope(str(root)).digest
    (root / "val2014").rename(tmp_path / "coco")
    refused(
        pope.pope, root, "line 1: no image .*COCO_val2014_000000000000.jpg; unpack all images there"
    )
    assert pope.pope(f"{root}?images={tmp_path / 'coco'}").digest == before
    file = root / "coco_pope_random.json"
    file.write_text(file.read_text().replace('"label": "no"', '"label": "maybe"', 1))
    refused(
        pope.pope,
        f"{root}?images={tmp_path / 'coco'}",
        "line 2: the label 'maybe' is neither yes nor no",
    )
    file.write_text(file.read_text().replace("COCO_val2014_000000000000.jpg", "/etc/passwd.jpg", 1))
    refused(
        pope.pope,
        f"{root}?images={tmp_path / 'coco'}",
        "line 1: the image '/etc/passwd.jpg' lies outside",
    )


def test_hateful_memes_quote_the_text(tmp_path: Path) -> None:
    task = loaded("hateful-memes", tmp_path)
    sample = next(s for s in task.train if s.id == "img/00003.png")
    assert sample.answer == "yes"
    assert (
        task.ask(sample)
        == 'This is an image with: "it\'s {number} "3"" written on it. Is it hateful?'
    )
    root = tmp_path / "d"
    unseen = memes.hateful_memes(f"{root}?test=dev_unseen&labels=hateful|benign")
    assert len(unseen.test) == 6 and unseen.labels == ("hateful", "benign")
    assert {s.id for s in unseen.test} == {f"img/{number:05d}.png" for number in range(38, 44)}
    (root / "dev_seen.jsonl").rename(root / "dev.jsonl")
    assert memes.hateful_memes(str(root)).digest == task.digest
    (root / "test_seen.jsonl").write_text('{"id": 1, "img": "img/00001.png", "text": "x"}\n')
    refused(
        memes.hateful_memes, root, "test_seen.jsonl line 1: no label; take a file that has them"
    )
    (root / "test_seen.jsonl").write_text(
        '{"id": 1, "img": "img/00001.png", "label": 2, "text": "x"}\n'
    )
    refused(memes.hateful_memes, root, "line 1: the label 2 is neither 0 nor 1")


def test_each_question_of_scienceqa_has_its_own_letters(tmp_path: Path) -> None:
    task = loaded("scienceqa", tmp_path)
    assert task.labels is None
    shown = {task.sample_labels(s): task.ask(s) for s in task.train}
    wild = "Which is it?\nA. a desert\nB. a forest\nC. an ocean\n"
    end = "Answer with the option's letter from the given choices directly."
    assert shown == {
        ("A", "B", "C"): f"{wild}{end}",
        ("A", "B"): f"Context: Look at {{it}}.\nWhich is it?\nA. FF\nB. Ff\n{end}",
    }
    path = tmp_path / "d" / "problems.json"
    for field, wrong, message in (
        ('"answer": 0', '"answer": 7', "problem '1': the answer is number 7 of 3 choices"),
        (
            '["a desert", "a forest", "an ocean"]',
            '["a desert"]',
            "'choices' is no list of 2 to 26 texts",
        ),
        (
            '"image": "image.png"',
            '"image": "../2/image.png"',
            "problem '1': the image .* lies outside",
        ),
        ('"1":', '"one":', "'1' is missing, not an object"),
    ):
        whole = path.read_text()
        path.write_text(whole.replace(field, wrong, 1))
        refused(scienceqa.scienceqa, tmp_path / "d", message)
        path.write_text(whole)


def test_the_writers_cover_every_reader() -> None:
    readers = {published.load.__name__ for published in ALL.values()}
    modules = (cifar, clevr, digits, folders, memes, pope, scienceqa)
    found = {
        name
        for module in modules
        for name, value in vars(module).items()
        if hasattr(value, "__wrapped__") and value.__module__ == module.__name__
    }
    assert readers == found
    assert all(isinstance(published, Published) for published in ALL.values())
