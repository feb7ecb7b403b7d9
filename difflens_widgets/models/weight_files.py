"""What a ``.safetensors`` file holds, told by the names of its tensors; its weights are not read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

LORA_PART = re.compile(r"[._](lora[._](?:A|B|down|up|mid|linear|magnitude|embedding)|lora_linear_layer)")
"""Where the name of a LoRA's tensor stops to name the layer."""

_WHOLE_MODELS = {  # part of a name that only this kind of checkpoint has; the first match counts
    "conditioner.embedders.1.model.": "StableDiffusionXLPipeline",
    "cond_stage_model.": "StableDiffusionPipeline",
}
_FORMATS = (  # (what it is, parts of names that only such a file has, what to do with it)
    ("LoKr weights (LyCORIS)", ("lokr_",), "diffusers reads only LoRA: extract a LoRA from the tuned model"),
    ("LoHa weights (LyCORIS)", ("hada_",), "diffusers reads only LoRA: extract a LoRA from the tuned model"),
    ("OFT weights", ("oft_",), "diffusers reads only LoRA: extract a LoRA from the tuned model"),
    ("(IA)³ weights", ("ia3_",), "diffusers reads only LoRA: extract a LoRA from the tuned model"),
    ("magnitudes of a DoRA in the format of kohya's scripts", ("dora_scale",), "diffusers leaves them out"),
    ("full differences of weights (LyCORIS)", (".diff", ".diff_b"), "diffusers reads only LoRA"),
    (
        "an IP-Adapter",
        ("ip_adapter.", "image_proj."),
        "load it into a pipeline with pipe.load_ip_adapter(...), and give that to DiffusionLens(pipe)",
    ),
    (
        "a ControlNet",
        ("control_model.", "controlnet_", "input_hint_block."),
        "it needs a picture to follow, and the lens has none",
    ),
    (
        "a textual inversion",
        ("emb_params", "string_to_param", "clip_l", "clip_g", "bundle_emb."),
        "load it with pipe.load_textual_inversion(...), and give the pipeline to DiffusionLens(pipe)",
    ),
    (
        "an autoencoder (VAE)",
        ("first_stage_model.", "post_quant_conv.", "decoder.conv_in.", "decoder.up_blocks."),
        "load it with AutoencoderKL, and give it to from_pretrained(model, vae=...)",
    ),
    (
        "the weights of a denoiser alone",
        ("model.diffusion_model.", "down_blocks.", "double_blocks.", "transformer_blocks.", "input_blocks."),
        "load it as the unet or transformer of a pipeline, and give that to DiffusionLens(pipe)",
    ),
    (
        "the weights of a text encoder alone",
        ("text_model.encoder.layers.", "encoder.block."),
        "load it as the text_encoder of a pipeline, and give that to DiffusionLens(pipe)",
    ),
)


def shapes_in(file: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of all tensors in a file.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    try:
        with safe_open(file, "pt") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: not a sound .safetensors file: {error}") from error


def whole_model_class(names: Sequence[str]) -> str | None:
    """The pipeline class of a whole model in one file; None if it is no such file."""
    return next((kind for part, kind in _WHOLE_MODELS.items() if any(part in name for name in names)), None)


def is_lora(names: Sequence[str]) -> bool:
    """Whether a file has LoRA weights, perhaps among others."""
    return any(LORA_PART.search(name) for name in names)


def describe(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a file is that is neither a whole model nor a LoRA, and what to do with it, for messages."""
    found = formats(list(shapes))
    if not found and len(shapes) <= 4 and all(len(shape) <= 2 for shape in shapes.values()):
        found = [next((what, advice) for what, _, advice in _FORMATS if what == "a textual inversion")]
    if not found:
        return f"its format is not known; its first tensors are {list(shapes)[:3]}"
    what, advice = found[0]
    return f"it holds {what}; {advice}"


def formats(names: Sequence[str]) -> list[tuple[str, str]]:
    """The (name, advice) of all formats that some of these names belong to."""
    return [
        (what, advice)
        for what, parts, advice in _FORMATS
        if any(part in name for part in parts for name in names if not LORA_PART.search(name))
    ]
