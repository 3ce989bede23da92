"""J over candidates: the loss of the model's answers, plus FCA and minus TSE of the surrogate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, final, get_args

import numpy as np

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.models import Model
from bbtvp.prompt import Prepared, PreparedImages, PromptSpace
from bbtvp.search.ask import FAILED, Answers, Beside, ask, requests_for
from bbtvp.search.config import Combine
from bbtvp.search.evaluation import MISSING, Evaluation, Scale, additive
from bbtvp.search.readers import Reader, Reading
from bbtvp.surrogate import Features, Surrogate
from bbtvp.tasks import Sample, Task

Send: TypeAlias = Callable[[Pixels], Pixels]


class Table(NamedTuple):
    """What k candidates got on n images, (k, n) each; NaN where the query failed."""

    losses: Matrix
    correct: Matrix

    @classmethod
    def of(cls, readings: Sequence[Reading], rows: int) -> Table:
        """Readings of all images for the first candidate, then for the next."""
        losses, correct = (
            np.array([getattr(r, name) for r in readings]) for name in ("loss", "correct")
        )
        shape = (rows, len(readings) // rows)
        return cls(losses.reshape(shape), correct.reshape(shape))


def check_terms(surrogate: Surrogate | None, fca: float, tse: float) -> None:
    """UsageError for weights that are no weights, or that have no surrogate to weigh."""
    for name, weight in (("FCA", fca), ("TSE", tse)):
        if not 0 <= weight < float("inf"):
            raise UsageError(f"the weight of {name} is {weight}; give a number from 0 up")
    if (fca or tse) and surrogate is None:
        raise UsageError("FCA and TSE need a surrogate: add --surrogate zoo/clip")
    if tse and surrogate is not None and not surrogate.reads_text:
        raise UsageError(
            f"{surrogate.spec} reads no texts, so it has no TSE; leave out --tse, or add a "
            "surrogate with a text tower: --surrogate zoo/clip"
        )


class SampleQuery(NamedTuple):
    """What is asked about one sample: pixels, a question, and the number of the source model.

    beside: what goes with them.
    """

    sample: Sample
    image: Pixels
    question: str
    owner: int
    beside: Beside = Beside()


@final
class Objective:
    """J over candidates z, on a minibatch that is the same for all of them (common random numbers).

    models: one source, or several: the images of a minibatch are dealt out to them in turn, so that
    n images cost n image queries however many sources there are. combine: "mean" over all images,
    or "worst", the mean of the source where it is highest. free: the samples that FCA and TSE are
    taken on, at no query (default: the minibatch). repeats: answers per image and candidate.
    """

    def __init__(
        self,
        task: Task,
        space: PromptSpace,
        models: Model | Sequence[Model],
        reader: Reader,
        *,
        surrogate: Surrogate | None = None,
        fca: float = 0.0,
        tse: float = 0.0,
        combine: Combine = "mean",
        free: Sequence[Sample] = (),
        repeats: int = 1,
    ) -> None:
        check_terms(surrogate, fca, tse)
        if combine not in get_args(Combine):
            raise unknown("way to combine source models", combine, get_args(Combine))
        if repeats < 1:
            raise UsageError(f"{repeats} answers per image; give at least 1")
        self.task = task
        self.space = space
        self.reader = reader
        self.repeats = repeats
        self.models = (models,) if isinstance(models, Model) else tuple(models)
        self.surrogate = surrogate if fca or tse else None
        self.fca_weight = fca
        self.tse_weight = tse
        self.combine = combine
        self.free = tuple(free)
        self._prepared = PreparedImages(space.prepare)
        self._clean: dict[str, Pixels] = {}

    def prepared(self, sample: Sample) -> Prepared:
        """The sample's image, decoded and fitted once."""
        return self._prepared.get(sample.id, sample.pixels)

    # -- image queries -----------------------------------------------------------------------------
    def ask(self, queries: Sequence[SampleQuery]) -> Answers:
        """The answers to these queries, in their order, each from the source that it names."""
        order: list[int] = []
        parts: list[Answers] = []
        for number, model in enumerate(self.models):
            places = [i for i, query in enumerate(queries) if query.owner == number]
            if places:
                own = [queries[i] for i in places]
                order += places
                parts.append(
                    ask(
                        model,
                        self.reader,
                        self.task,
                        [query.sample for query in own],
                        images=[query.image for query in own],
                        questions=[query.question for query in own],
                        beside=[query.beside for query in own],
                        repeats=self.repeats,
                    )
                )
        return Answers.joined(parts).in_order(order)

    def read(self, queries: Sequence[SampleQuery]) -> tuple[Reading, ...]:
        """The readings alone of what `ask` gives."""
        return self.ask(queries).readings

    def known(self, queries: Sequence[SampleQuery]) -> tuple[Reading, ...]:
        """The readings of what was answered before, FAILED for the rest; no image query."""
        costs = self.costs(queries)
        there = [i for i, cost in enumerate(costs) if not cost]
        found = [FAILED] * len(queries)
        if there:
            readings = self.read([queries[i] for i in there])
            for i, reading in zip(there, readings, strict=True):
                found[i] = reading
        return tuple(found)

    def costs(self, queries: Sequence[SampleQuery]) -> list[int]:
        """Image queries that `read` would spend on each query, without retries.

        A request that was answered before costs none.
        """
        costs = []
        for query in queries:
            requests = requests_for(
                self.reader,
                self.task,
                [query.sample],
                images=[query.image],
                questions=[query.question],
                beside=[query.beside],
                draws=range(self.repeats),
            )
            costs.append(self.models[query.owner].answered(requests).count(False))
        return costs

    def queries(self, samples: Sequence[Sample], z: Vector | None = None) -> list[SampleQuery]:
        """What is asked about each sample with the prompt at z (d,); without z, as it is."""
        plain = [self.task.ask(sample) for sample in samples]
        if z is None:
            images = [sample.pixels() for sample in samples]
            questions = plain
            beside = Beside()
        else:
            render = self.space.renderer(z)
            images = [render(self.prepared(sample)) for sample in samples]
            questions = [self.space.ask(z, question) for question in plain]
            beside = Beside(self.space.context(z), self.space.reply_tokens(z))
        rows = zip(samples, images, questions, self.owners(len(samples)), strict=True)
        return [SampleQuery(*row, beside) for row in rows]

    def owners(self, count: int) -> list[int]:
        """The source model of each of the `count` images of a minibatch."""
        return [i % len(self.models) for i in range(count)]

    def score(
        self,
        z: Matrix,
        samples: Sequence[Sample],
        *,
        sends: Sequence[Send] = (),
        known: bool = False,
    ) -> Table:
        """Losses and right answers of each row of z (k, d) on each of n samples.

        Spends k · n · repeats image queries. sends: what happens to each sample's picture on the
        way to the model, the same for every candidate. known: spend none, and leave holes where
        nothing was answered before.
        """
        queries = []
        for row in z:
            asked = self.queries(samples, row)
            if sends:
                asked = [
                    query._replace(image=send(query.image))
                    for query, send in zip(asked, sends, strict=True)
                ]
            queries += asked
        read = self.known if known else self.read
        return Table.of(read(queries), len(z))

    # -- one number per candidate ------------------------------------------------------------------
    def evaluate(
        self, z: Matrix, samples: Sequence[Sample], *, scale: Scale | None = None
    ) -> list[Evaluation]:
        """One Evaluation per row of z (k, d); spends up to k · n · repeats image queries."""
        return self.summarise(z, samples, self.score(z, samples), scale=scale)

    def summarise(
        self,
        z: Matrix,
        samples: Sequence[Sample],
        table: Table,
        *,
        scale: Scale | None = None,
    ) -> list[Evaluation]:
        """Evaluations of candidates from their losses; no image query.

        scale: units of FCA and TSE.
        """
        means = self.means(table.losses)
        fca, tse = self._free_terms(z, samples)
        found = []
        for i, (losses, correct) in enumerate(zip(*table, strict=True)):
            known = losses[np.isfinite(losses)]
            right = correct[np.isfinite(correct)]
            n = len(known)
            spread = float(known.std(ddof=1) / np.sqrt(n)) if n > 1 else MISSING
            accuracy = float(right.mean()) if len(right) else MISSING
            terms = (float(fca[i]), float(tse[i])) if n else (MISSING, MISSING)
            row = Evaluation(
                MISSING, float(means[i]), *terms, spread, accuracy, n, len(samples) - n
            )
            found.append((scale or Scale()).apply(row, self.fca_weight, self.tse_weight))
        return found

    def means(self, losses: Matrix) -> Vector:
        """(k,) loss of each candidate over the n images of a minibatch.

        It is that of all images, or of the worst source. A candidate without an answer of a source
        is taken to stand there among the others as it does on the whole.
        """
        overall = additive(losses)
        if self.combine == "mean":
            return overall
        owners = np.array(self.owners(losses.shape[1]))
        each = []
        for number in sorted(set(owners.tolist())):
            own = additive(losses[:, owners == number])
            known = np.isfinite(own)
            if known.any():
                each.append(np.where(known, own, overall + (own - overall)[known].mean()))
        return np.max(each, axis=0) if each else overall

    def _free_terms(self, z: Matrix, samples: Sequence[Sample]) -> tuple[Vector, Vector]:
        """FCA and TSE of each candidate, (k,) each.

        They are means over the free samples, or over the minibatch if there are none.
        """
        if self.surrogate is None:
            return np.zeros(len(z)), np.zeros(len(z))
        chosen = self.free or tuple(samples)
        renderers = [self.space.renderer(row) for row in z]
        prompted = self.surrogate.features(
            [r(self.prepared(sample)) for r in renderers for sample in chosen]
        )
        unprompted = self.surrogate.features([self._unprompted(sample) for sample in chosen])
        tiled = Features(
            unprompted.tokens.repeat(len(z), 1, 1), unprompted.pooled.repeat(len(z), 1)
        )
        shape = (len(z), len(chosen))
        fca = self.surrogate.fca(prompted, tiled).reshape(shape).mean(axis=1)
        if not self.surrogate.reads_text:
            return fca, np.zeros(len(z))
        return fca, self.surrogate.tse(prompted, [*chosen] * len(z)).reshape(shape).mean(axis=1)

    def _unprompted(self, sample: Sample) -> Pixels:
        if sample.id not in self._clean:
            self._clean[sample.id] = self.space.renderer(self.space.neutral())(
                self.prepared(sample)
            )
        return self._clean[sample.id]
