"""The pictures to learn from: what is taken, what is refused; latents, pictures of the class, the embedded subject."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from difflens_widgets.dreambooth.training import class_images
from difflens_widgets.dreambooth.training.class_images import (
    ClassImage,
    class_image_list,
    generate_missing,
    read_class_images,
)
from difflens_widgets.dreambooth.training.images import instance_files, read_image, to_pixels
from difflens_widgets.dreambooth.training.latents import Latents
from difflens_widgets.models.loading import WEIGHTS, load_pipeline
from difflens_widgets.models.sampling_defaults import SamplingDefaults
from difflens_widgets.runs.result_store import result_store
from difflens_widgets.tiny.subject import draw_subject
from dreambooth_configs import small_config


def save(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


RED = Image.new("RGB", (64, 64), (200, 20, 20))


def test_the_shipped_pictures_are_the_ones_that_are_drawn() -> None:
    files = instance_files("difflens-dog")
    assert [path.name for path in files] == [f"dog-{number}.png" for number in (1, 2, 3, 4)]
    for path, drawn in zip(files, draw_subject(), strict=True):
        assert read_image(path, drawn.width)[0].tobytes() == drawn.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "1", "RGBA", "LA", "CMYK"])
def test_every_usual_kind_of_picture_becomes_rgb(tmp_path, mode) -> None:
    image = Image.effect_mandelbrot((96, 80), (-2, -1, 1, 1), 60).convert("RGB").convert(mode)
    path = save(image, tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    read, message = read_image(path, 64)
    assert (read.mode, read.size) == ("RGB", (64, 64))
    assert ("gray" in message) == (mode in ("L", "1"))


def test_transparent_parts_become_white_with_a_message(tmp_path) -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste((200, 20, 20, 255), (0, 0, 32, 64))
    read, message = read_image(save(clear, tmp_path / "a.png"), 64)
    assert (read.getpixel((10, 10)), read.getpixel((60, 10))) == ((200, 20, 20), (255, 255, 255))
    assert message == "transparent parts become white"
    assert read_image(save(RED.convert("RGBA"), tmp_path / "b.png"), 64)[1] == ""


def test_the_middle_is_kept_and_the_camera_turned_back(tmp_path) -> None:
    wide = Image.new("RGB", (192, 64), "blue")
    wide.paste((200, 20, 20), (64, 0, 128, 64))
    assert read_image(save(wide, tmp_path / "a.png"), 64)[0].tobytes() == RED.tobytes()
    turned = Image.new("RGB", (64, 128), "white")
    turned.paste((0, 0, 0), (0, 0, 64, 64))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    read, _ = read_image(save(turned, tmp_path / "b.png", exif=exif), 64)
    assert read.getpixel((5, 60)) == (0, 0, 0)


def test_small_pictures_are_scaled_up_and_tiny_ones_refused(tmp_path) -> None:
    assert read_image(save(RED.resize((40, 50)), tmp_path / "a.png"), 64)[1] == "40 × 50 pixels are scaled up to 64"
    with pytest.raises(ValueError, match=r"b.png: 31 × 90 pixels are too few for 64 × 64; .* at least 32"):
        read_image(save(RED.resize((31, 90)), tmp_path / "b.png"), 64)


def test_what_cannot_be_read_is_refused(tmp_path) -> None:
    whole = save(RED, tmp_path / "whole.png").read_bytes()
    for name, content in (("a.png", b"no picture"), ("b.png", whole[: len(whole) // 2]), ("c.jpg", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: cannot be read as an image"):
            read_image(tmp_path / name, 64)
    deep = save(Image.fromarray(np.full((64, 64), 40_000, np.uint16)), tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png: has more than 8 bits per channel"):
        read_image(deep, 64)


def test_folders_without_pictures(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"instance_data_dir: .*nowhere: no such folder"):
        instance_files(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"has no image .* it holds nothing"):
        instance_files(str(tmp_path))
    (tmp_path / "dog.heic").write_bytes(b"")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"it holds .hidden.png, dog.heic"):
        instance_files(str(tmp_path))


@pytest.mark.parametrize("cached", [True, False])
def test_latents_are_drawn_as_the_autoencoder_draws_them(cached) -> None:
    vae = AutoencoderKL.from_pretrained(WEIGHTS / "vae").float()
    images = draw_subject()
    latents = Latents(vae, images, cached=cached)
    noise = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    drawn = latents.draw(torch.tensor([2, 0, 2]), noise)
    with torch.no_grad():
        distribution = vae.encode(to_pixels([images[2], images[0], images[2]])).latent_dist
    expected = (distribution.mean + distribution.std * noise) * vae.config.scaling_factor
    torch.testing.assert_close(drawn, expected, rtol=1e-5, atol=1e-5)
    assert not torch.equal(drawn[0], drawn[2])  # the same picture, drawn twice


def sampling_of(config) -> SamplingDefaults:
    return SamplingDefaults(
        config.num_inference_steps or 20, 7.5 if config.guidance_scale is None else config.guidance_scale
    )


def listed(config, model_hash: str = "hash") -> tuple[list[ClassImage], list[ClassImage]]:
    return class_image_list(config, sampling_of(config), model_hash, 64)


def generate(pipe, config, cancelled=False) -> tuple[list[Image.Image] | None, list[tuple[int, int]]]:
    """The images for prior preservation, and how many were there before each group that was generated."""
    first, others = listed(config)
    reports: list[tuple[int, int]] = []
    complete = generate_missing(
        pipe,
        config,
        sampling_of(config),
        [*first, *others],
        64,
        cancelled=lambda: cancelled,
        on_progress=lambda *done: reports.append(done),
    )
    return (read_class_images([*first, *others], 64) if complete else None), reports


def bits(images: list[Image.Image] | None) -> list[bytes]:
    assert images is not None
    return [image.tobytes() for image in images]


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline("tiny", "cpu", torch.float32)[0]


def test_images_of_the_class_are_generated_once_and_each_by_itself(tmp_path, pipe) -> None:
    config = small_config(tmp_path, num_class_images=3, with_prior_preservation=True)
    assert generate(pipe, config, cancelled=True)[0] is None
    first, reports = generate(pipe, config)
    assert reports == [(0, 3), (2, 3)]
    assert len(set(bits(first))) == 3
    again, reports = generate(pipe, config)
    assert reports == []
    images = listed(config)[0]
    images[1].path.unlink()
    images[2].path.unlink()
    third, reports = generate(pipe, config)
    assert reports == [(0, 3), (2, 3)]
    assert bits(again) == bits(third) == bits(first)
    for change in ({"class_prompt": "a cat"}, {"seed": 1}, {"num_inference_steps": 3}, {"guidance_scale": 2.0}):
        changed = small_config(tmp_path, with_prior_preservation=True, **change)
        assert listed(changed)[0][0].path != images[0].path
    assert listed(config, "other weights")[0][0].path != images[0].path


def test_another_training_takes_the_images_of_an_equal_model_from_the_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DIFFLENS_CACHE", "")
    result_store().clear()
    own, _ = load_pipeline("tiny", "cpu", torch.float32)
    forwards = []

    def images(folder, **change):
        config = small_config(tmp_path / folder, num_class_images=2, with_prior_preservation=True, **change)
        forwards.clear()
        return bits(generate(own, config)[0])

    now = class_images._generate_now
    monkeypatch.setattr(class_images, "_generate_now", lambda *given: forwards.append(1) or now(*given))
    first = images("a")
    assert forwards
    assert images("b") == first
    assert not forwards
    for number, change in enumerate(({"seed": 1}, {"guidance_scale": 2.0}, {"class_prompt": "a cat"})):
        assert images(f"c{number}", **change) != first
        assert forwards
    own.text_encoder.get_input_embeddings().weight.data.mul_(1.01)
    assert images("d") != first
    assert forwards


def test_images_of_the_class_that_are_given_are_used_first(tmp_path, pipe) -> None:
    config = small_config(
        tmp_path,
        num_class_images=2,
        sample_batch_size=1,
        class_data_dir=str(tmp_path / "given"),
        with_prior_preservation=True,
    )
    (tmp_path / "given").mkdir()
    save(RED, tmp_path / "given" / "mine.png")
    images, reports = generate(pipe, config)
    assert bits(images)[0] == RED.tobytes()
    assert reports == [(1, 2)]
    names = sorted(path.name for path in (tmp_path / "given").iterdir())
    assert names[1:] == ["mine.png"]
    assert re.fullmatch(r"generated-[0-9a-f]{12}-00000\.png", names[0])


def test_generated_images_of_another_prompt_or_model_are_not_used(tmp_path, pipe) -> None:
    """In a folder of the user, where 0.1 took every painted-*.png for an image of the class."""
    folder = tmp_path / "given"
    folder.mkdir()
    options = {"class_data_dir": str(folder), "with_prior_preservation": True, "sample_batch_size": 1}
    save(RED, folder / "painted-00000.png")  # by 0.1, of nobody knows which prompt
    cats, _ = generate(pipe, small_config(tmp_path, class_prompt="a photo of a cat", num_class_images=1, **options))
    dogs, _ = generate(pipe, small_config(tmp_path, class_prompt="a photo of a dog", num_class_images=1, **options))
    assert len({*bits(cats), *bits(dogs), RED.tobytes()}) == 3
    assert len(list(folder.iterdir())) == 3
    other = small_config(tmp_path, class_prompt="a photo of a dog", num_class_images=1, seed=9, **options)
    again, reports = generate(pipe, other)  # the next training, from another seed, uses the same images
    assert (bits(again), reports) == (bits(dogs), [])


def test_images_of_the_class_that_version_0_1_generated_are_used(tmp_path, pipe) -> None:
    config = small_config(tmp_path, num_class_images=1, with_prior_preservation=True)
    (image,) = listed(config)[0]
    assert image.old_path is not None
    image.old_path.parent.mkdir(parents=True)
    save(RED, image.old_path)
    images, reports = generate(pipe, config)
    assert (bits(images), reports) == ([RED.tobytes()], [])
