"""DiffusionLens: what each layer of a text encoder sees, painted by the diffusion model itself.

Toker et al., "Diffusion Lens: Interpreting Text Encoders in Text-to-Image Pipelines", ACL 2024.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from ..attention.capture import lens_attention
from ..models import Conditioning, Encoding, checks, conditioning_for, loading
from ..models.sampling_defaults import sampling_defaults
from ..models.weight_hash import weight_hash
from ..runs.job import LensJob
from ..runs.maps.options import AttentionOptions
from ..runs.progress_bar import with_progress_bar
from ..runs.run import LensRun
from ..runs.tokens import TokenKey
from .batch import Conditioned, StepListener
from .denoise import Denoising, default_batch_size, denoise
from .settings import describe
from .token_mask import TokenChoice, kept_places

# two jobs never share a pipeline, nor two pipelines' jobs a denoiser: schedulers and hooks hold state
_LOCKS: weakref.WeakKeyDictionary[Any, threading.Lock] = weakref.WeakKeyDictionary()


class DiffusionLens:
    """A lens on the text encoder of a diffusers pipeline.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline or StableDiffusionXLPipeline
        SD 1.x, 2.x or SDXL, as you set it up: its scheduler, LoRA, offloading and dtype are used as they are.
    batch_size : int, optional
        How many layers are denoised at once. By default what suits the device and the model's size. A layer's
        picture depends on it in the last bits, and on nothing else but the arguments of the call.
    model : str, optional
        The name that runs are labelled with.
    text_encoder : str, optional
        Which text encoder to look at, where a pipeline has several: SDXL has "text_encoder" (CLIP-L, layers 0..11; the
        default) and "text_encoder_2" (OpenCLIP-bigG, layers 0..31). Meanwhile the other one holds
        its full stock state and the pooled vector is the
        stock one, so early layers may show the prompt too: they tell what this encoder's later blocks add to the rest.

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
        self, pipe: Any, *, batch_size: int | None = None, model: str | None = None, text_encoder: str | None = None
    ) -> None:
        self.pipe = pipe
        self._conditioning: Conditioning = conditioning_for(pipe, text_encoder)
        self.batch_size = default_batch_size(pipe)
        if batch_size is not None:
            self.batch_size = checks.whole("batch_size", batch_size, at_least=1)
        self.model = model or getattr(pipe.config, "_name_or_path", None) or type(pipe).__name__
        self._lock = _LOCKS.setdefault(pipe.unet, threading.Lock())

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "tiny",
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
        text_encoder: str | None = None,
    ) -> DiffusionLens:
        """Load a model and put a lens on it.

        Parameters
        ----------
        model : str or Path
            "tiny" (the embedded model, works offline), a diffusers folder, or a Hugging Face hub id such as
            "sd-legacy/stable-diffusion-v1-5". Only safetensors weights are read, and no remote code is run.
        device : str or torch.device, optional
            Default: CUDA, then Apple's MPS, then the CPU.
        dtype : torch.dtype, optional
            Default: float16 on CUDA, float32 elsewhere.
        batch_size, text_encoder
            See the class.

        Raises
        ------
        ValueError
            If the folder is not a diffusers pipeline, its family is not supported, or it has no such encoder (before
            weights are loaded).
        OSError
            If a hub id cannot be loaded.
        """
        pipe, name = loading.load_pipeline(model, device, dtype, text_encoder)
        return cls(pipe, batch_size=batch_size, model=name, text_encoder=text_encoder)

    @property
    def text_encoder(self) -> str:
        """The pipeline's name for the text encoder that is looked at."""
        return self._conditioning.encoder

    @property
    def num_layers(self) -> int:
        """How many layers there are: 13 for SD 1.x (0 is the embeddings, 12 the last block).

        The last one gives the stock picture. SDXL's encoders have 12 and 32: it reads the state before the last block.
        """
        return self._conditioning.num_layers

    @property
    def layers(self) -> range:
        """All layers, `range(0, num_layers)`."""
        return range(self.num_layers)

    def ablate(self, prompt: str, **options: Any) -> LensRun:
        """Another question to the same pipeline: the picture when a block of the encoder is skipped."""
        from .ablation import LayerAblation

        ablation = LayerAblation(
            self.pipe, batch_size=self.batch_size, model=self.model, text_encoder=self.text_encoder
        )
        return ablation(prompt, **options)

    @overload
    def __call__(self, prompt: str, **options: Any) -> LensRun: ...
    @overload
    def __call__(self, prompt: Sequence[str], **options: Any) -> list[LensRun]: ...
    def __call__(self, prompt: str | Sequence[str], **options: Any) -> LensRun | list[LensRun]:
        """Paint the layers of one prompt, or of several, and wait for it.

        Takes what `start` takes; returns one LensRun, or a list of them for a list of prompts.
        """
        jobs = self._jobs(prompt, **options)
        runs = [with_progress_bar(job) for job in jobs]
        return runs[0] if isinstance(prompt, str) else runs

    @overload
    def start(self, prompt: str, **options: Any) -> LensJob: ...
    @overload
    def start(self, prompt: Sequence[str], **options: Any) -> list[LensJob]: ...
    def start(self, prompt: str | Sequence[str], **options: Any) -> LensJob | list[LensJob]:
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
            only that token's state and the start token's kept; every other place holds what the empty prompt has
            there (its padding; at place 1 its end token). Words or groups of words are found with all their pieces,
            each occurrence by itself, and an index is a place of `run.tokens` (0, the start token alone, is the empty
            prompt). "all" alone means each word in turn, ["all"] the word "all". `PromptPart.PADDING` and
            `PromptPart.PROMPT` keep those parts. SDXL: in both encoders, at this one's positions; the pooled vector is
            the prompt's where all its words are kept, else the empty prompt's. Snapshots and latents are kept of the
            whole prompt only. Toker et al., "Padding Tone", NAACL 2025.
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

    def _jobs(
        self,
        prompt: str | Sequence[str],
        *,
        layers: Iterable[int] | None = None,
        negative_prompt: str | None = None,
        seed: int | torch.Generator = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        eta: float = 0.0,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        negative_prompt_embeds: Tensor | None = None,
        height: int | None = None,
        width: int | None = None,
        latents: Tensor | None = None,
        snapshots: Iterable[int] | None = None,
        keep_tokens: TokenChoice | None = None,
        attention: bool | str | AttentionOptions = False,
        on_step: StepListener | None = None,
    ) -> list[LensJob]:
        """Check every argument, then make one job for each prompt."""
        prompts = checks.prompts(prompt, negative_prompt)
        chosen = checks.layers(layers, self.num_layers)
        defaults = sampling_defaults(self.pipe)
        num_inference_steps = defaults.num_inference_steps if num_inference_steps is None else num_inference_steps
        num_inference_steps = checks.whole("num_inference_steps", num_inference_steps, at_least=1)
        guidance_scale = defaults.guidance_scale if guidance_scale is None else guidance_scale
        height, width = checks.size(self.pipe, height, width)
        settings = Denoising(
            seed=checks.seed(seed),
            steps=num_inference_steps,
            guidance_scale=checks.at_least_zero("guidance_scale", guidance_scale),
            height=height,
            width=width,
            batch_size=self.batch_size,
            latents=checks.latents(self.pipe, latents, height, width),
            snapshots=checks.snapshots(snapshots, num_inference_steps),
            guidance_rescale=checks.at_least_zero("guidance_rescale", guidance_rescale),
            eta=checks.at_least_zero("eta", eta),
            cross_attention_kwargs=cross_attention_kwargs,
            negative_prompt_embeds=checks.negative_embeds(
                self.pipe, negative_prompt_embeds, negative_prompt, has_pooled=self._conditioning.has_pooled
            ),
            on_step=on_step,
        )
        if isinstance(keep_tokens, Iterator):  # to be read once for each prompt
            keep_tokens = list(keep_tokens)
        kept = [kept_places(keep_tokens, text, self._conditioning.tokenize) for text in prompts]
        return [
            self._job(text, negative_prompt, chosen, settings, places, attention)
            for text, places in zip(prompts, kept, strict=True)
        ]

    def _job(
        self,
        prompt: str,
        negative_prompt: str | None,
        layers: tuple[int, ...],
        settings: Denoising,
        kept: dict[TokenKey, tuple[int, ...]],
        attention: bool | str | AttentionOptions,
    ) -> LensJob:
        tokens, cut = self._conditioning.tokenize(prompt)
        if cut:
            warnings.warn(f"prompt: the text encoder reads {len(tokens)} tokens; cut off: {cut!r}", stacklevel=4)
        seed = settings.seed if isinstance(settings.seed, int) else settings.seed.initial_seed()
        described = describe(self._conditioning, self.model, settings, negative_prompt)
        run = LensRun(prompt, tokens, layers, self.num_layers, seed, described)
        run.token_masks = kept
        run.attention = lens_attention(
            attention,
            self.pipe,
            tokens,
            height=settings.height,
            width=settings.width,
            steps=settings.steps,
            pictures=len(layers),
        )

        def work(job: LensJob) -> None:
            # inference_mode is thread-local: entered where the work is done
            with self._lock, torch.inference_mode():
                if job.cancelled():
                    return
                run.settings["model_hash"] = weight_hash(self.pipe)
                encoding = self._conditioning.encode(prompt, settings.lora_scale)
                run.states = encoding.states.half().cpu().numpy()
                negative = self._negative(negative_prompt, settings, encoding) if settings.guidance_scale > 1 else None
                clean = self._conditioning.encode("", settings.lora_scale) if kept else None
                words = tuple(token.index for token in tokens if token.kind == "word")
                denoise(Conditioned(self._conditioning, encoding, negative, clean, words), settings, job)

        return LensJob(run, work)

    def _negative(self, prompt: str | None, settings: Denoising, encoding: Encoding) -> Encoding:
        embeds = settings.negative_prompt_embeds
        if embeds is None:
            return self._conditioning.encode_negative(prompt, settings.lora_scale)
        embeds = embeds.to(encoding.prompt_embeds)  # its device and dtype
        return Encoding(embeds, embeds)
