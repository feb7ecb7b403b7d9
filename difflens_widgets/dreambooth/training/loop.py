"""The training loop. accelerate handles devices and processes; a step depends only on (seed, step) and the weights."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor

from ...runs.events import Message
from ..history.events import LossLogged
from ..job import TrainingJob
from .checkpoint import NotFiniteError, State, checkpoints
from .class_images import generate_missing, read_class_images
from .latents import Latents
from .loss import dreambooth_loss, target_of, timestep_weights
from .processes import in_main_process
from .progress_bar import EtaEstimator
from .raw_model import RawModel
from .sampler import TrainingBatch
from .setup import Setup
from .trainable import (
    averaged,
    encode_once,
    make_optimizer,
    make_trainable,
    merged_lora,
    trained_parameters,
    training_mode,
)
from .validation import is_validation_epoch, validate
from .weights import save_weights


class Training:
    """One training, from its setup to its end."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.config, self.sampler = setup, setup.config, setup.sampler
        self.pipe, self.accelerator = setup.pipe, setup.accelerator
        self._eta = EtaEstimator(setup.config, setup.sampler)

    def run(self, job: TrainingJob) -> None:
        """Train to the end, or until the job is cancelled: then a checkpoint is saved.

        Raises
        ------
        NotFiniteError
            If the loss or a weight is NaN or infinite.
        OSError
            If something cannot be saved.
        """
        for message in self.setup.messages:
            job.emit(Message(message))
        if not self.make_ready(job):
            return
        state, sampler = self.state, self.sampler
        self._end_epochs(job)
        while state.step < sampler.steps and not self._stopped(job):
            values = self.step()
            job.emit(LossLogged(state.step, sampler.epoch_of(state.step), values))
            self._eta.report(job, state.step, "training")
            if state.step % self.setup.checkpointing_steps == 0 or state.step == sampler.steps:
                self._save_state()
            self._end_epochs(job)
        if not self._stopped(job):
            job.complete()
        elif state.step < sampler.steps:
            self._save_state()

    def make_ready(self, job: TrainingJob) -> bool:
        """Do everything that comes before the first step; False if the job was cancelled meanwhile."""
        if not self._encode_images(job):
            return False
        self._make_state(self._read_prompts())
        return True

    def step(self) -> dict[str, float]:
        """Do one optimizer step; returns the values that are logged.

        Raises
        ------
        NotFiniteError
            If the loss is NaN or infinite; no weight has changed then.
        """
        with training_mode(self.trained):
            return self._step()

    def _encode_images(self, job: TrainingJob) -> bool:
        """Generate class images that are missing, and make the latents of all images; False if cancelled."""
        pipe, setup, config = self.pipe, self.setup, self.config
        pipe.vae.requires_grad_(False)
        sets = [setup.images]
        prior = [*setup.class_images, *setup.other_class_images]
        if prior:
            with self.accelerator.main_process_first():
                complete = generate_missing(
                    pipe,
                    config,
                    setup.sampling,
                    prior,
                    setup.side,
                    cancelled=lambda: job.cancelled(),
                    on_progress=lambda done, of: self._eta.report(job, 0, "class images"),
                )
            if self._any(not complete):
                return False
            groups = [group for group in (setup.class_images, setup.other_class_images) if group]
            sets += [read_class_images(group, setup.side) for group in groups]
        self._latents = [Latents(pipe.vae, images, cached=config.cache_latents) for images in sets]
        return True

    def _make_state(self, prompt_ids: Tensor) -> None:
        """Freeze, add LoRA layers, make the optimizer, and load the checkpoint."""
        config, accelerator = self.config, self.accelerator
        of_raw = config.prior_target == "raw_model" and len(config.prior_prompts) > 0
        self._raw = RawModel(self.pipe, prompt_ids, keep_unet=not config.use_lora) if of_raw else None
        self.trained = make_trainable(self.pipe, config)
        self.trained.eval()
        self._text = prompt_ids
        if self.trained.text_encoder is None:
            self._text = encode_once(self.pipe.text_encoder, prompt_ids)
        self._parameters = list(trained_parameters(self.trained).values())
        optimizer = make_optimizer(self.trained, config)
        self._schedules = get_scheduler(
            config.lr_scheduler,
            optimizer,
            num_warmup_steps=config.lr_warmup_steps,
            num_training_steps=self.sampler.steps,
            num_cycles=config.lr_num_cycles,
            power=config.lr_power,
        )
        ema = EMAModel(self._parameters, config.ema_decay) if config.use_ema else None
        self.state = State(self.trained, optimizer, ema, accelerator.scaler)
        self._model, self._optimizer = accelerator.prepare(self.trained, optimizer)
        if self.setup.checkpoint is not None:
            self.state.load(self.setup.checkpoint)

    def _read_prompts(self) -> Tensor:
        """The ids of all prompts, the empty one last; keeps which of them each image has."""
        setup = self.setup
        groups = [group for group in (setup.class_images, setup.other_class_images) if group]
        per_image = [[self.config.instance_prompt] * len(setup.images)]
        per_image += [[image.prompt for image in group] for group in groups]
        prompts = list(dict.fromkeys(prompt for each in per_image for prompt in each))
        self._prompt_of = [torch.tensor([prompts.index(prompt) for prompt in each]) for each in per_image]
        self._empty_prompt = len(prompts)
        tokenizer = self.pipe.tokenizer
        ids: Tensor = tokenizer(
            [*prompts, ""],
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return ids.to(self.accelerator.device)

    def _step(self) -> dict[str, float]:
        config, state = self.config, self.state
        batches, processes = config.gradient_accumulation_steps, self.accelerator.num_processes
        rates = [
            rate * factor(state.step)
            for rate, factor in zip(self._schedules.base_lrs, self._schedules.lr_lambdas, strict=True)
        ]
        for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        rows = self.sampler.draw(state.step)
        first = self.accelerator.process_index * batches
        logged: list[Tensor] = []
        names: list[str] = []
        for batch in range(batches):
            part = rows.part(first + batch, batches * processes)
            last = batch == batches - 1
            with nullcontext() if last else self.accelerator.no_sync(self._model):
                loss, parts = self._loss(part)
                self.accelerator.backward(loss / batches)
            names = ["loss", *parts]
            logged.append(torch.stack([loss, *parts.values()]).detach())
        means = self.accelerator.reduce(torch.stack(logged).mean(0), "mean").tolist()
        values = dict(zip(names, means, strict=True))
        if not all(torch.isfinite(torch.tensor(means))):
            raise NotFiniteError(
                f"step {state.step + 1}: the loss is {values['loss']}. {self._about_checkpoints()}; "
                "a smaller learning_rate or a max_grad_norm may help"
            )
        if config.max_grad_norm > 0:
            self.accelerator.clip_grad_norm_(self._parameters, config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        state.step += 1
        if state.ema is not None:
            state.ema.step(self._parameters)
        return {**values, "learning_rate": rates[0]}

    def _loss(self, part: TrainingBatch) -> tuple[Tensor, dict[str, Tensor]]:
        device, config, schedule = self.accelerator.device, self.config, self.setup.schedule
        images, encoding = part.images.split(part.groups), part.encoding.split(part.groups)
        clean = torch.cat([set_.draw(*rows) for set_, *rows in zip(self._latents, images, encoding, strict=True)])
        noise, timesteps = part.noise.to(clean), part.timesteps.to(device)
        prompts = torch.cat([of[rows] for of, rows in zip(self._prompt_of, images, strict=True)])
        prompts[part.without_caption] = self._empty_prompt
        needed, rows = prompts.unique(return_inverse=True)  # each prompt of the batch is encoded once
        noisy = schedule.add_noise(clean, noise, timesteps)
        target = target_of(schedule, clean, noise, timesteps)
        if self._raw is not None:
            first = part.groups[0]
            with self.accelerator.autocast():
                prior = self._raw.predict(noisy[first:], timesteps[first:], prompts[first:].to(device))
            target = torch.cat([target[:first], prior.to(target)])
        return dreambooth_loss(
            self._model(noisy, timesteps, self._text[needed.to(device)], rows.to(device)),
            target,
            timestep_weights(schedule, timesteps, config.snr_gamma, config.timestep_weight_floor),
            instance_rows=part.groups[0],
            prior_weight=config.prior_loss_weight,
        )

    def _end_epochs(self, job: TrainingJob) -> None:
        """Keep the weights of the epochs that this step completed, and validate."""
        step, sampler, history = self.state.step, self.sampler, self.setup.history
        first = sampler.completed_epochs(step - 1) + 1 if step else 0
        for epoch in range(first, sampler.completed_epochs(step) + 1):
            lens, last = is_validation_epoch(self.config, epoch, sampler.epochs), epoch == sampler.epochs
            with in_main_process(self.accelerator) as is_main:
                if not is_main or not (lens or last):
                    continue
                with averaged(self.state.ema, self.trained):
                    if self.trained.token_embedding is not None:
                        self.trained.token_embedding.write(self.pipe.text_encoder)
                    folder = history.weights_folder(epoch)
                    if epoch and not folder.is_dir() and (self.config.keep_epoch_weights or last):
                        save_weights(self.pipe, folder, self.config, model_hash=self.setup.model_hash)
                    if lens:
                        self._eta.report(job, step, "validation")
                        with merged_lora(self.pipe.unet, self.pipe.text_encoder):
                            validate(self.pipe, self.config, self.setup.name, history, epoch, job)
                        self._eta.validation_ended()

    def _save_state(self) -> None:
        with in_main_process(self.accelerator) as is_main:
            if not is_main:
                return
            self.state.save(
                self.setup.checkpoint_folder,
                self.config.to_dict(),
                self.setup.model_hash,
                self.config.checkpoints_total_limit,
            )

    def _about_checkpoints(self) -> str:
        saved = checkpoints(self.setup.checkpoint_folder)
        if saved:
            return f"The last good checkpoint was kept ({saved[-1].name})"
        return f"No checkpoint was saved yet (one is saved every {self.setup.checkpointing_steps} steps)"

    def _stopped(self, job: TrainingJob) -> bool:
        return self._any(job.cancelled())

    def _any(self, flag: bool) -> bool:
        """Whether it is true in any of the processes: they have to stop together."""
        if self.accelerator.num_processes == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flags, "sum").item() > 0)
