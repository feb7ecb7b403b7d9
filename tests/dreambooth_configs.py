"""Small trainings for the tests: the embedded model, or a miniature, and the shipped subject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler
from transformers import CLIPTokenizer

from difflens_widgets.dreambooth.config import DreamBoothConfig
from pipelines import small_pipeline


def small_config(folder: Path, **changes: Any) -> DreamBoothConfig:
    """Two pictures at once for two epochs (four steps), the encoder trained, no lens."""
    values: dict[str, Any] = {
        "instance_data_dir": "difflens-dog",
        "instance_prompt": "a photo of xon dog",
        "unique_identifier": "xon",
        "class_prompt": "a photo of a dog",
        "output_dir": str(folder),
        "num_train_epochs": 2,
        "train_batch_size": 2,
        "train_text_encoder": True,
        "num_class_images": 2,
        "sample_batch_size": 2,
        "num_inference_steps": 2,
        "use_diffusion_lens": False,
        "device": "cpu",
    }
    return DreamBoothConfig(**{**values, **changes})


def miniature_config(folder: Path, **changes: Any) -> DreamBoothConfig:
    """As `small_config`, with a model in miniature of random weights and 32 × 32 pixels, made in `folder`."""
    model = folder / "small-sd"
    if not model.exists():
        save_miniature(model)
    values = {"pretrained_model_name_or_path": str(model), "guidance_scale": 2.0, "learning_rate": 1e-2, "rank": 1}
    return small_config(folder / "training", **{**values, **changes})


def save_miniature(folder: Path) -> None:
    """The miniature, with prompts of at most 16 tokens."""
    pipe = small_pipeline(DDIMScheduler, layers=1)
    pipe.tokenizer = CLIPTokenizer.from_pretrained(pipe.tokenizer.name_or_path, model_max_length=16)
    pipe.save_pretrained(folder)
