"""`start_dreambooth` and `train_dreambooth`: teach a model one subject."""

from __future__ import annotations

from ..config import DreamBoothConfig
from ..history.history import TrainingHistory
from ..job import TrainingJob
from .checkpoint import checkpoints, step_of
from .loop import Training
from .progress_bar import shown
from .setup import prepare


def train_dreambooth(config: DreamBoothConfig, *, resume: bool = False) -> TrainingHistory:
    """Teach a model one subject, observe every layer of its text encoder meanwhile, and wait with a progress bar.

    Parameters
    ----------
    config : DreamBoothConfig
    resume : bool
        Resume the training in `config.output_dir`, which was stopped, killed or failed, from its last checkpoint: in
        float32 and one process the weights become the same, bit by bit, as without the interruption. It may be longer
        (`num_train_epochs`, `max_train_steps`) if the schedule of the learning rate is constant.

    Raises
    ------
    ValueError
        For everything that cannot work, before anything is computed.
    OSError
        If something cannot be read or written; what was saved before is kept.
    NotFiniteError
        If the loss or a weight is NaN or infinite; names the step.
    """
    job = prepare_job(config, resume=resume)
    with shown(job):
        return job.wait()


def start_dreambooth(config: DreamBoothConfig, *, resume: bool = False) -> TrainingJob:
    """The same as `train_dreambooth`, in a worker thread: check and load everything, then return the running job.

    Raises
    ------
    ValueError, OSError
        As `train_dreambooth`, for what is found before the training begins; later errors are raised by `job.result()`.
    """
    return prepare_job(config, resume=resume).start()


class PreparedJob(TrainingJob):
    """The job of a `Training`, which is its attribute `training` until the job has ended."""

    def __init__(self, training: Training) -> None:
        setup = training.setup
        super().__init__(setup.history, training.run, records=setup.accelerator.is_main_process)
        self.training = training

    def _do(self) -> None:
        try:
            super()._do()
        finally:
            del self.training


def prepare_job(config: DreamBoothConfig, *, resume: bool = False) -> PreparedJob:
    """Check and load everything; returns a job that is not started.

    A training that is resumed goes back to its newest good checkpoint here: what came after it is deleted.
    """
    setup = prepare(config, resume=resume)
    if resume and setup.accelerator.is_main_process:
        step = step_of(setup.checkpoint) if setup.checkpoint else 0
        for path in checkpoints(setup.checkpoint_folder):
            if step_of(path) > step:
                path.unlink()  # damaged; it would count as one of the newest, which are kept
        setup.history.truncate(step, setup.sampler.completed_epochs(step), config.to_dict())
    setup.accelerator.wait_for_everyone()
    return PreparedJob(Training(setup))
