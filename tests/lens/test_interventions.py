"""Patch, steering and text left out of a block, against the stock pipeline's own pictures."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from difflens_widgets import DiffusionLens, LensRun, PromptPart
from difflens_widgets.lens.edits import OutputPatch, Patch, Steer
from difflens_widgets.lens.methods import Patching
from difflens_widgets.runs.events import Progress
from difflens_widgets.runs.variant import Variant
from edited_layers import conditioning
from family_pipelines import small_flux2_klein_pipeline, small_if_pipeline
from pipelines import small_pipeline, small_sdxl_pipeline
from stock import PROMPT, STEPS, assert_same_picture, pixels, stock_image

SOURCE = "a blue square on a red background"
SAME: dict[str, Any] = {"seed": 3, "num_inference_steps": STEPS, "guidance_scale": 5.0}
RED_BLUE = "red ← blue"


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=3, batch_invariant=True)


@pytest.fixture(scope="module")
def stock(lens: DiffusionLens) -> Any:
    return stock_in_batch(lens, PROMPT)


@pytest.fixture(scope="module")
def patched(lens: DiffusionLens) -> LensRun:
    return lens.patch(PROMPT, source=SOURCE, tokens={"red": "blue", "circle": "square"}, **SAME)


@pytest.fixture(scope="module", params=["text_encoder", "text_encoder_2"])
def xl(request: pytest.FixtureRequest) -> DiffusionLens:
    return DiffusionLens(small_sdxl_pipeline(EulerDiscreteScheduler), batch_size=2, text_encoder=request.param)


def stock_in_batch(lens: DiffusionLens, prompt: str) -> Any:
    """The stock picture as the lens paints it: rows of a batch differ from a single one by rounding."""
    image = lens(prompt, layers=[lens.num_layers - 1], **SAME).images[lens.num_layers - 1]
    assert_same_picture(image, stock_image(lens.pipe, prompt))
    return image


def same(a: Any, b: Any) -> bool:
    return a.tobytes() == b.tobytes()


def differ(a: Any, b: Any) -> bool:
    return np.abs(pixels(a) - pixels(b)).max() > 4


# patch


def test_a_picture_for_each_layer_and_pair_beside_the_unpatched_one(lens, patched, stock) -> None:
    assert patched.variants == (RED_BLUE, "circle ← square")
    assert dict(patched.token_masks) == {RED_BLUE: (2,), "circle ← square": (3,)}
    assert set(patched.token_images) == {(layer, pair) for layer in range(5) for pair in patched.variants}
    assert all(same(patched.images[layer], stock) for layer in range(5))
    assert (patched.method, patched.settings["source"]) == ("patch", SOURCE)
    assert patched.settings["source_positions"] == [[2], [3]]
    assert patched.states.shape[0] == 5


def test_the_words_in_which_the_prompts_differ(lens, patched) -> None:
    run = lens.patch(PROMPT, source=SOURCE, tokens="different", **SAME)
    assert run.variants == (*patched.variants, "blue ← red")
    assert all(same(run.token_images[key], picture) for key, picture in patched.token_images.items())
    for source, words in [
        ("a blue square", "the prompt has 7 words and the source 3, so it is not clear which belong together"),
        (PROMPT, "the prompt and the source have the same words"),
        (PROMPT.replace("circle", "octagon"), "'circle' and the source's 'octagon' have 1 and . tokens"),
    ]:
        with pytest.raises(ValueError, match=f"tokens: {words}"):
            lens.patch(PROMPT, source=source, tokens="different", **SAME)


def test_all_positions_patched_at_any_layer_are_the_sources_stock_picture(lens) -> None:
    run = lens.patch(PROMPT, source="blue", tokens="all", **SAME)  # of another length: SD 1.x has no mask
    expected = stock_in_batch(lens, "blue")  # in another place of its batch: equal up to rounding
    for layer in lens.layers:
        assert_same_picture(run.token_images[layer, "all positions"], expected)


def test_no_position_patched_is_the_stock_picture(lens, stock) -> None:
    method = Patching(lens.text_encoder, lens.num_layers, SOURCE, {Variant("nothing"): ()})
    run = lens._jobs(PROMPT, method=method, **SAME)[0].wait()
    assert all(same(run.token_images[layer, "nothing"], stock) for layer in lens.layers)


def test_a_patch_at_the_last_layer_is_the_output_patch(lens, patched, stock) -> None:
    run = lens.patch(PROMPT, source=SOURCE, tokens={"red": "blue"}, output=True, **SAME)
    assert (run.method, run.layers) == ("output patch", (4,))
    assert same(run.token_images[4, RED_BLUE], patched.token_images[4, RED_BLUE])
    assert differ(run.token_images[4, RED_BLUE], patched.token_images[1, RED_BLUE]), "later blocks read the patch"
    assert differ(run.token_images[4, RED_BLUE], stock)


def test_the_later_blocks_run_on_the_patched_states(lens) -> None:
    """The definition: the source's state at one position, and all later blocks called one by one."""
    encoder, blocks = lens.pipe.text_encoder, lens.blocks
    mine, theirs = (lens.encode(text).states for text in (PROMPT, SOURCE))
    state = mine[1].clone()
    state[2] = theirs[1][2]
    mask = torch.full((77, 77), -torch.inf).triu(1)[None, None]
    state = state[None]
    for block in blocks[1:]:
        older = "causal_attention_mask" in inspect.signature(block.forward).parameters  # before transformers 5
        out = block(state, attention_mask=mask, **({"causal_attention_mask": None} if older else {}))
        state = out[0] if isinstance(out, tuple) else out
    expected = getattr(encoder, "text_model", encoder).final_layer_norm(state)
    (embeds,) = conditioned(lens, [Patch("text_encoder", 1, ((2, 2),))])
    torch.testing.assert_close(embeds, expected, rtol=1e-4, atol=1e-5)


def conditioned(lens: DiffusionLens, edits: Any) -> tuple[torch.Tensor, ...]:
    view = lens.view()
    view.encode(PROMPT)
    view.encode(SOURCE, source="source")
    view.session.begin(edits)
    options: dict[str, Any] = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    found = view.pipe.encode_prompt([PROMPT] * len(edits), **options)
    return tuple(part for part in found if part is not None)


def test_both_directions(lens, patched) -> None:
    forth, back = lens.patch(PROMPT, source=SOURCE, tokens={"red": "blue"}, both=True, layers=[1], **SAME)
    assert same(forth.token_images[1, RED_BLUE], patched.token_images[1, RED_BLUE])
    assert (back.prompt, back.variants, back.settings["source"]) == (SOURCE, ("blue ← red",), PROMPT)
    assert same(back.images[1], stock_in_batch(lens, SOURCE))
    other = lens.patch(SOURCE, source=PROMPT, tokens={"blue": "red"}, layers=[1], **SAME)
    assert same(back.token_images[1, "blue ← red"], other.token_images[1, "blue ← red"])


def test_the_encoder_runs_once_for_each_text_and_each_picture(lens) -> None:
    calls: list[int] = []
    hook = lens.pipe.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        lens.patch(PROMPT, source=SOURCE, tokens={"red": "blue", "circle": "square"}, layers=[0, 3], **SAME)
        assert len(calls) == 3 + 4  # prompt, source, negative prompt; two layers of two pairs
        calls.clear()
        lens.steer(PROMPT, direction=torch.ones(32), strengths=[0, 1], layers=[0, 3], **SAME)
        assert len(calls) == 2 + 2  # strength 0 needs none
    finally:
        hook.remove()


def test_a_picture_does_not_depend_on_what_else_is_asked(lens, patched) -> None:
    run = lens.patch(PROMPT, source=SOURCE, tokens={"circle": "square"}, layers=[3], **SAME)
    assert_same_picture(run.token_images[3, "circle ← square"], patched.token_images[3, "circle ← square"])


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ({"red circle": "blue square"}, {"red circle ← blue square": ((2, 2), (3, 3))}),
        ([("red", 7), ("red", "blue")], {"red ← background": ((2, 7),), "red ← blue": ((2, 2),)} | {}),
        ({(2, 3): (6, 7)}, {"red circle ← red background": ((2, 6), (3, 7))}),
        ({2: "a"}, None),
        ({8: 8}, {"end ← end": ((8, 8),)}),
        ({"a": 2}, None),
        ({1: 1, 5: 1}, {"a (1) ← a (1)": ((1, 1),), "a (5) ← a (1)": ((5, 1),)}),
        ({PromptPart.PADDING: PromptPart.PADDING}, {"padding ← padding": tuple((k, k) for k in range(9, 77))}),
    ],
    ids=str,
)
def test_ways_to_ask(lens, tokens, found) -> None:
    if found is None:
        with pytest.raises(ValueError, match="'a' stands 2 times in the prompt"):
            lens._patches(PROMPT, SOURCE, tokens, False, False)
        return
    (job,) = lens._patches(PROMPT, SOURCE, tokens, False, False)
    assert dict(job.run.token_masks) == {label: tuple(mine for mine, _ in pairs) for label, pairs in found.items()}
    assert job.run.settings["source_positions"] == [[theirs for _, theirs in pairs] for pairs in found.values()]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tokens": {"red": "blue square"}}, ValueError, "'red' and the source's 'blue square' have 1 and 2 tokens"),
        ({"tokens": {"green": "blue"}}, ValueError, "in the prompt: 'green' is not in the prompt; its words are"),
        ({"tokens": {"red": "green"}}, ValueError, "in the source: 'green' is not in the prompt"),
        ({"tokens": {"red": 77}}, ValueError, r"in the source: position 77 is outside 0\.\.76"),
        ({"tokens": {(2, 2): (2, 3)}}, ValueError, "names a position twice"),
        ({"tokens": {}}, ValueError, "tokens: empty"),
        ({"tokens": "red"}, TypeError, "tokens: expected pairs such as"),
        ({"tokens": ["red"]}, TypeError, "expected a pair"),
        ({"tokens": {"red": 2.5}}, TypeError, "expected a word, a position"),
        ({"tokens": [(2, 2), ("red", "blue")]}, ValueError, "is given twice"),
        ({"source": "red " * 80}, ValueError, "source: the text encoder reads 77 tokens; 'red red"),
        ({"source": 3}, TypeError, "source: expected one prompt, a str"),
        ({"layers": [5]}, ValueError, r"layers: 5 is outside 0\.\.4"),
        ({"output": True, "layers": [4]}, ValueError, "layers: an output patch has none"),
        ({"keep_tokens": "red"}, ValueError, r"keep_tokens: not with patch\(\)"),
        ({"attention": True}, ValueError, r"attention: not with patch\(\)"),
        ({"sources": SOURCE}, TypeError, "unexpected keyword argument 'sources'"),
    ],
    ids=str,
)
def test_bad_patches_are_refused_before_anything_is_computed(lens, monkeypatch, options, error, message) -> None:
    monkeypatch.setattr(lens.pipe.text_encoder, "forward", None)
    with pytest.raises(error, match=message):
        lens.patch(PROMPT, **{"source": SOURCE, "tokens": {"red": "blue"}, **options})


def test_several_prompts_are_refused(lens) -> None:
    with pytest.raises(TypeError, match="prompt: expected one prompt, a str, got list"):
        lens.patch([PROMPT], source=SOURCE, tokens="all")


# steering


def test_strength_0_is_the_stock_picture_and_others_are_not(lens, stock) -> None:
    run = lens.steer(PROMPT, direction=("blue", "red"), strengths=[-2, 0, 1.5], **SAME)
    assert run.variants == ("-2", "0", "+1.5")
    for layer in lens.layers:
        assert same(run.images[layer], stock)
        assert same(run.token_images[layer, "0"], stock)
        assert differ(run.token_images[layer, "-2"], stock)
        assert differ(run.token_images[layer, "+1.5"], run.token_images[layer, "-2"])
    assert (run.method, run.settings["direction"]) == ("steer", ["blue", "red"])
    assert run.settings["strengths"] == [-2.0, 0.0, 1.5]


def test_the_difference_of_all_states_steers_to_the_other_prompt(lens) -> None:
    direction = lens.encode(SOURCE).states - lens.encode(PROMPT).states
    run = lens.steer(PROMPT, direction=direction, strengths=1, **SAME)
    expected = stock_image(lens.pipe, SOURCE)
    for image in run.token_images.values():
        assert_same_picture(image, expected)


def test_a_vector_is_added_to_all_positions_but_the_start(lens) -> None:
    vector = torch.linspace(-1, 1, 32)
    everywhere = vector.expand(77, -1).clone()
    everywhere[0] = 0
    options = {"strengths": 2, "layers": [1], **SAME}
    run, given = (lens.steer(PROMPT, direction=direction, **options) for direction in (vector, everywhere))
    per_layer = lens.steer(PROMPT, direction=vector.expand(5, 1, -1), **options)
    assert same(run.token_images[1, "+2"], given.token_images[1, "+2"])
    assert same(run.token_images[1, "+2"], per_layer.token_images[1, "+2"])


def test_the_direction_of_two_prompts_is_the_mean_difference_at_each_layer(lens) -> None:
    plus, minus = lens.encode("blue"), lens.encode("a red dog")
    found = plus.states[:, 1:3].mean(1) - minus.states[:, 1:5].mean(1)
    options = {"strengths": [2], "layers": [0, 3], **SAME}
    run = lens.steer(PROMPT, direction=("blue", "a red dog"), **options)
    by_hand = lens.steer(PROMPT, direction=found[:, None], **options)
    assert all(same(run.token_images[layer, "+2"], by_hand.token_images[layer, "+2"]) for layer in (0, 3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"direction": torch.ones(31)}, ValueError, r"direction: the shape is \(31,\), expected \(32,\), \(77, 32\)"),
        ({"direction": torch.ones(5, 32)}, ValueError, r"the shape is \(5, 32\), expected .*\(5, 1, 32\)"),
        ({"direction": torch.full((32,), torch.nan)}, ValueError, "direction: some values are NaN"),
        ({"direction": "blue"}, TypeError, "direction: expected two prompts"),
        ({"direction": ("blue", "blue")}, ValueError, "their difference is zero"),
        ({"direction": ("red " * 80, "blue")}, ValueError, "is cut off"),
        ({"strengths": []}, ValueError, "strengths: empty"),
        ({"strengths": [1, 1.0]}, ValueError, "strengths: 1.0 is given twice"),
        ({"strengths": "2"}, TypeError, "strengths: expected numbers, got '2'"),
        ({"strengths": float("inf")}, ValueError, "strengths: inf is not finite"),
        ({"attention": True}, ValueError, r"attention: not with steer\(\)"),
        ({"layers": [9]}, ValueError, "layers: 9 is outside"),
    ],
    ids=str,
)
def test_bad_steering_is_refused_before_anything_is_computed(lens, monkeypatch, options, error, message) -> None:
    monkeypatch.setattr(lens.pipe.text_encoder, "forward", None)
    with pytest.raises(error, match=message):
        lens.steer(PROMPT, **{"direction": ("blue", "red"), **options})


# text left out of a block of the denoiser


def replaced_text(pipe: Any, block: str, prompt: str = PROMPT) -> Any:
    """The stock picture, one block's cross-attention given the empty prompt by a forward of our own."""
    empty, prompt_states = (pipe.encode_prompt(text, "cpu", 1, False)[0] for text in ("", prompt))
    modules = [m for name, m in pipe.unet.named_modules() if name.startswith(block) and name.endswith("attn2")]
    assert modules
    forwards = [module.forward for module in modules]

    def without(forward: Any) -> Any:
        def read(hidden: torch.Tensor, encoder_hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            negative, text = encoder_hidden_states.chunk(2)
            torch.testing.assert_close(text, prompt_states)
            return forward(hidden, encoder_hidden_states=torch.cat([negative, empty]), **kwargs)

        return read

    for module, forward in zip(modules, forwards, strict=True):
        module.forward = without(forward)
    try:
        return stock_image(pipe)
    finally:
        for module in modules:
            del module.forward


def test_a_block_without_the_text_reads_the_empty_prompt(lens, stock) -> None:
    run = lens.ablate(PROMPT, without_text="all", **SAME)
    assert lens.text_blocks == ("down_blocks.0", "mid_block", "up_blocks.1")
    assert run.settings["without_text"] == list(lens.text_blocks)
    assert (run.method, run.layers, run.states) == ("text ablation", (0, 1, 2, 3), None)
    assert same(run.images[0], stock)
    for layer, block in enumerate(lens.text_blocks, 1):
        assert_same_picture(run.images[layer], replaced_text(lens.pipe, block))
        assert differ(run.images[layer], stock)


def test_sdxl_a_module_inside_a_block_and_no_guidance() -> None:
    lens = DiffusionLens(small_sdxl_pipeline(EulerDiscreteScheduler), batch_size=2)
    run = lens.ablate(
        PROMPT, without_text=["down_blocks.1.attentions.0", "up_blocks.0"], **{**SAME, "guidance_scale": 1}
    )
    assert [run.name_of(layer) for layer in run.layers][1] == "no text in down_blocks.1.attentions.0"
    assert_same_picture(run.images[0], stock_image(lens.pipe, guidance_scale=1))
    assert differ(run.images[1], run.images[0])
    assert differ(run.images[2], run.images[0])


def test_tokens_are_kept_of_pictures_without_text_in_a_block(lens, stock) -> None:
    run = lens.ablate(PROMPT, without_text="mid_block", keep_tokens=["circle"], **SAME)
    whole = lens(PROMPT, layers=[4], keep_tokens=["circle"], **SAME)
    assert same(run.token_images[0, 3], whole.token_images[4, 3])
    assert not same(run.token_images[1, 3], run.token_images[0, 3])


def test_another_thread_may_paint_meanwhile_and_gets_the_stock_picture(lens, stock) -> None:
    """While a job patches and leaves text out, the user's own call sees nothing of it; and no hook stays."""
    painted: list[Any] = []

    def paint(*_: Any) -> None:
        if not painted:
            painted.append(None)
            thread = threading.Thread(target=lambda: painted.append(stock_image(lens.pipe)))
            thread.start()
            thread.join()

    count = sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in lens.pipe.unet.modules())
    lens.ablate(PROMPT, without_text="all", on_step=paint, **SAME)
    assert same(painted[1], stock_image(lens.pipe))
    assert sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in lens.pipe.unet.modules()) == count


@pytest.mark.parametrize(
    ("without", "error", "message"),
    [
        ("up_blocks.0", ValueError, "'up_blocks.0' is no part that reads the text; those that do: 'down_blocks.0'"),
        ([], ValueError, "without_text: empty"),
        ([3], TypeError, "without_text: expected names of blocks, got 3"),
        (["mid_block", "mid_block"], ValueError, "'mid_block' is given 2 times"),
    ],
    ids=str,
)
def test_blocks_that_read_no_text(lens, without, error, message) -> None:
    with pytest.raises(error, match=message):
        lens.ablate(PROMPT, without_text=without)


# the run


def test_a_run_with_variants_is_followed_and_stopped_as_any_other(lens) -> None:
    job = lens._patches(PROMPT, SOURCE, {"red": "blue"}, False, False, layers=[1, 3], **SAME)[0]
    told: list[Progress] = []
    job.subscribe(lambda event: told.append(event) if isinstance(event, Progress) else None)
    run = job.start().result()
    assert told[-1].complete
    assert (told[-1].layers_total, told[-1].tokens_total) == (1, 2)
    assert told[0].running == (1, 3)
    stopped = lens.start_steer(PROMPT, direction=("blue", "red"), **{**SAME, "num_inference_steps": 500})
    stopped.cancel()
    assert stopped.result().status == "stopped"
    assert run.status == "done"


def test_names_files_and_pictures_of_all_kinds(lens, patched, tmp_path) -> None:
    assert [patched.name_of(layer, pair) for layer in (0, 3) for pair in (None, RED_BLUE)] == [
        *("unpatched", "red ← blue at the embeddings"),
        *("unpatched", "red ← blue at block 3"),
    ]
    loaded = LensRun.load(patched.save(tmp_path / "a.lens"))
    assert loaded.variants == patched.variants
    assert loaded.token_masks == patched.token_masks
    assert same(loaded.token_images[3, RED_BLUE], patched.token_images[3, RED_BLUE])
    titles = [axes.get_title() for axes in loaded.plot().axes]
    assert titles[4:6] == ["unpatched", "red ← blue at the\nembeddings"]
    assert len(titles) == 15
    cell = 128 + 8  # a row for each of three, five columns
    assert loaded.grid().height > 3 * cell
    assert loaded.grid().width > 5 * cell
    loaded.to_gif(tmp_path / "a.gif")
    assert "red ← blue at block 3" in loaded.to_html(tmp_path / "a.html").read_text()


# SDXL


def test_sdxl_patches_the_examined_encoder_only(xl) -> None:
    """Stock SDXL can give each encoder a prompt of its own."""
    second = xl.text_encoder == "text_encoder_2"
    prompts = {"prompt": PROMPT, "prompt_2": SOURCE} if second else {"prompt": SOURCE, "prompt_2": PROMPT}
    run = xl.patch(PROMPT, source=SOURCE, tokens="all", **SAME)
    expected = stock_image(xl.pipe, prompts.pop("prompt"), **prompts)
    for layer in xl.layers:
        assert_same_picture(run.token_images[layer, "all positions"], expected)
        assert same(run.token_images[layer, "all positions"], run.token_images[0, "all positions"])
    assert_same_picture(run.images[1], stock_image(xl.pipe))
    assert differ(run.images[1], expected)


def test_sdxl_output_patch_keeps_the_pooled_vector(xl) -> None:
    name, last, pairs = xl.text_encoder, xl.num_layers - 1, ((2, 2), (3, 3))
    embeds, pooled = conditioned(xl, [Patch(name, last, pairs), OutputPatch(name, pairs), Patch(name, 0, ())])
    assert torch.equal(embeds[0], embeds[1])
    assert not torch.equal(embeds[0], embeds[2])
    assert torch.equal(pooled[1], pooled[2])
    # the second encoder's last block reads the patched states, and makes the pooled vector
    assert torch.equal(pooled[0], pooled[2]) == (name == "text_encoder")


def test_sdxl_steers_the_examined_encoder_only(xl) -> None:
    width = 48 if xl.text_encoder == "text_encoder_2" else 32
    run = xl.steer(PROMPT, direction=torch.ones(width), strengths=[0, 3], layers=[1], **SAME)
    assert same(run.token_images[1, "0"], run.images[1])
    assert differ(run.token_images[1, "+3"], run.images[1])
    (embeds, _) = conditioning(xl, PROMPT, [Steer(xl.text_encoder, 1, s, torch.ones(77, width)) for s in (0.0, 3.0)])
    other = slice(0, 32) if width == 48 else slice(32, None)
    assert torch.equal(embeds[0][:, other], embeds[1][:, other])


def test_iterators_are_read_for_both_directions(lens) -> None:
    there, back = lens.patch(
        PROMPT, source=SOURCE, tokens={"red": "blue"}, both=True, layers=iter([2]), snapshots=iter([1]), **SAME
    )
    assert there.layers == back.layers == (2,)
    assert there.settings["snapshots"] == back.settings["snapshots"] == [1]


with_klein = pytest.mark.skipif(not hasattr(diffusers, "Flux2KleinPipeline"), reason="this diffusers is older")


@with_klein
def test_slots_are_for_the_lens_itself() -> None:
    klein = DiffusionLens(small_flux2_klein_pipeline())
    size = {"height": 32, "width": 32, "num_inference_steps": 1}
    with pytest.raises(ValueError, match="slots: only for the lens itself, not for a run of the patch; got 0"):
        klein.patch("a red circle", source="a blue circle", tokens={"red": "blue"}, slots=0, **size)


@with_klein
def test_a_direction_needs_words() -> None:
    flux2 = DiffusionLens(small_flux2_klein_pipeline())
    with pytest.raises(ValueError, match="direction: '' has no word for this text encoder; give a neutral one"):
        flux2.steer("a red circle", direction=("blue", ""), height=32, width=32, num_inference_steps=1)


def test_text_that_is_projected_before_the_blocks_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="without_text: this U-Net projects the text before its blocks read it"):
        DiffusionLens(small_if_pipeline()).ablate("a red circle", without_text="all", height=32, width=32)
