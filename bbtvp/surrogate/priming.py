"""Priming: a student that answers as the queried model does, a linear head on frozen CLIP features.

AReS's stage 1 (arXiv 2604.01474): one query for each training image, made by the
caller, then

    min over W, b of  mean_i KL( p_target(x_i) || softmax(W φ(x_i) + b) ) + ridge · ||W||²

Unlike AReS: φ are CLIP's features (theirs: an ImageNet ViT-B/16), standardised; L-BFGS on all rows
instead of Adam for 100 epochs; the ridge is chosen by cross-validation within the rows given
(theirs: the head is chosen on test data). A target that answers at random teaches nothing: see
`Fit.gap`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, final, get_args

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.rng import stream
from bbtvp.prompt import PromptSpace
from bbtvp.surrogate.features import TEMPLATE, Features, Surrogate
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample, Task

if TYPE_CHECKING:
    import torch

Inputs: TypeAlias = Literal["pooled", "mean", "tokens"]
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 5
LEAST_ROWS = 8
_NEUTRAL_EVERY = 4
_OBJECT = "object"
_NEVER = 60.0
"""Nats below the best label at which a label has no part in a loss."""


@final
class Linear(NamedTuple):
    """weight: (f, k) on the inputs as they are; bias: (k,)."""

    weight: Matrix
    bias: Vector


@final
class Fit(NamedTuple):
    """How well the student knows the target.

    rows: used. ridge: chosen. kl: held out, in nats. constant_kl: that of a constant answer.

    agreement: share of held-out rows on which both name the same label.
    """

    rows: int
    ridge: float
    kl: float
    constant_kl: float
    agreement: float

    @property
    def gap(self) -> float:
        """Share of the constant answer's KL that the student removes.

        At 0 or less it learned nothing: do not use it.
        """
        return 1 - self.kl / self.constant_kl if self.constant_kl > 0 else 0.0


@final
class Student(Head):
    """A fitted head over a task's labels. Made by `prime` or `probe`.

    An image that it was fitted on is judged by a head that was fitted without it (one of the
    folds'), so that its loss over the training split is honest: else there would be nothing left to
    gain where it knows the answers by heart.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        task: Task,
        inputs: Inputs,
        *,
        asks: bool,
        heads: Sequence[Linear],
        folds: Mapping[str, int],
        fit: Fit,
    ) -> None:
        """heads: one per fold, then that of all rows. folds: sample id to its fold.

        A sample is judged by the head of the fold that left it out.
        """
        import torch

        self.surrogate = surrogate
        self.task = task
        self.inputs = inputs
        self.asks = asks
        self.fit = fit
        device = surrogate.device
        self._heads = tuple(heads)
        self._weights = [
            torch.from_numpy(head.weight.astype(np.float32)).to(device) for head in heads
        ]
        self._biases = [torch.from_numpy(head.bias.astype(np.float32)).to(device) for head in heads]
        self._folds = dict(folds)

    def whole(self) -> Student:
        """The same student, but the head of all rows judges every image.

        It then also judges those that it was fitted on.
        """
        return Student(
            self.surrogate,
            self.task,
            self.inputs,
            asks=self.asks,
            heads=self._heads[-1:],
            folds={},
            fit=self.fit,
        )

    def labels(self, sample: Sample) -> tuple[str, ...]:
        return _labels(self.task)

    def logits(self, features: Features, samples: Sequence[Sample]) -> torch.Tensor:
        import torch

        given = described(self.surrogate, self.task, features, samples, self.inputs, asks=self.asks)
        last = len(self._weights) - 1
        which = torch.tensor(
            [self._folds.get(sample.id, last) for sample in samples], device=given.device
        )
        logits = given.new_zeros(len(samples), len(self._biases[0]))
        for index in sorted(set(which.tolist())):
            rows = which == index
            logits = logits.masked_scatter(
                rows[:, None], given[rows] @ self._weights[index] + self._biases[index]
            )
        return logits


def priming_points(
    space: PromptSpace,
    count: int,
    seed: int,
    *,
    kinds: Collection[str] | None = None,
    base: Vector | None = None,
    deviation: float = 0.8,
) -> Matrix:
    """(count, space.dim): points at which to show the training images to the target.

    A student that is fitted to them knows prompted images.

    A quarter of the rows is `base` (z = 0), the others differ from it by N(0, deviation²) in the
    variables of `kinds` (all by default). The price is the same, one query for each image. On the
    zoo's suite (source zoo/llava, 256 queries, one seed, 128 validation images a task) a warm start
    on such a student reached 75 % on average, on one of unprompted images 72 %, from 55 %.
    Deterministic in the seed. UsageError for a count below 1 or a deviation that is negative or not
    finite.
    """
    if count < 1 or not 0 <= deviation < float("inf"):
        raise UsageError(
            f"{count} points of deviation {deviation}; give at least 1, and a deviation from 0 up"
        )
    layers = tuple(space.slices) if kinds is None else tuple(kinds)
    start = space.neutral() if base is None else base
    moves = stream(seed, "surrogate", "points").normal(
        0.0, deviation, (count, space.dim_of(layers))
    )
    moves[::_NEUTRAL_EVERY] = 0.0
    return np.stack([start + space.embed(move, layers, space.neutral()) for move in moves])


def prime(
    surrogate: Surrogate,
    task: Task,
    images: Sequence[Pixels],
    samples: Sequence[Sample],
    logprobs: Matrix,
    *,
    inputs: Inputs = "mean",
    ridges: Sequence[float] = RIDGES,
    seed: int = 0,
) -> Student:
    """The student of a target's replies.

    images: the pixels that the target saw, (H, W, 3) uint8: unprompted, or prompted (see
    `priming_points`; whatever a search has queried will do). samples: what was asked about each.
    logprobs: (n, k) the target's scores of `task.labels`, in their order; they are normalised here,
    and a row with NaN (a failed query) is left out. Text replies: a row of large negative numbers
    with 0 at the answer that was parsed. inputs: see `described`. seed: of the folds.
    Deterministic. UsageError for a task without common labels, wrong shapes, or fewer than 8 rows.
    """
    labels = _labels(task)
    scores = np.asarray(logprobs, np.float64)
    if not len(images) == len(samples) == len(scores) or scores.shape[1:] != (len(labels),):
        shapes = f"{len(images)} images, {len(samples)} samples, log-probabilities {scores.shape}"
        raise UsageError(
            f"{shapes}; give n, n and (n, {len(labels)}), one column for each label of {task.name}"
        )
    if inputs not in get_args(Inputs):
        raise unknown("student's inputs", inputs, get_args(Inputs))
    kept = np.flatnonzero(~np.isnan(scores).any(axis=1)).tolist()
    if len(kept) < LEAST_ROWS:
        raise UsageError(f"{len(kept)} answered images to prime on; query at least {LEAST_ROWS}")
    asked = [samples[i] for i in kept]
    asks = len({task.ask(sample) for sample in task.train}) > 1
    features = surrogate.features([images[i] for i in kept])
    given = np.asarray(
        described(surrogate, task, features, asked, inputs, asks=asks).detach().double().cpu()
    )
    target = _normalised(scores[kept])
    ids = sorted({sample.id for sample in asked})
    drawn = stream(seed, "surrogate", "folds").permutation(len(ids)) % min(FOLDS, len(ids))
    folds = dict(
        zip(ids, drawn.tolist(), strict=True)
    )  # by image: several prompted versions of one stay together
    fit, heads = _cross_validated(
        given, target, np.array([folds[sample.id] for sample in asked]), ridges
    )
    return Student(
        surrogate,
        task,
        inputs,
        asks=asks,
        heads=[*heads, _fitted(given, target, fit.ridge)],
        folds=folds,
        fit=fit,
    )


def probe(
    surrogate: Surrogate, task: Task, samples: Sequence[Sample], *, inputs: Inputs = "mean"
) -> Student:
    """A head fitted to the *true* answers of labelled images, unprompted.

    No reply and no query is needed.

    It knows the task where CLIP's zero-shot words fail it ("yes", "three"), and nothing of the
    queried model: fitted to images under a shift it reads them well, and then sees nothing to gain
    where the model does (on the zoo's suite its warm starts did not help). Give samples of the
    training split only. UsageError as for `prime`.
    """
    labels = _labels(task)
    true = np.array(
        [[0.0 if label == sample.answer else -_NEVER for label in labels] for sample in samples]
    )
    return prime(
        surrogate, task, [sample.pixels() for sample in samples], samples, true, inputs=inputs
    )


def described(
    surrogate: Surrogate,
    task: Task,
    features: Features,
    samples: Sequence[Sample],
    inputs: Inputs,
    *,
    asks: bool,
) -> torch.Tensor:
    """(n, f): what the student's head is linear in; differentiable in the features.

    "pooled": CLIP's unit image embedding v. "mean": with the mean image token. "tokens": with the
    mean and the largest value of each token channel as well. asks: the questions differ from sample
    to sample ("is there a {object}"). Then the unit embedding u of the text ("this is a photo of a
    {object}", or the question itself where no field is called `object`) joins in: v ∘ u, whose sum
    is CLIP's cosine; u; and the largest and mean cosine of u with the image tokens, projected as
    CLIP projects the pooled one.
    """
    import torch

    parts = [features.pooled]
    if inputs != "pooled":
        parts.append(features.tokens[:, 1:].mean(1))
    if inputs == "tokens":
        parts.append(features.tokens[:, 1:].amax(1))
    if asks:
        text = surrogate.embedded([asked_text(task, sample) for sample in samples])
        cosines = (surrogate.dense(features.tokens[:, 1:]) * text[:, None]).sum(-1)
        parts += [
            features.pooled * text,
            text,
            cosines.amax(1, keepdim=True),
            cosines.mean(1, keepdim=True),
        ]
    return torch.cat(parts, dim=1)


def asked_text(task: Task, sample: Sample) -> str:
    """What a question is about: the field `object` in TVP's template, else the question."""
    named = sample.fields.get(_OBJECT)
    return TEMPLATE.format(answer=named) if named else task.ask(sample)


def _labels(task: Task) -> tuple[str, ...]:
    if task.labels is None or any(
        task.sample_labels(sample) != task.labels for sample in task.train
    ):
        raise UsageError(
            f"task {task.name} has no labels common to all its samples; a student cannot learn them"
        )
    return task.labels


def _normalised(scores: Matrix) -> Matrix:
    """Log-softmax of each row, kept finite where a label has probability 0."""
    best = scores.max(axis=1, keepdims=True)
    if not np.isfinite(best).all():
        raise UsageError(
            "a row of log-probabilities holds no finite value; give NaN for a failed query"
        )
    shifted = np.maximum(scores - best, -_NEVER)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _fitted(given: Matrix, target: Matrix, ridge: float) -> Linear:
    """Weights and bias on the inputs as they are; the ridge acts on standardised inputs."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    centre = given.mean(axis=0)
    scale = given.std(axis=0) + 1e-6
    x = (given - centre) / scale
    p = np.exp(target)
    (n, f) = x.shape
    k = p.shape[1]

    def value(flat: Vector) -> tuple[float, Vector]:
        weight = flat[: f * k].reshape(f, k)
        bias = flat[f * k :]
        logits = x @ weight + bias
        logits -= logits.max(axis=1, keepdims=True)
        logq = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        slope = (np.exp(logq) - p) / n
        loss = float((p * (target - logq)).sum() / n + ridge * (weight * weight).sum() / f)
        return loss, np.concatenate(
            [(x.T @ slope + 2 * ridge * weight / f).ravel(), slope.sum(axis=0)]
        )

    start = np.concatenate([np.zeros(f * k), target.mean(axis=0)])
    found = minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    weight = found[: f * k].reshape(f, k) / scale[:, None]
    return Linear(weight, found[f * k :] - centre @ weight)


def _cross_validated(
    given: Matrix, target: Matrix, fold: NDArray[np.int64], ridges: Sequence[float]
) -> tuple[Fit, list[Linear]]:
    """The best ridge with its held-out figures, and each fold's head at that ridge.

    Chosen within the rows given.
    """
    if not ridges or min(ridges) < 0:
        raise UsageError(f"ridges {tuple(ridges)}; give at least one, none below 0")
    n = len(given)
    count = int(fold.max()) + 1
    if count < 2:
        raise UsageError("all answered rows show one image; query more images")
    kl = np.zeros(len(ridges))
    agreement = np.zeros(len(ridges))
    constant = 0.0
    heads: list[list[Linear]] = []
    for held in range(count):
        inner = fold != held
        outer = fold == held
        mean = np.log(np.exp(target[inner]).mean(axis=0))
        constant += _kl_sum(target[outer], np.broadcast_to(mean, target[outer].shape))
        heads.append([_fitted(given[inner], target[inner], ridge) for ridge in ridges])
        for i, head in enumerate(heads[-1]):
            logq = _normalised(given[outer] @ head.weight + head.bias)
            kl[i] += _kl_sum(target[outer], logq)
            agreement[i] += int((logq.argmax(axis=1) == target[outer].argmax(axis=1)).sum())
    best = int(kl.argmin())
    fit = Fit(n, ridges[best], float(kl[best] / n), constant / n, float(agreement[best] / n))
    return fit, [row[best] for row in heads]


def _kl_sum(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    return float((np.exp(p) * (p - q)).sum())
