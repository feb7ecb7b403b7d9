"""A family of one's own, and the errors for pipelines without a family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

from difflens_widgets import (
    DiffusionLens,
    Family,
    LayerSlider,
    LensRun,
    TextEncoder,
    check_family,
    layer_change,
    register_family,
)
from difflens_widgets import models as families
from difflens_widgets.lens import stored_states as stored
from difflens_widgets.lens.stored_states import stored_states
from difflens_widgets.models.checks import latents, size
from difflens_widgets.models.latents import PACKED, PATCHES, decode_scaled
from difflens_widgets.models.sampling_defaults import sampling_defaults
from difflens_widgets.runs.tokens import Token
from family_pipelines import (
    small_chroma_pipeline,
    small_flux2_klein_pipeline,
    small_if_pipeline,
    small_pixart_pipeline,
    small_sana_pipeline,
)
from joint_pipelines import small_flux_pipeline, small_sd3_pipeline
from pipelines import small_pipeline
from stock import PROMPT

SMALL = {"height": 32, "width": 32, "num_inference_steps": 2}


class MyPipeline(StableDiffusionPipeline):
    """A pipeline of one's own, which reads the state after block 2, without a norm."""

    def encode_prompt(self, prompt: Any, device: Any, *others: Any, negative_prompt: Any = None, **_: Any) -> Any:
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        return self._read(prompts), self._read(negative_prompt or [""] * len(prompts))

    def _read(self, prompts: list[str]) -> torch.Tensor:
        ids = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(ids, output_hidden_states=True).hidden_states[2]


def my_family(*reads: int) -> Family:
    return Family(
        pipeline_classes=("MyPipeline",),
        encoders=(TextEncoder("text_encoder", "tokenizer", "encoder.layers", "final_layer_norm", reads=reads),),
        decode=decode_scaled,
    )


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> MyPipeline:
    monkeypatch.setattr(families, "_REGISTERED", {})
    return MyPipeline(**small_pipeline(DDIMScheduler).components, requires_safety_checker=False)


def test_a_family_of_ones_own(mine: MyPipeline) -> None:
    register_family(my_family(2))
    report = check_family(mine, **SMALL)
    assert report.holds, report
    assert "MyPipeline: all rules hold" in str(report)
    assert DiffusionLens(mine).num_layers == 3


def test_a_wrong_declaration_is_found_out(mine: MyPipeline) -> None:
    register_family(my_family(1))
    report = check_family(mine, **SMALL)
    assert not report.holds
    failed = [check.rule for check in report.checks["text_encoder"] if not check.holds]
    assert "with NaN in every other state the conditioning stays the same" in failed
    assert "with declared state 1 zeroed the conditioning changes" in failed
    assert "FAILS" in repr(report)


def test_what_cannot_be_registered() -> None:
    with pytest.raises(TypeError, match="family: expected a Family, got str"):
        register_family("ZImagePipeline")
    with pytest.raises(ValueError, match="FluxPipeline is declared by difflens_widgets"):
        register_family(Family(("FluxPipeline",), my_family(1).encoders, decode_scaled))
    with pytest.raises(ValueError, match="pipeline_classes must be a tuple"):
        register_family(Family("MyPipeline", my_family(1).encoders, decode_scaled))
    with pytest.raises(ValueError, match="no text encoder that could be examined"):
        register_family(Family(("MyPipeline",), (), decode_scaled))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("StableDiffusionImg2ImgPipeline", r"give the lens StableDiffusionPipeline\.from_pipe\(pipe\)"),
        ("StableDiffusionXLControlNetInpaintPipeline", r"give the lens StableDiffusionXLPipeline\.from_pipe\(pipe\)"),
        ("LatentConsistencyModelPipeline", r"give the lens StableDiffusionPipeline\.from_pipe\(pipe\)"),
        ("FluxInpaintPipeline", r"give the lens FluxPipeline\.from_pipe\(pipe\)"),
        ("Flux3ModularPipeline", "a modular pipeline has blocks in place of the one call"),
        ("KolorsPipeline", "it supports StableDiffusionPipeline, .*ZImagePipeline.*register_family"),
    ],
)
def test_a_pipeline_of_no_family(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"the lens has no family for {name}; {message}"):
        families.require_supported(name)


def test_the_way_out_of_an_image_to_image_pipeline_works() -> None:
    pipe = StableDiffusionImg2ImgPipeline(**small_pipeline(DDIMScheduler).components, requires_safety_checker=False)
    with pytest.raises(ValueError, match="from_pipe"):
        DiffusionLens(pipe)
    assert DiffusionLens(StableDiffusionPipeline.from_pipe(pipe)).num_layers == 5


def test_sd3_without_t5() -> None:
    with pytest.raises(ValueError, match="loaded without text_encoder_3; give text_encoder='text_encoder' or"):
        DiffusionLens(small_sd3_pipeline(t5=False), text_encoder="text_encoder_3")


def test_flux_has_no_layers_of_clip() -> None:
    with pytest.raises(ValueError, match="text_encoder: of text_encoder, FluxPipeline reads only one pooled vector"):
        DiffusionLens(small_flux_pipeline(), text_encoder="text_encoder")


def test_arguments_that_a_family_does_not_have() -> None:
    flux = DiffusionLens(small_flux_pipeline())
    with pytest.raises(ValueError, match="negative_prompt: FluxPipeline is distilled"):
        flux(PROMPT, negative_prompt="a star", **SMALL)
    with pytest.raises(ValueError, match="true_cfg_scale: works only with a negative_prompt"):
        flux(PROMPT, true_cfg_scale=3.0, **SMALL)
    with pytest.raises(ValueError, match="eta: FluxPipeline has no such argument"):
        flux(PROMPT, eta=0.5, **SMALL)
    with pytest.raises(ValueError, match="height: 24 is not divisible by 16; the nearest are 16, 32"):
        flux(PROMPT, height=24, width=32)
    with pytest.raises(ValueError, match="negative_prompt_embeds: FluxPipeline also needs a pooled vector"):
        flux(PROMPT, negative_prompt_embeds=torch.zeros(1, 8, 32), **SMALL)
    with pytest.raises(ValueError, match="slots: this pipeline reads one state"):
        flux(PROMPT, slots="all", **SMALL)
    chroma = DiffusionLens(small_chroma_pipeline())
    with pytest.raises(ValueError, match="negative_prompt: has no effect at guidance_scale 0"):
        chroma(PROMPT, negative_prompt="a star", guidance_scale=0.0, **SMALL)
    with pytest.raises(ValueError, match="true_cfg_scale: ChromaPipeline has one guidance only"):
        chroma(PROMPT, true_cfg_scale=2.0, **SMALL)


@pytest.mark.skipif(not hasattr(diffusers, "Flux2KleinPipeline"), reason="came later")
def test_slots_of_a_stacked_reader() -> None:
    lens = DiffusionLens(small_flux2_klein_pipeline(is_distilled=True), batch_size=2)
    chosen = {"layers": [9, 20, 27], **SMALL}
    cut, one, every = (lens(PROMPT, slots=slots, **chosen) for slots in ("cut", 0, "all"))
    assert (one.latents[9] == cut.latents[27]).all()  # where it is read anyway: the stock picture
    assert (every.latents[9] == cut.latents[9]).all()
    for layer in (20, 27):
        assert abs(one.latents[layer] - cut.latents[layer]).max() > 1e-3
        assert abs(every.latents[layer] - cut.latents[layer]).max() > 1e-3
    assert one.name_of(20) == "layer 20 in slot 0 alone"
    assert every.name_of(20) == "layer 20 in all slots (off-distribution)"
    with pytest.raises(ValueError, match=r"slots: 3 is outside 0\.\.2"):
        lens(PROMPT, slots=3, **chosen)


@pytest.mark.parametrize("layout", [PACKED, PATCHES])
def test_latents_go_both_ways(layout) -> None:
    size = layout.image(16, 4, 6)
    image = torch.arange(2 * size[0] * size[1] * size[2]).reshape(2, *size)
    packed = layout.pack(image) if layout is PACKED else image.flatten(2).transpose(1, 2)
    assert packed.shape == (2, 6, 16)
    assert torch.equal(layout.unpack(packed, size), image)


def test_start_latents_of_a_packed_family() -> None:
    lens = DiffusionLens(small_flux_pipeline(), batch_size=1)
    start = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))
    run = lens(PROMPT, layers=[2], latents=start, **SMALL)
    stock = lens.pipe(PROMPT, latents=PACKED.pack(start[None]), output_type="latent", **SMALL).images
    assert torch.equal(PACKED.unpack(stock, (4, 8, 8))[0], torch.from_numpy(run.latents[2]))
    with pytest.raises(ValueError, match=r"latents: the shape is \(4, 4, 4\), for 32 × 32 it must be \(4, 8, 8\)"):
        lens(PROMPT, latents=torch.zeros(4, 4, 4), **SMALL)


def test_states_of_wide_encoders() -> None:
    tokens = tuple(Token(index, "x", "word" if index in (3, 4) else "pad") for index in range(80))
    states = torch.ones(2, 80, 1032)
    states[1, 3, 0] = 1e6
    kept, about = stored_states(states, tokens)
    assert kept.shape == (2, 2, 1032)
    assert about == {"state_positions": [3, 4], "states_scale": 16.0}
    assert float(kept[1, 0, 0]) * about["states_scale"] == pytest.approx(1e6, rel=1e-3)
    whole, about = stored_states(torch.ones(2, 80, 64), tokens)
    assert whole.shape == (2, 80, 64)
    assert about == {}


def test_a_run_of_a_wide_encoder_keeps_the_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stored, "_WIDE", 16)
    run = DiffusionLens(small_flux_pipeline(), batch_size=1)("a red circle", layers=[2], **SMALL)
    words = tuple(token.index for token in run.tokens if token.kind in ("word", "eos"))
    assert run.states.shape == (3, len(words), 32)
    run.save(tmp_path / "a.lens")
    again = LensRun.load(tmp_path / "a.lens")
    assert again.state_positions == words
    assert layer_change(again).cosine.shape == (2, len(words))
    with pytest.raises(ValueError, match="of a wide encoder it keeps the words and the end token"):
        layer_change(again, "pad")
    slider = LayerSlider(again)
    assert (slider.status, slider.layer) == ("done", 2)


def test_the_defaults_are_those_of_the_stock_pipeline() -> None:
    schnell, chroma = small_flux_pipeline(), small_chroma_pipeline()
    assert sampling_defaults(schnell) == (4, 0.0)  # its transformer takes no guidance
    assert sampling_defaults(chroma) == (35, 5.0)
    assert sampling_defaults(small_pixart_pipeline()) == (20, 4.5)
    assert size(chroma, None, None) == (512, 512)  # 128 latents of 4 pixels
    assert size(small_sana_pipeline(), None, 64) == (1024, 64)
    with pytest.raises(ValueError, match="width: 48 is not divisible by 32; the nearest are 32, 64"):
        size(small_sana_pipeline(), None, 48)
    with pytest.raises(ValueError, match="latents: IFPipeline takes none"):
        latents(small_if_pipeline(), torch.zeros(3, 32, 32), 32, 32)
