"""Arguments of every wrong type: the message names the argument, before anything is computed (T12, B23, B25, T9)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from peft import LoraConfig

from difflens_widgets import DiffusionLens, DreamBoothConfig, StableDiffusionGlassPipeline, compare
from difflens_widgets.cli import commands
from difflens_widgets.lens.settings import DEFAULTS
from pipelines import small_pipeline, small_sdxl_pipeline

PROMPT = "a red circle"
QUICK: dict[str, Any] = {"layers": [1], "num_inference_steps": 1}
WRONG: dict[str, Any] = {
    "text": "7",
    "True": True,
    "a whole number": 3,
    "a fraction": 2.5,
    "NaN": float("nan"),
    "negative": -1,
    "bytes": b"x",
    "an object": object(),
    "a list of text": ["x"],
    "a list of None": [None],
    "a list of fractions": [1.5],
    "a list of True": [True],
    "a dict": {"scale": "7"},
    "a tensor": torch.zeros(2),
}
RIGHT = {  # what is not wrong for an argument
    "negative_prompt": {"text"},
    "seed": {"a whole number"},
    "num_inference_steps": {"a whole number"},
    "guidance_scale": {"a whole number", "a fraction"},
    "guidance_rescale": {"a whole number", "a fraction"},
    "eta": {"a whole number", "a fraction"},
    "keep_tokens": {"a whole number"},
    "attention": {"True"},
    "cache": {"True"},
}


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler))


@pytest.fixture
def no_forward(lens, monkeypatch) -> None:
    def forward(*_: Any, **__: Any) -> None:
        raise AssertionError("something was computed")

    for part in (lens.pipe.unet, lens.pipe.text_encoder, lens.pipe.vae):
        monkeypatch.setattr(part, "forward", forward)


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.usefixtures("no_forward")
def test_an_argument_of_a_run(lens, name, what) -> None:
    if what in RIGHT.get(name, ()):
        lens._jobs(PROMPT, **{name: WRONG[what]})
        return
    for call in (lens.start, lens.ablate, lambda prompt, **options: compare(lens, lens, prompt, **options)):
        with pytest.raises((ValueError, TypeError), match=rf"^{name}\b"):
            call(PROMPT, **{name: WRONG[what]})


@pytest.mark.parametrize("what", set(WRONG) - {"text", "a list of text"})
@pytest.mark.usefixtures("no_forward")
def test_the_prompt(lens, what) -> None:
    for call in (lens, lens.start, lens.ablate, lens.encode):
        with pytest.raises((ValueError, TypeError), match=r"^prompt"):
            call(WRONG[what])


@pytest.mark.parametrize("what", set(WRONG) - {"a whole number", "a fraction"})
def test_the_other_arguments(lens, what) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^lora_scale"):
        lens.encode(PROMPT, lora_scale=WRONG[what])
    with pytest.raises((ValueError, TypeError), match=r"^batch_size"):
        DiffusionLens(lens.pipe, batch_size=WRONG[what])
    with pytest.raises((ValueError, TypeError), match=r"^dtype"):
        DiffusionLens.from_pretrained(dtype=WRONG[what])
    with pytest.raises((ValueError, TypeError), match=r"^(raw|tuned)"):
        compare(lens, WRONG[what], PROMPT)


@pytest.mark.parametrize("name", DreamBoothConfig.__dataclass_fields__)
def test_a_training_config(name) -> None:
    needed = {"instance_data_dir": "x", "instance_prompt": "a sks dog", "output_dir": "y"}
    for what in ("an object", "bytes", "a list of None", "NaN"):
        with pytest.raises((ValueError, TypeError), match=name):
            DreamBoothConfig(**{**needed, name: WRONG[what]})


@pytest.mark.parametrize("device", ["cuda:99", "no-such-device", "xpu"])
def test_a_device_that_is_not_there_is_one_line(device, capsys, tmp_path) -> None:
    assert commands.main(["lens", "a dog", "--device", device, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    [line] = [line for line in error.splitlines() if line.startswith("difflens: --device: ")]
    assert device in line
    assert "here are: " in line
    assert "cpu" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="cuda is there")
def test_cuda_on_a_cpu_build() -> None:
    with pytest.raises(ValueError, match=r"device: 'cuda' cannot be used by this torch .*; here are: (mps, )?cpu$"):
        DiffusionLens.from_pretrained(device="cuda")


# what is there, not what the config says (T9)


def cut(pipe: Any, *names: str) -> Any:
    for name in names:
        encoder = getattr(pipe, name)
        inner = getattr(encoder, "text_model", encoder)
        inner.encoder.layers = inner.encoder.layers[:-1]  # the old clip skip; the config still counts them
    return pipe


@pytest.mark.parametrize("encoder", ["text_encoder", "text_encoder_2"])
def test_an_encoder_with_its_last_block_cut(encoder, tmp_path) -> None:
    names = ("text_encoder", "text_encoder_2")
    lens = DiffusionLens(cut(small_sdxl_pipeline(EulerDiscreteScheduler), *names), text_encoder=encoder)
    run = lens(PROMPT, num_inference_steps=1)
    assert sorted(run.images) == list(lens.layers)
    assert len(run.states) == lens.num_layers == {"text_encoder": 2, "text_encoder_2": 3}[encoder]
    run.save(tmp_path / "a.lens")


def test_sd_with_its_last_block_cut(tmp_path) -> None:
    lens = DiffusionLens(cut(small_pipeline(DDIMScheduler), "text_encoder"))
    for run in (lens(PROMPT, num_inference_steps=1), lens.ablate(PROMPT, num_inference_steps=1)):
        assert sorted(run.images) == [0, 1, 2, 3]
        run.save(tmp_path / "a.lens")


def test_an_ip_adapter_is_refused_with_the_way_out() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler))
    lens.pipe.unet.register_to_config(encoder_hid_dim_type="ip_image_proj")  # as load_ip_adapter does
    with pytest.raises(ValueError, match=r"pipe: an IP-Adapter is loaded.*pipe\.unload_ip_adapter\(\)"):
        lens(PROMPT, **QUICK)


@pytest.mark.slow
def test_compiled_modules_can_be_swapped() -> None:
    raw, tuned = (small_pipeline(DDIMScheduler) for _ in range(2))
    tuned.vae = raw.vae
    with torch.no_grad():
        tuned.unet.conv_in.weight.mul_(1.1)
    for pipe in (raw, tuned):
        pipe.text_encoder = torch.compile(pipe.text_encoder, backend="eager")
    found = compare(DiffusionLens(raw), DiffusionLens(tuned), PROMPT, attribution=True, **QUICK)
    assert found.metrics["attribution_unet"][0] == pytest.approx(1)


def test_a_saved_glass_pipeline_loads(tmp_path) -> None:
    glass = StableDiffusionGlassPipeline(**small_pipeline(DDIMScheduler).components)
    glass.save_pretrained(tmp_path / "glass")
    run = DiffusionLens.from_pretrained(tmp_path / "glass", device="cpu")(PROMPT, **QUICK)
    assert run.images[1].tobytes() == DiffusionLens(small_pipeline(DDIMScheduler))(PROMPT, **QUICK).images[1].tobytes()


def test_a_folder_with_variants_only(tmp_path) -> None:
    pipe = small_pipeline(DDIMScheduler)
    pipe.save_pretrained(tmp_path / "one", variant="fp16")
    assert DiffusionLens.from_pretrained(tmp_path / "one", device="cpu").num_layers == 5
    pipe.save_pretrained(tmp_path / "one", variant="ema")
    with pytest.raises(ValueError, match=r"^variant: .* has the variants ema, fp16; choose one"):
        DiffusionLens.from_pretrained(tmp_path / "one", device="cpu")
    assert DiffusionLens.from_pretrained(tmp_path / "one", device="cpu", variant="ema").num_layers == 5
    with pytest.raises(ValueError, match=r"^variant: .* has no weights of 'half', only ema, fp16"):
        DiffusionLens.from_pretrained(tmp_path / "one", device="cpu", variant="half")


@pytest.mark.parametrize(
    "name", ["models/sd.safetensors", "models/sd.ckpt", "~/no-such-model", "~/models/a.safetensors"]
)
def test_a_path_is_no_hub_id(name) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        DiffusionLens.from_pretrained(name)


def test_a_home_folder(tmp_path, monkeypatch) -> None:
    small_pipeline(DDIMScheduler).save_pretrained(tmp_path / "sd")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DiffusionLens.from_pretrained("~/sd", device="cpu").num_layers == 5


# the user's modules


def test_an_offloaded_encoder_leaves_the_device_after_encode(lens, monkeypatch) -> None:
    freed: list[bool] = []
    monkeypatch.setattr(lens.pipe, "maybe_free_model_hooks", lambda: freed.append(True))
    lens.encode(PROMPT)
    assert freed == [True]


def test_the_strength_of_a_lora_is_not_set_on_the_users_modules(monkeypatch) -> None:
    """Seen from any other thread: the layers of the user's encoder and U-Net are never scaled."""
    pipe = small_pipeline(DDIMScheduler)
    torch.manual_seed(0)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    pipe.text_encoder.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    stock = pipe(
        PROMPT,
        num_inference_steps=1,
        cross_attention_kwargs={"scale": 0.25},
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images[0]
    layers = [part for each in (pipe.unet, pipe.text_encoder) for part in each.modules() if hasattr(part, "scaling")]
    assert layers

    def scale_layer(self: Any, scale: float) -> None:
        assert not any(self is layer for layer in layers)
        original(self, scale)

    kind = next(each for each in type(layers[0]).__mro__ if "scale_layer" in vars(each))
    original = kind.scale_layer
    monkeypatch.setattr(kind, "scale_layer", scale_layer)
    lens = DiffusionLens(pipe)
    run = lens(PROMPT, layers=[4], num_inference_steps=1, cross_attention_kwargs={"scale": 0.25})
    half = lens.encode(PROMPT, lora_scale=0.5)
    monkeypatch.undo()
    assert abs(stock * 255 - torch.tensor(list(run.images[4].tobytes())).view(32, 32, 3).numpy()).max() <= 1.5
    assert not torch.equal(half.states[4], lens.encode(PROMPT).states[4])
