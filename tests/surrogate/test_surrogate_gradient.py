"""Gradients of the surrogate's terms: the way back to the pixels, from the pixels to z, and what a
guide does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.optim import optimiser
from bbtvp.prompt import Frame, Layer, Placement, PromptSpace, Tone
from bbtvp.prompt.overlay import Overlay
from bbtvp.surrogate import ClipSurrogate, Guide, ZeroShot, gradients_at, pullback
from bbtvp.surrogate.pixels import float_path
from bbtvp.tasks import Task

torch = pytest.importorskip("torch")
CANVAS = 20


def space(*layers: Layer, inside: float = 0.6) -> PromptSpace:
    return PromptSpace((Placement(inside), *layers), CANVAS)


def noisy(n: int, side: int) -> list[Pixels]:
    rng = np.random.default_rng(0)
    smooth = rng.uniform(0, 255, (n, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    return [
        np.rint(np.clip(image + rng.normal(0, 20, image.shape), 0, 255)).astype(np.uint8)
        for image in smooth
    ]


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a.ravel() @ b.ravel() / np.linalg.norm(a) / np.linalg.norm(b))


def random_z(count: int, scale: float = 0.7) -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(0, scale, count)


# -- to the pixels ---------------------------------------------------------------------------------
@pytest.mark.parametrize("side", [12, 16, 20, 64])
def test_the_float_path_is_the_processors_but_for_rounding(
    resizing: ClipSurrogate, side: int
) -> None:
    images = noisy(3, side)
    wanted = resizing.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    levels = torch.from_numpy(np.stack(images).astype(np.float32))
    found = float_path(levels, resizing.processor.image_processor)
    level = 1 / (255 * min(resizing.processor.image_processor.image_std))
    apart = (found - wanted).abs() / level
    assert float(apart.max()) <= (1e-3 if side == 12 else 3)
    assert float(apart.mean()) <= 0.6


@pytest.mark.parametrize(("resample", "name"), [(2, "bilinear"), (3, "bicubic")])
def test_the_float_path_knows_filters_shortest_edges_and_crops(resample: int, name: str) -> None:
    from transformers import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": 14}, crop_size=12, resample=resample)
    images = [image[:16] for image in noisy(2, 24)]
    wanted = processor(images=images, return_tensors="pt")["pixel_values"]
    found = float_path(torch.from_numpy(np.stack(images).astype(np.float32)), processor)
    assert found.shape == wanted.shape
    apart = (found - wanted).abs() * 255 * min(processor.image_std)
    assert float(apart.max()) <= 8, name
    assert float(apart.mean()) <= 0.6, name


def test_the_float_path_refuses_what_it_does_not_do() -> None:
    from transformers import CLIPImageProcessorPil

    levels = torch.zeros(1, 16, 16, 3)
    with pytest.raises(UsageError, match="smaller crop"):
        float_path(levels, CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size=12))
    with pytest.raises(UsageError, match="bilinear, bicubic"):
        float_path(
            levels, CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size=8, resample=0)
        )
    odd = CLIPImageProcessorPil(size={"shortest_edge": 8, "longest_edge": 9}, crop_size=8)
    with pytest.raises(UsageError, match="shortest_edge, or height, width"):
        float_path(levels, odd)


def test_watched_features_are_the_exact_ones(resizing: ClipSurrogate) -> None:
    images = noisy(3, 20)
    levels, seen = resizing.watched(images)
    exact = resizing.features(images)
    torch.testing.assert_close(seen.tokens, exact.tokens, atol=1e-4, rtol=1e-4)
    assert levels.shape == (3, 20, 20, 3)
    assert torch.autograd.grad(seen.pooled[:, 0].sum(), levels)[0].abs().sum() > 0


# -- from the pixels to z --------------------------------------------------------------------------
FRAMES = [Frame("color"), Frame("dct", size=6), Frame("blocks", size=5), Frame("pixels")]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.basis)
@pytest.mark.parametrize("at", [0.0, 0.7])
def test_a_frame_is_pulled_back_as_autograd_does(task: Task, frame: Frame, at: float) -> None:
    """The frame once more in torch, in floats: 255 · sigmoid(logit + a · basis z), the basis taken
    from the layer.
    """
    where = space(frame)
    z = random_z(where.dim, at)
    images = [where.prepare(sample.pixels()) for sample in task.train[:3]]
    rng = np.random.default_rng(0)
    cotangents = rng.normal(size=(2, 3, CANVAS, CANVAS, 3)).astype(np.float32)
    outside = np.ones((CANVAS, CANVAS, 1))
    where.geometry.box.of(outside)[...] = 0  # type: ignore[arg-type]
    logits = torch.tensor(z, requires_grad=True)
    colours = 255 * torch.sigmoid(
        0.0039 + torch.einsum("d,dyxc->yxc", logits, torch.from_numpy(basis(where, frame)))
    )
    for row, found in zip(cotangents, pullback(where, z, images, cotangents), strict=True):
        wanted = torch.autograd.grad(
            (colours * torch.from_numpy(row.sum(0) * outside)).sum(), logits, retain_graph=True
        )
        assert cosine(found, wanted[0].numpy()) > 0.9999
        assert np.linalg.norm(found) == pytest.approx(float(wanted[0].norm()), rel=0.03)


def basis(where: PromptSpace, frame: Frame) -> NDArray[np.float64]:
    """(d, canvas, canvas, 3): how each variable moves the logit, measured on the layer's own field
    at ± 0.5.
    """
    found = []
    for index in range(where.dim):
        ends = [
            frame.field(sign * 0.5 * np.eye(where.dim)[index], where.geometry).astype(float)
            for sign in (1, -1)
        ]
        logit = [np.log(level / (255 - level)) for level in ends]
        found.append(logit[0] - logit[1])
    return np.array(found)


LAYERS = [
    (Frame("dct", size=4),),
    (Frame("pixels"),),
    (Tone(("contrast", "brightness", "gamma", "sharpness", "saturation")),),
    (Overlay("dct", size=4),),
    (Overlay("blocks", size=3),),
    (Overlay("pixels"),),
    (Tone(), Frame("color"), Overlay("dct", size=3)),
]


@pytest.mark.parametrize(
    "layers", LAYERS, ids=lambda layers: "+".join(f"{layer.kind}" for layer in layers)
)
def test_the_pull_back_is_the_derivative_of_the_rendered_pixels(
    task: Task, layers: tuple[Layer, ...]
) -> None:
    """Against differences of <G, render(z)> along random directions, G smooth so that rounding
    averages out.
    """
    where = space(*layers)
    z = random_z(where.dim, 0.5)
    images = [where.prepare(sample.pixels()) for sample in task.train[:4]]
    rng = np.random.default_rng(2)
    found = []
    wanted = []
    for _ in range(8):
        direction = rng.normal(size=where.dim)
        cotangent = rng.normal(size=(1, 4, 1, 1, 3)) + np.zeros((1, 4, CANVAS, CANVAS, 3))
        slope = pullback(where, z, images, cotangent.astype(np.float32))[0]
        up, down = (
            np.stack([where.render(z + h * direction, i).astype(float) for i in images])
            for h in (0.2, -0.2)
        )
        found.append(slope @ direction)
        wanted.append(float((cotangent[0] * (up - down)).sum() / 0.4))
    assert cosine(np.array(found), np.array(wanted)) > 0.98
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(wanted), rel=0.15)


def test_the_rows_of_single_images_add_up(task: Task) -> None:
    where = space(Tone(), Frame("dct", size=4), Overlay("pixels"))
    images = [where.prepare(sample.pixels()) for sample in task.train[:3]]
    cotangents = np.random.default_rng(0).normal(size=(2, 3, CANVAS, CANVAS, 3)).astype(np.float32)
    whole = pullback(where, random_z(where.dim), images, cotangents)
    each = pullback(where, random_z(where.dim), images, cotangents, per_image=True)
    assert each.shape == (2, 3, where.dim)
    np.testing.assert_allclose(each.sum(axis=1), whole, rtol=1e-3, atol=1e-2)


def test_a_frame_does_not_show_under_the_image_nor_under_marks(task: Task) -> None:
    """A cotangent inside the image moves no frame variable; pixels that a zoom frees count."""
    where = PromptSpace((Placement(search=("zoom",)), Frame("color")), CANVAS)
    image = [where.prepare(task.train[0].pixels())]
    ones = np.ones((1, 1, CANVAS, CANVAS, 3), np.float32)
    covered = pullback(where, where.neutral(), image, ones, kinds=("frame",))
    shrunk = pullback(where, np.array([-2.0, 0, 0, 0]), image, ones, kinds=("frame",))
    assert np.array_equal(covered, np.zeros((1, 3)))
    assert (shrunk > 0).all()


def test_only_the_layers_asked_for_come_back_in_the_order_of_embed(task: Task) -> None:
    where = space(Tone(), Frame("color"))
    images = [where.prepare(task.train[0].pixels())]
    cotangents = np.random.default_rng(0).normal(size=(1, 1, CANVAS, CANVAS, 3)).astype(np.float32)
    z = random_z(where.dim)
    whole = pullback(where, z, images, cotangents)[0]
    part = pullback(where, z, images, cotangents, kinds=("frame", "tone"))[0]
    alone = pullback(where, z, images, cotangents, kinds=("frame",))[0]
    assert np.array_equal(where.embed(part, ("frame", "tone"), where.neutral()), whole)
    assert np.array_equal(alone, whole[where.slices["frame"]])
    assert pullback(where, z, images, cotangents, kinds=("placement",)).shape == (1, 0)


def test_bad_shapes_steps_and_layers_are_refused(task: Task) -> None:
    where = space(Tone())
    images = [where.prepare(task.train[0].pixels())]
    good = np.zeros((1, 1, CANVAS, CANVAS, 3), np.float32)
    with pytest.raises(UsageError, match=r"give \(rows, 1, 20, 20, 3\)"):
        pullback(where, where.neutral(), images, good[0])
    with pytest.raises(UsageError, match="difference step"):
        pullback(where, where.neutral(), images, good, step=0)
    with pytest.raises(UsageError, match="unknown layer 'frame'"):
        pullback(where, where.neutral(), images, good, kinds=("frame",))
    with pytest.raises(UsageError, match="z has shape"):
        pullback(where, np.zeros(9), images, good)


# -- the guide -------------------------------------------------------------------------------------
def differences(guide: Guide, z: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    """(k, d) central differences of the exact terms, on the uint8 pixels."""
    steps = h * np.eye(guide.space.dim)
    return np.stack(
        [(guide.values(z + s) - guide.values(z - s)).mean(axis=1) / (2 * h) for s in steps], axis=1
    )


@pytest.mark.parametrize("at", [0.3, 1.0])
@pytest.mark.parametrize(
    "layers",
    [(Tone(("contrast", "brightness", "gamma")),), (Frame("color"),), (Frame("dct", size=3),)],
    ids=str,
)
def test_a_guide_agrees_with_differences_of_the_exact_terms(
    clip: ClipSurrogate, task: Task, layers: Sequence[Layer], at: float
) -> None:
    guide = Guide(ZeroShot(clip, task), space(*layers), task.train[:24], normalise=False)
    z = random_z(guide.space.dim, at)
    rows = guide(z)
    exact = differences(guide, z, 0.15)
    assert guide.terms == ("task", "tse", "fca")
    for term, row, wanted in zip(guide.terms, rows, exact, strict=True):
        assert cosine(row, wanted) > 0.95, term


def test_values_are_those_of_the_objective(clip: ClipSurrogate, task: Task) -> None:
    where = space(Tone())
    head = ZeroShot(clip, task)
    samples = task.train[:6]
    guide = Guide(head, where, samples)
    z = random_z(3)
    images = [where.render(z, sample.pixels()) for sample in samples]
    seen = clip.features(images)
    clean = clip.features([where.render(where.neutral(), sample.pixels()) for sample in samples])
    wanted = [head.loss(images, samples), -clip.tse(seen, samples), clip.fca(seen, clean)]
    np.testing.assert_allclose(guide.values(z), np.array(wanted), rtol=1e-4)
    assert np.array_equal(guide.values(where.neutral())[2], np.zeros(6))


def test_fca_has_no_slope_where_nothing_has_changed(clip: ClipSurrogate, task: Task) -> None:
    rows = Guide(ZeroShot(clip, task), space(Tone()), task.train[:4])(np.zeros(3))
    assert np.array_equal(rows[2], np.zeros(3))
    np.testing.assert_allclose(np.linalg.norm(rows[:2], axis=1), 1)


def test_a_weighted_gradient_is_the_weighted_sum_of_the_rows(
    clip: ClipSurrogate, task: Task
) -> None:
    where = space(Tone(), Frame("dct", size=4))
    head = ZeroShot(clip, task)
    guide = Guide(head, where, task.train[:7], normalise=False)
    z = random_z(where.dim)
    rows = guide(z)
    mixed = guide.gradient(z, {"task": 1.0, "fca": 0.5})
    np.testing.assert_allclose(mixed, rows[0] + 0.5 * rows[2], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(
        guide.gradient(z, {"tse": 2.0}, task.train[:7]), 2 * rows[1], rtol=1e-3, atol=1e-6
    )
    each = guide.per_sample(z, "task")
    np.testing.assert_allclose(each.mean(axis=0), rows[0], rtol=1e-3, atol=1e-5)


def test_a_guide_is_deterministic_and_does_not_depend_on_the_batch(
    clip: ClipSurrogate, task: Task
) -> None:
    where = space(Tone(), Frame("color"))
    z = random_z(where.dim)
    whole = ClipSurrogate("whole", clip.model, clip.processor, batch=64)
    one, again, other = (
        Guide(ZeroShot(s, task), where, task.train[:9])(z) for s in (clip, clip, whole)
    )
    assert np.array_equal(one, again)
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_bare_surrogate_has_no_task_term(clip: ClipSurrogate, task: Task) -> None:
    assert Guide(clip, space(Tone()), task.train[:2]).terms == ("tse", "fca")
    with pytest.raises(UsageError, match="unknown surrogate term 'task'"):
        Guide(clip, space(Tone()), task.train[:2], terms=("task",))


def test_a_step_against_a_row_improves_its_term(clip: ClipSurrogate, task: Task) -> None:
    guide = Guide(ZeroShot(clip, task), space(Tone(), Frame("dct", size=6)), task.train[:16])
    z = random_z(guide.space.dim, 0.3)
    before = guide.values(z).mean(axis=1)
    for index, row in enumerate(guide(z)):
        assert guide.values(z - 0.3 * row).mean(axis=1)[index] < before[index]


def test_bad_samples_terms_and_counts_are_refused(clip: ClipSurrogate, task: Task) -> None:
    head = ZeroShot(clip, task)
    where = space(Tone())
    with pytest.raises(UsageError, match="a guide needs samples"):
        Guide(head, where, [])
    guide = Guide(head, where, task.train[:2])
    with pytest.raises(UsageError, match="no samples"):
        guide(np.zeros(3), [])
    with pytest.raises(UsageError, match="unknown surrogate term 'fac'; did you mean fca"):
        guide.gradient(np.zeros(3), {"fac": 1.0})
    with pytest.raises(UsageError, match="1 images for 2 samples"):
        guide.values_of([task.train[0].pixels()], task.train[:2])
    with pytest.raises(UsageError, match="channel made"):
        guide.gradient(np.zeros(3), {"task": 1.0}, channel=(lambda pixels, rng: pixels[1:], 0))


def test_an_optimiser_is_guided_over_the_active_variables_alone(
    clip: ClipSurrogate, task: Task
) -> None:
    where = space(Tone(), Frame("color"))
    guide = Guide(ZeroShot(clip, task), where, task.train[:8], kinds=("tone",))
    base = random_z(6)
    active = np.array([0.3, -0.2, 0.1])
    rows = guide.over(base)(active)
    assert rows.shape == (3, 3) and guide.dim == 3
    assert np.array_equal(rows, guide(where.embed(active, ("tone",), base)))
    search = optimiser("guided-es", 3, 0, guide=guide.over(base), budget=20)
    assert search.ask().shape[1] == 3


# -- subspaces -------------------------------------------------------------------------------------
def test_gradients_for_a_subspace(clip: ClipSurrogate, task: Task) -> None:
    guide = Guide(ZeroShot(clip, task), space(Frame("dct", size=4)), task.train[:8])
    zs = np.stack([np.zeros(12), random_z(12)])
    each, answers, all_ = (gradients_at(guide, zs, by=by) for by in ("sample", "answer", "all"))
    assert (each.shape, answers.shape, all_.shape) == ((16, 12), (8, 12), (2, 12))
    np.testing.assert_allclose(np.linalg.norm(each, axis=1), 1)
    np.testing.assert_allclose(all_[1], guide(zs[1])[0], atol=1e-6)
    assert len(gradients_at(guide, zs[:1], "fca")) == 0
    with pytest.raises(UsageError, match="unknown grouping"):
        gradients_at(guide, zs, by="class")


def test_images_of_several_shapes_each_have_the_gradient_of_their_own_canvas(
    clip: ClipSurrogate, task: Task
) -> None:
    where = PromptSpace(
        (Placement(0.6), Tone(), Frame("dct", size=4), Overlay()), CANVAS, "picture"
    )
    samples = [
        replace(sample, image=sample.pixels()[: 8 + 4 * (i % 3)])
        for i, sample in enumerate(task.train[:7])
    ]
    guide = Guide(ZeroShot(clip, task), where, samples, normalise=False)
    z = random_z(where.dim)
    assert len({image.shape for image in guide.rendered(z, samples)}) == 3
    each = guide.per_sample(z, "task")
    alone = [guide.per_sample(z, "task", [sample])[0] for sample in samples]
    np.testing.assert_allclose(each, alone, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(guide(z)[0], each.mean(axis=0), rtol=1e-3, atol=1e-5)
    with pytest.raises(UsageError, match="canvases of several sizes"):
        pullback(where, z, [guide.prepared(one) for one in samples], np.zeros((1, 7, 8, 8, 3)))
