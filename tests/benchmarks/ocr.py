"""Real readers of text on signs: `python tests/benchmarks/ocr.py --out FOLDER [--signs report]`.

Three engines that nobody here trained and that share nothing: RapidOCR, Tesseract, and ddddocr
(pip install 'bbtvp[ocr]'; Tesseract is a program). Each of the first two is a source, or both are
at once (`--sources both`); the prompt is then asked of all three. Arms on the same test images: the
image as it is, the empty frame, the prompt, and recipes of Pillow and OpenCV as one would write
them by hand, of which a user would take the best on the validation images.

Signs are drawn: words in several fonts, sizes and colours on a plate with a texture, then damaged.
There are three sets that share neither words nor fonts nor seeds: "develop" to try things on,
"report" for figures, and "fresh", whose inks and plates have hues of their own, for figures of a
default that was settled before anyone asked about them. Every answer is kept in the folder: a run
that was killed goes on.
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import hashlib
import io
import json
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

import bbtvp
from bbtvp.bench.tables import CellPlace, interval
from bbtvp.core.arrays import Pixels
from bbtvp.models import FunctionModel
from bbtvp.prompt import PromptSpace, Restore
from bbtvp.search.ask import ask
from bbtvp.search.readers import TextReader
from bbtvp.stats import paired_gain

SOURCES = ("rapidocr", "tesseract")
BOTH = "both"
"""As a source: one search that asks each of `SOURCES` about its images."""
TARGETS = (*SOURCES, "ddddocr")
QUESTION = "which word is on the sign?"
TRAIN, VALIDATION = 96, 128
PICKED = 48
"""Validation images on which a recipe by hand is picked."""


Colour: TypeAlias = tuple[int, int, int]


class SignSet(NamedTuple):
    """What one set of signs shares with no other.

    fonts: of matplotlib's, and Pillow's own, Aileron. colours: pairs of ink and plate; none for a
    dark and a light grey of any tint.
    """

    words: tuple[str, ...]
    fonts: tuple[str, ...]
    seed: int
    colours: tuple[tuple[Colour, Colour], ...] = ()


_PILLOW_FONT = "Aileron"

SETS = {
    "develop": SignSet(
        ("STOP", "EXIT", "OPEN", "SALE", "TAXI", "SLOW", "HOTEL", "TOLL"),
        ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif"),
        1,
    ),
    "report": SignSet(
        ("BRIDGE", "MARKET", "POLICE", "PARKING", "STATION", "BAKERY", "GARDEN", "DANGER"),
        ("STIXGeneralBol", "cmss10", "DejaVuSansMono-Bold", "cmb10"),
        2,
    ),
    "fresh": SignSet(
        ("TUNNEL", "CASTLE", "FERRY", "MUSEUM", "CLINIC", "HARBOUR", "LIBRARY", "SCHOOL"),
        (_PILLOW_FONT, "cmr10", "cmtt10", "STIXGeneral"),
        3,
        (
            ((255, 255, 255), (0, 94, 60)),
            ((255, 255, 255), (20, 70, 160)),
            ((250, 240, 200), (110, 40, 20)),
            ((20, 20, 20), (250, 200, 40)),
            ((0, 40, 110), (200, 225, 245)),
            ((120, 0, 30), (245, 225, 210)),
            ((0, 70, 40), (235, 235, 180)),
            ((60, 20, 90), (250, 180, 120)),
        ),
    ),
}


# -- signs -----------------------------------------------------------------------------------------
def sign(word: str, of: SignSet, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A word on a plate with a soft texture; the word takes most of its width or height."""
    width, height = size
    ink, plate = rng.choice(of.colours) if of.colours else _tinted_greys(rng)
    image = Image.new("RGB", size, plate)
    name = rng.choice(of.fonts)
    wanted = rng.uniform(0.62, 0.82) * width
    at_100 = _font(name, 100).getlength(word)
    font = _font(name, min(wanted / at_100 * 100, 0.7 * height))
    centre = (
        width / 2 + rng.uniform(-0.05, 0.05) * width,
        height / 2 + rng.uniform(-0.08, 0.08) * height,
    )
    ImageDraw.Draw(image).text(centre, word, ink, font, anchor="mm")
    grain = np.random.default_rng(rng.randrange(2**32)).normal(0, 24, (height // 8, width // 8))
    texture = Image.fromarray(grain.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return _image(np.asarray(image, np.float64) + np.asarray(texture)[..., None])


def _tinted_greys(rng: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ink and plate, mostly dark on light."""
    dark = tuple(rng.randint(0, 90) for _ in range(3))
    light = tuple(rng.randint(170, 255) for _ in range(3))
    return (dark, light) if rng.random() < 0.7 else (light, dark)


def _font(name: str, size: float) -> ImageFont.FreeTypeFont:
    """A font of matplotlib's, or Pillow's own."""
    if name != _PILLOW_FONT:
        path = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
        return ImageFont.truetype(str(path), size)
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this Pillow was built without FreeType, and the signs need it")
    return font


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def _noisy(values: np.ndarray, deviation: float, rng: random.Random) -> Image.Image:
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, deviation, values.shape)
    return _image(values + noise)


def dark(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """Little light, with the noise of the sensor."""
    return _noisy(np.asarray(image, np.float64) * strength, 1.2, rng)


def pale(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """Little contrast around a level of its own, with a little noise."""
    values = np.asarray(image, np.float64)
    return _noisy(rng.uniform(90, 200) + (values - values.mean()) * strength, 1.2, rng)


def blur(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """Out of focus, a Gaussian."""
    return image.filter(ImageFilter.GaussianBlur(strength))


def small(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """Few pixels: the picture is that much smaller."""
    size = (round(image.width * strength), round(image.height * strength))
    return image.resize(size, Image.Resampling.BICUBIC)


def noise(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """Gaussian noise of that deviation, in levels."""
    return _noisy(np.asarray(image, np.float64), strength, rng)


def jpeg(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """Few pixels, and JPEG at that quality."""
    data = io.BytesIO()
    small(image, 0.6, rng).save(data, "JPEG", quality=round(strength))
    return Image.open(data).convert("RGB")


def uneven(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """Light that falls off to one side, and little contrast."""
    width, height = image.size
    angle = rng.uniform(0, 2 * np.pi)
    along = (
        np.cos(angle) * np.linspace(-1, 1, width)
        + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
    )
    light = strength ** ((along + 1.42) / 2.84)
    values = np.asarray(image, np.float64)
    return _noisy((values.mean() + (values - values.mean()) * 0.35) * light[..., None], 1.2, rng)


class Damage(NamedTuple):
    """What is done to a sign of `size` pixels, at a strength drawn for each picture."""

    apply: Callable[[Image.Image, float, random.Random], Image.Image]
    weakest: float
    strongest: float
    size: tuple[int, int] = (192, 96)


DAMAGES = {
    "dark": Damage(dark, 0.09, 0.025),
    "pale": Damage(pale, 0.10, 0.025),
    "blur": Damage(blur, 2.5, 6.0),
    "small": Damage(small, 0.26, 0.12),
    "noise": Damage(noise, 30, 140),
    "jpeg": Damage(jpeg, 9, 2),
    "uneven": Damage(uneven, 0.5, 0.03),
    "wide": Damage(pale, 0.10, 0.025, (320, 80)),
}


def signs(name: str, damage: str, seed: int, test: int) -> bbtvp.Task:
    """A task; the test images are the same for every seed."""
    of = SETS[name]
    kind = DAMAGES[damage]

    def split(part: str, count: int, key: object) -> tuple[bbtvp.Sample, ...]:
        rng = random.Random(f"{of.seed} {damage} {part} {key}")
        samples = []
        for i in range(count):
            word = of.words[i % len(of.words)]
            strength = kind.weakest * (kind.strongest / kind.weakest) ** rng.random()
            picture = kind.apply(sign(word, of, kind.size, rng), strength, rng)
            samples.append(bbtvp.Sample(f"{part}-{i}", word, np.asarray(picture)))
        return tuple(samples)

    return bbtvp.Task(
        f"signs-{damage}",
        QUESTION,
        of.words,
        train=split("train", TRAIN, seed),
        validation=split("validation", VALIDATION, seed),
        test=split("test", test, 0),
    )


# -- recipes by hand -------------------------------------------------------------------------------
def _twice(image: Image.Image) -> Image.Image:
    return image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)


def _clahe(image: Image.Image) -> Image.Image:
    luma, blue, red = image.convert("YCbCr").split()
    equalised = cv2.createCLAHE(2.0, (8, 8)).apply(np.asarray(luma))
    return Image.merge("YCbCr", (Image.fromarray(equalised), blue, red)).convert("RGB")


def _autocontrast(image: Image.Image) -> Image.Image:
    return ImageOps.autocontrast(image, cutoff=1)


def _sharpen(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(2, 150, 3))


HAND: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda image: image,
    "autocontrast": _autocontrast,
    "x2": _twice,
    "sharpen": _sharpen,
    "clahe": _clahe,
    "autocontrast + x2": lambda image: _twice(_autocontrast(image)),
}


# -- engines ---------------------------------------------------------------------------------------
class Tesseract:
    """The library of the program tesseract in this process: the same answers, in less time."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libtesseract.so.5")
        pointer = ctypes.c_void_p
        for name, arguments in {
            "Init3": [pointer, ctypes.c_char_p, ctypes.c_char_p],
            "SetPageSegMode": [pointer, ctypes.c_int],
            "SetImage": [pointer, ctypes.c_char_p, *[ctypes.c_int] * 4],
            "ClearAdaptiveClassifier": [pointer],
            "GetUTF8Text": [pointer],
            "Clear": [pointer],
            "End": [pointer],
        }.items():
            self._function(name).argtypes = arguments
        self._library.TessDeleteText.argtypes = [pointer]
        self._library.TessBaseAPICreate.restype = pointer
        self._library.TessBaseAPIGetUTF8Text.restype = pointer
        self._api = self._library.TessBaseAPICreate()
        self._call("Init3", None, b"eng")
        self._call("SetPageSegMode", 6)
        atexit.register(self._call, "End")

    def __call__(self, image: Image.Image) -> str:
        self._call("SetImage", image.tobytes(), *image.size, 3, 3 * image.width)
        self._call("ClearAdaptiveClassifier")  # it would remember the images before
        text = self._call("GetUTF8Text")
        words = ctypes.string_at(text).decode("utf-8").split()
        self._library.TessDeleteText(text)
        self._call("Clear")
        return " ".join(words)

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"TessBaseAPI{name}")

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._function(name)(self._api, *arguments)


def engine(name: str, folder: Path) -> FunctionModel:
    """`ocr/NAME`, which remembers in a file what it has read."""
    made = bbtvp.load_model(f"ocr/{name}")
    if not isinstance(made, FunctionModel):
        raise TypeError(f"{made.spec} is no function")
    function = Tesseract() if name == "tesseract" else made.function
    path = folder / f"{name}.jsonl"
    known = dict(map(json.loads, path.read_text("utf-8").splitlines())) if path.exists() else {}

    def read(image: Image.Image) -> str:
        key = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()[:32]
        if key not in known:
            known[key] = function(image)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, known[key]]) + "\n")
        return str(known[key])

    version = made.identity.partition(" ")[2]
    return FunctionModel(read, name=made.spec, version=version, deterministic=True, timeout=None)


def score(
    model: FunctionModel,
    task: bbtvp.Task,
    samples: Sequence[bbtvp.Sample],
    images: Sequence[Pixels],
) -> list[int]:
    """1 right, 0 wrong, for these pictures of the samples."""
    right = ask(model, TextReader(), task, samples, images=images).correct
    return [int(value) for value in right]


def by_hand(recipe: str, samples: Sequence[bbtvp.Sample]) -> list[Pixels]:
    """The pictures that a recipe makes of these samples."""
    return [np.asarray(HAND[recipe](Image.fromarray(sample.pixels()))) for sample in samples]


def best_by_hand(models: Sequence[FunctionModel], task: bbtvp.Task) -> str:
    """The recipe with which the models read most of the first validation images right."""
    held = task.validation[:PICKED]
    right = {
        name: sum(sum(score(model, task, held, by_hand(name, held))) for model in models)
        for name in HAND
    }
    return max(right, key=lambda name: right[name])


def measured(
    models: dict[str, FunctionModel], task: bbtvp.Task, source: str, seed: int, args: Any
) -> dict[str, Any]:
    """One search and what it gains: right or wrong for each arm, engine and test image."""
    fields = dict(pair.split("=", 1) for pair in args.setting)
    searched_on = [models[name] for name in (SOURCES if source == BOTH else (source,))]
    run = bbtvp.optimize(
        task,
        searched_on,
        queries=args.queries,
        seed=seed,
        **{k: _value(v) for k, v in fields.items()},
    )
    space, z = run.prompt.space, run.prompt.z
    empty = space.empty_frame(z)
    recipe = best_by_hand(searched_on, task)
    pictures = {
        "as it is": by_hand("as it is", task.test),
        "empty": [empty.render(sample.pixels()) for sample in task.test],
        "prompt": [run.prompt.render(sample.pixels()) for sample in task.test],
        "hand": by_hand(recipe, task.test),
    }
    return {
        "task": task.name,
        "source": source,
        "seed": seed,
        "spent": sum(run.queries.values()),
        "improved": run.improved,
        "params": space.params(z),
        "recipe": recipe,
        "right": {
            arm: {name: score(model, task, task.test, images) for name, model in models.items()}
            for arm, images in pictures.items()
        },
    }


def _value(text: str) -> Any:
    """A setting's value: JSON, or the words as they are."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def line(found: dict[str, Any]) -> str:
    """One search in one line, in points."""
    right = found["right"]
    parts = []
    for name in TARGETS:
        zero = right["as it is"][name]
        gains = []
        for arm in ("empty", "prompt", "hand"):
            gain = paired_gain(zero, right[arm][name])
            low, high = gain.ci
            mark = "*" if low > 0 or high < 0 else ""
            gains.append(f"{arm} {100 * gain.gain:+.0f}{mark}")
        parts.append(f"{name} {100 * statistics.mean(zero):.0f}: {', '.join(gains)}")
    what = "kept" if found["improved"] else "identity"
    return (
        f"{found['task']} from {found['source']} seed {found['seed']} ({found['spent']} queries, "
        f"{what}, by hand {found['recipe']}) | {' | '.join(parts)}"
    )


def by_operation(models: dict[str, FunctionModel], task: bbtvp.Task) -> None:
    """Print what each start of `Restore` gives on the test images; nothing is searched."""
    layer = Restore(
        ("median", "wide-median", "autocontrast", "white-balance", "flatten", "equalize", "clahe")
    )
    space = PromptSpace((layer,), 224, "picture")
    for z in space.starts():
        render = space.renderer(z)
        images = [render(sample.pixels()) for sample in task.test]
        right = {name: score(model, task, task.test, images) for name, model in models.items()}
        chosen = " + ".join(
            str(name) for name in space.params(z)["restore"].values() if name != "none"
        )
        means = (f"{name} {100 * statistics.mean(each):.0f}" for name, each in right.items())
        print(task.name, chosen or "as it is", *means, sep=" | ", flush=True)


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A table of means over tasks and seeds, in points, for each source and engine.

    In brackets: in how many cells the arm lies below the image as it is by more than noise (95 %).
    """
    lines = [
        "| source | asked | cells | as it is | empty frame | prompt | by hand |",
        "|---" * 7 + "|",
    ]
    for source in (*SOURCES, BOTH):
        own = [row["right"] for row in rows if row["source"] == source]
        for name in TARGETS if own else ():
            cells = []
            for arm in ("empty", "prompt", "hand"):
                gains = [paired_gain(right["as it is"][name], right[arm][name]) for right in own]
                mean = statistics.mean(gain.gain for gain in gains)
                worse = sum(gain.ci[1] < 0 for gain in gains)
                cells.append(f"{100 * mean:+.1f} ({worse})")
            zero = statistics.mean(statistics.mean(right["as it is"][name]) for right in own)
            lines.append(
                f"| {source} | {name} | {len(own)} | {100 * zero:.1f} % | {' | '.join(cells)} |"
            )
    return lines


def asked_as(name: str, source: str) -> str:
    """What an engine is to a search."""
    if name == source or (source == BOTH and name in SOURCES):
        return "the source"
    return "the other source engine" if name in SOURCES else "never a source"


def against(rows: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> list[str]:
    """A table of both folders' means in points, on the searches of both, and their differences.

    Intervals resample tasks and sources, crossed, and seeds within, as those of `bbtvp bench`.
    """
    lines = [
        "| asked | before | now | now − before | now − empty | now − by hand |",
        "|---" * 6 + "|",
    ]
    for role in ("the source", "the other source engine", "never a source"):
        old = _gains(before, role, "prompt")
        now = _gains(rows, role, "prompt")
        others = (old, _gains(rows, role, "empty"), _gains(rows, role, "hand"))
        both = now.keys() & old.keys()
        less = [{place: now[place] - other[place] for place in both} for other in others]
        lines.append(f"| {role} | {' | '.join(map(_spanned, (old, now, *less)))} |")
    return lines


def _read(file: Path) -> list[dict[str, Any]]:
    return list(map(json.loads, file.read_text("utf-8").splitlines()))


def _gains(rows: Sequence[dict[str, Any]], role: str, arm: str) -> dict[CellPlace, float]:
    return {
        (row["task"], f"{row['source']}, {name}", row["seed"]): paired_gain(
            row["right"]["as it is"][name], row["right"][arm][name]
        ).gain
        for row in rows
        for name in TARGETS
        if asked_as(name, row["source"]) == role
    }


def _spanned(found: dict[CellPlace, float]) -> str:
    mean, low, high = interval(found) or (0.0, 0.0, 0.0)
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signs", default="develop", choices=SETS)
    parser.add_argument("--damages", nargs="+", default=list(DAMAGES), choices=DAMAGES)
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=(*SOURCES, BOTH))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--test", type=int, default=100, help="test images of each task")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--setting", nargs="*", default=[], help="KEY=VALUE of SearchConfig")
    parser.add_argument(
        "--operations", action="store_true", help="score each restoration; search nothing"
    )
    parser.add_argument("--name", default="default", help="what the rows are called")
    parser.add_argument(
        "--against", type=Path, help="a folder of the same searches, to compare with"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    models = {name: engine(name, args.out) for name in TARGETS}
    rows = args.out / f"{args.name}.jsonl"
    done = _read(rows) if rows.exists() else []
    shown = []
    for seed in args.seeds:
        for damage in args.damages:
            task = signs(args.signs, damage, seed, args.test)
            if args.operations:
                by_operation(models, task)
                continue
            for source in args.sources:
                cell = (task.name, source, seed)
                found = next(
                    (row for row in done if (row["task"], row["source"], row["seed"]) == cell), None
                )
                if found is None:
                    found = measured(models, task, source, seed, args)
                    with rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(found) + "\n")
                print(line(found), flush=True)
                shown.append(found)
    print("\n".join(summary(shown)) if shown else "")
    if args.against:
        print("\n".join(against(shown, _read(args.against / rows.name))))


if __name__ == "__main__":
    main()
