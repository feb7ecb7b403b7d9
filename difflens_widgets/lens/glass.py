"""StableDiffusionGlassPipeline: the lens with the call signature of the published Diffusion Lens code.

To move an existing script over, change its import. The images come from `DiffusionLens`: all layers get the same noise,
and the last layer gives the stock image. A call writes no files and prints nothing; `save_pictures` names files as the
published scripts do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..models import checks
from ..models.loading import quiet_libraries
from ..runs.events import Event, Message
from ..runs.job import LensJob
from ..runs.run import LensRun
from . import glass_arguments as arguments
from .diffusion_lens import DiffusionLens
from .token_mask import TokenChoice

with quiet_libraries():
    from diffusers import StableDiffusionPipeline

log = logging.getLogger(__name__)

Pictures = list[Image.Image] | np.ndarray | Tensor
OutputType = Literal["pil", "latents", "latent", "np", "pt"]
_OUTPUT_TYPES = ("pil", "latents", "latent", "np", "pt")


@dataclass(frozen=True)
class GlassOutput:
    """The result of a call.

    Attributes
    ----------
    images : dict of layer → images
        One image for each prompt and repetition, in the stock pipeline's order (all images of the first prompt, then
        of the second). "pil": a list of PIL.Image; "np": float32 (n, height, width, 3), 0..1;
        "pt": float32 (n, 3, height, width), 0..1; "latents": float32 (n, channels, height / f, width / f).
    runs : list of LensRun
        The full records, in the same order; with `per_token` the images are in `runs[i].token_images`.
    other : GlassOutput or None
        The result for `explain_other_model`.
    """

    images: dict[int, Pictures]
    runs: list[LensRun]
    other: GlassOutput | None = None

    def __getitem__(self, layer: int) -> Pictures:
        """The images of one layer."""
        return self.images[layer]

    def __iter__(self) -> Iterator[Pictures]:
        """The images of each layer, ascending, as in the published pipeline, where the result is a list."""
        return iter(self.images.values())

    def __len__(self) -> int:
        """Number of layers that have images."""
        return len(self.images)

    @property
    def layers(self) -> list[int]:
        """The layers that have images, ascending."""
        return list(self.images)


class StableDiffusionGlassPipeline(StableDiffusionPipeline):
    """Stable Diffusion 1.x or 2.x that generates an image from every layer of its text encoder.

    Examples
    --------
    >>> pipe = StableDiffusionGlassPipeline.from_pretrained("sd-legacy/stable-diffusion-v1-5")  # doctest: +SKIP
    >>> pipe("a pink cat", start_layer=4, step_layer=4)[8][0]  # doctest: +SKIP
    """

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback: Callable[..., Any] | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        guidance_rescale: float = 0.0,
        start_layer: int = 0,
        end_layer: int | None = None,
        step_layer: int = 1,
        skip_layers: Iterable[int] | None = None,
        explain_other_model: Any = None,
        per_token: bool | TokenChoice = False,
        snapshots: Iterable[int] | None = None,
    ) -> GlassOutput | tuple[Any, ...]:
        """Generate the images of the layers for one prompt, or for several.

        Parameters
        ----------
        prompt : str or sequence of str
        height, width, num_inference_steps, guidance_scale, guidance_rescale, eta, cross_attention_kwargs
            As in the stock pipeline; a guidance scale of 1 or less switches guidance off.
        negative_prompt : str or sequence of str, optional
            One for all prompts, or one for each; encoded with all layers.
        num_images_per_prompt : int
        generator : torch.Generator or a sequence of one for each image, optional
            Default: torch's global seed. All layers of an image get the same noise.
        latents : Tensor (prompts × images, channels, height / f, width / f), optional
            The start latents, in place of random ones.
        prompt_embeds : None
            Refused: the layers can be computed from a prompt only, not from embeddings.
        negative_prompt_embeds : Tensor (1 or prompts, tokens, width), optional
            Replaces `negative_prompt`.
        output_type : "pil", "latents" ("latent"), "np" or "pt"
        return_dict : bool
            False: a tuple with the images of each layer, ascending; with `explain_other_model` a pair of such tuples.
        callback : callable, optional
            `callback(layer, step, timestep, latents)` after a denoising step of a layer, with its latents
            (1, channels, height / f, width / f); several layers are denoised in one batch. A function of three
            arguments is called in the old form, without the layer.
        callback_steps : int
            Call it at every n-th step only, the first step included.
        start_layer, end_layer, step_layer : int
            A Python range of layers; `end_layer` is exclusive and defaults to the number of layers.
        skip_layers : iterable of int, optional
            Layers to leave out.
        explain_other_model : CLIPTextModel, optional
            A second text encoder of the same depth and width, examined in the same way with the same noise.
        per_token : bool, int, str, PromptPart or an iterable of these
            The per-token lens. True: each word in turn; other values as `keep_tokens` of `DiffusionLens.start`.
        snapshots : iterable of int, optional
            Denoising steps whose decoded predictions are kept in the output's `runs`.

        Returns
        -------
        GlassOutput or tuple

        Raises
        ------
        ValueError, TypeError
            If arguments are not valid or contradict each other; raised before anything is computed.
        RuntimeError
            If the image of a layer is not finite.
        """
        if output_type not in _OUTPUT_TYPES:
            raise ValueError(f"output_type: {output_type!r} is none of {', '.join(map(repr, _OUTPUT_TYPES))}")
        if per_token is not False and not return_dict:
            raise ValueError("per_token: its pictures are in the output's `runs`, which return_dict=False leaves out")
        prompts, negatives = arguments.texts(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds)
        embeds = arguments.negative_embeds(negative_prompt_embeds, len(prompts))
        count = checks.as_int("num_images_per_prompt", num_images_per_prompt, at_least=1)
        height, width = checks.size(self, height, width)
        lenses = [DiffusionLens(self)]
        if explain_other_model is not None:
            lenses.append(DiffusionLens(arguments.with_encoder(self, explain_other_model)))
        options: dict[str, Any] = {
            "layers": arguments.layers(lenses[0].num_layers, start_layer, end_layer, step_layer, skip_layers),
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "guidance_rescale": guidance_rescale,
            "eta": eta,
            "cross_attention_kwargs": cross_attention_kwargs,
            "height": height,
            "width": width,
            "snapshots": snapshots,
            "on_step": arguments.on_step(callback, callback_steps),
            "keep_tokens": ("all" if per_token else None) if isinstance(per_token, bool) else per_token,
        }
        noises = arguments.noises(self, generator, latents, len(prompts) * count, height, width)
        jobs = [  # all arguments are checked before the first job runs
            [
                lens._jobs(
                    prompts[index // count],
                    negative_prompt=negatives[index // count],
                    negative_prompt_embeds=embeds[index // count],
                    latents=noise.latents,
                    seed=noise.generator,
                    **options,
                )[0]
                for index, noise in enumerate(noises)
            ]
            for lens in lenses
        ]
        outputs = [_output(self, [_paint(job) for job in of_lens], output_type) for of_lens in jobs]
        if not return_dict:
            tuples = [tuple(output.images.values()) for output in outputs]
            return tuples[0] if len(tuples) == 1 else tuple(tuples)
        return GlassOutput(outputs[0].images, outputs[0].runs, *outputs[1:])


def save_pictures(run: LensRun, folder: str | Path, *, seconds_per_step: float = 0.2) -> list[Path]:
    """Write the images of a run under the file names of the published scripts.

    `layer_000_step_000.png` for each snapshot and, with the number of the last step, for the finished image. If a layer
    has several images, also `layer_000_evolution.gif`.

    Parameters
    ----------
    run : LensRun
    folder : str or Path
        Created if it does not exist; files of the same names are replaced.
    seconds_per_step : float

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for layer, image in sorted(run.images.items()):
        steps = {step: snapshot for (of_layer, step), snapshot in run.snapshots.items() if of_layer == layer}
        steps[run.settings["num_inference_steps"] - 1] = image
        frames = [steps[step] for step in sorted(steps)]
        for step, frame in zip(sorted(steps), frames, strict=True):
            written.append(folder / f"layer_{layer:03d}_step_{step:03d}.png")
            frame.save(written[-1])
        if len(frames) > 1:
            written.append(folder / f"layer_{layer:03d}_evolution.gif")
            duration = round(seconds_per_step * 1000)
            frames[0].save(written[-1], save_all=True, append_images=frames[1:], duration=duration, loop=0)
    return written


def _paint(job: LensJob) -> LensRun:
    def log_notice(event: Event) -> None:
        if isinstance(event, Message):
            log.warning(event.message)

    job.subscribe(log_notice, previews=False)
    run = job.wait()
    problems = [*run.failures.values(), *run.token_failures.values()]
    if problems:
        raise RuntimeError("; ".join(problems))
    return run


@torch.no_grad()
def _output(pipe: StableDiffusionGlassPipeline, runs: list[LensRun], output_type: str) -> GlassOutput:
    images: dict[int, Pictures] = {}
    for layer in sorted(runs[0].images):
        if output_type == "pil":
            images[layer] = [run.images[layer] for run in runs]
            continue
        latents = torch.from_numpy(np.stack([run.latents[layer] for run in runs]))
        if output_type in ("latents", "latent"):
            images[layer] = latents
            continue
        images[layer] = pictures = _decode(pipe, latents, output_type)
        for row, run in enumerate(runs):
            if layer in run.flagged:  # as in "pil", where the safety checker blacked it out
                pictures[row] = 0
    return GlassOutput(images, runs)


def _decode(pipe: StableDiffusionGlassPipeline, latents: Tensor, output_type: str) -> Any:
    """Decode latents to float pixels: the images of a run have only 8 bits."""
    vae = pipe.vae
    rows = [
        vae.decode(row[None].to(pipe._execution_device, vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
        for row in latents
    ]
    pipe.maybe_free_model_hooks()
    return pipe.image_processor.postprocess(torch.cat(rows), output_type=output_type)
