"""Small trainings for the tests: the embedded model and its subject, as little of each as shows something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difflens_widgets.dreambooth.config import DreamBoothConfig


def small_config(folder: Path, **changes: Any) -> DreamBoothConfig:
    """Two pictures at once for two epochs (four steps), the encoder trained, nothing painted."""
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
