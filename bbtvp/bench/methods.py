"""The methods by name: what each stands for, its constants, and how they were chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from bbtvp.bench import calibration, peers, student, whitebox
from bbtvp.bench.method import Method, MethodFunction, MethodInput, MethodKind, MethodOutcome
from bbtvp.bench.rivals import rival_methods
from bbtvp.core.errors import unknown
from bbtvp.prompt import Placement, PromptSpace, preset
from bbtvp.prompt.coordinator import Coordinator
from bbtvp.search import SearchConfig, optimize
from bbtvp.search.canvas import choose_canvas
from bbtvp.search.config import options
from bbtvp.tasks import Task

SURROGATE = "zoo/clip"

PROTOCOL = "tests/benchmarks/tune_peers.py"
"""Where the grids of step sizes are, and the command that walks them."""

GUESSED = "weights chosen on a few cells of the suite, with one seed"
TUNED = (
    f"best of the grid in {PROTOCOL}: 2,000 image queries, zoo/digits-dark and "
    "zoo/counting-bright, source zoo/llava"
)


def _coordinator(canvas: int) -> PromptSpace:
    """BlackVIP's space: a decoder of about 9,920 variables draws over the whole image."""
    return PromptSpace((Placement(), Coordinator(width=40)), canvas)


SPACES: Mapping[str, Callable[[int], PromptSpace]] = MappingProxyType(
    {
        **{name: partial(preset, name) for name in ("tvp", "frame", "tone")},
        "coordinator": _coordinator,
    }
)
"""The spaces that peers search, each made for a canvas in pixels."""


# -- ours ------------------------------------------------------------------------------------------
_HELD = ("queries", "usd", "minutes", "seed", "keep_best")
"""Options of a search that a cell of the benchmark decides."""

_OPTIONS = tuple(option.name for option in options() if option.name not in _HELD)
"""What a method of ours may set."""


def _optimize(job: MethodInput, constants: Mapping[str, Any]) -> MethodOutcome:
    surrogate = constants.get("surrogate")
    if isinstance(surrogate, str):
        surrogate = job.surrogate(surrogate)
    values = {
        **constants,
        "surrogate": surrogate,
        "queries": job.budget,
        "seed": job.seed,
        # A cell keeps what its search found; `bbtvp.bench.deployed` puts the identity in its place.
        "keep_best": True,
    }
    run = optimize(
        job.task, job.model, config=SearchConfig.of(values), out=job.folder, watch=job.watch
    )
    facts = {"improved": run.improved, "variables": run.prompt.space.dim}
    return MethodOutcome(run.prompt, queries=run.queries, failed=run.failed, facts=facts)


def _ours(
    name: str, about: str, source: str = "bbtvp", tuned: str = "defaults", **constants: Any
) -> Method:
    return Method(name, "ours", about, source, _optimize, constants, tuned, accepts=_OPTIONS)


# -- controls --------------------------------------------------------------------------------------
def _zero_shot(job: MethodInput, constants: Mapping[str, Any]) -> MethodOutcome:
    return MethodOutcome()


def _empty_frame(job: MethodInput, constants: Mapping[str, Any]) -> MethodOutcome:
    space = preset(constants["prompt"], choose_canvas(job.task, [job.model]))
    return MethodOutcome(space.prompt(space.neutral()))


def _without_queries(
    name: str,
    kind: MethodKind,
    about: str,
    source: str,
    *,
    run: MethodFunction,
    tuned: str = "",
    **constants: Any,
) -> Method:
    """A method that asks the source nothing."""
    return Method(name, kind, about, source, run, constants, tuned, budgeted=False, seeded=False)


def _labelled(task: Task) -> int:
    return len(task.train) + len(task.validation)


# -- peers -----------------------------------------------------------------------------------------
def _search(job: MethodInput, constants: Mapping[str, Any]) -> MethodOutcome:
    return peers.search(job, constants, SPACES)


def _peer(
    name: str,
    about: str,
    source: str,
    tuned: str,
    *,
    space: str,
    optimiser: str,
    images: int,
    popsize: int | None = None,
    sigma: float = 1.0,
    loss: str = "ce",
    fixed: bool = False,
    **options: Any,
) -> Method:
    search = {
        "space": space,
        "optimiser": optimiser,
        "images": images,
        "popsize": popsize,
        "sigma": sigma,
    }
    constants = {**search, "loss": loss, "fixed": fixed, **options}
    return Method(name, "peer", about, source, _search, constants, tuned)


_OURS = (
    _ours("default", "the default of bbtvp.optimize"),
    _ours("default-text", "the default, with answers as text alone", reader="text"),
    _ours(
        "default+fca+tse",
        "the default, with both terms of the surrogate",
        tuned=GUESSED,
        surrogate=SURROGATE,
        fca=0.1,
        tse=0.5,
    ),
    _ours(
        "default+fca",
        "the default, with feature consistency alone",
        tuned=GUESSED,
        surrogate=SURROGATE,
        fca=0.1,
    ),
    _ours(
        "default+tse",
        "the default, with task semantics alone",
        tuned=GUESSED,
        surrogate=SURROGATE,
        tse=0.5,
    ),
    _ours(
        "default+warm",
        "the default, started where the surrogate would",
        surrogate=SURROGATE,
        warm=True,
    ),
    _ours(
        "default+prime",
        "the same, with a student of 64 answers as the surrogate's head",
        surrogate=SURROGATE,
        warm=True,
        prime=64,
    ),
    _ours("tone", "the default search on three tone variables alone", prompt="tone"),
    _ours("frame", "the default search on a low-frequency frame of 72 variables", prompt="frame"),
    _ours("annotate", "rows, marks and the sentence that names them", prompt="annotate"),
    *(
        _ours(f"default/{short}", f"our space and plan, searched by {method}", method=method)
        for short, method in (
            ("cma", "cma"),
            ("ngopt", "ng:NGOpt"),
            ("random", "random"),
            ("spsa-gc", "spsa-gc"),
            ("rgf", "rgf"),
        )
    ),
)

_CONTROLS = (
    _without_queries("zero-shot", "control", "the image as it is", "-", run=_zero_shot),
    _without_queries(
        "empty-frame",
        "control",
        "the image shrunk to 164/224 in a grey frame",
        "-",
        run=_empty_frame,
        prompt="tvp",
    ),
    _without_queries(
        "whitebox-vp",
        "white-box",
        "a per-pixel frame by the model's gradients, full training split",
        "Bahng et al., arXiv 2203.17274; update of arXiv 2404.11207",
        run=whitebox.train,
        tuned="as the zoo's card (bbtvp.zoo.training.ceiling)",
        fca=0.0,
        tse=0.0,
        steps=120,
        batch=32,
        surrogate=SURROGATE,
    ),
    _without_queries(
        "whitebox-tvp",
        "white-box",
        "TVP: with FCA on the model's own tokens and TSE",
        "Zhang et al., arXiv 2404.11207",
        run=whitebox.train,
        tuned="as the zoo's card (bbtvp.zoo.training.ceiling)",
        fca=0.05,
        tse=0.5,
        steps=120,
        batch=32,
        surrogate=SURROGATE,
    ),
)

_OUTPUT = (
    Method(
        "calibration",
        "output",
        "no prompt: a bias per label, fitted on labelled training replies",
        "Guo et al., ICML 2017 (bias of vector scaling)",
        calibration.calibrate,
        {"fit": "labels"},
        "no step size; the ridge is fixed",
        pool=_labelled,
    ),
    Method(
        "calibration-prior",
        "output",
        "no prompt: the mean prediction is divided out; uses no true label",
        "batch calibration, Zhou et al., ICLR 2024",
        calibration.calibrate,
        {"fit": "prior"},
        "nothing to tune",
        pool=_labelled,
    ),
    Method(
        "ares-student",
        "output",
        "a local student of the replies; the endpoint is abandoned",
        "AReS, arXiv 2604.01474",
        student.learn,
        {
            "surrogate": SURROGATE,
            "inputs": "mean",
            "framed": True,
            "epochs": 200,
            "rate": 0.01,
            "batch": 64,
        },
        "published rate, epochs and schedule; zoo/clip in place of an ImageNet ViT",
        pool=lambda task: len(task.train),
    ),
)

_PEERS = (
    _peer(
        "vp-spsa-gc",
        "SPSA-GC on a per-pixel frame",
        "VP with SPSA: Bahng et al. in Oh et al., CVPR 2023",
        TUNED,
        space="tvp",
        optimiser="spsa-gc",
        images=8,
        popsize=10,
        o=1.0,
        c=0.1,
        a=0.03,
        alpha=0.5,
        gamma=0.1,
        beta=0.9,
    ),
    _peer(
        "blackvip",
        "SPSA-GC on the weights of an input-dependent coordinator",
        "BlackVIP: Oh et al., CVPR 2023",
        TUNED,
        space="coordinator",
        optimiser="spsa-gc",
        images=16,
        popsize=2,
        o=1.0,
        c=0.3,
        a=0.1,
        alpha=0.4,
        gamma=0.1,
        beta=0.9,
    ),
    _peer(
        "bar",
        "one-sided random gradient-free steps on a per-pixel frame behind a sigmoid, focal loss",
        "BAR: Tsai et al., ICML 2020",
        TUNED,
        space="tvp",
        optimiser="rgf",
        images=8,
        popsize=6,
        loss="focal",
        beta=7.0,
        eta=0.01,
    ),
    _peer(
        "bbt-cma",
        "CMA-ES in a random projection of a per-pixel frame to 500 variables",
        "BBT: Sun et al., ICML 2022; BPT-VLM, IJCAI 2023",
        f"{TUNED}; the fixed set of images as published",
        space="tvp",
        optimiser="cma@500",
        images=8,
        popsize=20,
        sigma=0.3,
        fixed=True,
    ),
    _peer(
        "ngopt",
        "nevergrad's NGOpt on a low-frequency frame",
        "Rapin and Teytaud, 2018",
        TUNED,
        space="frame",
        optimiser="ng:NGOpt",
        images=32,
        sigma=0.1,
    ),
    _peer(
        "random",
        "random search on a low-frequency frame",
        "-",
        TUNED,
        space="frame",
        optimiser="random",
        images=32,
        sigma=0.1,
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for method in (*_OURS, *_CONTROLS, *_OUTPUT, *rival_methods(), *_PEERS)}
)

DEFAULT = (
    "default",
    "default-text",
    "default+fca+tse",
    "tone",
    "frame",
    "default/ngopt",
    "default/random",
    "zero-shot",
    "empty-frame",
    "calibration",
    "ares-student",
    "whitebox-vp",
    "whitebox-tvp",
    "vp-spsa-gc",
    "blackvip",
    "bar",
    "bbt-cma",
    "ngopt",
    "random",
)
"""What `bbtvp bench` runs if no methods are named."""


def get(name: str) -> Method:
    """A method by name, or `name[key=value,…]` with other constants.

    UsageError with the nearest names if there is none.
    """
    base, bracket, rest = name.partition("[")
    if base not in METHODS:
        raise unknown("method", base, METHODS)
    if not bracket:
        return METHODS[base]
    if not rest.endswith("]"):
        raise unknown("method", name, METHODS)
    return METHODS[base].variant(rest.removesuffix("]"))
