"""Attention in the lens runs of transformers: the pictures stay to the bit, and the maps are the shares of one softmax.

Where text and image are among the keys is found here without any declaration: in the first block, the keys that another
word changes are that word's, and the keys that another start noise changes are the image's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from difflens_widgets import AttentionOptions, DiffusionLens, LensRun, PromptPart, models
from difflens_widgets.models.families.pixart import PIXART
from difflens_widgets.models.families.qwen_image import QWEN_IMAGE
from difflens_widgets.runs.render.attention_front_end import columns_of, view_maps, views_of
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
from stock import assert_same_picture

PROMPT, OTHER = "a red circle on blue", "a green circle on blue"
WORDS = ("a", "red", "circle", "on", "blue")
STEPS = 2


_WITHOUT_POSITIONS = replace(QWEN_IMAGE.attention, positions=None)


@dataclass(frozen=True)
class Case:
    """A miniature; `module` is its first attention module with text keys, `size` that of a map of its block."""

    make: Callable[..., Any]
    module: str = "transformer_blocks.0.attn"
    size: tuple[int, int] = (4, 6)
    encoder: str | None = None
    negative: dict[str, Any] = field(default_factory=lambda: {"negative_prompt": "a star on a big green field"})
    needs: str = "DiffusionPipeline"  # the class came after the oldest supported diffusers
    pixels: tuple[int, int] = (32, 48)
    row: int = -1  # of the prompt, in a batch of one picture
    alone: bool = True  # the words reach the transformer by their tokens alone, by no pooled vector

    @property
    def block(self) -> str:
        return self.module.rpartition(".")[0]


CASES = {
    "flux": Case(small_flux_pipeline, negative={"negative_prompt": "a star", "true_cfg_scale": 3.0}, alone=False),
    "sd3-clip-l": Case(small_sd3_pipeline, alone=False),
    "sd35-t5": Case(small_sd35_pipeline, encoder="text_encoder_3", alone=False),
    "chroma": Case(small_chroma_pipeline),
    "pixart-sigma": Case(small_pixart_pipeline, "transformer_blocks.0.attn2"),
    "pixart-alpha": Case(small_pixart_alpha_pipeline, "transformer_blocks.0.attn2"),
    "sana": Case(small_sana_pipeline, "transformer_blocks.0.attn2", size=(8, 16), pixels=(32, 64)),
    "aura-flow": Case(small_aura_flow_pipeline, "joint_transformer_blocks.0.attn"),
    "qwen-image": Case(small_qwen_image_pipeline),
    "lumina2": Case(small_lumina2_pipeline, "layers.0.attn", size=(2, 3)),  # 8 pixels a latent in any miniature
    "z-image": Case(small_z_image_pipeline, "layers.0.attention", needs="ZImagePipeline", row=0),
    "klein": Case(small_flux2_klein_pipeline, needs="Flux2KleinPipeline", negative={}),
    "flux2": Case(small_flux2_pipeline, needs="Flux2Pipeline", negative={}),
}


class Family:
    """One miniature, and its lens."""

    def __init__(self, case: Case) -> None:
        self.case = case
        pipe = case.make()
        pipe.set_progress_bar_config(disable=True)
        if hasattr(pipe.transformer, "context_refiner"):  # of Lumina 2 and Z-Image
            pipe.transformer.context_refiner = torch.nn.ModuleList()  # it mixes the tokens
        self.lens = DiffusionLens(pipe, batch_size=2, text_encoder=case.encoder)
        self.module = pipe.transformer.get_submodule(case.module)

    def run(self, prompt: str = PROMPT, **options: Any) -> LensRun:
        height, width = self.case.pixels
        usual = {"seed": 3, "num_inference_steps": STEPS, "guidance_scale": 3.0, "height": height, "width": width}
        run = self.lens(prompt, **{**usual, "layers": [0, self.lens.num_layers - 1], "cache": False, **options})
        assert run.status == "done", run.message
        return run


@pytest.fixture(scope="module", params=CASES)
def family(request: pytest.FixtureRequest) -> Family:
    case = CASES[request.param]
    if not hasattr(diffusers, case.needs):
        pytest.skip(f"this diffusers has no {case.needs}")
    return Family(case)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@contextmanager
def first_call(module: Any) -> Iterator[dict[str, Any]]:
    """The arguments of the first SDPA call of a module inside this `with`."""
    sdpa, found, inside = F.scaled_dot_product_attention, dict[str, Any](), []

    def recording(query: Any, key: Any, value: Any, attn_mask: Any = None, *args: Any, **kwargs: Any) -> Any:
        if inside and not found:
            found.update(query=query.double(), key=key.double(), mask=attn_mask, scale=kwargs.get("scale"))
        return sdpa(query, key, value, attn_mask, *args, **kwargs)

    hooks = [
        module.register_forward_pre_hook(lambda *_: inside.append(1)),
        module.register_forward_hook(lambda *_: inside.clear()),
    ]
    F.scaled_dot_product_attention = recording
    try:
        yield found
    finally:
        F.scaled_dot_product_attention = sdpa
        for hook in hooks:
            hook.remove()


def of_row(call: dict[str, Any], row: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys (key, width) of one row, and its shares (head, query, key)."""
    query, key = call["query"][row].numpy(), call["key"][row].numpy()
    scores = np.einsum("hqd,hkd->hqk", query, key) * (call["scale"] or query.shape[-1] ** -0.5)
    if (mask := call["mask"]) is not None:
        mask = mask.expand(*call["query"].shape[:-1], key.shape[1])[row]
        scores = np.where(mask.numpy(), scores, -np.inf) if mask.dtype == torch.bool else scores + mask.double().numpy()
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return key.transpose(1, 0, 2).reshape(key.shape[1], -1), powers / powers.sum(-1, keepdims=True)


def changed(keys: np.ndarray, others: np.ndarray) -> list[int]:
    return np.flatnonzero(np.abs(keys - others).max(1) > 1e-9).tolist()


def shares(maps: Any, **requested: Any) -> np.ndarray:
    """Of all tokens, of padding and template, and of the rest."""
    rest = [maps.rest(name, **requested) for name in maps.rest_names]
    return np.stack([*maps.token_heatmaps(**requested), *rest])


def test_the_pictures_are_the_same_to_the_bit_and_the_shares_sum_to_one(family: Family, tmp_path) -> None:
    plain = family.run(**family.case.negative)
    seen = family.run(attention=AttentionOptions(steps=[1]), **family.case.negative)
    for layer, picture in plain.images.items():
        assert_same_picture(seen.images[layer], picture)
        assert np.array_equal(seen.latents[layer], plain.latents[layer])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in family.lens.pipe.transformer.modules())
    attention = seen.attention
    assert attention is not None
    assert attention.words == WORDS
    assert attention.layers == tuple(sorted(plain.images))
    for maps in (attention[layer] for layer in attention):
        for block in (None, *maps.blocks):
            for step in (None, 1):
                found = shares(maps, block=block, step=step)
                assert found.min() >= 0
                np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
        assert maps.heatmap("circle", block=family.case.block).shape == family.case.size
        assert maps.mass_in_mask(np.ones(family.case.pixels), "circle") == pytest.approx(1)
    first, last = (attention[layer].heatmap("red") for layer in (0, attention.layers[-1]))
    assert np.abs(first - last).max() > 1e-5, "the map of another picture"
    seen.save(tmp_path / "run.lens")
    again = LensRun.load(tmp_path / "run.lens").attention
    np.testing.assert_array_equal(again.heatmap("red"), attention.heatmap("red"))
    assert again.plan == attention.plan


def test_the_map_of_a_word_is_its_share(family: Family) -> None:
    """In the first block of the first step, at layer 0: there a word changes no other token."""
    options = {"layers": [0], **family.case.negative}
    with first_call(family.module) as call:
        family.run(**options)
    with first_call(family.module) as with_other_word:
        family.run(OTHER, **options)
    with first_call(family.module) as with_other_noise:
        family.run(seed=4, **options)
    keys, exact = of_row(call, family.case.row)
    image = changed(keys, of_row(with_other_noise, family.case.row)[0])
    maps = family.run(attention=AttentionOptions(steps=[0]), **options).attention[0]
    where = {"block": family.case.block, "step": 0}
    if image:  # joint attention: the queries stand where the keys stand
        exact = exact[:, image[: math.prod(family.case.size)]]  # Z-Image has padding behind the pixels
        np.testing.assert_allclose(
            maps.rest("image", **where), exact[..., image].sum(-1).mean(0).reshape(family.case.size), rtol=1e-4
        )
    word = [key for key in changed(keys, of_row(with_other_word, family.case.row)[0]) if key not in image]
    if family.case.alone:
        assert len(word) == 1
    else:  # a pooled vector changes all keys, and tests/attention/test_joint.py looks at the places
        return
    ours = maps.heatmap("red", **where)
    assert ours.max() > 1e-4
    np.testing.assert_allclose(ours, exact[..., word[0]].mean(0).reshape(family.case.size), rtol=1e-4, atol=1e-8)
    assert np.ptp(ours) > 1e-5, "else any order of the pixels would do"


def test_a_picture_guided_by_no_negative_prompt(family: Family) -> None:
    plain, seen = (family.run(guidance_scale=0.0, layers=[0], attention=on) for on in (False, True))
    assert_same_picture(seen.images[0], plain.images[0])
    np.testing.assert_allclose(shares(seen.attention[0]).sum(0), 1, atol=1e-5)


def test_a_template_has_one_map() -> None:
    """Sana's stands in front of the prompt, Qwen-Image's around it; the pipelines drop most of it."""
    for make in (small_sana_pipeline, small_qwen_image_pipeline):
        lens = DiffusionLens(make(), batch_size=1)
        run = lens(PROMPT, layers=[0], height=32, width=32, num_inference_steps=1, attention=True, guidance_scale=1.0)
        plan, maps = run.attention.plan, run.attention[0]
        template = [token.index for token in plan.tokens if token.kind == "template"]
        assert len(template) > 4
        assert len(maps.token_heatmaps()) < len(plan.tokens) - len(template) + 2
        together = maps.heatmap(template[0])
        np.testing.assert_array_equal(together, maps.heatmap(template[-1]))
        columns = columns_of(plan.tokens)
        of_columns = view_maps(maps, views_of(plan)[0])
        assert len(of_columns) == len(columns)
        at = [column.kind for column in columns].index("template")
        np.testing.assert_allclose(of_columns[at], together, rtol=1e-5)


def test_padding_that_a_mask_hides_has_no_share() -> None:
    lens = DiffusionLens(small_pixart_pipeline(), batch_size=1)
    run = lens(PROMPT, layers=[2], height=32, width=32, num_inference_steps=1, attention="daam")
    assert run.attention.heatmap(PromptPart.PADDING).max() == 0
    assert run.attention.heatmap("red").max() > 0


def test_the_chosen_encoder_decides_whose_tokens_have_maps() -> None:
    pipe = small_sd3_pipeline()
    options = {"layers": [1], "height": 32, "width": 32, "num_inference_steps": 1, "attention": True}
    clip, t5 = (DiffusionLens(pipe, batch_size=1, text_encoder=name) for name in ("text_encoder", "text_encoder_3"))
    of_clip, of_t5 = (lens(PROMPT, **options).attention for lens in (clip, t5))
    assert [len(one.plan.tokens) for one in (of_clip, of_t5)] == [77, 256]
    for one in (of_clip, of_t5):
        assert one[1].rest_names == ("image", "other text")
        assert one[1].rest("other text").max() > 1e-3


def test_a_family_of_your_own_declares_its_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnPixArt(diffusers.PixArtSigmaPipeline):
        """Made known without attention, and then with it."""

    monkeypatch.setattr(models, "_REGISTERED", {})
    parts = small_pixart_pipeline().components
    options = {"layers": [2], "height": 32, "width": 32, "num_inference_steps": 1, "attention": True}
    undeclared = replace(PIXART, pipeline_classes=("OwnPixArt",), attention=None)
    models.register_family(undeclared)
    with pytest.raises(ValueError, match=r"that of OwnPixArt cannot be captured; .* if you declare its `attention`"):
        DiffusionLens(OwnPixArt(**parts))(PROMPT, **options)
    models.register_family(replace(undeclared, attention=replace(PIXART.attention, modules=("blocks.*.attn",))))
    with pytest.raises(ValueError, match=r"attention: PixArtTransformer2DModel has no blocks\.\*\.attn"):
        DiffusionLens(OwnPixArt(**parts))(PROMPT, **options)
    models.register_family(replace(undeclared, attention=PIXART.attention))
    assert DiffusionLens(OwnPixArt(**parts), batch_size=1)(PROMPT, **options).attention.words == WORDS


def test_tokens_that_do_not_fit_the_keys_are_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_REGISTERED", {"QwenImagePipeline": replace(QWEN_IMAGE, attention=_WITHOUT_POSITIONS)})
    lens = DiffusionLens(small_qwen_image_pipeline(), batch_size=1)
    with pytest.raises(RuntimeError, match=r"text_encoder reads 123 positions .* given 89 text keys; which is which"):
        lens(PROMPT, layers=[0], height=32, width=32, num_inference_steps=1, attention=True)


@pytest.mark.parametrize("make", [small_cogview4_pipeline, small_if_pipeline], ids=["cogview4", "deepfloyd-if"])
def test_others_are_refused_before_anything_is_computed(make: Callable[..., Any]) -> None:
    pipe = make()
    lens = DiffusionLens(pipe)
    calls: list[int] = []
    pipe.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    expected = rf"attention: that of {type(pipe).__name__} cannot be captured; leave it out\. .*FluxPipeline, "
    with pytest.raises(ValueError, match=expected):
        lens(PROMPT, height=32, width=32, num_inference_steps=1, attention=True)
    assert not calls
