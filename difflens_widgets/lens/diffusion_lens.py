"""DiffusionLens: what each layer of a text encoder sees, painted by the diffusion model itself.

Toker et al., "Diffusion Lens: Interpreting Text Encoders in Text-to-Image Pipelines", ACL 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from ..models import checks, family_of, loading, require_encoder
from ..models.view import Encoding, PipelineView, blocks_of
from ..runs.job import LensJob
from ..runs.progress_bar import with_progress_bar
from ..runs.run import LensRun
from ..runs.tokens import Token
from .denoise import default_batch_size
from .prepare import Method, Shared
from .settings import DEFAULTS, RunOptions, read_settings, takes_run_options
from .sharing import run_in_worker
from .token_mask import token_positions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class DiffusionLens:
    """A lens on a text encoder of a diffusers pipeline.

    Your pipeline stays yours: while the lens paints, you may call it, change its scheduler, or use its parts in another
    pipeline.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline or StableDiffusionXLPipeline
        SD 1.x, 2.x or SDXL, as you set it up: its scheduler, LoRA, offloading and dtype are used as they are.
    batch_size : int, optional
        How many pictures are denoised at once, ≥ 1. By default what suits the device and the model's size. A layer's
        picture depends on it in the last bits, and on nothing else but the arguments of the call.
    model : str, optional
        The name that runs are labelled with.
    text_encoder : str, optional
        Which text encoder to look at, where a pipeline has several: SDXL has "text_encoder" (CLIP-L, layers 0..11; the
        default) and "text_encoder_2" (OpenCLIP-bigG, layers 0..31). Meanwhile the other one returns its stock output,
        so early layers may show the prompt too: they tell what this encoder's later blocks add to the rest.

    Raises
    ------
    ValueError
        If the pipeline is of no supported family, or has no such encoder.

    Examples
    --------
    >>> lens = DiffusionLens.from_pretrained()
    >>> run = lens("a red circle on a blue background")
    >>> run.images[12]  # doctest: +SKIP
    """

    def __init__(
        self,
        pipe: Any,
        *,
        batch_size: int | None = None,
        model: str | None = None,
        text_encoder: str | None = None,
    ) -> None:
        self.pipe = pipe
        self.family = family_of(pipe)
        self._encoder = require_encoder(pipe, self.family, text_encoder)
        self.batch_size = default_batch_size(pipe)
        if batch_size is not None:
            self.batch_size = checks.as_int("batch_size", batch_size, at_least=1)
        self.model = model or getattr(pipe.config, "_name_or_path", None) or type(pipe).__name__

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "tiny",
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
        text_encoder: str | None = None,
        variant: str | None = None,
        revision: str | None = None,
        **diffusers_kwargs: Any,
    ) -> DiffusionLens:
        """Load a model and put a lens on it.

        Parameters
        ----------
        model : str or Path
            "tiny" (the embedded model, works offline), a diffusers folder, a single-file checkpoint
            (``.safetensors``), or a Hugging Face hub id such as "sd-legacy/stable-diffusion-v1-5". "~" is your home
            folder. Only safetensors weights are read, and no remote code is run.
        device : str or torch.device, optional
            Default: CUDA, then Apple's MPS, then the CPU.
        dtype : torch.dtype, optional
            Default: float16 on CUDA, float32 elsewhere.
        batch_size, text_encoder
            See the class.
        variant, revision : str, optional
            As in diffusers: "fp16" for the weights saved under that name; a branch or commit on the hub.
        **diffusers_kwargs
            What else diffusers' `from_pretrained` (or `from_single_file`) takes, such as `scheduler=` or
            `safety_checker=None`.

        Raises
        ------
        ValueError
            If the folder is not a diffusers pipeline, its family is not supported, or it has no such encoder (before
            weights are loaded).
        OSError
            If a hub id cannot be loaded.
        """
        given = {"variant": variant, "revision": revision, **diffusers_kwargs}
        pipe, name = loading.load_pipeline(model, device, dtype, text_encoder, given)
        return cls(pipe, batch_size=batch_size, model=name, text_encoder=text_encoder)

    @property
    def text_encoder(self) -> str:
        """The pipeline's name for the text encoder that is looked at."""
        return self._encoder.name

    @property
    def num_layers(self) -> int:
        """How many layers there are: 13 for SD 1.x, 12 and 32 for SDXL's encoders. The last gives the stock picture."""
        return self._encoder.read_layers(len(self._encoder.blocks_of(self._module)))[-1] + 1

    @property
    def layers(self) -> range:
        """All layers, `range(0, num_layers)`."""
        return range(self.num_layers)

    @property
    def blocks(self) -> list[torch.nn.Module]:
        """The text encoder's transformer blocks that the stock picture depends on, in their order."""
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
        """Paint the layers of one prompt, or of several, and wait for it.

        Takes what `start` takes; a list of prompts gives a list of runs. Ctrl-C stops it within one denoising step.
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
        """Begin to paint in a worker thread and return at once.

        Parameters
        ----------
        prompt : str or sequence of str
        layers : iterable of int, optional
            Default: all of them. 0 is the embeddings, k the state after block k.
        negative_prompt : str, optional
            What to guide away from; always encoded with all layers. Default: what the stock pipeline takes without
            one: "" for SD 1.x and 2.x, for SDXL all zeros (which is not the same as "").
        seed : int or torch.Generator
            0 ≤ seed < 2**63. Every layer starts from this seed's latents and gets its noise. A generator's state is
            copied and left as it is.
        num_inference_steps : int, optional
            Denoising steps, ≥ 1. Default: the model's own (`sampling_defaults.json` in its folder), or 20.
        guidance_scale : float, optional
            Classifier-free guidance; 1 and less switch it off. Default: the model's own, or 7.5.
        guidance_rescale, eta : float
            As in the stock pipeline: against over-exposure, and DDIM's noise; both ≥ 0.
        cross_attention_kwargs : mapping, optional
            Passed to the denoiser's attention; "scale" is the strength of LoRA weights, in the text encoder too.
        negative_prompt_embeds : Tensor (tokens, width), optional
            In place of `negative_prompt`; not for SDXL, which also wants a pooled vector.
        height, width : int, optional
            In pixels, divisible by 8. Default: what the model was trained for.
        latents : Tensor (channels, height / f, width / f), optional
            Start from these instead of the seed's; f is the autoencoder's factor (8 for SD).
        snapshots : iterable of int, optional
            Keep the decoded prediction at these denoising steps (0 is the first) of each layer.
        keep_tokens : int, str, PromptPart, or an iterable of these, optional
            The per-token lens: for each, one more picture of every layer, `run.token_images[layer, token]`, with
            only that token's state and the start token's kept; every other position holds what the empty prompt has
            there (its padding; at position 1 its end token). Words or groups of words are found with all their
            pieces, each occurrence by itself, and an index is a position of `run.tokens` (0, the start token alone,
            is the empty prompt). "all" alone means each word in turn, ["all"] the word "all". `PromptPart.PADDING`
            and `PromptPart.PROMPT` keep those parts. SDXL: in both encoders, at this one's positions; the pooled
            vector is the prompt's where all its words are kept, else the empty prompt's. Snapshots and latents are
            kept of the whole prompt only. Toker et al., "Padding Tone", NAACL 2025.
        attention : bool, "mean", "daam" or AttentionOptions
            Keep where each word is looked at in each layer's picture (of the whole prompt): `run.attention`, a
            `LensAttention`. The pictures stay the same to the bit. True is "mean"; the options say what is kept.
        on_step : callable, optional
            Called in the worker thread as `on_step(layer, step, timestep, latents)` after each denoising step of a
            layer, with a copy of its latents (1, channels, height / f, width / f).

        Returns
        -------
        LensJob
            Or a list of jobs for a list of prompts; they work one after another.

        Raises
        ------
        ValueError, TypeError
            For arguments that cannot work, before anything is computed.
        """
        jobs = [job.start() for job in self._jobs(prompt, **options)]
        return jobs[0] if isinstance(prompt, str) else jobs

    @takes_run_options
    def ablate(self, prompt: str, **options: Unpack[RunOptions]) -> LensRun:
        """Another question: the picture when one block of the text encoder is skipped, and all others work.

        A picture that stays the same says that the others can do without this block for this prompt.

        Parameters
        ----------
        prompt : str
        **options
            As for `start`. "Layers" are blocks here: 0 is the stock picture, with nothing skipped, and k the one
            without block k. SDXL: the other encoder keeps all its blocks; the second encoder's last block, which works
            on the pooled vector only, can be skipped as well.

        Returns
        -------
        LensRun
            Its `settings["method"]` is "ablation", and `states[k]` the encoder's last state without block k.

        Raises
        ------
        ValueError, TypeError
            As `start`.
        """
        return with_progress_bar(self._jobs(prompt, method="ablation", **options)[0])

    def tokenize(self, prompt: str) -> tuple[tuple[Token, ...], str]:
        """The tokens that the text encoder reads of a prompt, and the part that does not fit ("" if all does)."""
        return self.view().tokenize(prompt)

    def encode(self, prompt: str, *, lora_scale: float | None = None) -> Encoding:
        """Encode a prompt without painting: its tokens, and the state of each after every block.

        Parameters
        ----------
        prompt : str
        lora_scale : float, optional
            The strength of LoRA weights in the text encoder; by default 1.

        Returns
        -------
        Encoding
            With `tokens`, `states` and `normed_states`, Tensor (layer, position, width).

        Raises
        ------
        TypeError
            If `prompt` is no str.
        RuntimeError
            From within `on_step` or a listener of a run of this pipeline, which it would wait for.
        """
        checks.prompts([prompt], None)
        return run_in_worker(self.pipe, lambda: self.view().encode(prompt, lora_scale))

    def view(self) -> PipelineView:
        """What a run works on, for use within `sharing.run_in_worker`."""
        return PipelineView(self.pipe, self.family, self._encoder)

    def _jobs(
        self, prompt: str | Sequence[str], *, method: Method = "lens", **options: Unpack[RunOptions]
    ) -> list[LensJob]:
        """Check every argument, then make one job for each prompt."""
        asked: RunOptions = {**DEFAULTS, **options}
        texts = checks.prompts(prompt, asked["negative_prompt"])
        count = self.num_layers if method == "lens" else len(self.blocks) + 1
        layers = checks.layers(asked["layers"], count)
        settings = read_settings(self.pipe, self.family, self.batch_size, asked)
        keep = asked["keep_tokens"]
        if isinstance(keep, Iterator):  # to be read once for each prompt
            keep = list(keep)
        view = self.view()
        masks = [token_positions(keep, text, view.tokenize) for text in texts]
        shared = Shared(self.pipe, self.family, self._encoder, self.model, method, layers, count, settings)
        others = asked["negative_prompt"], asked["attention"]
        return [shared.job(t, view.tokenize(t), mask, *others) for t, mask in zip(texts, masks, strict=True)]
