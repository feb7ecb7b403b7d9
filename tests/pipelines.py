"""Small real diffusers pipelines with random weights, built in the tests; the folder code runs on these."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from difflens_widgets.tiny.scenes import training_scene
from difflens_widgets.tiny.training.tokenizer import build_tokenizer


@cache
def tokenizer() -> CLIPTokenizer:
    captions = [training_scene(0, index).caption for index in range(500)]
    return build_tokenizer(captions, Path(tempfile.mkdtemp()))


@cache
def tokenizer_padded_with_exclamation_marks() -> CLIPTokenizer:
    """As with OpenCLIP (SD 2.x, SDXL's second encoder), padding is "!", id 0."""
    words = CLIPTokenizer.from_pretrained(tokenizer().name_or_path, pad_token="!")
    assert words.pad_token_id == 0
    return words


def text_encoder(
    layers: int,
    width: int,
    heads: int,
    vocab_size: int | None = None,
    kind: type[Any] = CLIPTextModel,
    words: CLIPTokenizer | None = None,
    **options: Any,
) -> Any:
    words = words or tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=vocab_size or len(words),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
            **options,
        )
    )


def small_unet(**options: Any) -> UNet2DConditionModel:
    blocks: dict[str, Any] = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 2,
        "cross_attention_dim": 32,
    }
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, **{**blocks, **options}
    )


def small_vae(**options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        **options,
    )


def make_text_show(unet: UNet2DConditionModel, *encoders: Any) -> None:
    """As initialised the text hardly shows in the picture."""
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "attn2.to_" in name:
                parameter.mul_(6)
        for encoder in encoders:
            for parameter in encoder.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)


def small_pipeline(
    scheduler: Any, *, layers: int = 4, seed: int = 0, **scheduler_options: Any
) -> StableDiffusionPipeline:
    """SD 1.x in miniature: every part real, the weights random; 32 × 32 pictures of 8 × 8 latents."""
    torch.manual_seed(seed)
    unet, vae, encoder = small_unet(), small_vae(), text_encoder(layers, 32, 4)
    make_text_show(unet, encoder)
    return wrap(unet, vae, encoder, scheduler(beta_schedule="scaled_linear", **scheduler_options))


def small_sd2_pipeline(scheduler: Any, *, layers: int = 3) -> StableDiffusionPipeline:
    """SD 2.x in miniature: OpenCLIP with its last block left out (3 blocks for the 23), v-prediction."""
    torch.manual_seed(0)
    words = tokenizer_padded_with_exclamation_marks()
    unet = small_unet(use_linear_projection=True, attention_head_dim=(2, 4))
    encoder = text_encoder(layers, 32, 4, words=words, hidden_act="gelu")
    make_text_show(unet, encoder)
    options = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
    return wrap(unet, small_vae(), encoder, scheduler(**options), words)


def small_sdxl_pipeline(scheduler: Any, *, first_encoder: bool = True, **options: Any) -> StableDiffusionXLPipeline:
    """SDXL in miniature: encoders of 3 × 32 and 4 × 48 (blocks × width), 32 × 32 pictures; `options` as diffusers'."""
    torch.manual_seed(0)
    width, projected, time = 48, 24, 8
    unet = small_unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        cross_attention_dim=width + 32 * first_encoder,
        addition_embed_type="text_time",
        addition_time_embed_dim=time,
        projection_class_embeddings_input_dim=projected + 6 * time,
    )
    vae = small_vae(scaling_factor=0.13025)
    words = tokenizer_padded_with_exclamation_marks()
    first = text_encoder(3, 32, 4)
    kind = CLIPTextModelWithProjection
    second = text_encoder(4, width, 4, kind=kind, words=words, hidden_act="gelu", projection_dim=projected)
    make_text_show(unet, first, second)
    return StableDiffusionXLPipeline(
        vae=vae.eval(),
        text_encoder=first.eval() if first_encoder else None,
        text_encoder_2=second.eval(),
        tokenizer=tokenizer() if first_encoder else None,
        tokenizer_2=words,
        unet=unet.eval(),
        scheduler=scheduler(beta_schedule="scaled_linear"),
        add_watermarker=False,
        **options,
    )


def wrap(unet: Any, vae: Any, encoder: Any, scheduler: Any, words: Any = None) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=encoder.eval(),
        tokenizer=words or tokenizer(),
        unet=unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def with_text_model_view(encoder: CLIPTextModel) -> CLIPTextModel:
    """Give a transformers ≥ 5.6 encoder the inner `text_model` that stock `clip_skip` asks for: a view of itself."""
    if not hasattr(encoder, "text_model"):
        object.__setattr__(encoder, "text_model", encoder)
    return encoder
