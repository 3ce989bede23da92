"""One run as a page.

The verdict and its figures stand first; then the proof, pictures, the search, the checks, the
costs, and the commands that repeat the run.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.core.errors import DataError
from bbtvp.jobs.replies import task_of
from bbtvp.jobs.run import JOBS
from bbtvp.prompt import Guidance, Prompt
from bbtvp.report.html import charts
from bbtvp.report.html.batch import batch_report
from bbtvp.report.html.checks import effects_view, robustness_view, saliency_view
from bbtvp.report.html.curve import curve_of
from bbtvp.report.html.gallery import SCANNED, Gallery, gallery_of
from bbtvp.report.html.pictures import colour_card, figure_uri, image_uri
from bbtvp.report.html.replies import replies_view
from bbtvp.report.html.rivals import rivals_view
from bbtvp.report.html.template import rendered
from bbtvp.report.html.words import NONE, Words, interval, p_value, percent, plain, points
from bbtvp.report.pictures import matrix_figure
from bbtvp.runs.folder import RunFolder
from bbtvp.runs.proofs import KeptProof
from bbtvp.runs.record import flattened
from bbtvp.search.recipe import Loader, Loads
from bbtvp.verify.controls import shortened

View = dict[str, Any]
"""What a template shows of one thing: texts, data URIs, and rows of cells."""

_VALUES = 12
"""Values of a layer that are printed one by one; of a layer with more, their range."""


@final
class Fact(NamedTuple):
    """One of the figures below the verdict."""

    name: str
    number: str
    note: str


def report(
    folder: Path, language: str = "en", *, images: bool = True, loader: Loads | None = None
) -> str:
    """The run in `folder`, or its jobs, as one HTML document.

    The document needs no other file and no network. images: show test images, for which the task is
    loaded; no model is loaded. Raises UsageError for a language other than "en" and "ja",
    JournalError for a folder that holds no run or a damaged one, and BundleError for a damaged
    prompt.
    """
    if (folder / JOBS).exists():
        return batch_report(folder, language)
    run = RunFolder(folder).load()
    words = Words(language, graded=_is_graded(run))
    gallery = None
    no_images = words("images_left_out")
    if images:
        gallery, no_images = _gallery(run, loader or Loader(), words)
    replies = replies_view(run, words, (loader or Loader()) if images else None)
    proofs = [_proof(proof, words) for proof in run.proofs]
    rivals = list(filter(None, (rivals_view(proof, words) for proof in run.proofs)))
    checks = _checks(run, words, images=images)
    matrix = _matrix(run, words) if len(proofs) > 1 else None
    sections = {
        "proof": proofs,
        "rivals": rivals,
        "matrix": matrix,
        "gallery": True,
        "replies": replies,
        "prompt": run.prompt,
        "search": True,
        "details": proofs and proofs[0]["details"],
        **checks,
        "costs": True,
        "configuration": True,
        "reproduce": True,
        "glossary": True,
    }
    return rendered(
        "run.html",
        words,
        title="title",
        name=run.name,
        run=run,
        word=_word(run),
        sources=[model["spec"] for model in run.record["models"]],
        proofs=proofs,
        rivals=rivals,
        gallery=gallery,
        no_images=no_images,
        replies=replies,
        look=gallery.first[0] if gallery and gallery.first else None,
        scanned=SCANNED,
        facts=list(_facts(run, words)),
        sections=[name for name, found in sections.items() if found],
        matrix=matrix,
        curve=_curve(run, words),
        costs=list(_costs(run, words)),
        settings=_settings(run),
        versions=_versions(run),
        commands=_commands(run),
        **_prompt(run, words),
        **checks,
    )


def _is_graded(run: RunFolder) -> bool:
    """Whether some score of the proofs, or else of the search, lies between 0 and 1."""
    if run.proofs:
        rows = (row for proof in run.proofs for row in proof.document["models"])
        return any("sign_flip_p" in row for row in rows)
    return any(one.paired.graded for one in curve_of(run.recording).validated)


def _word(run: RunFolder) -> str:
    """The verdict in a word; the identity needs no proof to be a no-go."""
    if run.proof is not None:
        return str(run.proof.document["verdict"]["word"])
    return "no-go" if run.prompt and run.prompt.is_identity else "unproven"


def _checks(run: RunFolder, words: Words, *, images: bool) -> dict[str, list[View]]:
    """The views of the checks, by kind."""
    robustness = run.checks["robustness"].values()
    saliency = run.checks["saliency"].items() if images else ()
    return {
        "robustness": [view for found in robustness for view in robustness_view(found, words)],
        "effects": [effects_view(found, words) for found in run.checks["effects"].values()],
        "saliency": [saliency_view(place, found, words) for place, found in saliency],
    }


def _gallery(run: RunFolder, loader: Loads, words: Words) -> tuple[Gallery | None, str]:
    """The images of the first proof, or why there are none."""
    if not run.proofs or run.prompt is None:
        return None, words("say_unproven").rstrip(".。")
    proof = run.proofs[0]
    try:
        task = task_of(proof, loader)
    except DataError as error:
        return None, str(error)
    model = _main(proof)["model"]
    return gallery_of(proof, task, run.prompt, model, run.identity_of(model)), ""


def _main(proof: KeptProof) -> Mapping[str, Any]:
    """The row of the model that was searched, or the first row."""
    rows: Sequence[Mapping[str, Any]] = proof.document["models"]
    return next((row for row in rows if row["role"] == "source"), rows[0])


# -- below the verdict -----------------------------------------------------------------------------
def _facts(run: RunFolder, words: Words) -> Iterator[Fact]:
    if run.proofs:
        row = _main(run.proofs[0])
        shares = f"{percent(row['zero_shot'])} → {percent(row['prompted'])}"
        bounds = interval(row["gain_ci95"])
        note = words("fact_source_note", gain=points(row["gain"]), interval=bounds, n=row["n"])
        yield Fact(words("fact_source", model=row["model"]), shares, note)
        yield from _controls(row, words)
        others = [
            other["gain"] for other in run.proofs[0].document["models"] if other["role"] == "target"
        ]
        if others and row["role"] == "source":
            note = words("fact_transfer_note", models=len(others))
            yield Fact(words("fact_transfer"), points(sum(others) / len(others)), note)
    for document in islice(run.checks["robustness"].values(), 1):
        model = document["models"][0]
        kinds = len({cell["corruption"] for cell in model["cells"]})
        note = words("fact_robust_note", kinds=kinds, clean=points(model["clean"]["gain"]))
        yield Fact(words("fact_robust"), points(model["mean_gain"]), note)
    for document in islice(run.checks["effects"].values(), 1):
        tried = [task for task in document["tasks"] if task["role"] == "other"]
        harmed = [task for task in tried if task["change"] < 0 and task["holm_p"] < 0.05]
        yield Fact(words("fact_harm"), str(len(harmed)), words("fact_harm_note", tasks=len(tried)))
    money = words("money", usd=f"{run.tally.usd:.2f}") if run.tally.usd else ""
    yield Fact(words("fact_cost"), f"{run.tally.total:,}", words("fact_cost_note", money=money))


def _controls(row: Mapping[str, Any], words: Words) -> Iterator[Fact]:
    """The best constant answer, and the replies without an answer if there are any.

    Proofs of older versions have neither.
    """
    if "best_constant" in row:
        said = words("fact_constant_note", answer=shortened(row["best_constant_answer"]))
        yield Fact(words("fact_constant"), percent(row["best_constant"]), said)
    replies = row.get("replies", {})
    counts = [replies.get(arm, {}) for arm in ("zero_shot", "prompted")]
    without = [sum(found.get(kind, 0) for kind in _WITHOUT) for found in counts]
    if any(without):
        kinds = (
            f"{words(kind)} {' → '.join(str(found.get(kind, 0)) for found in counts)}"
            for kind in _WITHOUT
            if any(found.get(kind, 0) for found in counts)
        )
        yield Fact(words("fact_replies"), " → ".join(map(str, without)), words("comma").join(kinds))


# -- the proof -------------------------------------------------------------------------------------
_ARMS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("zero_shot", percent),
    ("empty_frame", percent),
    ("sentence_only", percent),
    ("image_only", percent),
    ("calibrated", percent),
    ("best_constant", percent),
    ("prompted", percent),
    ("gain", points),
    ("gain_ci95", interval),
    ("noise", percent),
    ("mcnemar_p", p_value),
    ("mcnemar_p_holm", p_value),
    ("sign_flip_p", p_value),
    ("sign_flip_p_holm", p_value),
    ("failed", str),
    ("version", lambda version: version or NONE),
)
_WITHOUT = ("unparsed", "refused", "cut")
"""What becomes of a reply without an answer."""

_HEADS = {
    "gain_ci95": "interval",
    "mcnemar_p": "mcnemar",
    "mcnemar_p_holm": "holm",
    "sign_flip_p_holm": "holm",
}


def _proof(proof: KeptProof, words: Words) -> View:
    rows = proof.document["models"]
    columns = [
        (key, shown) for key, shown in _ARMS if any(row.get(key) is not None for row in rows)
    ]
    verdict = proof.document["verdict"]
    return {
        "task": proof.document["task"],
        "verdict": verdict,
        "notes": proof.document["notes"],
        "chart": figure_uri(charts.gains(rows, verdict["rule"]["min_gain"], words)),
        "head": [words(key) for key in ("model", "role", "images")]
        + [words(_HEADS.get(key, key)) for key, _ in columns]
        + [words("turned")],
        "rows": [
            [
                row["model"],
                words(f"role_{row['role']}"),
                str(row["n"]),
                *(shown(row.get(key)) for key, shown in columns),
                f"{row['gained']} / {row['lost']}",
            ]
            for row in rows
        ],
        "replies": [line for row in rows for line in _reply_rows(row, words)],
        "details": [_detail(row, words) for row in rows if row.get("detail")],
    }


def _reply_rows(row: Mapping[str, Any], words: Words) -> Iterator[list[str]]:
    """A line for each arm that left replies without an answer."""
    for arm, found in row.get("replies", {}).items():
        if any(found[kind] for kind in _WITHOUT):
            yield [row["model"], words(arm), *(str(found[kind]) for kind in _WITHOUT)]


def _detail(row: Mapping[str, Any], words: Words) -> View:
    detail = row["detail"]
    before = detail["confusion_before"]
    after = detail["confusion_after"]
    return {
        "model": row["model"],
        "chart": figure_uri(charts.confusions(before, after, words))
        if 1 < len(before) <= 20
        else None,
        "classes": [
            [label, str(found["n"]), percent(found["before"]), percent(found["after"])]
            for label, found in detail["per_class"].items()
        ],
        "figures": [
            [
                words(f"figure_{one['name']}")
                + (f" ({one['positive']})" if one["positive"] else ""),
                f"{one['before']:.3f}",
                f"{one['after']:.3f}",
                f"{one['difference']:+.3f}",
                "[{:+.3f}, {:+.3f}]".format(*one["difference_ci95"]),
            ]
            for one in detail["figures"]
        ],
    }


def _matrix(run: RunFolder, words: Words) -> str:
    asked = {model["spec"] for model in run.record["models"]}
    gains = {
        (
            proof.document["task"],
            words("asked_mark", model=model) if model in asked else model,
        ): row["gain"]
        for proof in run.proofs
        for model, row in proof.rows.items()
    }
    return figure_uri(
        matrix_figure(gains, "", labels=(words("trained"), words("target"), words("gain_points")))
    )


# -- prompt, search, costs, configuration ----------------------------------------------------------
def _prompt(run: RunFolder, words: Words) -> View:
    if run.prompt is None:
        return {}
    prompt = run.prompt
    card = colour_card(prompt.space.canvas)
    sentence = prompt.theta.get(Guidance.kind, {}).get("sentence")
    return {
        "card": {"before": image_uri(card), "after": image_uri(prompt.without_data().render(card))},
        "lead": _lead(prompt, words),
        "sentence": sentence,
        "theta": [[layer, _values(of, words)] for layer, of in prompt.theta.items()],
    }


def _lead(prompt: Prompt, words: Words) -> str:
    """What the recipe is laid over."""
    if prompt.keeps_image:
        return words("prompt_lead_words")
    own = prompt.space.shape == "picture"
    key = "prompt_lead_picture" if own else "prompt_lead_square"
    return words(key, canvas=prompt.space.canvas, dim=prompt.space.dim)


def _values(of: Mapping[str, float | str], words: Words) -> str:
    numbers = [value for value in of.values() if isinstance(value, float)]
    if len(of) > _VALUES and len(numbers) == len(of):
        return words(
            "value_range", count=len(of), low=plain(min(numbers)), high=plain(max(numbers))
        )
    return ", ".join(f"{name} {plain(value)}" for name, value in of.items())


def _curve(run: RunFolder, words: Words) -> View:
    found = curve_of(run.recording)
    rows = [
        [
            row.name,
            f"{row.queries:,}",
            str(row.paired.n),
            percent(row.paired.after),
            points(row.paired.gain),
            interval(row.paired.ci),
        ]
        for row in found.validated
    ]
    bare = [[words("unprompted"), NONE, NONE, percent(found.unprompted), NONE, NONE]]
    proved = (
        _main(run.proofs[0])
        if run.proofs and run.proofs[0].task == run.record["task"]["digest"]
        else None
    )
    return {"chart": figure_uri(charts.curve(found, proved, words)), "rows": bare + rows}


def _costs(run: RunFolder, words: Words) -> Iterator[list[str]]:
    names = {proof.folder.name: proof.document["task"] for proof in run.proofs}
    for what, (queries, failed, usd) in run.costs.items():
        kind, _, place = what.partition("/")
        task = f" ({names[place]})" if kind == "verify" and place in names else ""
        yield [words(f"cost_{kind}") + task, f"{queries:,}", f"{failed:,}", f"{usd:.4f}"]
    together = [sum(column) for column in zip(*run.costs.values(), strict=True)]
    yield [words("sum"), f"{together[0]:,}", f"{together[1]:,}", f"{together[2]:.4f}"]


def _settings(run: RunFolder) -> list[list[str]]:
    record = run.record
    task = {
        "task": record["task"]["spec"] or record["task"]["name"],
        "task digest": record["task"]["digest"],
        **{f"task {name}": value for name, value in record["task"]["options"].items()},
    }
    models = {
        f"model {model['spec']}": model["revision"] or model["identity"]
        for model in record["models"]
    }
    surrogate = {"surrogate": record["surrogate"]["spec"]} if record["surrogate"] else {}
    question = {"question": run.meta["question"]} if run.meta.get("question") else {}
    found = {**task, **question, **models, **surrogate, **flattened(record["arguments"])}
    return [
        [name, plain(value)] for name, value in found.items() if value not in (None, False, {}, [])
    ]


def _versions(run: RunFolder) -> list[list[str]]:
    last = run.record["environments"][-1]
    return [
        ["python", last["python"]],
        ["platform", last["platform"]],
        *map(list, last["packages"].items()),
    ]


def _commands(run: RunFolder) -> dict[str, str]:
    """The commands that repeat the run, to be typed where its folder was made."""
    folder = str(run.path)
    task = run.record["task"]["spec"] or "TASK"
    models = [row["model"] for row in run.proofs[0].document["models"]] if run.proofs else []
    asked = [
        word
        for model in models or [m["spec"] for m in run.record["models"]]
        for word in ("--model", model)
    ]
    bundle = str(run.bundle)
    line: Callable[..., str] = partial(_line, "bbtvp")
    return {
        "again": line("reproduce", folder),
        "replay": line("reproduce", folder, "--replay"),
        "verify": line("verify", bundle, "--task", task, *asked, "--out", folder),
        "apply": line("apply", bundle, "IMAGE…", "-o", "prompted/"),
    }


def _line(*words: str) -> str:
    return " ".join(
        word if word.isupper() or word.endswith("…") else shlex.quote(word) for word in words
    )
