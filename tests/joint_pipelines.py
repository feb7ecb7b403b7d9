"""SD3 and FLUX in miniature: every part real, the weights random; pictures of 4 pixels a latent, 8 an image token."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextModelWithProjection, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from pipelines import small_vae, text_encoder, tokenizer, tokenizer_padded_with_exclamation_marks

WIDTH = 32  # of T5
_WORDS = ["a", "red", "circle", "on", "blue", "background", "green", "star"]
_PIECES = [*(f"▁{word}" for word in _WORDS), "▁fo", "xes", "▁", *"abcdefghijklmnopqrstuvwxyz,'"]


@cache
def t5_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece as T5 has it: no start token, whole words where it knows them, else pieces and letters."""
    scored = [(piece, -2.0 if len(piece) > 2 else -8.0) for piece in _PIECES]
    words = Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *scored], unk_id=2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    inputs = ["input_ids", "attention_mask"]  # as T5 has them
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=512, model_input_names=inputs, **marks)


def t5_encoder() -> T5EncoderModel:
    sizes = {"d_model": WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return T5EncoderModel(T5Config(vocab_size=len(t5_tokenizer()), **sizes)).eval()


def small_sd3_pipeline(*, t5: bool = True, **options: Any) -> StableDiffusion3Pipeline:
    """SD 3; `options` are the transformer's."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=16,
        **options,
    )
    encoders = [text_encoder(2, 16, 2, kind=CLIPTextModelWithProjection, projection_dim=8) for _ in range(2)]
    return StableDiffusion3Pipeline(
        transformer=_looks_at_the_text(transformer).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=small_vae(shift_factor=0.06).eval(),
        text_encoder=encoders[0].eval(),
        tokenizer=tokenizer(),
        text_encoder_2=encoders[1].eval(),
        tokenizer_2=tokenizer_padded_with_exclamation_marks(),
        text_encoder_3=t5_encoder() if t5 else None,
        tokenizer_3=t5_tokenizer() if t5 else None,
    )


def small_sd35_pipeline() -> StableDiffusion3Pipeline:
    """SD 3.5: norms of queries and keys, and in some blocks a second attention of the image to itself."""
    return small_sd3_pipeline(qk_norm="rms_norm", dual_attention_layers=(0, 1))


def small_flux_pipeline() -> FluxPipeline:
    """FLUX.1: two blocks of two streams, two of one, rotary embeddings."""
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 2, 2),
    )
    return FluxPipeline(
        transformer=_looks_at_the_text(transformer).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=small_vae(shift_factor=0.06).eval(),
        text_encoder=text_encoder(2, 16, 2).eval(),
        tokenizer=tokenizer(),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
    )


def _looks_at_the_text(transformer: Any) -> Any:
    """As initialised every key is looked at alike."""
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if name.endswith(("to_q.weight", "to_k.weight", "q_proj.weight", "k_proj.weight")):
                parameter.mul_(3)
            elif ".norm_" in name and "attn" in name:  # of queries and keys
                parameter.add_(torch.rand_like(parameter))
            elif "context_embedder" in name:
                parameter.mul_(6)
    return transformer
