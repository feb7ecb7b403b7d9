"""The loss of a step is the usual one of DreamBooth, computed here once more from the papers' formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from difflens_widgets.dreambooth.history.events import LossLogged
from difflens_widgets.dreambooth.training.images import instance_files, read_image, to_pixels
from difflens_widgets.dreambooth.training.loop import Training
from difflens_widgets.dreambooth.training.loss import dreambooth_loss
from difflens_widgets.dreambooth.training.trainer import prepare_job
from difflens_widgets.models.loading import WEIGHTS
from dreambooth_configs import small_config


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """The embedded model, which predicts velocities; and its weights with a scheduler that says epsilon."""
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS).to(torch.float32)
    pipe.scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    folder = tmp_path_factory.mktemp("models") / "epsilon"
    pipe.save_pretrained(folder)
    return {"v_prediction": WEIGHTS, "epsilon": folder}


def alphas(prediction: str) -> torch.Tensor:
    """The share of the picture that is left at each timestep; the embedded model's schedule ends in pure noise."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = (1 - betas).cumprod(0)
    if prediction == "v_prediction":
        root = kept.sqrt()
        kept = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return kept


@torch.no_grad()
def usual_loss(model: Path, prediction: str, training: Training, gamma: float | None, prior: bool) -> dict[str, float]:
    """With the stock pipeline's parts alone; only the random numbers are the training's."""
    pipe = StableDiffusionPipeline.from_pretrained(model).to(torch.float32)
    batch = training.sampler.draw(0)
    images_of, encoding, noises, timesteps = (
        tensor.split(batch.groups) for tensor in (batch.images, batch.encoding, batch.noise, batch.timesteps)
    )
    files = [instance_files("difflens-dog")]
    prompts = ["a photo of xon dog"]
    if prior:
        files.append(sorted(Path(training.config.output_dir).glob("class_images/*/*.png")))
        prompts.append("a photo of a dog")
    losses = []
    for kind, prompt in enumerate(prompts):
        side = pipe.unet.config.sample_size * pipe.vae_scale_factor
        images = [read_image(files[kind][i], side)[0] for i in images_of[kind]]
        latents = pipe.vae.encode(to_pixels(images)).latent_dist
        latents = (latents.mean + latents.std * encoding[kind]) * pipe.vae.config.scaling_factor
        states, _ = pipe.encode_prompt(prompt, "cpu", 1, False)
        rows = []
        for x, noise, t in zip(latents, noises[kind], timesteps[kind], strict=True):
            a = alphas(prediction)[t]
            noisy = a.sqrt() * x + (1 - a).sqrt() * noise
            target = noise if prediction == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * x
            predicted = pipe.unet(noisy[None], t, states).sample[0]
            weight = 1.0
            if gamma is not None:
                ratio = a / (1 - a)
                weight = min(ratio, gamma) / (ratio + 1 if prediction == "v_prediction" else ratio)
            rows.append(weight * ((predicted - target) ** 2).mean())
        losses.append(float(sum(rows)) / len(rows))
    if not prior:
        return {"loss": losses[0]}
    return {"loss": losses[0] + 0.7 * losses[1], "instance_loss": losses[0], "prior_loss": losses[1]}


@pytest.mark.parametrize("prior", [True, False], ids=["prior", "no prior"])
@pytest.mark.parametrize("gamma", [None, 5.0])
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_the_loss_of_a_step(models, tmp_path, prediction, gamma, prior) -> None:
    config = small_config(
        tmp_path / "out",
        pretrained_model_name_or_path=str(models[prediction]),
        num_train_epochs=1,
        train_batch_size=4,
        with_prior_preservation=prior,
        prior_loss_weight=0.7,
        snr_gamma=gamma,
    )
    job = prepare_job(config)
    training = job.training
    logged = []
    job.subscribe(lambda event: logged.append(event.values) if isinstance(event, LossLogged) else None)
    job.start().result()
    expected = usual_loss(models[prediction], prediction, training, gamma, prior)
    assert logged[0] == pytest.approx({**expected, "learning_rate": 1e-4}, rel=1e-6, abs=1e-6)


def test_weights_stay_finite_where_the_schedule_ends_in_noise() -> None:
    from diffusers import DDPMScheduler

    from difflens_widgets.dreambooth.training.loss import timestep_weights

    last = torch.tensor([999])
    for prediction, expected in (("epsilon", 1.0), ("v_prediction", 0.0)):
        schedule = DDPMScheduler(prediction_type=prediction, rescale_betas_zero_snr=True)
        assert timestep_weights(schedule, last, 5.0).item() == pytest.approx(expected, abs=1e-6)


def test_the_prior_is_the_second_half_of_the_rows() -> None:
    predicted = torch.tensor([1.0, 3.0, 0.0, 2.0]).reshape(4, 1, 1, 1)
    loss, parts = dreambooth_loss(
        predicted, torch.zeros(4, 1, 1, 1), torch.tensor([1.0, 1.0, 1.0, 0.5]), instance_rows=2, prior_weight=0.5
    )
    assert {name: float(part) for name, part in parts.items()} == {"instance_loss": 5.0, "prior_loss": 1.0}
    assert float(loss) == 5.5
