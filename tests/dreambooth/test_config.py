"""DreamBoothConfig: what it takes, what it refuses and in which words; the course project's files."""

from __future__ import annotations

import dataclasses

import pytest

from difflens_widgets.dreambooth.config import DreamBoothConfig

LEAST = {"instance_data_dir": "pictures", "instance_prompt": "a photo of xon dog"}

COURSE = """
project_name: "DreamBooth Training"
task_name: "dreambooth_dog_with_lens"
reuse_last_task_id: false
output_uri: false
model_name: "runwayml/stable-diffusion-v1-5"
revision: null
variant: null
tokenizer_name: "openai/clip-vit-base-patch32"
subject_tokens: "xon"
subject_prompt: "a photo of xon dog"
lens_prompt: "a photo of xon dog"
class_prompt: "a photo of a dog"
negative_prompt: "low quality, blurry, deformed"
subject_image_dir: "data/paper_dataset/dog"
prior_data_dir: "data/prior_preservation/dog"
use_prior_preservation: false
generate_prior_images: false
num_prior_images: 1000
prior_loss_weight: 0.8
prior_generation_batch_size: 64
prior_num_inference_steps: 50
prior_guidance_scale: 7.5
num_train_epochs: 350
learning_rate: 2.0e-6
train_text_encoder: true
lr_scheduler_type: "constant"
lr_warmup_steps: 0
optimizer:
  type: "AdamW"
  betas: [0.9, 0.999]
  weight_decay: 0.03
  eps: 2.0e-8
train_batch_size: 4
prior_batch_size_train: 5
use_dreambooth_prompts: true
ddpm_num_train_timesteps: 1000
image_resolution: 512
mixed_precision: "fp16"
gradient_accumulation_steps: 1
save_model_steps: null
output_dir: "lens_output2"
log_image_epochs: 50
use_diffusion_lens: true
diffusion_lens_epochs: 50
diffusion_lens_params:
  start_layer: 0
  end_layer: 20
  step_layer: 1
  num_inference_steps: 100
  guidance_scale: 7.5
seed: 42
"""


def test_a_file_of_the_course_project_means_the_same_here(tmp_path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(COURSE)
    with pytest.warns(UserWarning, match="of no effect here and ignored: project_name, task_name"):
        config = DreamBoothConfig.from_yaml(path)
    assert (config.pretrained_model_name_or_path, config.seed) == ("runwayml/stable-diffusion-v1-5", 42)
    assert (config.unique_identifier, config.instance_prompt) == ("xon", "a photo of xon dog")
    assert (config.adam_beta2, config.adam_weight_decay, config.adam_epsilon) == (0.999, 0.03, 2e-8)
    assert (config.num_train_epochs, config.diffusion_lens_epochs, config.num_inference_steps) == (350, 50, 100)
    assert (config.prior_num_inference_steps, config.prior_guidance_scale) == (50, 7.5)
    assert (config.learning_rate, config.resolution, config.mixed_precision) == (2e-6, 512, "fp16")
    assert config.diffusion_lens_layers == tuple(range(20))
    assert [prompt.role for prompt in config.all_validation_prompts] == [
        "instance",
        "class",
        "class",
    ]  # lens_prompt is the first once more


@pytest.mark.parametrize("name", ["train_dog_dreambooth_with_lens.yaml", "train_dog_dreambooth_lora_with_lens.yaml"])
def test_the_shipped_files_are_found_by_their_names_and_keep_the_class(name) -> None:
    config = DreamBoothConfig.from_yaml(name)
    assert config.instance_data_dir == "difflens-dog"
    assert config.use_lora == ("lora" in name)
    assert config.train_text_encoder
    assert config.train_token_embedding
    assert config.with_prior_preservation
    assert len(set(config.class_prompts)) == 32
    assert config.prior_target == "raw_model"
    assert config.num_train_epochs % config.diffusion_lens_epochs == 0  # the last validation is no odd one
    assert config.num_train_epochs // config.diffusion_lens_epochs in range(4, 9)


def test_yaml_there_and_back(tmp_path) -> None:
    config = DreamBoothConfig(**LEAST, validation_prompts=("ein Hündchen", "yes"), snr_gamma=5, lr_power="2")
    assert DreamBoothConfig.from_yaml(config.to_yaml(tmp_path / "a.yaml")) == config
    assert (config.snr_gamma, config.lr_power) == (5.0, 2.0)


def test_yaml_reads_1e_4_as_text_and_we_as_a_number(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("instance_data_dir: a\ninstance_prompt: b\nlearning_rate: 1e-4\n")
    assert DreamBoothConfig.from_yaml(path).learning_rate == 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1}, "learning_rat: no such key; did you mean learning_rate?"),
        ({"zzzzzz": 1}, "zzzzzz: no such key$"),
        ({"subject_prompt": "a"}, "subject_prompt: is the same as instance_prompt, which is given too"),
        ({"optimizer": {"beta": 1}}, "optimizer: beta: no such key; known are betas, eps, type, weight_decay"),
        ({"optimizer": {"type": "SGD"}}, "optimizer: type: must be AdamW"),
        ({"diffusion_lens_params": 3}, "diffusion_lens_params: 3 must hold"),
        ({"num_train_epochs": 0}, "num_train_epochs: 0 must be at least 1"),
        ({"num_train_epochs": 2.5}, "num_train_epochs: 2.5 must be a whole number"),
        ({"num_train_epochs": True}, "num_train_epochs: True must be a whole number"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast' must be a number"),
        ({"learning_rate": float("nan")}, "learning_rate: nan must be a finite number"),
        ({"learning_rate": -1.0}, "learning_rate: -1.0 must be at least 0"),
        ({"train_text_encoder": "yes"}, "train_text_encoder: 'yes' must be true or false"),
        ({"snr_gamma": 0}, "snr_gamma: 0.0 must be greater than 0"),
        ({"adam_beta1": 1}, "adam_beta1: 1.0 must be at least 0 and less than 1"),
        ({"mixed_precision": "fp8"}, "mixed_precision: 'fp8' must be one of no, fp16, bf16"),
        ({"lr_scheduler": "cosin"}, "lr_scheduler: 'cosin' must be one of constant, constant_with_warmup, linear"),
        ({"lr_scheduler": "polynomial", "learning_rate": 0}, "learning_rate: must be above 1e-07"),
        ({"resolution": 500}, "resolution: 500 must be divisible by 8"),
        ({"seed": 2**63}, "seed: .* must be less than"),
        ({"validation_prompts": "a dog"}, "validation_prompts: 'a dog' must be a list"),
        ({"diffusion_lens_layers": []}, "diffusion_lens_layers: must be layers from 0 on"),
        ({"diffusion_lens_layers": [1, 1]}, "diffusion_lens_layers: must be layers from 0 on, each once"),
        ({"instance_prompt": " "}, "instance_prompt: is empty"),
        ({"unique_identifier": "sks"}, "unique_identifier: 'sks' must be in instance_prompt, which is 'a photo of xon"),
        ({"with_prior_preservation": True}, "class_prompt: missing; with_prior_preservation needs it"),
    ],
)
def test_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        DreamBoothConfig.from_dict({**LEAST, **changes})


def test_a_missing_key_and_files_that_are_no_config(tmp_path) -> None:
    with pytest.raises(ValueError, match="instance_prompt: missing; every training needs it"):
        DreamBoothConfig.from_dict({"instance_data_dir": "a"})
    path = tmp_path / "a.yaml"
    for text, message in (
        ("a: [", "not valid YAML"),
        ("- a", "expected lines of the form key: value"),
        ("seed: x", "instance_data_dir: missing"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"a.yaml: {message}"):
            DreamBoothConfig.from_yaml(path)
    with pytest.raises(FileNotFoundError):
        DreamBoothConfig.from_yaml("nowhere.yaml")


def test_roles_of_the_validation_prompts() -> None:
    config = DreamBoothConfig(
        **LEAST,
        unique_identifier="xon",
        class_prompt="a photo of a dog",
        validation_prompts=("xon", "a red circle", "a photo of a dog", "exxon"),
    )
    roles = {each.prompt: each.role for each in config.all_validation_prompts}
    assert list(roles) == ["a photo of xon dog", "a photo of a dog", "xon", "a red circle", "exxon"]
    assert list(roles.values()) == ["instance", "class", "instance", "control", "control"]
    assert [(each.name, each.role) for each in config.all_validation_prompts if each.seed_offset] == [
        ("a photo of a dog · seed +1", "class")
    ]
    assert len(dataclasses.replace(config, diffusion_lens_class_seeds=1).all_validation_prompts) == 5


def test_any_value_of_any_key_gives_a_config_or_a_value_error() -> None:
    refused = []
    for field in dataclasses.fields(DreamBoothConfig):
        for value in (None, -1, 0, 1, 10**20, 1.5, "", "xon", "1e5", [], ["a"], [3], {}, {"a": 1}, True, b"a"):
            try:
                config = DreamBoothConfig.from_dict({**LEAST, field.name: value})
            except ValueError as error:
                refused.append((field.name, str(error)))
            else:
                assert DreamBoothConfig.from_dict(config.to_dict()) == config
    assert all(name in message or "class_prompt" in message for name, message in refused)
    assert len(refused) > 300
