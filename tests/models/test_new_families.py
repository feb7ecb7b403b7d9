"""Every family with T5 or a language model: the rules of the lens, on random-weight miniatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from difflens_widgets import DiffusionLens, LensRun, check_family
from difflens_widgets.runs.events import Event, Progress
from family_pipelines import (
    small_aura_flow_pipeline,
    small_chroma_pipeline,
    small_cogview4_pipeline,
    small_flux2_klein_pipeline,
    small_flux2_pipeline,
    small_if_pipeline,
    small_lumina2_pipeline,
    small_pixart_alpha_pipeline,
    small_pixart_pipeline,
    small_qwen_image_pipeline,
    small_sana_pipeline,
    small_z_image_pipeline,
)
from joint_pipelines import small_flux_pipeline, small_sd3_pipeline, small_sd35_pipeline
from stock import PROMPT, assert_same_picture

STEPS, SIZE = 2, 32
NEGATIVE = "a green star"


@dataclass(frozen=True)
class Case:
    """A miniature, and how its stock pipeline is called; `negative` also for its negative prompt."""

    make: Callable[..., Any]
    layers: int
    few: tuple[int, ...] | None = None  # the layers that are painted; None: all
    encoder: str | None = None
    negative: dict[str, Any] | None = field(default_factory=lambda: {"negative_prompt": NEGATIVE})
    guidance: str = "guidance_scale"
    stock: dict[str, Any] = field(default_factory=dict)
    texts: int = 1  # that are encoded where there is no negative prompt
    needs: str = "DiffusionPipeline"  # the class came after the oldest supported diffusers
    make_options: dict[str, Any] = field(default_factory=dict)


_KLEIN = "Flux2KleinPipeline"
_EXACT_SIZE = {"use_resolution_binning": False}

CASES = {
    "flux": Case(small_flux_pipeline, layers=3, negative={"negative_prompt": NEGATIVE, "true_cfg_scale": 3.0}),
    "z-image": Case(small_z_image_pipeline, layers=3, needs="ZImagePipeline"),
    "sd3-clip-l": Case(small_sd3_pipeline, layers=2),
    "sd3-clip-g": Case(small_sd3_pipeline, layers=2, encoder="text_encoder_2"),
    "sd3-t5": Case(small_sd3_pipeline, layers=3, encoder="text_encoder_3"),
    "sd3-without-t5": Case(small_sd3_pipeline, layers=2, make_options={"t5": False}),
    "sd35": Case(small_sd35_pipeline, layers=3, encoder="text_encoder_3"),
    "qwen-image": Case(small_qwen_image_pipeline, layers=4, guidance="true_cfg_scale"),
    "klein": Case(small_flux2_klein_pipeline, layers=28, few=(0, 1, 9, 26, 27), negative=None, texts=2, needs=_KLEIN),
    "klein-distilled": Case(
        small_flux2_klein_pipeline,
        layers=28,
        few=(1, 18, 27),
        needs=_KLEIN,
        negative=None,
        make_options={"is_distilled": True},
    ),
    "flux2": Case(small_flux2_pipeline, layers=31, few=(0, 1, 10, 29, 30), negative=None, needs="Flux2Pipeline"),
    "chroma": Case(small_chroma_pipeline, layers=3),
    "pixart-sigma": Case(small_pixart_pipeline, layers=3, stock=_EXACT_SIZE),
    "pixart-alpha": Case(small_pixart_alpha_pipeline, layers=3, stock=_EXACT_SIZE),
    "sana": Case(small_sana_pipeline, layers=4, stock=_EXACT_SIZE),
    "lumina2": Case(small_lumina2_pipeline, layers=3),
    "aura-flow": Case(small_aura_flow_pipeline, layers=3),
    "cogview4": Case(small_cogview4_pipeline, layers=3),
    "deepfloyd-if": Case(small_if_pipeline, layers=3),
}


class Family:
    """One miniature, its lens, and runs that several tests look at."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.pipe = case.make(**case.make_options)
        self.pipe.set_progress_bar_config(disable=True)
        self.lens = DiffusionLens(self.pipe, batch_size=2, batch_invariant=True, text_encoder=case.encoder)
        self.events: list[Event] = []

    def run(self, prompt: str = PROMPT, **options: Any) -> LensRun:
        return self.lens(prompt, **self.arguments(**options))

    def arguments(self, **options: Any) -> dict[str, Any]:
        size = {"height": SIZE, "width": SIZE}
        return {"seed": 3, "num_inference_steps": STEPS, "guidance_scale": 3.0, **size, **options}

    @cached_property
    def full(self) -> LensRun:
        """All layers, without a negative prompt; its events are kept."""
        job = self.lens._jobs(PROMPT, **self.arguments(snapshots=[STEPS - 1], layers=self.case.few))[0]
        job.subscribe(self.events.append, previews=True)
        return job.start().result()

    def stock(self, prompt: str = PROMPT, **options: Any) -> tuple[torch.Tensor, Any]:
        """The final latents (as images) and the picture of the stock pipeline."""
        kept = []
        step = self.pipe.scheduler.step

        @wraps(step)
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = step(*args, **kwargs)
            kept.append(output[0] if isinstance(output, tuple) else output.prev_sample)
            return output

        self.pipe.scheduler.step = watched
        rows = self.lens.batch_size  # the last bits depend on it
        given = {self.case.guidance: 3.0, "num_inference_steps": STEPS, "height": SIZE, "width": SIZE}
        given |= {name: [value] * rows if isinstance(value, str) else value for name, value in options.items()}
        generators = [torch.Generator().manual_seed(3) for _ in range(rows)]
        try:
            picture = self.pipe(prompt=[prompt] * rows, generator=generators, **given, **self.case.stock).images[0]
        finally:
            del self.pipe.scheduler.step
        shape = self.full.latents[self.lens.num_layers - 1].shape
        return self.lens.family.latents.unpack(kept[-1], shape)[0], picture


@pytest.fixture(scope="module", params=CASES)
def family(request: pytest.FixtureRequest) -> Family:
    case = CASES[request.param]
    if not hasattr(diffusers, case.needs):
        pytest.skip(f"this diffusers has no {case.needs}")
    return Family(case)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def assert_same(run: LensRun, stock: tuple[torch.Tensor, Any], layer: int) -> None:
    latents, picture = stock
    apart = np.abs(run.latents[layer] - latents.float().numpy()).max()
    assert apart <= 1e-6 * max(1.0, latents.abs().max().item()), apart
    assert_same_picture(run.images[layer], picture)


def test_the_last_layer_is_the_stock_picture_and_no_other_is(family: Family) -> None:
    last = family.lens.num_layers - 1
    assert family.lens.num_layers == family.case.layers
    assert family.full.status == "done", family.full.message
    assert_same(family.full, family.stock(), last)
    for layer in sorted(family.full.images)[:-1]:
        apart = np.abs(family.full.latents[layer] - family.full.latents[last]).max()
        assert apart > 1e-3, layer
    assert_same_picture(family.full.snapshots[last, STEPS - 1], family.full.images[last])


def test_progress_ends_at_all(family: Family) -> None:
    _ = family.full
    told = [event for event in family.events if isinstance(event, Progress)]
    assert told[-1].layers_done == told[-1].layers_total == len(family.case.few or family.lens.layers)
    assert told[-1].step == told[-1].steps == STEPS


def test_a_picture_does_not_depend_on_the_others(family: Family) -> None:
    alone = family.run(layers=[1])
    assert_same_picture(alone.images[1], family.full.images[1])
    np.testing.assert_allclose(alone.latents[1], family.full.latents[1], atol=1e-5)


def test_a_negative_prompt(family: Family) -> None:
    if family.case.negative is None:
        with pytest.raises(ValueError, match=r"negative_prompt: .* takes none"):
            family.run(negative_prompt=NEGATIVE)
        return
    last = family.lens.num_layers - 1
    run = family.run(layers=[last], **family.case.negative)
    assert_same(run, family.stock(**family.case.negative), last)
    assert np.abs(run.latents[last] - family.full.latents[last]).max() > 1e-3


def test_prompts_of_different_lengths(family: Family) -> None:
    last = family.lens.num_layers - 1
    short = family.run("a star", layers=[last])
    assert_same(short, family.stock("a star"), last)


def test_each_text_is_encoded_once(family: Family) -> None:
    counts: dict[str, list[int]] = {}
    hooks = []
    for encoder in family.lens.family.encoders:
        module = getattr(family.pipe, encoder.name)
        if module is None:
            continue
        rows = counts.setdefault(encoder.name, [])

        def count(module: Any, args: Any, kwargs: Any, rows: list[int] = rows) -> None:
            rows.append(len(args[0] if args else kwargs["input_ids"]))

        hooks.append(module.register_forward_pre_hook(count, with_kwargs=True))
    family.run(layers=sorted({0, 1, family.lens.num_layers - 1}), **(family.case.negative or {}))
    for hook in hooks:
        hook.remove()
    texts = 2 if family.case.negative is not None else family.case.texts
    assert counts == {name: [1] * texts for name in counts}


def test_cancel_within_a_step(family: Family) -> None:
    steps = []

    def cancel(layer: int, step: int, timestep: Any, latents: Any) -> None:
        steps.append(step)
        job.cancel()

    job = family.lens._jobs(PROMPT, **family.arguments(on_step=cancel, layers=[0, 1]))[0]
    job.start()
    assert job.result().status == "stopped"
    assert set(steps) == {0}
    assert not job.run.images


def test_one_word_kept(family: Family) -> None:
    last = family.lens.num_layers - 1
    run = family.run(layers=[last], keep_tokens=["red"])
    (image,) = run.token_images.values()
    assert not run.token_failures
    assert image.tobytes() != family.full.images[last].tobytes()


@pytest.mark.parametrize("make", [small_flux_pipeline, small_lumina2_pipeline], ids=["t5", "language model"])
def test_an_ablation(make: Callable[..., Any]) -> None:
    lens = DiffusionLens(make(), batch_size=2)
    run = lens.ablate(PROMPT, height=SIZE, width=SIZE, num_inference_steps=STEPS)
    last = lens(PROMPT, layers=[lens.num_layers - 1], height=SIZE, width=SIZE, num_inference_steps=STEPS)
    assert_same_picture(run.images[0], last.images[lens.num_layers - 1])
    for block in range(1, len(lens.blocks) + 1):
        assert np.abs(run.latents[block] - run.latents[0]).max() > 1e-4


@pytest.mark.parametrize("make", [small_flux_pipeline, small_chroma_pipeline], ids=["flux", "chroma"])
def test_bfloat16(make: Callable[..., Any]) -> None:
    lens = DiffusionLens(make().to(torch.bfloat16), batch_size=2)
    lens.pipe.set_progress_bar_config(disable=True)
    options = {"height": SIZE, "width": SIZE, "num_inference_steps": STEPS, "guidance_scale": 3.0}
    run = lens(PROMPT, layers=[0, 2], **options)
    assert run.settings["dtype"] == "bfloat16"
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    assert_same_picture(run.images[2], lens.pipe([PROMPT] * 2, generator=generators, **options).images[0])
    assert run.images[0].tobytes() != run.images[2].tobytes()
    assert np.isfinite(run.states).all()


def test_patching_the_read_state_is_the_output_patch(family: Family) -> None:
    declared = family.lens.family.encoder(family.case.encoder)
    if len(declared.reads) > 1 or declared.pooled:
        pytest.skip("other states and the pooled vector do not follow an output patch")
    last = family.lens.num_layers - 1
    options = {"source": "a blue circle on a red background", "tokens": {"red": "blue"}, **family.arguments()}
    patched = family.lens.patch(PROMPT, layers=[last], **options)
    output = family.lens.patch(PROMPT, output=True, **options)
    (one,), (other,) = patched.token_images.values(), output.token_images.values()
    assert_same_picture(one, other)
    assert one.tobytes() != patched.images[last].tobytes()


_ONE_OF_EACH = set(CASES) - {"sd3-clip-g", "sd3-t5", "sd3-without-t5", "sd35", "klein-distilled", "pixart-alpha"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_ONE_OF_EACH))
def test_what_is_declared_is_what_the_pipeline_reads(name: str) -> None:
    """All rules, for every text encoder; among them: a declared state that is zeroed changes the conditioning."""
    case = CASES[name]
    if not hasattr(diffusers, case.needs):
        pytest.skip(f"{case.needs} is not in diffusers {diffusers.__version__}")
    report = check_family(case.make(**case.make_options), height=SIZE, width=SIZE)
    assert report.holds, str(report)
