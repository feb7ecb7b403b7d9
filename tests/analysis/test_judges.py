"""The CLIP judge: with random weights, against the model's own logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from difflens_widgets import CLIPJudge
from drawn_runs import picture
from pipelines import tokenizer

TEXTS = ["a red dog", "a blue star", "two pink cats on a white background"]
PICTURES = [picture(i, 48) for i in range(12)]


@pytest.fixture(scope="module")
def clip() -> tuple[CLIPModel, CLIPProcessor]:
    torch.manual_seed(3)
    words = tokenizer()
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**shared, "vocab_size": len(words), "eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id}
    vision = {**shared, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    with torch.no_grad():  # as initialised all pictures look alike to it
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return model, CLIPProcessor(images, words)


@pytest.fixture(scope="module")
def cosines(clip) -> np.ndarray:
    """(picture, text) by the model's own logits."""
    model, processor = clip
    inputs = processor(text=TEXTS, images=PICTURES, return_tensors="pt", padding=True)
    with torch.inference_mode():
        return (model(**inputs).logits_per_image / model.logit_scale.exp()).numpy()


def test_clip_says_yes_where_the_prompt_fits_best(clip, cosines) -> None:
    best = cosines.argmax(1)
    assert len(set(best)) > 1, "else nothing is shown"
    for index, prompt in enumerate(TEXTS):
        judge = CLIPJudge(*clip, against=TEXTS)  # the prompt itself among them is left out
        assert judge.judge(PICTURES, prompt) == [found == index for found in best]
        assert CLIPJudge(*clip, against=[text for text in TEXTS if text != prompt]).judge(PICTURES, prompt) == [
            found == index for found in best
        ]


def test_clip_with_a_threshold(clip, cosines) -> None:
    values = np.sort(cosines[:, 0])
    threshold = float(values[5] + values[6]) / 2
    over = [bool(value > threshold) for value in cosines[:, 0]]
    assert CLIPJudge(*clip, threshold=threshold).judge(PICTURES, TEXTS[0]) == over
    both = CLIPJudge(*clip, against=TEXTS, threshold=threshold).judge(PICTURES, TEXTS[0])
    assert both == [yes and best == 0 for yes, best in zip(over, cosines.argmax(1), strict=True)]
    assert CLIPJudge(*clip, threshold=-1).judge([], TEXTS[0]) == []


def test_clip_descriptions_follow_what_answers_follow(clip) -> None:
    plain = CLIPJudge(*clip, against=TEXTS).description
    assert CLIPJudge(*clip, against=TEXTS).description == plain
    assert CLIPJudge(*clip, against=TEXTS[:2]).description != plain
    assert CLIPJudge(*clip, against=TEXTS, threshold=0.1).description != plain


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "against: give other texts to compare with, or a threshold"),
        ({"against": "a dog"}, TypeError, r"against: expected several texts, such as \['a dog'\]"),
        ({"threshold": 25.0}, ValueError, "threshold: 25.0 is no cosine"),
    ],
    ids=str,
)
def test_clip_arguments_that_cannot_work(clip, options, error, message) -> None:
    with pytest.raises(error, match=message):
        CLIPJudge(*clip, **options)


def test_clip_needs_another_text(clip) -> None:
    with pytest.raises(ValueError, match="has nothing but the prompt 'a dog' itself"):
        CLIPJudge(*clip, against=["a dog"]).judge([], "a dog")
