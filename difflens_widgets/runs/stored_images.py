"""One generated image as the cache keeps it; its file is safetensors with lossless WebP inside. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import safetensors
import safetensors.numpy
from PIL import Image

from .format import webp
from .maps.maps import AttentionMaps, BlockMaps

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image and what was kept on the way to it.

    Attributes
    ----------
    image : PIL.Image
    latents : float32 array (channel, height, width) or None
        None: an image of the per-token lens, or of the stock pipeline, whose latents nobody asks for.
    snapshots : mapping of denoising step → PIL.Image
    attention : AttentionMaps or None
        In memory only: a file does not hold it.
    noise : mapping of str → str
        The hashes that identify its noise, as in the settings of a run.
    """

    image: Image.Image
    latents: np.ndarray | None = None
    snapshots: Mapping[int, Image.Image] = field(default_factory=dict)
    attention: AttentionMaps | None = None
    noise: Mapping[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Its size in memory, in bytes."""
        pixels = sum(3 * image.width * image.height for image in (self.image, *self.snapshots.values()))
        attention = 0 if self.attention is None else self.attention.nbytes
        return pixels + attention + (0 if self.latents is None else self.latents.nbytes)

    def copy(self) -> StoredImage:
        """A copy that shares nothing: who draws on an image of a run must not draw on the next run's."""
        return StoredImage(
            self.image.copy(),
            None if self.latents is None else self.latents.copy(),
            {step: image.copy() for step, image in self.snapshots.items()},
            None if self.attention is None else _copied(self.attention),
            dict(self.noise),
        )

    def with_more_of(self, other: StoredImage) -> StoredImage:
        """The same image, with what only `other` has besides."""
        return StoredImage(
            self.image,
            other.latents if self.latents is None else self.latents,
            {**other.snapshots, **self.snapshots},
            self.attention or other.attention,
            self.noise or other.noise,
        )


def _copied(attention: AttentionMaps) -> AttentionMaps:
    def copied(summed: BlockMaps) -> BlockMaps:
        return BlockMaps({name: maps.copy() for name, maps in summed.maps.items()}, summed.forwards)

    by_step = {step: copied(summed) for step, summed in attention.by_step.items()}
    return AttentionMaps(attention.plan, copied(attention.total), by_step)


def to_bytes(stored: StoredImage, key: str) -> bytes:
    """The content of the file of one image."""
    pictures = {"image": stored.image, **{f"snapshot-{step}": image for step, image in stored.snapshots.items()}}
    arrays: dict[str, np.ndarray] = {
        name: np.frombuffer(webp.encode(image), np.uint8) for name, image in pictures.items()
    }
    if stored.latents is not None:
        arrays["latents"] = np.ascontiguousarray(stored.latents, np.float32)
    size = f"{stored.image.width}x{stored.image.height}"
    about = {"schema": str(SCHEMA), "key": key, "size": size, "sha256": _digest(arrays)}
    about["noise"] = json.dumps(dict(stored.noise))
    return safetensors.numpy.save(arrays, about)


def from_bytes(data: bytes, key: str) -> StoredImage:
    """Read the content of such a file.

    Raises
    ------
    ValueError
        If it is damaged, or is not the file of this key and version.
    """
    try:
        header = int.from_bytes(data[:8], "little")
        about = _metadata(data[8 : 8 + header])
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, UnicodeDecodeError) as error:
        raise ValueError(f"damaged: {error}") from None
    if about.get("schema") != str(SCHEMA) or about.get("key") != key:
        raise ValueError("of another version, or of another image")
    if about.get("sha256") != _digest(arrays):
        raise ValueError("damaged: its content is not what was written")
    width, height = map(int, about["size"].split("x"))
    images = {
        name: webp.decode(array.tobytes(), (width, height)) for name, array in arrays.items() if name != "latents"
    }
    snapshots = {int(name.removeprefix("snapshot-")): image for name, image in images.items() if name != "image"}
    return StoredImage(images["image"], arrays.get("latents"), snapshots, noise=_noise_of(about))


def _noise_of(about: Mapping[str, str]) -> dict[str, str]:
    try:
        found = json.loads(about["noise"])
    except (KeyError, TypeError, json.JSONDecodeError):
        raise ValueError("damaged: the hashes of its noise") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("damaged: the hashes of its noise")
    return found


def _metadata(header: bytes) -> dict[str, str]:
    found = json.loads(header)
    about = found.get("__metadata__") if isinstance(found, dict) else None
    return about if isinstance(about, dict) else {}


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()
