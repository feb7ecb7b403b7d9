"""The label of a run's weights: what it must follow, what it must not, and that it never fails a run (T5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from peft import LoraConfig

from difflens_widgets import DiffusionLens
from difflens_widgets.models.weight_hash import UNHASHED, has_weights_of, sampled_weight_hash, weight_hash
from pipelines import small_pipeline, small_sdxl_pipeline

PROMPT = "a red circle"
QUICK: dict[str, Any] = {"layers": [4], "num_inference_steps": 1}


pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`")


def with_adapters(pipe: Any, *names: str) -> Any:
    torch.manual_seed(1)
    for name in names:
        for part, modules in ((pipe.unet, ["to_q", "to_v"]), (pipe.text_encoder, ["q_proj"])):
            part.add_adapter(LoraConfig(r=2, target_modules=modules, init_lora_weights=False), adapter_name=name)
    return pipe


@pytest.fixture
def pipe() -> Any:
    return small_pipeline(DDIMScheduler)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_one_changed_value_of_any_tensor_shows(pipe, part) -> None:
    """Each tensor in turn, one value at a place that no sampling would meet."""
    before = weight_hash(pipe)
    for key, tensor in getattr(pipe, part).state_dict().items():
        if not tensor.is_floating_point():
            continue
        flat = tensor.reshape(-1)
        place = (2 * len(flat)) // 3
        kept = flat[place].clone()
        flat[place] = torch.nextafter(kept, torch.tensor(10.0))
        assert weight_hash(pipe) != before, key
        flat[place] = kept
    assert weight_hash(pipe) == before


def test_rows_that_change_places_show(pipe) -> None:
    table = torch.nn.Linear(1024, 400, bias=False)
    pipe.text_encoder.extra = table
    before = weight_hash(pipe)
    with torch.no_grad():
        for one, other in ((0, 8), (1, 2), (3, 399)):
            table.weight[[one, other]] = table.weight[[other, one]]
            assert weight_hash(pipe) != before
            table.weight[[one, other]] = table.weight[[other, one]]
    assert weight_hash(pipe) == before


def test_strengths_of_adapters(pipe) -> None:
    plain = weight_hash(pipe)
    pipe = with_adapters(pipe, "one", "two")
    found = {}
    for strengths in ((0.5, 0.5), (0.9, 0.1), (0.1, 0.9), (1.0, 1.0)):
        pipe.set_adapters(["one", "two"], list(strengths))
        found[strengths] = weight_hash(pipe)
    pipe.set_adapters(["one"], [1.0])
    found["one"] = weight_hash(pipe)
    pipe.set_adapters(["two"], [1.0])
    found["two"] = weight_hash(pipe)
    assert len({plain, *found.values()}) == len(found) + 1
    pipe.disable_lora()
    assert weight_hash(pipe) == plain  # what is switched off is not in force
    pipe.enable_lora()
    assert weight_hash(pipe) == found["two"]
    pipe.unet.set_adapters(["two"], [{"down": 0.5, "up": 1.0}])
    assert weight_hash(pipe) not in {plain, *found.values()}
    pipe.unload_lora_weights()
    assert weight_hash(pipe) == plain


def test_an_adapter_that_is_loaded_but_not_active(pipe) -> None:
    pipe = with_adapters(pipe, "one")
    pipe.set_adapters(["one"], [0.7])
    before = weight_hash(pipe)
    pipe = with_adapters(pipe, "other")
    pipe.set_adapters(["one"], [0.7])
    assert weight_hash(pipe) == before


def test_freeu(pipe) -> None:
    plain = weight_hash(pipe)
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    first = weight_hash(pipe)
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.3, b2=1.4)
    assert len({plain, first, weight_hash(pipe)}) == 3
    pipe.disable_freeu()
    assert weight_hash(pipe) == plain


def compiled(pipe: Any) -> None:
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    pipe.text_encoder = torch.compile(pipe.text_encoder, backend="eager")


def compiled_inside(pipe: Any) -> None:
    pipe.unet.mid_block = torch.compile(pipe.unet.mid_block, backend="eager")
    pipe.text_encoder.compile(backend="eager")


def offloaded(pipe: Any) -> None:
    from accelerate import cpu_offload

    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        cpu_offload(part, torch.device("cpu"), offload_buffers=True)


@pytest.mark.parametrize("wrap", [compiled, compiled_inside, offloaded])
@pytest.mark.parametrize("tuned", [False, True])
def test_wrappers_do_not_change_it(pipe, wrap: Callable[[Any], None], tuned) -> None:
    if tuned:
        pipe = with_adapters(pipe, "one")
    before = weight_hash(pipe)
    wrap(pipe)
    assert weight_hash(pipe) == before


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore:torch.quantize_per")
def test_a_quantized_encoder_is_hashed_and_paints(pipe) -> None:
    pipe.text_encoder = torch.ao.quantization.quantize_dynamic(pipe.text_encoder, {torch.nn.Linear}, torch.qint8)
    run = DiffusionLens(pipe)(PROMPT, **QUICK)
    assert run.status == "done"
    assert len(run.settings["model_hash"]) == 16
    before = weight_hash(pipe)
    layer = next(part for part in pipe.text_encoder.modules() if hasattr(part, "_packed_params"))
    weight, bias = layer._weight_bias()
    layer.set_weight_bias(torch.quantize_per_tensor(weight.dequantize() * 1.5, 0.01, 0, torch.qint8), bias)
    assert weight_hash(pipe) != before


class Unreadable(torch.nn.Module):
    def get_extra_state(self) -> Any:
        return object()

    def set_extra_state(self, state: Any) -> None:
        pass


def test_what_cannot_be_read_is_said_and_the_run_goes_on(pipe, tmp_path) -> None:
    pipe.unet.extra = Unreadable()
    run = DiffusionLens(pipe)(PROMPT, **QUICK)
    assert run.status == "done"
    assert run.settings["model_hash"] == f"{UNHASHED}unet cannot be read: it holds a object"
    run.save(tmp_path / "a.lens")
    assert has_weights_of(pipe, "0" * 16)  # unknown


def test_the_hash_of_version_0_1_is_still_known(pipe) -> None:
    assert has_weights_of(pipe, sampled_weight_hash(pipe))
    assert has_weights_of(pipe, weight_hash(pipe))
    assert not has_weights_of(pipe, "0" * 16)


def test_both_encoders_of_sdxl() -> None:
    pipe = small_sdxl_pipeline(EulerDiscreteScheduler)
    before = weight_hash(pipe)
    with torch.no_grad():
        next(pipe.text_encoder_2.parameters())[0, 0] += 1e-3
    assert weight_hash(pipe) != before


def test_what_is_changed_while_a_job_waits_is_recorded_as_it_was_painted(pipe) -> None:
    """The settings are those of the moment at which the run begins, not of `start`."""
    lens = DiffusionLens(pipe)
    waiting = lens._jobs(PROMPT, **QUICK)[0]
    before = weight_hash(pipe)
    pipe.scheduler = EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="trailing")
    with torch.no_grad():
        pipe.unet.conv_in.weight += 0.1
    run = waiting.wait()
    assert run.settings["scheduler"] == "EulerDiscreteScheduler"
    assert run.settings["scheduler_config"]["timestep_spacing"] == "trailing"
    assert run.settings["model_hash"] == weight_hash(pipe) != before


def test_it_takes_a_small_part_of_a_run() -> None:
    """1 GB in about 0.2 s on one core: measured on 64 MB, with room for a busy machine."""
    part = SimpleNamespace(components={"unet": torch.nn.Linear(4096, 4096, bias=False)})
    weight_hash(part)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        weight_hash(part)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.1
