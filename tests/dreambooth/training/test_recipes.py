"""What keeps the rest of the model as it was, and what teaches an embedding: several prior prompts, caption dropout,
a floor for the weights of timesteps, stratified timesteps, pivotal tuning."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file

from difflens_widgets import DiffusionLens, DreamBoothConfig, TrainingHistory, train_dreambooth
from difflens_widgets.dreambooth.history.events import LossLogged
from difflens_widgets.dreambooth.training.checkpoint import checkpoints
from difflens_widgets.dreambooth.training.loss import timestep_weights
from difflens_widgets.dreambooth.training.sampler import BatchSampler, RowGroup
from difflens_widgets.dreambooth.training.trainer import prepare_job
from difflens_widgets.models.loading import load_pipeline
from difflens_widgets.models.tuned import EMBEDDING, load_tuned
from dreambooth_configs import miniature_config

PRIOR = {"with_prior_preservation": True, "class_prompts": ["a red circle", "a blue cat"], "images_per_class_prompt": 2}
LEAST = {"instance_data_dir": "images", "instance_prompt": "a photo of xon dog"}


# several prior prompts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {**PRIOR, "class_prompts": ["A photo of xon dog "]},
            "class_prompts: 'a photo of xon dog' is the",
        ),
        ({**PRIOR, "class_prompt": "a photo of xon dog"}, "class_prompt: 'a photo of xon dog' is the instance_prompt"),
        ({**PRIOR, "class_prompts": ["a dog", "a dog"]}, "class_prompts: 'a dog' is there twice"),
        ({**PRIOR, "class_prompts": [" "]}, "class_prompts: one of them is empty"),
        ({"class_prompts": ["a dog"]}, "class_prompts: are used for prior preservation only"),
        ({"max_train_steps": 0}, "max_train_steps: 0 must be at least 1"),
        ({"caption_dropout": 1}, "caption_dropout: 1.0 must be at least 0 and less than 1"),
        ({"prior_caption_dropout": -0.1}, "prior_caption_dropout: -0.1 must be at least 0 and less than 1"),
        ({"timestep_weight_floor": 1.5}, "timestep_weight_floor: 1.5 must be at most 1"),
        ({"train_token_embedding": True}, "train_token_embedding: needs unique_identifier"),
        ({"prior_batch_size": 0}, "prior_batch_size: 0 must be at least 1"),
        ({**PRIOR, "prior_target": "raw"}, "prior_target: 'raw' must be one of images, raw_model"),
    ],
)
def test_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        DreamBoothConfig.from_dict({**LEAST, **changes})


def test_the_prompts_of_the_prior() -> None:
    assert DreamBoothConfig(**LEAST, class_prompt="a dog").prior_prompts == ()
    some = {"with_prior_preservation": True, "class_prompts": ["a cat", "a dog", "a cow"]}
    assert DreamBoothConfig(**LEAST, **some).prior_prompts == ("a cat", "a dog", "a cow")
    assert DreamBoothConfig(**LEAST, **some, class_prompt="a dog").prior_prompts == ("a dog", "a cat", "a cow")


def test_every_prior_prompt_has_images_and_rows(tmp_path) -> None:
    config = miniature_config(tmp_path, **PRIOR, num_class_images=3, prior_batch_size=1, class_prompts_batch_size=4)
    job = prepare_job(config)
    training = job.training
    assert training.make_ready(job)
    assert len(list(Path(config.output_dir).glob("class_images/*/generated-*.png"))) == 3 + 2 * 2
    batch = training.sampler.draw(0)
    assert batch.groups == (2, 1, 4)
    assert sorted(batch.images.split(batch.groups)[2].tolist()) == [0, 1, 2, 3]
    prompts = [of[rows] for of, rows in zip(training._prompt_of, batch.images.split(batch.groups), strict=True)]
    assert [sorted(set(each.tolist())) for each in prompts] == [[0], [1], [2, 3]]
    values = training.step()
    assert values["loss"] == pytest.approx(values["instance_loss"] + values["prior_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "sampling"),
    [
        ({}, (3, 5.0)),
        ({"prior_guidance_scale": 1.5}, (3, 1.5)),
        ({"prior_num_inference_steps": 2, "prior_guidance_scale": 0}, (2, 0.0)),
    ],
)
def test_class_images_may_have_their_own_steps_and_guidance(tmp_path, changes, sampling) -> None:
    config = miniature_config(tmp_path, **PRIOR, **changes, num_inference_steps=3, guidance_scale=5)
    job = prepare_job(config)
    assert tuple(job.training.setup.sampling) == sampling


def test_prior_prompts_without_a_class_prompt(tmp_path) -> None:
    history = train_dreambooth(miniature_config(tmp_path, **PRIOR, class_prompt=None, num_train_epochs=1))
    assert history.status == "done"
    assert "prior_loss" in history.losses


def test_other_prompts_reach_the_encoder(tmp_path) -> None:
    """The words of `class_prompts`, which no other prompt has, get a gradient."""
    config = miniature_config(tmp_path, **PRIOR, use_lora=False, adam_weight_decay=0.0, num_train_epochs=1)
    job = prepare_job(config)
    pipe = job.training.pipe
    table = pipe.text_encoder.get_input_embeddings().weight
    circle, square = (pipe.tokenizer(word, add_special_tokens=False).input_ids for word in ("circle", "square"))
    before = table.detach().clone()
    job.wait()
    assert (table[circle] != before[circle]).any()
    assert (table[square] == before[square]).all()


# the target of the prior rows


@pytest.mark.parametrize("use_lora", [False, True])
def test_the_raw_model_is_the_target(tmp_path, use_lora) -> None:
    """Nothing pulls before anything has changed; then the raw model is what it was, whatever the training did to it."""
    steps = {"learning_rate": 0.01, "text_encoder_learning_rate": 0.01, "caption_dropout": 0.5, "max_train_steps": 3}
    config = miniature_config(tmp_path, **PRIOR, **steps, use_lora=use_lora, prior_target="raw_model")
    job = prepare_job(config)
    training = job.training
    assert training.make_ready(job)
    asked = (torch.randn(3, 4, 4, 4), torch.tensor([10, 500, 999]), torch.tensor([1, 2, 4]))
    before = training._raw.predict(*asked)
    first = training.step()
    later = [training.step() for _ in range(2)]
    assert first["prior_loss"] < 1e-9 < 1e-5 < later[-1]["prior_loss"]
    assert first["loss"] == pytest.approx(first["instance_loss"], rel=1e-5)
    assert torch.equal(training._raw.predict(*asked), before)
    with torch.no_grad():
        now = training.trained(*asked[:2], training._text[asked[2]], torch.arange(3))
    assert not torch.allclose(now, before, atol=1e-4)


def test_without_prior_rows_there_is_no_raw_model(tmp_path) -> None:
    job = prepare_job(miniature_config(tmp_path, prior_target="raw_model"))
    assert job.training.make_ready(job)
    assert job.training._raw is None
    assert job.training.step().keys() == {"loss", "learning_rate"}


def test_the_raw_model_is_the_target_after_resuming(tmp_path) -> None:
    """A checkpoint has trained weights; the raw ones come from the model."""
    long = {"prior_target": "raw_model", "use_lora": False, "learning_rate": 1e-3, "checkpointing_steps": 1}
    whole = miniature_config(tmp_path / "whole", **PRIOR, **long, max_train_steps=4)
    parts = miniature_config(tmp_path / "parts", **PRIOR, **long, max_train_steps=2)
    expected = train_dreambooth(whole).losses["prior_loss"]
    train_dreambooth(parts)
    resumed = train_dreambooth(dataclasses.replace(parts, max_train_steps=4), resume=True)
    assert resumed.losses["prior_loss"].tolist() == expected.tolist()


# caption dropout


def test_rows_without_a_caption(tmp_path) -> None:
    def sampler(share: float) -> BatchSampler:
        groups = (RowGroup("instances", 4, 100, share), RowGroup("classes", 4, 100, 2 * share))
        return BatchSampler(0, 5, groups, (4, 2, 2), 1000)

    dropped = torch.stack([sampler(0.15).draw(step).without_caption for step in range(50)])
    assert float(dropped[:, :100].float().mean()) == pytest.approx(0.15, abs=0.02)
    assert float(dropped[:, 100:].float().mean()) == pytest.approx(0.3, abs=0.02)
    assert not sampler(0.0).draw(0).without_caption.any()
    assert torch.equal(sampler(0.15).draw(3).noise, sampler(0.0).draw(3).noise)

    losses = {}
    for prompt, share in (("a photo of xon dog", 0.0), ("", 0.0), ("a photo of xon dog", 0.999999)):
        job = prepare_job(miniature_config(tmp_path / f"{prompt[:1]}{share}", caption_dropout=share))
        training = job.training
        assert training.make_ready(job)
        if not prompt:  # as if it were the prompt of all rows
            training._prompt_of = [torch.full_like(each, training._empty_prompt) for each in training._prompt_of]
        losses[prompt, share] = training.step()["loss"]
    assert losses["a photo of xon dog", 0.999999] == losses["", 0.0] != losses["a photo of xon dog", 0.0]


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({}, (0.1, 0.1, 0.1)),
        ({"prior_caption_dropout": 0.2}, (0.1, 0.2, 0.2)),
        ({"prior_caption_dropout": 0}, (0.1, 0, 0)),
    ],
)
def test_the_prior_may_have_a_dropout_of_its_own(tmp_path, changes, shares) -> None:
    setup = prepare_job(miniature_config(tmp_path, **PRIOR, caption_dropout=0.1, **changes)).training.setup
    assert tuple(group.caption_dropout for group in setup.sampler.groups) == shares


# timesteps


def test_the_floor_of_the_weights() -> None:
    schedule = DDPMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    timesteps = torch.arange(1000)
    plain, floored = (timestep_weights(schedule, timesteps, 5.0, floor) for floor in (0.0, 0.2))
    assert plain[-1] == pytest.approx(0, abs=1e-6)
    assert torch.equal(floored, plain.clamp(min=0.2))
    assert (timestep_weights(schedule, timesteps, None, 0.2) == 1).all()


def test_stratified_timesteps() -> None:
    groups = (RowGroup("instances", 4, 4), RowGroup("classes", 9, 10))
    sampler = BatchSampler(0, 100, groups, (4, 2, 2), 1000, stratified=True)
    plain = BatchSampler(0, 100, groups, (4, 2, 2), 1000)
    seen = []
    for step in range(50):
        batch = sampler.draw(step)
        instances, classes = batch.timesteps.split(batch.groups)
        assert sorted((instances // 250).tolist()) == list(range(4))
        assert sorted((classes // 100).tolist()) == list(range(10))
        assert torch.equal(batch.noise, plain.draw(step).noise)
        assert torch.equal(batch.timesteps, sampler.draw(step).timesteps)
        seen.append(int(instances[0]))
    assert len(set(seen)) > 40
    assert min(seen) < 150
    assert max(seen) > 850


# pivotal tuning


def test_a_word_of_several_tokens_has_no_embedding(tmp_path) -> None:
    split = {"instance_prompt": "a photo of qzxv dog", "unique_identifier": "qzxv"}
    with pytest.raises(ValueError, match=r"train_token_embedding: 'qzxv' is not one token but 4 \(q \+ z \+ x \+ v\)"):
        train_dreambooth(miniature_config(tmp_path, train_token_embedding=True, **split))
    inside = {"instance_prompt": "a photo of xondog", "unique_identifier": "xon"}
    with pytest.raises(ValueError, match="train_token_embedding: 'xon' is no word by itself in the instance_prompt"):
        train_dreambooth(miniature_config(tmp_path, train_token_embedding=True, **inside))
    assert not (tmp_path / "training").exists()


@pytest.mark.parametrize(
    "more",
    [{"train_text_encoder": False, "use_ema": True}, {"use_ema": True}, {"use_lora": False}],
    ids=["alone", "lora", "full"],
)
def test_the_embedding_of_the_identifier_is_trained_kept_and_loaded(tmp_path, more) -> None:
    options = {"train_token_embedding": True, "token_embedding_learning_rate": 0.1, **more}
    config = miniature_config(tmp_path, **options)
    job = prepare_job(config)
    pipe = job.training.pipe
    table = pipe.text_encoder.get_input_embeddings().weight
    (xon,) = pipe.tokenizer("xon", add_special_tokens=False).input_ids
    before = table.detach().clone()
    history = job.wait()
    others = torch.arange(len(table)) != xon
    assert (table[xon] - before[xon]).abs().max() > 0.05
    if config.use_lora or not config.train_text_encoder:
        assert torch.equal(table[others], before[others])

    folder = history.weights_folder(2)
    kept = load_file(folder / EMBEDDING)
    assert list(kept) == ["xon"]
    assert torch.equal(kept["xon"], table[xon])
    model = config.pretrained_model_name_or_path
    ours, _ = load_pipeline(model, "cpu", torch.float32)
    tuned = load_tuned(model, folder, "cpu", torch.float32)
    assert torch.equal(tuned.text_encoder.get_input_embeddings().weight[xon], kept["xon"])
    raw_states, states = (
        DiffusionLens(each)("xon", layers=[0], num_inference_steps=1).states for each in (ours, tuned)
    )
    assert abs(raw_states[0] - states[0]).max() > 0.05  # layer 0 has learned


def test_only_the_instance_rows_move_the_embedding(tmp_path) -> None:
    """Without the identifier in a prompt its embedding gets no gradient."""
    config = miniature_config(tmp_path, train_token_embedding=True, caption_dropout=0.999999, adam_weight_decay=0.0)
    job = prepare_job(config)
    assert job.training.make_ready(job)
    before = job.training.trained.token_embedding.vector.detach().clone()
    job.training.step()
    assert torch.equal(job.training.trained.token_embedding.vector, before)


@pytest.mark.parametrize("use_lora", [True, False])
def test_a_training_with_everything_resumes_bit_by_bit(tmp_path, use_lora) -> None:
    options = {
        **PRIOR,
        "num_class_images": 3,
        "caption_dropout": 0.3,
        "stratified_timesteps": True,
        "snr_gamma": 5.0,
        "timestep_weight_floor": 0.1,
        "train_token_embedding": True,
        "use_ema": True,
        "use_lora": use_lora,
        "use_diffusion_lens": True,
        "diffusion_lens_epochs": 1,
        "diffusion_lens_layers": [0],
    }
    whole = train_dreambooth(miniature_config(tmp_path / "whole", **options))
    config = miniature_config(tmp_path / "stopped", **options)
    job = prepare_job(config)
    job.subscribe(lambda event: job.cancel() if isinstance(event, LossLogged) and event.step == 3 else None)
    assert job.wait().status == "stopped"
    resumed = train_dreambooth(config, resume=True)
    assert resumed.losses["loss"].tobytes() == whole.losses["loss"].tobytes()
    states = [load_file(checkpoints(history.folder / "checkpoints")[-1]) for history in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    for epoch in (0, 1, 2):
        a, b = (TrainingHistory.load(history.folder).run(epoch).images[0] for history in (whole, resumed))
        assert a.tobytes() == b.tobytes()
