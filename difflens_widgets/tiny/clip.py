"""The small CLIP that the text encoder is trained as: an offline measure of how well a picture fits a caption.

The cosine of a caption and a picture is what CLIP-T measures, that of two pictures CLIP-I, here for this world only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from ..models.loading import WEIGHTS
from .vision import PictureTrunk


class SmallClip(nn.Module):
    """Text encoder and image encoder with a common space; where captions and pictures fit, their cosine is high."""

    tokenizer: CLIPTokenizer

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        width = text_encoder.config.hidden_size
        self.text = text_encoder
        self.text_projection = nn.Linear(width, width, bias=False)
        self.picture = nn.Sequential(PictureTrunk(), nn.Linear(PictureTrunk.width, width))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Unit vectors, float32 (caption, width)."""
        return F.normalize(self.text_projection(self.text(input_ids).pooler_output).float(), dim=-1)

    def embed_pictures(self, pixels: Tensor) -> Tensor:
        """Unit vectors, float32 (picture, width), of (picture, 3, size, size) in -1..1."""
        return F.normalize(self.picture(pixels).float(), dim=-1)

    def forward(self, input_ids: Tensor, pixels: Tensor) -> Tensor:
        """The contrastive loss of the batch; the captions after the first n are hard negatives of those."""
        return contrastive_loss(self.embed_text(input_ids), self.embed_pictures(pixels), self.logit_scale)

    def save(self, weights: Path = WEIGHTS) -> None:
        """Write what the text encoder's own folder does not have, in float16, to ``weights/clip``."""
        folder = weights / "clip"
        folder.mkdir(parents=True, exist_ok=True)
        own = {key: value for key, value in self.state_dict().items() if not key.startswith("text.")}
        save_file({key: value.half().cpu().contiguous() for key, value in own.items()}, folder / "model.safetensors")

    @classmethod
    def load(cls, weights: Path = WEIGHTS) -> SmallClip:
        """The one that ships with the embedded model; ready to `similarity`."""
        text_encoder = CLIPTextModel.from_pretrained(weights / "text_encoder", use_safetensors=True).float()
        clip = cls(text_encoder)
        own = {key: value.float() for key, value in load_file(weights / "clip" / "model.safetensors").items()}
        missing, unexpected = clip.load_state_dict(own, strict=False)
        if unexpected or any(not key.startswith("text.") for key in missing):
            raise ValueError(f"{weights}: its clip/model.safetensors is of another model")
        clip.tokenizer = CLIPTokenizer.from_pretrained(weights / "tokenizer")
        return clip.eval()

    @torch.inference_mode()
    def of_captions(self, captions: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 (caption, width)."""
        ids = self.tokenizer(list(captions), padding="longest", truncation=True, return_tensors="pt").input_ids
        return self.embed_text(ids.to(self.logit_scale.device)).cpu().numpy()

    @torch.inference_mode()
    def of_pictures(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Unit vectors, float32 (picture, width), of pictures of any size."""
        pixels = np.stack([np.asarray(image.convert("RGB").resize((128, 128))) for image in images])
        pixels_of_model = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1).to(self.logit_scale.device)
        return self.embed_pictures(pixels_of_model).cpu().numpy()


def contrastive_loss(text: Tensor, pictures: Tensor, logit_scale: Tensor) -> Tensor:
    """InfoNCE of n pictures and their captions; the captions after the first n are hard negatives of those."""
    n = len(pictures)
    logits = logit_scale.exp().clamp(max=100) * pictures @ text.T  # (n, captions)
    target = torch.arange(n, device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits[:, :n].T, target)) / 2
