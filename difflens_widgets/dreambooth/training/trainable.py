"""What is trained: LoRA layers or all weights of the U-Net and the text encoder, and the embedding of a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..config import DreamBoothConfig
from .sampler import generator_of
from .token_embedding import TokenEmbedding

_UNET = {
    "attention": ["to_k", "to_q", "to_v", "to_out.0"],
    "all": ["to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2"],
}
_TEXT_ENCODER = {
    "attention": ["q_proj", "k_proj", "v_proj", "out_proj"],
    "all": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
}


class TrainableModules(nn.Module):
    """The trained parts of the pipeline as one module, which accelerate wraps and several processes share."""

    def __init__(self, unet: Any, text_encoder: Any | None, token_embedding: TokenEmbedding | None = None) -> None:
        """`text_encoder` is None if nothing of it is trained; `forward` then takes its states."""
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder
        self.token_embedding = token_embedding

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor, rows: Tensor) -> Tensor:
        """Predict.

        Parameters
        ----------
        noisy : Tensor (rows, C, h, w)
        timesteps : int Tensor (rows,)
        text : int Tensor (prompts, tokens) of ids; or Tensor (prompts, tokens, width) of states
            Each prompt once: it is encoded once for all its rows, and gets the gradient of all.
        rows : int Tensor (rows,)
            The index of the prompt of each row.
        """
        if self.text_encoder is None:
            return self.unet(noisy, timesteps, text[rows]).sample
        if self.token_embedding is None:
            states = encode(self.text_encoder, text)
        else:
            with self.token_embedding.used_by(self.text_encoder):
                states = encode(self.text_encoder, text)
        return self.unet(noisy, timesteps, states[rows]).sample


def encode(text_encoder: Any, input_ids: Tensor) -> Tensor:
    """The states that the stock pipeline conditions on: of the last block, after the final norm."""
    if getattr(text_encoder.config, "use_attention_mask", None):
        raise ValueError("pretrained_model_name_or_path: its text encoder needs an attention mask; not supported yet")
    return text_encoder(input_ids, attention_mask=None)[0]


@torch.no_grad()
def encode_once(text_encoder: Any, input_ids: Tensor) -> Tensor:
    """The states of many prompts, without gradients."""
    return torch.cat([encode(text_encoder, part) for part in input_ids.split(16)])


def make_trainable(pipe: Any, config: DreamBoothConfig) -> TrainableModules:
    """Freeze the pipeline except for what `config` trains, which gets float32; add the LoRA layers.

    Raises
    ------
    ValueError
        If a library is missing, or `unique_identifier` is not one token though its embedding is to be trained.
    """
    for part in (pipe.vae, pipe.unet, pipe.text_encoder):
        part.requires_grad_(False)
    parts = {"unet": (pipe.unet, _UNET)}
    if config.train_text_encoder:
        parts["text_encoder"] = (pipe.text_encoder, _TEXT_ENCODER)
    for name, (part, layers) in parts.items():
        if config.use_lora:
            _add_lora(part, layers[config.lora_layers], config, name)
        else:
            part.requires_grad_(True)
        if config.gradient_checkpointing:
            part.enable_gradient_checkpointing() if name == "unet" else part.gradient_checkpointing_enable()
    embedding = TokenEmbedding.of(pipe, str(config.unique_identifier)) if config.train_token_embedding else None
    encoder_needed = config.train_text_encoder or embedding is not None
    return TrainableModules(pipe.unet, pipe.text_encoder if encoder_needed else None, embedding)


@contextmanager
def merged_lora(*models: nn.Module) -> Iterator[None]:
    """Within the block the LoRA layers are merged into the weights: on a CPU an image then takes 4/5 of the time.

    Afterwards the weights are the same as before, bit by bit. Nothing is merged on a GPU, where memory for a copy is
    scarce, or in reduced precision, which would round the LoRA away.
    """
    layers: list[Any] = [layer for model in models for layer in model.modules() if hasattr(layer, "merged_adapters")]
    weights = [layer.get_base_layer().weight for layer in layers]
    before = [weight.data for weight in weights]
    if not all(data.device.type == "cpu" and data.dtype == torch.float32 for data in before):
        yield
        return
    try:
        for layer, weight, data in zip(layers, weights, before, strict=True):
            weight.data = data.clone()
            layer.merge()
        yield
    finally:
        for layer, weight, data in zip(layers, weights, before, strict=True):
            if layer.merged:
                layer.unmerge()
            weight.data = data


def trained_parameters(trained: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by name, always in the same order."""
    return {name: parameter for name, parameter in trained.named_parameters() if parameter.requires_grad}


def parameter_groups(trained: TrainableModules, config: DreamBoothConfig) -> list[dict[str, Any]]:
    """Parameters for the optimizer: one group with its own learning rate for each module that is trained."""
    encoder = config.learning_rate if config.text_encoder_learning_rate is None else config.text_encoder_learning_rate
    own = config.token_embedding_learning_rate
    rates = {"unet": config.learning_rate, "text_encoder": encoder, "token_embedding": encoder if own is None else own}
    groups = []
    for part, rate in rates.items():
        parameters = [p for name, p in trained_parameters(trained).items() if name.startswith(f"{part}.")]
        if parameters:
            groups.append({"params": parameters, "lr": rate})
    return groups


def make_optimizer(trained: TrainableModules, config: DreamBoothConfig) -> torch.optim.Optimizer:
    """AdamW over the trained parameters."""
    options = {
        "betas": (config.adam_beta1, config.adam_beta2),
        "weight_decay": config.adam_weight_decay,
        "eps": config.adam_epsilon,
    }
    return optimizer_class(config)(parameter_groups(trained, config), lr=config.learning_rate, **options)


def optimizer_class(config: DreamBoothConfig) -> Callable[..., torch.optim.Optimizer]:
    """AdamW of torch or, with `use_8bit_adam`, of bitsandbytes.

    Raises
    ------
    ValueError
        If bitsandbytes is needed and not installed.
    """
    if not config.use_8bit_adam:
        return torch.optim.AdamW
    try:
        import bitsandbytes
    except ImportError:
        raise ValueError("use_8bit_adam: bitsandbytes is not installed; install it or leave the key out") from None
    return bitsandbytes.optim.AdamW8bit


def require_peft() -> None:
    """Refuse LoRA training if peft is not installed.

    Raises
    ------
    ValueError
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise ValueError('use_lora: peft is not installed: pip install "difflens_widgets[train]"') from None


def _add_lora(part: Any, layers: list[str], config: DreamBoothConfig, name: str) -> None:
    from peft import LoraConfig

    # alpha = rank: strength 1, so that files need not store it
    part.add_adapter(LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=layers))
    generator = generator_of(config.seed, f"lora {name}", 0)
    for key, parameter in part.named_parameters():
        if not parameter.requires_grad:
            continue
        parameter.data = parameter.data.float()
        if "lora_A" in key:  # peft's own initialization, but from the seed of the training, not from global state
            bound = parameter[0].numel() ** -0.5
            start = torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
            parameter.data.copy_(start)


@contextmanager
def averaged(ema: EMAModel | None, trained: nn.Module) -> Iterator[None]:
    """Within the block the trained parameters have their moving average, if there is one."""
    if ema is None:
        yield
        return
    parameters = list(trained_parameters(trained).values())
    ema.store(parameters)
    ema.copy_to(parameters)
    try:
        yield
    finally:
        ema.restore(parameters)


@contextmanager
def training_mode(trained: TrainableModules) -> Iterator[None]:
    """Train mode; on a CPU with plain attention, whose backward pass is faster there than the fused one's."""
    before = trained.unet.attn_processors
    if next(trained.parameters()).device.type == "cpu":
        trained.unet.set_attn_processor(AttnProcessor())
    trained.train()
    try:
        yield
    finally:
        trained.eval()
        trained.unet.set_attn_processor(before)
