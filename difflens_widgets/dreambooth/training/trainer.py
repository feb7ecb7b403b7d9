"""The training loop: accelerate does the devices and processes; what a step sees depends on (seed, step) alone."""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor

from ...runs.events import Message
from ..config import DreamBoothConfig
from ..history.events import Doing, LossLogged, TrainingProgress
from ..job import TrainingJob
from .checkpoint import NotFiniteError, State
from .class_images import class_pictures
from .latents import Latents
from .loss import dreambooth_loss, target_of, timestep_weights
from .sampler import Draw
from .setup import Setup, class_folder_of, prepare
from .trainable import (
    MovingAverage,
    encode,
    lora_in_the_weights,
    make_optimizer,
    make_trainable,
    trained_parameters,
    training_mode,
)
from .validation import is_lens_epoch, paint_epoch
from .weights import save_weights


class PreparedJob(TrainingJob):
    """A job of `train_dreambooth`; `training` is what it does."""

    def __init__(self, training: Training) -> None:
        setup = training.setup
        super().__init__(setup.history, training.run, records=setup.accelerator.is_main_process)
        self.training = training


def train_with(config: DreamBoothConfig, *, resume: bool = False) -> PreparedJob:
    """Check and load everything; returns the job, not started yet."""
    setup = prepare(config, resume=resume)
    if resume and setup.accelerator.is_main_process:
        step = int(setup.checkpoint.stem.removeprefix("step-")) if setup.checkpoint else 0
        setup.history.truncate(step, setup.plan.epochs_over_after(step))
    setup.accelerator.wait_for_everyone()
    return PreparedJob(Training(setup))


class Training:
    """One training, from its setup to its end."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.config, self.plan = setup, setup.config, setup.plan
        self.pipe, self.accelerator = setup.pipe, setup.accelerator
        self._clock = _Clock(setup)

    def run(self, job: TrainingJob) -> None:
        """Train to the end, or until the job is cancelled: then the state is saved, to go on from.

        Raises
        ------
        NotFiniteError
            If the loss is NaN or infinite.
        OSError
            If something cannot be saved.
        """
        for notice in self.setup.notices:
            job.emit(Message(notice))
        if not self.make_ready(job):
            return
        state, plan = self.state, self.plan
        self._epochs_over(job)
        while state.step < plan.steps and not self._stopped(job):
            values = self.step()
            job.emit(LossLogged(state.step, plan.epoch_of(state.step), values))
            self._clock.tick(job, state.step, "training")
            if state.step % self.config.checkpointing_steps == 0 or state.step == plan.steps:
                self._save_state()
            self._epochs_over(job)
        if not self._stopped(job):
            job.complete()
        elif state.step < plan.steps:
            self._save_state()

    def make_ready(self, job: TrainingJob) -> bool:
        """Everything that comes before the first step; False if the job was cancelled meanwhile."""
        if not self._encode_pictures(job):
            return False
        self._add_and_load()
        return True

    def step(self) -> dict[str, float]:
        """One optimizer step; returns what is logged of it.

        Raises
        ------
        NotFiniteError
            If the loss is NaN or infinite; no weight has moved then.
        """
        with training_mode(self.trained):
            return self._step()

    def _encode_pictures(self, job: TrainingJob) -> bool:
        """The latents of all pictures; those of the class are painted before anything is learnt. False if cancelled."""
        cached = self.config.cache_latents
        pipe, setup = self.pipe, self.setup
        pipe.vae.requires_grad_(False)
        self._latents = [Latents(pipe.vae, setup.images, cached=cached)]
        if self.plan.classes:
            with self.accelerator.main_process_first():
                painted = class_pictures(
                    pipe,
                    self.config,
                    class_folder_of(setup),
                    setup.side,
                    cancelled=lambda: job.cancelled(),
                    said=lambda done, of: self._clock.tick(job, 0, "class pictures"),
                )
            if self._any(painted is None):
                return False
            self._latents.append(Latents(pipe.vae, painted or [], cached=cached))
        return True

    def _add_and_load(self) -> None:
        """Freeze, add, load: what is trained, its optimizer, and the state to go on from."""
        config, accelerator = self.config, self.accelerator
        self.trained = make_trainable(self.pipe, config)
        self.trained.eval()
        self._parameters = list(trained_parameters(self.trained).values())
        optimizer = make_optimizer(self.trained, config)
        self._schedules = get_scheduler(
            config.lr_scheduler,
            optimizer,
            num_warmup_steps=config.lr_warmup_steps,
            num_training_steps=self.plan.steps,
            num_cycles=config.lr_num_cycles,
            power=config.lr_power,
        )
        self.state = State(
            self.trained,
            optimizer,
            MovingAverage(self._parameters, config.ema_decay) if config.use_ema else None,
            accelerator.scaler,
        )
        self._model, self._optimizer = accelerator.prepare(self.trained, optimizer)
        if self.setup.checkpoint is not None:
            self.state.load(self.setup.checkpoint, config.to_dict(), self.setup.model_hash)
        prompts = [config.instance_prompt, *([str(config.class_prompt)] if self.plan.classes else [])]
        tokenizer = self.pipe.tokenizer
        ids = tokenizer(
            prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        ).input_ids.to(accelerator.device)
        if config.train_text_encoder:
            self._text = ids
        else:
            with torch.no_grad():
                self._text = encode(self.pipe.text_encoder, ids)

    def _step(self) -> dict[str, float]:
        config, state = self.config, self.state
        batches, size = config.gradient_accumulation_steps, config.train_batch_size
        rates = [
            rate * factor(state.step)
            for rate, factor in zip(self._schedules.base_lrs, self._schedules.lr_lambdas, strict=True)
        ]
        for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        draw = self.plan.draw(state.step)
        first = self.accelerator.process_index * batches * size
        told: list[Tensor] = []
        names: list[str] = []
        for batch in range(batches):
            part = draw.part(first + batch * size, first + (batch + 1) * size)
            last = batch == batches - 1
            with nullcontext() if last else self.accelerator.no_sync(self._model):
                loss, parts = self._loss(part)
                self.accelerator.backward(loss / batches)
            names = ["loss", *parts]
            told.append(torch.stack([loss, *parts.values()]).detach())
        means = self.accelerator.reduce(torch.stack(told).mean(0), "mean").tolist()
        values = dict(zip(names, means, strict=True))
        if not all(torch.isfinite(torch.tensor(means))):
            raise NotFiniteError(
                f"step {state.step + 1}: the loss is {values['loss']}. The last good checkpoint was kept; "
                "a smaller learning_rate or a max_grad_norm may help"
            )
        if config.max_grad_norm > 0:
            self.accelerator.clip_grad_norm_(self._parameters, config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        state.step += 1
        if state.average is not None:
            state.average.update(state.step)
        return {**values, "learning_rate": rates[0]}

    def _loss(self, part: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        device, config, schedule = self.accelerator.device, self.config, self.setup.schedule
        clean = torch.cat(
            [kind.draw(*rows) for kind, *rows in zip(self._latents, part.pictures, part.encoding, strict=True)]
        )
        kinds, samples = part.timesteps.shape
        noise, timesteps = part.noise.flatten(0, 1).to(clean), part.timesteps.flatten().to(device)
        rows = torch.arange(kinds, device=device).repeat_interleave(samples)
        predicted = self._model(schedule.add_noise(clean, noise, timesteps), timesteps, self._text, rows)
        return dreambooth_loss(
            predicted,
            target_of(schedule, clean, noise, timesteps),
            timestep_weights(schedule, timesteps, config.snr_gamma),
            kinds=kinds,
            prior_weight=config.prior_loss_weight,
        )

    def _epochs_over(self, job: TrainingJob) -> None:
        """Keep the weights of the epochs that ended with this step, and paint the probes."""
        step, plan, history = self.state.step, self.plan, self.setup.history
        first = plan.epochs_over_after(step - 1) + 1 if step else 0
        for epoch in range(first, plan.epochs_over_after(step) + 1):
            lens, last = is_lens_epoch(self.config, epoch), epoch == plan.epochs
            if self.accelerator.is_main_process and (lens or last):
                with self.state.average.in_place() if self.state.average else nullcontext():
                    folder = history.weights_folder(epoch)
                    if epoch and not folder.is_dir() and (self.config.keep_epoch_weights or last):
                        save_weights(self.pipe, folder, self.config, model_hash=self.setup.model_hash)
                    if lens:
                        self._clock.tick(job, step, "painting")
                        with lora_in_the_weights(self.pipe.unet, self.pipe.text_encoder):
                            paint_epoch(self.pipe, self.config, self.setup.name, history, epoch, job)
                        self._clock.painted(step)
            self.accelerator.wait_for_everyone()

    def _save_state(self) -> None:
        if self.accelerator.is_main_process:
            self.state.save(
                self.setup.checkpoint_folder,
                self.config.to_dict(),
                self.setup.model_hash,
                self.config.checkpoints_total_limit,
            )

    def _stopped(self, job: TrainingJob) -> bool:
        return self._any(job.cancelled())

    def _any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes: they have to stop together."""
        if self.accelerator.num_processes == 1:
            return flag
        said = torch.tensor([float(flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(said, "sum").item() > 0)


class _Clock:
    """How long it will take: from the time of the steps and of the paintings so far."""

    def __init__(self, setup: Setup) -> None:
        self._plan, self._config = setup.plan, setup.config
        self._seconds = {"training": 0.0, "painting": 0.0}
        self._counts = {"training": 0, "painting": 0}
        self._since = time.monotonic()

    def tick(self, job: TrainingJob, step: int, doing: Doing) -> None:
        """Say what is being done now; after a step, count it."""
        if doing == "training":
            self._count("training")
        self._since = time.monotonic()
        plan = self._plan
        epoch = plan.epoch_of(step) if step else 0
        job.emit(TrainingProgress(step, plan.steps, epoch, plan.epochs, doing, self._left(step)))

    def painted(self, step: int) -> None:
        """Count one epoch's painting."""
        self._count("painting")
        self._since = time.monotonic()

    def _count(self, what: str) -> None:
        self._seconds[what] += time.monotonic() - self._since
        self._counts[what] += 1

    def _left(self, step: int) -> float | None:
        plan = self._plan
        epochs = range(plan.epochs_over_after(step) + 1, plan.epochs + 1)
        to_do = {"training": plan.steps - step, "painting": sum(is_lens_epoch(self._config, e) for e in epochs)}
        left = 0.0
        for what, count in to_do.items():
            if count and not self._counts[what]:
                return None
            left += count * self._seconds[what] / max(1, self._counts[what])
        return left
