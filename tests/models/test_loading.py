"""Loading by name: folders that the test makes, and everything a user may give by mistake."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, PNDMScheduler, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file

from difflens_widgets import DiffusionLens
from difflens_widgets.models import loading
from difflens_widgets.models.loading import dtype_keyword
from difflens_widgets.models.tuned import load_lora, load_tuned_pipeline
from family_pipelines import small_pixart_pipeline
from joint_pipelines import small_flux_pipeline
from pipelines import small_pipeline, text_encoder, wrap


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "my-model"
    small_pipeline(DDIMScheduler).save_pretrained(path)
    return path


def test_a_diffusers_folder(folder) -> None:
    lens = DiffusionLens.from_pretrained(folder, device="cpu")
    run = lens("a red circle", layers=[4], num_inference_steps=2)
    assert run.settings["model"] == "my-model"
    assert run.settings["dtype"] == "float32"
    in_memory = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=lens.batch_size)(
        "a red circle", layers=[4], num_inference_steps=2
    )
    assert run.images[4].tobytes() == in_memory.images[4].tobytes()
    assert DiffusionLens.from_pretrained(str(folder), device="cpu", batch_size=3).batch_size == 3


def test_dtype(folder) -> None:
    lens = DiffusionLens.from_pretrained(folder, device="cpu", dtype=torch.bfloat16)
    assert lens("a red circle", layers=[4], num_inference_steps=2).settings["dtype"] == "bfloat16"


def test_float16_overflow_names_the_layer(folder) -> None:
    lens = DiffusionLens.from_pretrained(folder, device="cpu", dtype=torch.float16)
    with torch.no_grad():
        lens.pipe.vae.decoder.conv_in.weight.mul_(1e6)
    run = lens("a red circle", layers=[4], num_inference_steps=1)
    assert run.status == "failed"
    assert "layer 4: the picture is not finite" in run.message
    assert "dtype=torch.float32" in run.message


def test_a_folder_that_is_no_pipeline(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"not a diffusers pipeline folder: it has no model_index\.json .*notes\.txt"):
        DiffusionLens.from_pretrained(tmp_path)


def test_a_folder_with_a_broken_index(tmp_path) -> None:
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ValueError, match="names no pipeline class"):
        DiffusionLens.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["./missing", "/no/such/folder", "too/many/parts", "C:\\models\\sd"])
def test_a_folder_that_does_not_exist(name) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        DiffusionLens.from_pretrained(name)


def test_an_unknown_hub_id_without_a_network() -> None:
    with pytest.raises(OSError, match=r'^someone/unknown: neither a folder here nor loadable.*"tiny" is the embedded'):
        DiffusionLens.from_pretrained("someone/unknown")


def test_a_family_that_is_not_supported_is_refused_before_its_weights_are_read(tmp_path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "KandinskyPipeline"}))
    with pytest.raises(ValueError, match=r"no family for KandinskyPipeline; it supports StableDiffusionPipeline"):
        DiffusionLens.from_pretrained(tmp_path)


def test_a_pipeline_object_that_is_not_supported() -> None:
    with pytest.raises(ValueError, match="no family for str"):
        DiffusionLens("sd-legacy/stable-diffusion-v1-5")


def test_pickled_weights_are_not_read(folder, tmp_path) -> None:
    import shutil

    copy = tmp_path / "pickled"
    shutil.copytree(folder, copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, weights.with_suffix(".bin"))
    with pytest.raises(OSError, match="safetensors"):
        DiffusionLens.from_pretrained(copy)


def test_chunk_must_be_a_whole_number(folder) -> None:
    with pytest.raises(ValueError, match="batch_size: 0 must be at least 1"):
        DiffusionLens.from_pretrained(folder, batch_size=0)


@pytest.mark.slow
def test_the_full_geometry_of_stable_diffusion_1_5(tmp_path) -> None:
    """860 M U-Net, 12 × 768 text encoder, 84 M VAE, random weights, through a folder on disk."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        attention_head_dim=8,
        cross_attention_dim=768,
    )
    vae = AutoencoderKL(
        sample_size=512,
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    )
    encoder = text_encoder(12, 768, 12, vocab_size=49408)
    parameters = sum(parameter.numel() for parameter in unet.parameters())
    assert 859e6 < parameters < 860e6
    scheduler = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True)
    wrap(unet, vae, encoder, scheduler).to(dtype=torch.bfloat16).save_pretrained(tmp_path / "sd15")
    del unet, vae, encoder

    lens = DiffusionLens.from_pretrained(tmp_path / "sd15", device="cpu")
    assert lens.num_layers == 13
    run = lens("a photo of a dog", num_inference_steps=2, height=64, width=64)
    assert sorted(run.images) == list(range(13))
    assert run.images[12].size == (64, 64)
    assert run.states.shape == (13, 77, 768)
    assert len({image.tobytes() for image in run.images.values()}) == 13


def test_a_single_file_that_diffusers_cannot_load_says_which_kind_it_is(tmp_path) -> None:
    """Offline it has no configs of the original repositories: the way out is `config=`."""
    file = tmp_path / "sd.safetensors"
    save_file({"cond_stage_model.transformer.x": torch.zeros(2), "model.diffusion_model.y": torch.zeros(2)}, file)
    with pytest.raises(OSError, match=r"sd\.safetensors: a StableDiffusionPipeline in one file.*config="):
        DiffusionLens.from_pretrained(file, device="cpu")


@pytest.mark.parametrize(
    ("pipeline_class", "device", "expected"),
    [
        ("FluxPipeline", "cuda", torch.bfloat16),
        ("StableDiffusionPipeline", "cuda", torch.float16),
        ("FluxPipeline", "cpu", torch.float32),
        ("ZImagePipeline", "cuda", torch.bfloat16),
    ],
)
def test_the_dtype_is_that_of_the_family(pipeline_class, device, expected, tmp_path, monkeypatch) -> None:
    if not hasattr(diffusers, pipeline_class):
        pytest.skip(f"this diffusers has no {pipeline_class}")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline_class}))
    asked = {}

    def note(source, **options):
        asked.update(options)
        raise OSError("far enough")

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", note)
    monkeypatch.setattr(loading, "device_of", torch.device)  # as if it were there
    with pytest.raises(OSError, match="far enough"):
        DiffusionLens.from_pretrained(tmp_path, device=device)
    assert asked[dtype_keyword()] == expected


def test_a_lora_of_another_family(tmp_path) -> None:
    raw = small_flux_pipeline()
    raw.save_pretrained(tmp_path / "flux")
    raw.transformer.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(raw.transformer)
    type(raw).save_lora_weights(tmp_path / "lora", transformer_lora_layers=layers)
    tuned, name = load_tuned_pipeline(tmp_path / "flux", tmp_path / "lora", device="cpu")
    assert name == "flux + lora"
    options = {"layers": [2], "height": 32, "width": 32, "num_inference_steps": 2}
    painted = [DiffusionLens(pipe)("a red circle", **options) for pipe in (small_flux_pipeline(), raw, tuned)]
    assert abs(painted[1].latents[2] - painted[2].latents[2]).max() <= 1e-5
    assert abs(painted[0].latents[2] - painted[2].latents[2]).max() > 1e-3


def test_a_pipeline_that_takes_no_lora(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"a\.safetensors: PixArtSigmaPipeline of small takes no LoRA"):
        load_lora(small_pixart_pipeline(), tmp_path / "a.safetensors", "small")
