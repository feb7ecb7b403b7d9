"""DiffusionLens: generates an image from the hidden states after each layer of a text encoder.

Toker et al., "Diffusion Lens: Interpreting Text Encoders in Text-to-Image Pipelines", ACL 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from ..models import checks, family_of, loading, require_encoder
from ..models.view import Encoding, PipelineView, blocks_of
from ..runs.job import LensJob
from ..runs.progress_bar import with_progress_bar
from ..runs.run import LensRun
from ..runs.tokens import Token
from .batch_size import BatchSize
from .interventions import Interventions
from .jobs import jobs_of
from .methods import Method
from .settings import DEFAULTS, RunOptions, takes_run_options
from .sharing import run_in_worker

if TYPE_CHECKING:
    from typing_extensions import Unpack


class DiffusionLens(Interventions):
    """A lens on one text encoder of a diffusers pipeline.

    The lens does not change your pipeline: during a run you may call it, change its scheduler, or use its modules in
    another pipeline.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
        Of one of `models.FAMILIES`, from SD 1 to FLUX.2, or of a family that you registered (`register_family`). The
        lens uses its scheduler, LoRA, offloading and dtype as you set them up.
    batch_size : int or "auto", optional
        The most images that are denoised at once, ≥ 1. Default: depends on the device, its memory and the size of the
        model. "auto": the fastest, by a measurement of some seconds that is kept for good in the user's cache folder.
    batch_invariant : bool
        Images are the same to the byte, whichever others are requested: every forward has `batch_size` rows, so one
        layer takes as long as `batch_size` of them. By default they are the same up to rounding (1 of 255), and all
        images of a run have equally many rows in their forwards.
    compiled : bool
        Let torch compile the denoiser beside the first run, which takes half a minute or more for each number of images
        at once; later runs take it. Images are the same up to rounding. Needs a C++ compiler; where it cannot be done,
        as with `batch_invariant`, runs go on without and say why.
    model : str, optional
        The model's name in the labels of runs.
    text_encoder : str, optional
        The text encoder to examine, where a pipeline has several, such as "text_encoder_2" of SDXL. The others return
        their stock output, so early layers may show the prompt too: what the later blocks of this encoder add.

    Raises
    ------
    ValueError
        If the pipeline belongs to no supported family, or has no such text encoder.

    Examples
    --------
    >>> lens = DiffusionLens.from_pretrained()
    >>> run = lens("a red circle on a blue background")
    """

    batch_size = BatchSize()

    def __init__(
        self,
        pipe: Any,
        *,
        batch_size: int | Literal["auto"] | None = None,
        batch_invariant: bool = False,
        compiled: bool = False,
        model: str | None = None,
        text_encoder: str | None = None,
    ) -> None:
        self.pipe = pipe
        self.family = family_of(pipe)
        self._encoder = require_encoder(pipe, self.family, text_encoder)
        self.batch_size, self.batch_invariant = batch_size, batch_invariant
        self.compiled = checks.boolean("compiled", compiled)
        self.model = model or getattr(pipe.config, "_name_or_path", None) or type(pipe).__name__

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "tiny",
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        batch_size: int | Literal["auto"] | None = None,
        batch_invariant: bool = False,
        compiled: bool = False,
        text_encoder: str | None = None,
        variant: str | None = None,
        revision: str | None = None,
        **diffusers_kwargs: Any,
    ) -> DiffusionLens:
        """Load a model and create a lens on it.

        Parameters
        ----------
        model : str or Path
            "tiny" (the embedded model, works offline), a diffusers folder, a single-file checkpoint
            (``.safetensors``), or a Hugging Face hub id such as "sd-legacy/stable-diffusion-v1-5". "~" is your home
            folder. Only safetensors weights are read, and no remote code is run.
        device : str or torch.device, optional
            Default: CUDA if available, else Apple's MPS, else the CPU.
        dtype : torch.dtype, optional
            Default: float16 or bfloat16 on CUDA, as the family was trained, float32 elsewhere.
        batch_size, batch_invariant, compiled, text_encoder
            See the class.
        variant, revision : str, optional
            As in diffusers: the variant of the weights, such as "fp16"; the branch or commit on the hub.
        **diffusers_kwargs
            Further arguments of diffusers' `from_pretrained` (or `from_single_file`), such as `scheduler=` or
            `safety_checker=None`.

        Raises
        ------
        ValueError
            If the folder is not a diffusers pipeline, its family is not supported, or it has no such text encoder
            (raised before weights are loaded).
        OSError
            If a hub id cannot be loaded.
        """
        given = {"variant": variant, "revision": revision, **diffusers_kwargs}
        pipe, name = loading.load_pipeline(model, device, dtype, text_encoder, given)
        own: dict[str, Any] = {"batch_size": batch_size, "batch_invariant": batch_invariant, "compiled": compiled}
        return cls(pipe, model=name, text_encoder=text_encoder, **own)

    def __repr__(self) -> str:
        return f"DiffusionLens({self.model!r}, {self.num_layers} layers of {self.text_encoder})"

    @property
    def text_encoder(self) -> str:
        """The name of the examined text encoder, as a component of the pipeline."""
        return self._encoder.name

    @property
    def num_layers(self) -> int:
        """Number of layers, 13 for SD 1.x; the last one gives the stock image."""
        return self._encoder.read_layers(len(self._encoder.blocks_of(self._module)))[-1] + 1

    @property
    def layers(self) -> range:
        """All layers, `range(0, num_layers)`."""
        return range(self.num_layers)

    @property
    def blocks(self) -> list[torch.nn.Module]:
        """The transformer blocks of the text encoder that the stock image depends on, in order."""
        return blocks_of(self._module, self._encoder)

    @property
    def _module(self) -> torch.nn.Module:
        return getattr(self.pipe, self._encoder.name)

    @overload
    def __call__(self, prompt: str, **options: Unpack[RunOptions]) -> LensRun: ...
    @overload
    def __call__(self, prompt: list[str] | tuple[str, ...], **options: Unpack[RunOptions]) -> list[LensRun]: ...
    @takes_run_options
    def __call__(self, prompt: str | Sequence[str], **options: Unpack[RunOptions]) -> LensRun | list[LensRun]:
        """Generate the images of the layers for one prompt, or for several, and wait for them.

        Takes the arguments of `start`; a list of prompts gives a list of runs. Ctrl-C stops within one denoising step.
        """
        jobs = self._jobs(prompt, **options)
        runs = [with_progress_bar(job) for job in jobs]
        return runs[0] if isinstance(prompt, str) else runs

    @overload
    def start(self, prompt: str, **options: Unpack[RunOptions]) -> LensJob: ...
    @overload
    def start(self, prompt: list[str] | tuple[str, ...], **options: Unpack[RunOptions]) -> list[LensJob]: ...
    @takes_run_options
    def start(self, prompt: str | Sequence[str], **options: Unpack[RunOptions]) -> LensJob | list[LensJob]:
        """Start to generate in a worker thread, and return at once.

        Parameters
        ----------
        prompt : str or sequence of str
        layers : iterable of int, optional
            0 is the embeddings, k the state after block k. Default: all layers.
        negative_prompt : str, optional
            What guidance moves away from; always encoded with all layers. Default: the stock pipeline's.
        seed : int or torch.Generator
            0 ≤ seed < 2**63. All layers start from the same latents and get the same noise. The state of a generator is
            copied and does not change.
        num_inference_steps : int, optional
            Denoising steps, ≥ 1. Default: the model's own (`sampling_defaults.json` in its folder), or the stock.
        guidance_scale : float, optional
            Classifier-free or distilled guidance, ≥ 0. Default: the model's own, or the stock pipeline's.
        true_cfg_scale : float, optional
            FLUX.1: > 1 is classifier-free guidance with `negative_prompt`, in a second forward.
        guidance_rescale, eta : float
            As in the stock pipeline, both ≥ 0: a correction of over-exposure, and the amount of DDIM's noise.
        cross_attention_kwargs : mapping, optional
            Passed to the denoiser's attention; "scale" is the strength of LoRA weights, also in the text encoder.
        negative_prompt_embeds : Tensor (tokens, width), optional
            Replaces `negative_prompt`; not for SDXL, which also needs a pooled vector.
        height, width : int, optional
            In pixels, divisible by 8, 16 or 32. Default: the size that the model was trained for.
        latents : Tensor (channels, height / f, width / f), optional
            The start latents, in place of those from the seed; f is the autoencoder's factor (8 for SD).
        snapshots : iterable of int, optional
            Denoising steps (0 is the first) whose decoded prediction is kept, for each layer.
        keep_tokens : int, str, PromptPart, or an iterable of these, optional
            The per-token lens: one more image of every layer for each item, `run.token_images[layer, token]`. It keeps
            only the states of that token and of the start token; all other positions hold the empty prompt's states
            (its padding; at position 1 its end token). A word or several consecutive words include all sub-word tokens;
            each occurrence gives its own images. An integer is a position in `run.tokens` (0, the start token alone,
            is the empty prompt). "all" means each word in turn, ["all"] the word "all". `PromptPart.PADDING` and
            `PromptPart.PROMPT` keep these parts. Each encoder keeps its own tokens of the word; a pooled vector is the
            prompt's if all words are kept, else the empty prompt's. Snapshots and latents are the whole prompt's only.
        attention : bool, "mean", "daam" or AttentionOptions
            Capture the attention to each word in each layer's image (of the whole prompt): `run.attention`, a
            `LensAttention`. The images stay the same to the bit. True means "mean". Of CogView4, DeepFloyd IF and
            families that do not declare their `TextAttention` it is refused.
        quality : "exact" or "draft"
            A draft takes 0.3 of the steps (and of the time), so `snapshots` and `attention` have fewer, too. It shows
            what the exact image will be about, and says "draft" wherever it is shown.
        on_step : callable, optional
            Called in the worker thread as `on_step(layer, step, timestep, latents)` after each denoising step of a
            layer, with a copy of its latents (1, channels, height / f, width / f).
        slots : "cut", int or "all"
            FLUX.2 reads several states at once: layer k cuts the encoder at k, or is put into one slot, or into all.
        cache : bool
            Take what was generated before with equal states, weights and settings (`lens/cache.py`), and keep the rest.

        Returns
        -------
        LensJob
            Or a list of jobs for a list of prompts; they run one after another.

        Raises
        ------
        ValueError, TypeError
            If an argument is not valid; raised before anything is computed.
        """
        jobs = [job.start() for job in self._jobs(prompt, **options)]
        return jobs[0] if isinstance(prompt, str) else jobs

    def tokenize(self, prompt: str) -> tuple[tuple[Token, ...], str]:
        """The tokens that the text encoder reads, and the part of the prompt that is cut off ("" if there is none)."""
        return self.view().tokenize(prompt)

    def encode(self, prompt: str, *, lora_scale: float | None = None) -> Encoding:
        """Encode a prompt without generating an image: its tokens, and their hidden states after every block.

        Parameters
        ----------
        prompt : str
        lora_scale : float, optional
            The strength of LoRA weights in the text encoder. Default: 1.

        Returns
        -------
        Encoding
            With `tokens`, `states` and `normed_states`, Tensor (layer, position, width).

        Raises
        ------
        TypeError
            If `prompt` is not a str.
        RuntimeError
            If called from `on_step` or a listener of a run of this pipeline: it would wait for itself.
        """
        checks.encoding(prompt, lora_scale)
        return run_in_worker(self.pipe, lambda: self.view().encode_alone(prompt, lora_scale))

    def view(self) -> PipelineView:
        """A copy of the pipeline for one run, to use inside `sharing.run_in_worker`."""
        return PipelineView(self.pipe, self.family, self._encoder)

    def _jobs(
        self, prompt: str | Sequence[str], *, method: Method | None = None, **options: Unpack[RunOptions]
    ) -> list[LensJob]:
        """Check every argument, then create one job for each prompt."""
        return jobs_of(self, self._encoder, prompt, method, {**DEFAULTS, **options})
