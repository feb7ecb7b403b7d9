"""Interventions: change what happens inside the text encoder or the denoiser, and see what the picture does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from torch import Tensor, nn

from ..runs.job import LensJob
from ..runs.progress_bar import with_progress_bar
from ..runs.run import LensRun
from ..runs.tokens import Token
from .methods import Ablation, Method, Patching, TextAblation
from .patch_pairs import PairChoice, patch_pairs
from .settings import RunOptions, takes_run_options
from .steering import steering
from .text_blocks import check_text_blocks, text_blocks

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Interventions(ABC):
    """The interventions of a lens; each has a form that waits for the pictures, and one that starts a job."""

    pipe: Any

    @property
    @abstractmethod
    def text_encoder(self) -> str:
        """The name of the examined text encoder."""

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """Number of layers of the examined text encoder."""

    @property
    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks of the examined text encoder."""

    @abstractmethod
    def tokenize(self, prompt: str) -> tuple[tuple[Token, ...], str]:
        """The tokens that the text encoder reads, and the part of the prompt that is cut off."""

    @abstractmethod
    def _jobs(
        self, prompt: str | Sequence[str], *, method: Method | None = None, **options: Unpack[RunOptions]
    ) -> list[LensJob]: ...

    @property
    def text_blocks(self) -> tuple[str, ...]:
        """The blocks of the U-Net that read the text, in the order in which they run: "down_blocks.0", "mid_block"."""
        return text_blocks(self.pipe.unet) if getattr(self.pipe, "unet", None) is not None else ()

    @takes_run_options
    def ablate(
        self, prompt: str, *, without_text: str | Iterable[str] | None = None, **options: Unpack[RunOptions]
    ) -> LensRun:
        """Leave out one block at a time and run all others, or let one block of the denoiser not read the text.

        If the image does not change, this block is not needed for this prompt.

        Parameters
        ----------
        prompt : str
        without_text : str or iterable of str, optional
            Blocks of the denoiser, such as "up_blocks.1" (see `text_blocks`; a module inside a block may be named too);
            "all" means each of `text_blocks`. The cross-attention of this block reads the empty prompt in place of the
            prompt; all other blocks, the negative prompt and a pooled vector stay as they are. The text encoder keeps
            all its blocks. Only for pipelines with a U-Net.
        **options
            As for `start`. "Layers" are blocks here: 0 is the stock image, with no block skipped, and k the image
            without block k; with `without_text`, k is the image without the text in the k-th given block. SDXL: the
            other encoder keeps all its blocks; the second encoder's last block, which changes only the pooled vector,
            can be skipped as well.

        Returns
        -------
        LensRun
            Its `settings["method"]` is "ablation", and `states[k]` is the encoder's last state without block k. With
            `without_text` it is "text ablation", and there are no `states`.

        Raises
        ------
        ValueError, TypeError
            As `start`; or if `without_text` names a block that does not read the text.
        """
        return with_progress_bar(self._ablation(prompt, without_text, **options))

    @takes_run_options
    def start_ablate(
        self, prompt: str, *, without_text: str | Iterable[str] | None = None, **options: Unpack[RunOptions]
    ) -> LensJob:
        """Start what `ablate` does in a worker thread, and return at once."""
        return self._ablation(prompt, without_text, **options).start()

    @overload
    def patch(
        self,
        prompt: str,
        *,
        source: str,
        tokens: PairChoice,
        output: bool = False,
        both: Literal[False] = False,
        **options: Unpack[RunOptions],
    ) -> LensRun: ...
    @overload
    def patch(
        self,
        prompt: str,
        *,
        source: str,
        tokens: PairChoice,
        output: bool = False,
        both: Literal[True],
        **options: Unpack[RunOptions],
    ) -> tuple[LensRun, LensRun]: ...
    @takes_run_options
    def patch(
        self,
        prompt: str,
        *,
        source: str,
        tokens: PairChoice,
        output: bool = False,
        both: bool = False,
        **options: Unpack[RunOptions],
    ) -> LensRun | tuple[LensRun, LensRun]:
        """Activation patching: give some tokens the states that another prompt has after block k, and run on.

        The later blocks of the text encoder run on the patched states. Where the image follows the source, the patched
        states hold what is different; from the block on where it no longer does, later blocks have already read it.

        Parameters
        ----------
        prompt : str
        source : str
            The prompt whose states are taken. It must fit into the text encoder.
        tokens : mapping, iterable of pairs, "different" or "all"
            ``{"red": "blue"}``: "red" of the prompt gets the states of "blue" of the source, each with all its sub-word
            tokens. A place is a word or several consecutive words, a position, a tuple of positions, or a `PromptPart`;
            both places of a pair must have the same number of tokens. Each pair gives its own images.
            "different": the words in which prompts of equally many words differ. "all": all positions at once.
        output : bool
            Patch only the state that the denoiser reads, after the last block: no block runs on it, and a pooled vector
            stays the prompt's. There is one image for each pair.
        both : bool
            Also patch the other way, the prompt's states into the source, and return two runs: the causal trace.
        **options
            As for `start`, without `keep_tokens` and `attention`. `layers` are the blocks after which the states are
            exchanged, 0: the embeddings. Latents, snapshots and `on_step` are of the unpatched image.

        Returns
        -------
        LensRun, or a tuple of two with `both`
            ``run.token_images[layer, "red ← blue"]``, see `run.variants`; `run.images[layer]` is the unpatched image,
            the same for each layer. Its `settings["method"]` is "patch" or "output patch". `states` are the prompt's.
            SDXL: the other encoder returns its stock output of the prompt; the second encoder's pooled vector is read
            at the prompt's end token, after the patch.

        Raises
        ------
        ValueError, TypeError
            As `start`; or if a place is not in its prompt, the places of a pair have different numbers of tokens, or
            the source is too long.

        References
        ----------
        Meng et al., "Locating and Editing Factual Associations in GPT", NeurIPS 2022.
        """
        jobs = self._patches(prompt, source, tokens, output, both, **options)
        runs = [with_progress_bar(job) for job in jobs]
        return (runs[0], runs[1]) if both else runs[0]

    @takes_run_options
    def start_patch(
        self, prompt: str, *, source: str, tokens: PairChoice, output: bool = False, **options: Unpack[RunOptions]
    ) -> LensJob:
        """Start what `patch` does in a worker thread, and return at once."""
        return self._patches(prompt, source, tokens, output, False, **options)[0].start()

    @takes_run_options
    def steer(
        self,
        prompt: str,
        *,
        direction: tuple[str, str] | Tensor,
        strengths: float | Iterable[float] = (1.0,),
        **options: Unpack[RunOptions],
    ) -> LensRun:
        """Steering: add a direction to the states after block k, and run on.

        Parameters
        ----------
        prompt : str
        direction : tuple of two str, or Tensor
            ``(plus, minus)``: at each layer, the mean state of the words and the end token of `plus`, less that of
            `minus`. A Tensor has the shape (width,), (position, width), (layer, 1, width) or (layer, position, width).
            A direction that is the same for all positions is added to all but the start token.
        strengths : float or iterable of float
            Factors of the direction; each gives its own images. 1 adds the direction itself, 0 is the stock image,
            and negative ones lead the other way.
        **options
            As for `start`, without `keep_tokens` and `attention`. `layers` are the blocks after which the direction is
            added, 0: the embeddings. Latents, snapshots and `on_step` are of the image that is not steered.

        Returns
        -------
        LensRun
            ``run.token_images[layer, "+2"]``, see `run.variants`; `run.images[layer]` is the stock image, the same for
            each layer. Its `settings["method"]` is "steer". `states` are the prompt's. SDXL: the other encoder returns
            its stock output.

        Raises
        ------
        ValueError, TypeError
            As `start`; or if the direction has another shape or is not finite.
        """
        return with_progress_bar(self._steering(prompt, direction, strengths, **options))

    @takes_run_options
    def start_steer(
        self,
        prompt: str,
        *,
        direction: tuple[str, str] | Tensor,
        strengths: float | Iterable[float] = (1.0,),
        **options: Unpack[RunOptions],
    ) -> LensJob:
        """Start what `steer` does in a worker thread, and return at once."""
        return self._steering(prompt, direction, strengths, **options).start()

    def _ablation(self, prompt: str, without: str | Iterable[str] | None, **options: Unpack[RunOptions]) -> LensJob:
        _require_prompt("prompt", prompt)
        if without is None:
            method: Method = Ablation(self.text_encoder, len(self.blocks) + 1)
            return self._jobs(prompt, method=method, **options)[0]
        if not self.text_blocks:
            raise ValueError(
                f"without_text: {type(self.pipe).__name__} has no U-Net; the blocks of others are not known"
            )
        asked = self.text_blocks if without == "all" else (without,) if isinstance(without, str) else tuple(without)
        blocks = check_text_blocks(self.pipe.unet, asked)
        _refuse(options, "ablate(without_text=…)", ("attention",))
        method = TextAblation(self.text_encoder, len(blocks) + 1, self.num_layers - 1, blocks)
        return self._jobs(prompt, method=method, **options)[0]

    def _patches(
        self, prompt: str, source: str, tokens: PairChoice, output: bool, both: bool, **options: Unpack[RunOptions]
    ) -> list[LensJob]:
        _require_prompt("prompt", prompt)
        _require_prompt("source", source)
        _refuse(options, "patch()", ("keep_tokens", "attention"))
        options.update({n: list(v) for n, v in options.items() if isinstance(v, Iterator)})  # type: ignore[typeddict-item]
        read, other = self.tokenize(prompt), self.tokenize(source)
        for name, cut, length in (("source", other[1], len(other[0])), ("prompt", both and read[1], len(read[0]))):
            if cut:
                raise ValueError(f"{name}: the text encoder reads {length} tokens; {cut!r} would be cut off")
        if output:
            if options.get("layers") is not None:
                raise ValueError("layers: an output patch has none; it changes what the denoiser reads")
            options["layers"] = [self.num_layers - 1]
        pairs = patch_pairs(tokens, read, other)
        jobs = self._jobs(prompt, method=Patching(self.text_encoder, self.num_layers, source, pairs, output), **options)
        if both:
            turned = [(tuple(b for _, b in pair), tuple(a for a, _ in pair)) for pair in pairs.values()]
            back = patch_pairs(tokens if isinstance(tokens, str) else turned, other, read)
            method = Patching(self.text_encoder, self.num_layers, prompt, back, output)
            jobs += self._jobs(source, method=method, **options)
        return jobs

    def _steering(
        self, prompt: str, direction: Any, strengths: float | Iterable[float], **options: Unpack[RunOptions]
    ) -> LensJob:
        _require_prompt("prompt", prompt)
        _refuse(options, "steer()", ("keep_tokens", "attention"))
        width = getattr(self.pipe, self.text_encoder).get_input_embeddings().embedding_dim
        method = steering(
            self.text_encoder, self.num_layers, width, self.tokenize(prompt)[0], direction, strengths, self.tokenize
        )
        return self._jobs(prompt, method=method, **options)[0]


def _require_prompt(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected one prompt, a str, got {type(text).__name__}: {text!r}")


def _refuse(options: RunOptions, what: str, names: Sequence[str]) -> None:
    for name in names:
        if options.get(name) not in (None, False):
            raise ValueError(
                f"{name}: not with {what}, whose rows are other pictures; ask lens(prompt, {name}=…) for it"
            )
