"""What of a pipeline is trained: low-rank additions or all weights, of the U-Net and perhaps of the text encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from ..config import DreamBoothConfig
from .sampler import generator_of

_UNET = {
    "attention": ["to_k", "to_q", "to_v", "to_out.0"],
    "all": ["to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2"],
}
_TEXT_ENCODER = {
    "attention": ["q_proj", "k_proj", "v_proj", "out_proj"],
    "all": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
}


class Trained(nn.Module):
    """The part of the pipeline that is trained, as one module: what accelerate wraps and many processes share."""

    def __init__(self, unet: Any, text_encoder: Any | None) -> None:
        """`text_encoder`: None where it is not trained; its states are then given to `forward`."""
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor, rows: Tensor) -> Tensor:
        """Predict.

        Parameters
        ----------
        noisy : Tensor (batch, C, h, w)
        timesteps : int Tensor (batch,)
        text : int Tensor (prompts, tokens) of ids; or Tensor (prompts, tokens, width) of states
            Each prompt once; it is encoded once for all its rows, and gets the gradient of all.
        rows : int Tensor (batch,)
            Which prompt belongs to which row.
        """
        states = text if self.text_encoder is None else encode(self.text_encoder, text)
        return self.unet(noisy, timesteps, states[rows]).sample


def encode(text_encoder: Any, input_ids: Tensor) -> Tensor:
    """The states that the stock pipeline conditions on: of the last block, after the final norm."""
    mask = None
    if getattr(text_encoder.config, "use_attention_mask", None):
        raise ValueError("pretrained_model_name_or_path: its text encoder wants an attention mask; not supported yet")
    return text_encoder(input_ids, attention_mask=mask)[0]


def make_trainable(pipe: Any, config: DreamBoothConfig) -> Trained:
    """Freeze the pipeline but for what `config` trains, which is in float32; adds the low-rank layers.

    Raises
    ------
    ValueError
        If something that is asked for is not installed.
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
    return Trained(pipe.unet, pipe.text_encoder if config.train_text_encoder else None)


@contextmanager
def lora_in_the_weights(*models: nn.Module) -> Iterator[None]:
    """Low-rank additions added to the weights meanwhile: on a CPU a picture then takes four fifths of the time.

    The former weights come back to the bit. On a GPU, where memory for both is rare, and in reduced precision, which
    would round the additions away, all stays as it is.
    """
    layers: list[Any] = [layer for model in models for layer in model.modules() if hasattr(layer, "merged_adapters")]
    weights = [layer.get_base_layer().weight for layer in layers]
    former = [weight.data for weight in weights]
    if not all(data.device.type == "cpu" and data.dtype == torch.float32 for data in former):
        yield
        return
    try:
        for layer, weight, data in zip(layers, weights, former, strict=True):
            weight.data = data.clone()
            layer.merge()
        yield
    finally:
        for layer, weight, data in zip(layers, weights, former, strict=True):
            if layer.merged:
                layer.unmerge()
            weight.data = data


def trained_parameters(trained: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, by name, always in the same order."""
    return {name: parameter for name, parameter in trained.named_parameters() if parameter.requires_grad}


def parameter_groups(trained: Trained, config: DreamBoothConfig) -> list[dict[str, Any]]:
    """What the optimizer is given: the U-Net's, and the text encoder's with its own learning rate."""
    rates = {"unet": config.learning_rate, "text_encoder": config.text_encoder_learning_rate}
    groups = []
    for part, rate in rates.items():
        parameters = [p for name, p in trained_parameters(trained).items() if name.startswith(f"{part}.")]
        if parameters:
            groups.append({"params": parameters, "lr": config.learning_rate if rate is None else rate})
    return groups


def make_optimizer(trained: Trained, config: DreamBoothConfig) -> torch.optim.Optimizer:
    """AdamW over what is trained."""
    options = {
        "betas": (config.adam_beta1, config.adam_beta2),
        "weight_decay": config.adam_weight_decay,
        "eps": config.adam_epsilon,
    }
    return optimizer_class(config)(parameter_groups(trained, config), lr=config.learning_rate, **options)


def optimizer_class(config: DreamBoothConfig) -> Callable[..., torch.optim.Optimizer]:
    """The kind of AdamW.

    Raises
    ------
    ValueError
        If 8-bit Adam is asked for and not installed.
    """
    if not config.use_8bit_adam:
        return torch.optim.AdamW
    try:
        import bitsandbytes
    except ImportError:
        raise ValueError("use_8bit_adam: bitsandbytes is not installed; install it or leave the key out") from None
    return bitsandbytes.optim.AdamW8bit


def require_peft() -> None:
    """Refuse low-rank training where peft is missing.

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

    # alpha = rank: strength 1, so that files need not tell it
    part.add_adapter(LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=layers))
    generator = generator_of(config.seed, f"lora {name}", 0)
    for key, parameter in part.named_parameters():
        if not parameter.requires_grad:
            continue
        parameter.data = parameter.data.float()
        if "lora_A" in key:  # peft's own start, drawn from the training's seed instead of the process' state
            bound = parameter[0].numel() ** -0.5
            start = torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
            parameter.data.copy_(start)


class MovingAverage:
    """A moving average of some parameters, to paint and keep in their place."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.decay = decay
        self._parameters = list(parameters)
        self.values = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`; early on the average follows faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Meanwhile the parameters are the average."""
        trained = [parameter.data for parameter in self._parameters]
        for parameter, value in zip(self._parameters, self.values, strict=True):
            parameter.data = value
        try:
            yield
        finally:
            for parameter, value in zip(self._parameters, trained, strict=True):
                parameter.data = value


@contextmanager
def training_mode(trained: Trained) -> Iterator[None]:
    """Train mode; on a CPU with the plain attention, whose backward pass is quicker there than the fused one's."""
    before = trained.unet.attn_processors
    if next(trained.parameters()).device.type == "cpu":
        trained.unet.set_attn_processor(AttnProcessor())
    trained.train()
    try:
        yield
    finally:
        trained.eval()
        trained.unet.set_attn_processor(before)
