"""The pictures to learn from: what is taken, what is refused; latents, pictures of the class, the embedded subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from difflens_widgets.dreambooth.training import class_images as painter
from difflens_widgets.dreambooth.training.images import instance_files, read_picture, to_pixels
from difflens_widgets.dreambooth.training.latents import Latents
from difflens_widgets.models.loading import WEIGHTS, load_pipeline
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
        assert read_picture(path, drawn.width)[0].tobytes() == drawn.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "1", "RGBA", "LA", "CMYK"])
def test_every_usual_kind_of_picture_becomes_rgb(tmp_path, mode) -> None:
    image = Image.effect_mandelbrot((96, 80), (-2, -1, 1, 1), 60).convert("RGB").convert(mode)
    path = save(image, tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    read, said = read_picture(path, 64)
    assert (read.mode, read.size) == ("RGB", (64, 64))
    assert ("gray" in said) == (mode in ("L", "1"))


def test_what_is_see_through_becomes_white_and_is_said(tmp_path) -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste((200, 20, 20, 255), (0, 0, 32, 64))
    read, said = read_picture(save(clear, tmp_path / "a.png"), 64)
    assert (read.getpixel((10, 10)), read.getpixel((60, 10))) == ((200, 20, 20), (255, 255, 255))
    assert said == "what is see-through is taken as white"
    assert read_picture(save(RED.convert("RGBA"), tmp_path / "b.png"), 64)[1] == ""


def test_the_middle_is_kept_and_the_camera_turned_back(tmp_path) -> None:
    wide = Image.new("RGB", (192, 64), "blue")
    wide.paste((200, 20, 20), (64, 0, 128, 64))
    assert read_picture(save(wide, tmp_path / "a.png"), 64)[0].tobytes() == RED.tobytes()
    turned = Image.new("RGB", (64, 128), "white")
    turned.paste((0, 0, 0), (0, 0, 64, 64))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    read, _ = read_picture(save(turned, tmp_path / "b.png", exif=exif), 64)
    assert read.getpixel((5, 60)) == (0, 0, 0)


def test_small_pictures_are_scaled_up_and_tiny_ones_refused(tmp_path) -> None:
    assert read_picture(save(RED.resize((40, 50)), tmp_path / "a.png"), 64)[1] == "40 × 50 pixels are scaled up to 64"
    with pytest.raises(ValueError, match=r"b.png: 31 × 90 pixels are too few to learn 64 × 64 .* at least 32"):
        read_picture(save(RED.resize((31, 90)), tmp_path / "b.png"), 64)


def test_what_cannot_be_read_is_refused(tmp_path) -> None:
    whole = save(RED, tmp_path / "whole.png").read_bytes()
    for name, content in (("a.png", b"no picture"), ("b.png", whole[: len(whole) // 2]), ("c.jpg", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: cannot be read as a picture"):
            read_picture(tmp_path / name, 64)
    deep = save(Image.fromarray(np.full((64, 64), 40_000, np.uint16)), tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png: has more than 8 bits per channel"):
        read_picture(deep, 64)


def test_folders_without_pictures(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"instance_data_dir: .*nowhere: no such folder"):
        instance_files(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"has no picture .* it holds nothing"):
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


def test_pictures_of_the_class_are_painted_once_and_each_by_itself(tmp_path) -> None:
    pipe, _ = load_pipeline("tiny", "cpu", torch.float32)
    config = small_config(tmp_path, num_class_images=3, with_prior_preservation=True)
    folder = painter.class_folder(config, "hash", 64)

    def paint(cancelled: bool = False) -> list[Image.Image] | None:
        painted.clear()
        return painter.class_pictures(
            pipe, config, folder, 64, cancelled=lambda: cancelled, said=lambda *done: painted.append(done)
        )

    painted: list[tuple[int, int]] = []
    assert paint(cancelled=True) is None
    first = paint()
    assert first is not None
    assert painted == [(0, 3), (2, 3)]
    assert len({image.tobytes() for image in first}) == 3
    again = paint()
    assert painted == []
    (folder / "painted-00001.png").unlink()
    (folder / "painted-00002.png").unlink()
    third = paint()
    assert painted == [(0, 3), (2, 3)]
    for images in (again, third):
        assert [image.tobytes() for image in images or []] == [image.tobytes() for image in first]
    for change in ({"class_prompt": "a cat"}, {"seed": 1}, {"num_inference_steps": 3}, {"guidance_scale": 2.0}):
        assert painter.class_folder(small_config(tmp_path, **change), "hash", 64) != folder
    assert painter.class_folder(config, "other weights", 64) != folder


def test_pictures_of_the_class_that_are_given_are_taken_first(tmp_path) -> None:
    pipe, _ = load_pipeline("tiny", "cpu", torch.float32)
    config = small_config(tmp_path, num_class_images=2, sample_batch_size=1, class_data_dir=str(tmp_path / "given"))
    (tmp_path / "given").mkdir()
    save(RED, tmp_path / "given" / "mine.png")
    folder = painter.class_folder(config, "hash", 64)
    images = painter.class_pictures(pipe, config, folder, 64, cancelled=lambda: False, said=lambda *done: None)
    assert images is not None
    assert images[0].tobytes() == RED.tobytes()
    assert sorted(path.name for path in folder.iterdir()) == ["mine.png", "painted-00000.png"]
