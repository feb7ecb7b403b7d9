"""Fuzz: 10,000 inputs over everything that this package reads: no crash, no hang, nothing written outside.

`pytest -m slow -s tests/fuzz` prints the count. Each kind has a function of a seed, so that a found input can be made
again.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import save

from difflens_widgets import Comparison, DiffusionLens, DreamBoothConfig, LensRun
from difflens_widgets.models.weight_files import describe, formats, is_lora, shapes_in, whole_model_class
from drawn_comparisons import drawn_comparison
from drawn_runs import drawn_run
from pipelines import small_pipeline

COUNTS = {"lens": 3_000, "lenses": 2_000, "yaml": 2_500, "lora": 2_500, "prompt": 1_500}
SECONDS_EACH = 5.0

VALUES = ["0", "-1", "1e999", "null", "true", "[]", "{}", "'", '"', "!!python/object:os.system x", "&a [*a]", "~", "\0"]


def damaged(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(made))
        match chance.randrange(6):
            case 0:
                made[at] ^= 1 << chance.randrange(8)
            case 1:
                made[at : at + 4] = chance.randbytes(4)
            case 2:
                made[at : at + 8] = b"\xff" * chance.randrange(1, 9)
            case 3:
                del made[at : at + chance.randrange(1, 60)]
            case 4:
                made[at:at] = chance.randbytes(chance.randrange(1, 60))
            case 5:
                made = made[: max(1, at)]
    return bytes(made)


def yaml_text(chance: random.Random) -> str:
    names = list(DreamBoothConfig.__dataclass_fields__)
    lines = [f"{chance.choice(names)}: {chance.choice(VALUES)}" for _ in range(chance.randrange(1, 8))]
    text = "\n".join(["instance_data_dir: x", "instance_prompt: a sks dog", "output_dir: y", *lines])
    return damaged(text.encode(), chance).decode("utf-8", "replace") if chance.random() < 0.5 else text


def lora_bytes(chance: random.Random) -> bytes:
    keys = [
        "lora_unet_a.lora_down.weight",
        "unet.b.lora_A.weight",
        "x.lokr_w1",
        "emb_params",
        "../../x",
        "\x00",
        "é" * 50,
    ]
    if chance.random() < 0.3:  # a sound file
        names = chance.sample(keys, chance.randrange(1, len(keys)))
        return save({name: torch.zeros(chance.choice(((), (2,), (2, 3)))) for name in names})
    header: dict[str, object] = {}
    for key in chance.sample(keys, chance.randrange(len(keys))):
        shape = [chance.choice((0, 1, 2, -1, 2**40)) for _ in range(chance.randrange(4))]
        dtype = chance.choice(("F32", "F16", "BF16", "X9", 3))
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [chance.randrange(-1, 9), chance.randrange(99)]}
    text = json.dumps(header).encode()
    size = chance.choice((len(text), len(text) + 1, 0, 2**63, 8))
    return damaged(struct.pack("<Q", size) + text + chance.randbytes(16), chance)


def prompt_text(chance: random.Random) -> str:
    letters = []
    for _ in range(chance.randrange(1, 60)):
        letter = chr(chance.choice((chance.randrange(32, 127), chance.randrange(0x3000), chance.randrange(0x110000))))
        letters.append(letter if unicodedata.category(letter) != "Cs" else " ")
    return "".join(letters) + chance.choice(("", "<|endoftext|>", " <|startoftext|>", "\0", "a" * 3000))


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_size) for path in folder.rglob("*"))


@pytest.mark.slow
def test_ten_thousand_inputs(tmp_path, monkeypatch) -> None:
    inside = tmp_path / "a" / "b" / "inside"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    lens_bytes = drawn_run(depth=2, size=16).save(inside / "run.lens").read_bytes()
    lenses_bytes = drawn_comparison(swapped=False).save(inside / "run.lenses").read_bytes()
    lens = DiffusionLens(small_pipeline(DDIMScheduler))
    file = inside / "input"

    def read(data: bytes, load: Callable[[Path], object]) -> None:
        file.write_bytes(data)
        load(file)

    def lora(chance: random.Random) -> None:
        file.write_bytes(lora_bytes(chance))
        shapes = shapes_in(file)
        describe(shapes), formats(list(shapes)), is_lora(list(shapes)), whole_model_class(list(shapes))

    def prompt(chance: random.Random) -> None:
        text = prompt_text(chance)
        tokens, cut = lens.tokenize(text)
        assert len(tokens) == 77
        assert isinstance(cut, str)

    kinds: dict[str, Callable[[random.Random], object]] = {
        "lens": lambda chance: read(damaged(lens_bytes, chance), LensRun.load),
        "lenses": lambda chance: read(damaged(lenses_bytes, chance), Comparison.load),
        "yaml": lambda chance: read(yaml_text(chance).encode("utf-8", "replace"), DreamBoothConfig.from_yaml),
        "lora": lora,
        "prompt": prompt,
    }
    file.write_bytes(b"")
    before = tree(tmp_path)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for kind, count in COUNTS.items():
        for seed in range(count):
            began = time.perf_counter()
            try:
                kinds[kind](random.Random(f"{kind} {seed}"))
                outcomes[f"{kind} read"] += 1
            except ValueError:
                outcomes[f"{kind} refused"] += 1
            except Exception as error:
                raise AssertionError(f"{kind} {seed}: {type(error).__name__}: {error}") from error
            slowest = max(slowest, time.perf_counter() - began)
    file.write_bytes(b"")
    sys.stdout.write(f"\n{sum(outcomes.values()):,} inputs, the slowest {slowest:.2f} s: {dict(outcomes)}\n")
    assert sum(outcomes.values()) >= 10_000
    assert slowest < SECONDS_EACH
    assert tree(tmp_path) == before
