"""LoRA files: whatever their names, every tensor is in the model or is named, and other formats are named (T3)."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from safetensors.torch import save_file
from torch import Tensor

from difflens_widgets import DiffusionLens
from difflens_widgets.models.lora import load_lora
from difflens_widgets.models.tuned import load_tuned_pipeline
from pipelines import small_pipeline, small_sdxl_pipeline

RANK = 2
UNET = "down_blocks.0.attentions.0.transformer_blocks.0"
LAYERS = {  # component → its layers that a LoRA may change
    "unet": [f"{UNET}.attn1.to_q", f"{UNET}.attn2.to_v", f"{UNET}.attn2.to_out.0", f"{UNET}.ff.net.0.proj"],
    "text_encoder": ["encoder.layers.0.self_attn.q_proj", "encoder.layers.1.self_attn.out_proj"],
}
Place = tuple[str, str, str] | None  # component, layer, "A" or "B"; None: it has no place in any model


def layer_in(pipe: Any, component: str, path: str) -> Any:
    part = getattr(pipe, component)
    return getattr(part, "text_model", part).get_submodule(path) if component != "unet" else part.get_submodule(path)


def pair(pipe: Any, component: str, path: str, rng: torch.Generator) -> dict[str, Tensor]:
    layer = layer_in(pipe, component, path)
    down, up = (RANK, layer.in_features), (layer.out_features, RANK)
    return {side: torch.randn(shape, generator=rng) for side, shape in (("A", down), ("B", up))}


def spelled(how: str, component: str, path: str) -> tuple[str, str, str | None]:
    """The names of the two matrices, and of alpha where this spelling has one."""
    inner = f"text_model.{path}" if component != "unet" else path
    flat = inner.replace(".", "_")
    match how:
        case "peft":
            return f"{component}.{inner}.lora_A.weight", f"{component}.{inner}.lora_B.weight", None
        case "diffusers" if component == "unet":
            return f"{component}.{inner}.lora.down.weight", f"{component}.{inner}.lora.up.weight", None
        case "linear layer" | "diffusers":
            stem = f"{component}.{inner}.lora_linear_layer"
            return f"{stem}.down.weight", f"{stem}.up.weight", None
        case "kohya":
            stem = f"lora_{'te' if component != 'unet' else 'unet'}_{flat}"
        case "wrong half":  # a text encoder's half with a prefix that no one reads
            stem = f"lora_{'clip' if component != 'unet' else 'unet'}_{flat}"
        case "no prefix":
            return f"{inner}.lora_A.weight", f"{inner}.lora_B.weight", None
        case "peft's own prefix":
            return f"base_model.model.{inner}.lora_A.weight", f"base_model.model.{inner}.lora_B.weight", None
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", f"{stem}.alpha"


SPELLINGS = ("peft", "diffusers", "linear layer", "kohya", "wrong half", "no prefix", "peft's own prefix")


def drawn_file(pipe: Any, seed: int, spellings: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, Place]]:
    chance, rng = random.Random(seed), torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    places: dict[str, Place] = {}
    for component, paths in LAYERS.items():
        for path in paths:
            how = chance.choice(spellings)
            down, up, alpha = spelled(how, component, path)
            matrices = pair(pipe, component, path, rng)
            if chance.random() < 0.15:  # as every LoRA begins
                matrices["B"].zero_()
            tensors |= {down: matrices["A"], up: matrices["B"]}
            places |= {down: (component, path, "A"), up: (component, path, "B")}
            if alpha and chance.random() < 0.7:
                tensors[alpha] = torch.tensor(float(RANK))
                places[alpha] = (component, path, "A")
            if chance.random() < 0.2:  # a layer that no model has
                for key, shape in ((down, (RANK, 4)), (up, (4, RANK))):
                    stray = key.replace("attn", "attm").replace("ff", "gg")
                    tensors[stray], places[stray] = torch.randn(shape, generator=rng), None
    return tensors, places


def in_the_model(pipe: Any, place: Place, tensors: dict[str, Tensor], key: str, places: dict[str, Place]) -> bool:
    """Whether the layer that a tensor belongs to has it: of a pair, by its first matrix, which is never zero."""
    if place is None:
        return False
    component, path, _ = place
    layer = layer_in(pipe, component, path)
    if not hasattr(layer, "lora_A") or not layer.lora_A:
        return False
    first = next(tensors[each] for each, at in places.items() if at == (component, path, "A") and tensors[each].ndim)
    return torch.equal(next(iter(layer.lora_A.values())).weight, first)


@pytest.fixture(autouse=True)
def peft_is_heard() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.parametrize("seed", range(24))
def test_every_tensor_is_loaded_or_named(tmp_path, seed) -> None:
    """The loaded ones, looked up in the layers themselves, and the named ones are all tensors of the file."""
    pipe = small_pipeline(DDIMScheduler)
    few = random.Random(seed).sample(SPELLINGS, 1 if seed % 3 else 3)
    tensors, places = drawn_file(pipe, seed, tuple(few))
    file = tmp_path / "style.safetensors"
    save_file(tensors, file)
    try:
        named = set(load_lora(pipe, file, "small"))
    except ValueError:
        return  # refused as a whole: no model with a part of it is returned
    loaded = {key for key, place in places.items() if in_the_model(pipe, place, tensors, key, places)}
    assert loaded
    assert loaded | named == set(tensors)
    assert not loaded & named


@pytest.mark.parametrize("how", ["peft", "diffusers", "kohya"])
def test_the_usual_spellings_are_loaded_whole(tmp_path, how) -> None:
    pipe = small_pipeline(DDIMScheduler)
    tensors, places = drawn_file(pipe, 100, (how,))
    tensors = {key: tensor for key, tensor in tensors.items() if places[key] is not None}
    file = tmp_path / "style.safetensors"
    save_file(tensors, file)
    before = DiffusionLens(pipe)("a red circle", layers=[4], num_inference_steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="peft|torch|diffusers|transformers")
        assert load_lora(pipe, file, "small") == []
    for key, place in places.items():
        assert in_the_model(pipe, place, tensors, key, places) == (place is not None), key
    after = DiffusionLens(pipe)("a red circle", layers=[4], num_inference_steps=1)
    assert after.images[4].tobytes() != before.images[4].tobytes()
    assert after.settings["model_hash"] != before.settings["model_hash"]


def test_what_is_left_out_is_warned_about_and_in_the_label(tmp_path) -> None:
    small_pipeline(DDIMScheduler).save_pretrained(tmp_path / "model")
    pipe = small_pipeline(DDIMScheduler)
    tensors, places = drawn_file(pipe, 3, ("kohya",))
    tensors = {key: tensor for key, tensor in tensors.items() if places[key] is not None}
    stray = "lora_unet_down_blocks_9_attn.lora_down.weight"
    tensors = {**tensors, stray: torch.ones(2, 4), stray.replace("down.w", "up.w"): torch.ones(4, 2)}
    file = tmp_path / "style.safetensors"
    save_file(tensors, file)
    with pytest.warns(UserWarning, match=rf"left out: .*{stray}") as heard:
        _, name = load_tuned_pipeline(tmp_path / "model", file, "cpu")
    assert Path(next(each for each in heard if stray in str(each.message)).filename) == Path(__file__)
    assert name == "model + style (in part)"


def test_blocks_named_the_sgm_way_in_sdxl(tmp_path) -> None:
    """diffusers knows these names for SDXL, and of SD 1.x they are named."""
    stem = "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q"
    tensors = {f"{stem}.lora_down.weight": torch.randn(2, 32), f"{stem}.lora_up.weight": torch.randn(32, 2)}
    file = tmp_path / "sgm.safetensors"
    save_file(tensors, file)
    pipe = small_pipeline(DDIMScheduler)
    with pytest.raises(ValueError, match=r"sgm\.safetensors: .*3.1.transformer_blocks.0.attn1.to_q"):
        load_lora(pipe, file, "small")
    pipe = small_sdxl_pipeline(EulerDiscreteScheduler)
    assert load_lora(pipe, file, "small") == []


FORMATS = {
    "DoRA": {
        "lora_unet_a.lora_down.weight": (2, 4),
        "lora_unet_a.lora_up.weight": (4, 2),
        "lora_unet_a.dora_scale": (4, 1),
    },
    "LoKr": {"lora_unet_a.lokr_w1": (2, 2), "lora_unet_a.lokr_w2": (2, 2), "lora_unet_a.alpha": ()},
    "LoHa": {"lora_unet_a.hada_w1_a": (2, 2), "lora_unet_a.hada_w2_b": (2, 2)},
    "textual inversion": {"emb_params": (2, 32)},
    "textual inversion (SDXL)": {"clip_l": (2, 32), "clip_g": (2, 48)},
    "textual inversion of diffusers": {"<cat-toy>": (32,)},
    "VAE": {"first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3)},
    "VAE of diffusers": {"decoder.conv_in.weight": (4, 4, 3, 3), "post_quant_conv.weight": (4, 4, 1, 1)},
    "ControlNet": {"control_model.input_blocks.0.0.weight": (4, 4, 3, 3)},
    "ControlNet of diffusers": {"controlnet_cond_embedding.conv_in.weight": (4, 4, 3, 3)},
    "denoiser": {"down_blocks.0.resnets.0.conv1.weight": (4, 4, 3, 3)},
    "unknown": {f"something.{number}": (2, 2) for number in range(8)},
}
WORDS = {"denoiser": "denoiser alone", "unknown": "not known", "VAE": r"autoencoder \(VAE\)"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("how", ["LoRA", "model"])
def test_other_formats_are_named(tmp_path, name, how) -> None:
    file = tmp_path / "file.safetensors"
    save_file({key: torch.ones(shape) for key, shape in FORMATS[name].items()}, file)
    kind = name.split(" (")[0].removesuffix(" of diffusers")
    if how == "LoRA":
        with pytest.raises(ValueError, match=WORDS.get(kind, kind)) as caught:
            load_lora(small_pipeline(DDIMScheduler), file, "small")
    else:
        kind = "LoRA" if kind == "DoRA" else kind
        with pytest.raises(ValueError, match=WORDS.get(kind, kind)) as caught:
            DiffusionLens.from_pretrained(file)
    assert str(file) in str(caught.value)


def test_the_warnings_of_diffusers_are_heard(tmp_path) -> None:
    pipe = small_pipeline(DDIMScheduler)
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    tensors, _ = drawn_file(pipe, 4, ("peft",))
    only_unet = {key: tensor for key, tensor in tensors.items() if key.startswith("unet.") and "attm" not in key}
    file = tmp_path / "style.safetensors"
    save_file(only_unet, file)
    logger = logging.getLogger("diffusers")
    logger.addHandler(handler)
    try:
        load_lora(pipe, file, "small")
    finally:
        logger.removeHandler(handler)
    assert any("CLIPTextModel" in message for message in heard), heard


def test_a_damaged_file(tmp_path) -> None:
    file = tmp_path / "style.safetensors"
    file.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ValueError, match=r"style\.safetensors: not a sound \.safetensors file"):
        load_lora(small_pipeline(DDIMScheduler), file, "small")


def test_most_drawn_files_are_loaded() -> None:
    """The property test above is not empty: its seeds give whole, partial and refused files."""
    import tempfile

    found = {"whole": 0, "in part": 0, "refused": 0}
    for seed in range(24):
        pipe = small_pipeline(DDIMScheduler)
        few = random.Random(seed).sample(SPELLINGS, 1 if seed % 3 else 3)
        tensors, _ = drawn_file(pipe, seed, tuple(few))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "style.safetensors"
            save_file(tensors, file)
            try:
                found["in part" if load_lora(pipe, file, "small") else "whole"] += 1
            except ValueError:
                found["refused"] += 1
    assert min(found.values()) >= 2, found
