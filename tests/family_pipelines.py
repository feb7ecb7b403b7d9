"""Pipelines of the families with T5 or a language model, in miniature: every part real, the weights random."""

from __future__ import annotations

from functools import cache
from typing import Any

import diffusers
import torch
import transformers
from diffusers import FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from difflens_widgets.tiny.scenes import training_scene
from joint_pipelines import t5_tokenizer
from pipelines import small_unet, small_vae

WIDTH = 16
_LANGUAGE_MODEL = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.3,
}
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


@cache
def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE as Qwen has it: no start token, no end token, a chat template."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator((training_scene(0, index).caption for index in range(200)), trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=131072, pad_token="<|endoftext|>", eos_token="<|im_end|>"
    )
    made.chat_template = _CHAT
    return made


@cache
def glm_tokenizer() -> PreTrainedTokenizerFast:
    """As `chat_tokenizer`, with GLM's two tokens in front of every text, the empty one too."""
    words = Tokenizer.from_str(chat_tokenizer().backend_tokenizer.to_str())
    words.add_special_tokens(["[gMASK]", "<sop>"])
    front = [(mark, words.token_to_id(mark)) for mark in ("[gMASK]", "<sop>")]
    words.post_processor = processors.TemplateProcessing(single="[gMASK] <sop> $A", special_tokens=front)
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=131072, pad_token="<|endoftext|>")


@cache
def gemma_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece as Gemma has it: a start token, no end token."""
    pieces = [chr(code) for code in range(33, 127)] + ["▁", "▁a", "▁red", "▁circle", "▁on", "▁blue", "▁green", "\n"]
    scored = [(piece, -2.0 if len(piece) > 2 else -8.0) for piece in pieces]
    words = Tokenizer(models.Unigram([("<pad>", 0.0), ("<eos>", 0.0), ("<bos>", 0.0), ("<unk>", 0.0), *scored], 3))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    words.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=8192, **marks)


def language_model(kind: str, config: str, words: PreTrainedTokenizerFast, **options: Any) -> Any:
    sizes = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, **_LANGUAGE_MODEL, **options}
    return getattr(transformers, kind)(getattr(transformers, config)(**sizes)).eval()


def t5(kind: str = "T5", width: int = WIDTH) -> Any:
    config = getattr(transformers, f"{kind}Config")
    sizes = {"d_model": width, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    encoder = getattr(transformers, f"{kind}EncoderModel")(config(vocab_size=len(t5_tokenizer()), **sizes))
    return encoder.eval()


def flow() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler()


def reads_the_text(denoiser: Any) -> Any:
    """As initialised, the text hardly shows in the picture."""
    with torch.no_grad():
        for parameter in denoiser.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return denoiser.eval()


def small_z_image_pipeline() -> Any:
    torch.manual_seed(0)
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 2, 2],
        axes_lens=[1024, 64, 64],
    )
    with torch.no_grad():  # these have no values of their own
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    return diffusers.ZImagePipeline(
        scheduler=flow(),
        vae=small_vae(shift_factor=0.06).eval(),
        text_encoder=language_model("Qwen3Model", "Qwen3Config", chat_tokenizer()),
        tokenizer=chat_tokenizer(),
        transformer=reads_the_text(transformer),
    )


def small_qwen_image_pipeline() -> Any:
    torch.manual_seed(0)
    words = chat_tokenizer()
    text = {**_LANGUAGE_MODEL, "vocab_size": len(words), "pad_token_id": words.pad_token_id}
    text["rope_scaling"] = {"type": "mrope", "rope_type": "default", "mrope_section": [2, 1, 1]}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 2, 2),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[2.0, 1.5, 2.5, 1.0],
    )
    return diffusers.QwenImagePipeline(
        scheduler=flow(),
        vae=vae.eval(),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=words,
        transformer=reads_the_text(transformer),
    )


def _flux2_parts(read_states: int, **options: Any) -> dict[str, Any]:
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=read_states * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        **options,
    )
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    )
    return {"scheduler": flow(), "vae": vae.eval(), "transformer": reads_the_text(transformer)}


def small_flux2_klein_pipeline(*, is_distilled: bool = False) -> Any:
    """The states after blocks 9, 18 and 27 are read, so it has as many blocks."""
    torch.manual_seed(0)
    parts = _flux2_parts(3, guidance_embeds=False)
    encoder = language_model("Qwen3ForCausalLM", "Qwen3Config", chat_tokenizer(), num_hidden_layers=28)
    return diffusers.Flux2KleinPipeline(
        **parts, text_encoder=encoder, tokenizer=chat_tokenizer(), is_distilled=is_distilled
    )


def small_flux2_pipeline() -> Any:
    """The states after blocks 10, 20 and 30 are read, so it has as many blocks.

    The real one's "tokenizer" is a processor of images too, which needs torchvision; this one is what it has inside.
    """
    torch.manual_seed(0)
    parts = _flux2_parts(3, guidance_embeds=True)
    copied = Tokenizer.from_str(chat_tokenizer().backend_tokenizer.to_str())
    words = PreTrainedTokenizerFast(tokenizer_object=copied, model_max_length=131072, pad_token="<|endoftext|>")
    words.chat_template = (
        "{% for message in messages %}[{{ message.role }}]{% for part in message.content %}{{ part.text }}{% endfor %}"
        "[/{{ message.role }}]{% endfor %}"
    )
    text = {**_LANGUAGE_MODEL, "vocab_size": len(words), "num_hidden_layers": 31, "model_type": "mistral"}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Mistral3Config(text_config=text, vision_config={**vision, "model_type": "pixtral"})
    encoder = transformers.Mistral3ForConditionalGeneration(config).eval()
    return diffusers.Flux2Pipeline(**parts, text_encoder=encoder, tokenizer=words)


def small_chroma_pipeline() -> Any:
    torch.manual_seed(0)
    transformer = diffusers.ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 2, 2),
        approximator_num_channels=16,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return diffusers.ChromaPipeline(
        scheduler=flow(),
        vae=small_vae(shift_factor=0.06).eval(),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=reads_the_text(transformer),
    )


def small_pixart_pipeline(kind: str = "PixArtSigmaPipeline") -> Any:
    torch.manual_seed(0)
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        use_additional_conditions=False,
    )
    return getattr(diffusers, kind)(
        scheduler=diffusers.DPMSolverMultistepScheduler(),
        vae=small_vae().eval(),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=reads_the_text(transformer),
    )


def small_pixart_alpha_pipeline() -> Any:
    return small_pixart_pipeline("PixArtAlphaPipeline")


def small_sana_pipeline() -> Any:
    torch.manual_seed(0)
    transformer = diffusers.SanaTransformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
    )
    blocks = {"encoder_block_types": "ResBlock", "decoder_block_types": "ResBlock"}
    channels = {"encoder_block_out_channels": (8, 8, 16), "decoder_block_out_channels": (8, 8, 16)}
    depth = {"encoder_layers_per_block": (1, 1, 1), "decoder_layers_per_block": (1, 1, 1)}
    scales = {"encoder_qkv_multiscales": ((), (), ()), "decoder_qkv_multiscales": ((), (), ())}
    vae = diffusers.AutoencoderDC(latent_channels=4, attention_head_dim=4, **blocks, **channels, **depth, **scales)
    return diffusers.SanaPipeline(
        scheduler=diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        vae=vae.eval(),
        text_encoder=language_model("Gemma2Model", "Gemma2Config", gemma_tokenizer()),
        tokenizer=gemma_tokenizer(),
        transformer=reads_the_text(transformer),
    )


def small_lumina2_pipeline() -> Any:
    torch.manual_seed(0)
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=16,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(300, 64, 64),
        cap_feat_dim=WIDTH,
    )
    return diffusers.Lumina2Pipeline(
        scheduler=flow(),
        vae=small_vae(shift_factor=0.06).eval(),
        text_encoder=language_model("Gemma2Model", "Gemma2Config", gemma_tokenizer()),
        tokenizer=gemma_tokenizer(),
        transformer=reads_the_text(transformer),
    )


def small_aura_flow_pipeline() -> Any:
    torch.manual_seed(0)
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=8,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    return diffusers.AuraFlowPipeline(
        scheduler=flow(),
        vae=small_vae().eval(),
        text_encoder=t5("UMT5"),
        tokenizer=t5_tokenizer(),
        transformer=reads_the_text(transformer),
    )


def small_cogview4_pipeline() -> Any:
    torch.manual_seed(0)
    transformer = diffusers.CogView4Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=WIDTH,
        time_embed_dim=16,
        condition_dim=8,
        pos_embed_max_size=8,
        rope_axes_dim=(16, 16),
    )
    encoder = language_model("GlmModel", "GlmConfig", glm_tokenizer())
    return diffusers.CogView4Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True),
        vae=small_vae().eval(),
        text_encoder=encoder,
        tokenizer=glm_tokenizer(),
        transformer=reads_the_text(transformer),
    )


def small_if_pipeline() -> Any:
    torch.manual_seed(0)
    unet = small_unet(
        in_channels=3,
        out_channels=6,
        down_block_types=("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
        up_block_types=("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        only_cross_attention=True,
        attention_head_dim=8,
    )
    return diffusers.IFPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        unet=reads_the_text(unet),
        scheduler=diffusers.DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )
