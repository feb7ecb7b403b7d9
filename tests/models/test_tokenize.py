"""Whose words are a prompt's words: in every family's pipeline, with every kind of tokenizer."""

from __future__ import annotations

import copy
import inspect
from typing import Any, ClassVar

import diffusers
import pytest
import torch
import transformers
from diffusers import EulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ProcessorMixin, Qwen3Config, Qwen3Model

from difflens_widgets import DiffusionLens, PromptPart
from difflens_widgets.analysis.similarity import similarity_report, token_similarity
from difflens_widgets.lens.token_mask import kept_positions, token_positions
from difflens_widgets.models.align import align
from difflens_widgets.models.encode_prompt import encode_prompt
from difflens_widgets.models.family import TextEncoder
from difflens_widgets.models.own_tokenizer import own_tokenizer, recorded_calls
from difflens_widgets.models.tokenize import read_prompt, read_typed
from difflens_widgets.runs.tokens import Token, read_words, word_text
from difflens_widgets.runs.words import occurrences, part_positions, plain
from joint_pipelines import t5_tokenizer
from pipelines import small_pipeline, small_sdxl_pipeline, tokenizer, tokenizer_padded_with_exclamation_marks
from tokenizers_of_families import CHAT, PythonTokenizer, byte_level, sentence_pieces

ENCODER = TextEncoder("text_encoder", "tokenizer", "layers", "norm")
PROMPT = "a Red 猫 beside the assistant user"


def words_of(tokens: tuple[Token, ...]) -> list[str]:
    return [word_text(word) for word in read_words(tokens)]


def kinds(tokens: tuple[Token, ...]) -> str:
    """The kinds without repetition, such as "bos word eos pad"."""
    found = [token.kind for token in tokens]
    return " ".join(kind for at, kind in enumerate(found) if not at or found[at - 1] != kind)


# the pipelines of families; what the encoder reads, by kinds
FAMILIES = {
    "ZImagePipeline": (byte_level, "template word template pad"),
    "QwenImagePipeline": (byte_level, "template word template"),
    "Flux2KleinPipeline": (byte_level, "template word template pad"),
    "OvisImagePipeline": (byte_level, "template word template pad"),
    "SanaPipeline": (sentence_pieces, "bos template word pad"),
    "Lumina2Pipeline": (sentence_pieces, "bos template word pad"),
    "CogView4Pipeline": (sentence_pieces, "pad bos word"),
    "PixArtSigmaPipeline": (sentence_pieces, "bos word pad"),
    "AuraFlowPipeline": (sentence_pieces, "bos word pad"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """A pipeline of which only the text side is there; its encoder is small and real."""
    kind = getattr(diffusers, request.param, None)
    if kind is None:
        pytest.skip("this version of diffusers has no such pipeline")
    make, expected = FAMILIES[request.param]
    words = make()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 28, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    encoder = Qwen3Model(Qwen3Config(vocab_size=len(words), **sizes, **heads)).eval()
    parts = {"tokenizer": own_tokenizer(words), "text_encoder": encoder}
    others = [name for name in inspect.signature(kind).parameters if name not in parts]
    return kind(**parts, **dict.fromkeys(others)), expected


@pytest.mark.versions
@torch.inference_mode()
def test_each_family_tells_what_its_encoder_is_given(family) -> None:
    pipe, expected = family
    tokens, cut = read_prompt(pipe, ENCODER, PROMPT)
    assert words_of(tokens) == PROMPT.split()
    assert kinds(tokens) == expected
    assert cut == ""
    seen: list[list[int]] = []
    embedding = pipe.text_encoder.get_input_embeddings()
    hook = embedding.register_forward_pre_hook(lambda module, args: seen.append(args[0][0].tolist()))
    encode_prompt(pipe, PROMPT, device=torch.device("cpu"))
    hook.remove()
    assert len(seen) == 1  # to tell the tokens, the encoder did not run
    own, others = [], []
    for token, piece in zip(tokens, pipe.tokenizer.convert_ids_to_tokens(seen[0]), strict=True):
        (own if token.kind == "word" else others).append(piece)
    assert pipe.tokenizer.convert_tokens_to_string(own).split() == PROMPT.replace("R", pick_case(pipe)).split()
    pads = [token.index for token in tokens if token.kind == "pad"]
    assert all(seen[0][at] == pipe.tokenizer.pad_token_id for at in pads)


def pick_case(pipe: Any) -> str:
    """Sana and PixArt write the prompt in lower case; the tokens are the user's characters all the same."""
    return "r" if type(pipe).__name__.startswith(("Sana", "PixArt")) else "R"


def test_a_templates_words_are_not_the_prompts(family) -> None:
    pipe, expected = family
    tokens, _ = read_prompt(pipe, ENCODER, "user")
    assert words_of(tokens) == ["user"]
    assert len(occurrences("user", tokens)) == 1
    for word in ("assistant", "image", "system", "the"):
        with pytest.raises(ValueError, match="its words are: 'user'"):
            occurrences(word, tokens)
    prompt = part_positions(PromptPart.PROMPT, tokens)
    assert {tokens[at].kind for at in prompt} == {"word"}
    if "pad" in expected:
        padding = part_positions(PromptPart.PADDING, tokens)
        assert {tokens[at].kind for at in padding} == {"pad"}
        assert not {*padding} & {*prompt}


def test_an_empty_prompt_has_no_words(family) -> None:
    pipe, _ = family
    tokens, cut = read_prompt(pipe, ENCODER, "")
    assert words_of(tokens) == []
    assert cut == ""


def test_a_long_prompt_is_cut_where_the_pipeline_cuts_it(family) -> None:
    pipe, _ = family
    prompt = "A red fox. " * 300 + "Circle"
    tokens, cut = read_prompt(pipe, ENCODER, prompt)
    end = max(token.span[1] for token in tokens if token.span)
    assert prompt[end:].strip() == cut
    assert cut.endswith("Circle") != any(word == "Circle" for word in words_of(tokens))


class Processor(ProcessorMixin):
    """A processor of text only."""

    attributes: ClassVar = ["tokenizer"]
    tokenizer_class = "AutoTokenizer"

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        return self.tokenizer(text, **options)


@pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) < 5, reason="its processors pass videos to the tokenizer"
)
def test_the_tokenizer_inside_a_processor_is_heard() -> None:
    original = Processor(tokenizer=copy.deepcopy(byte_level()), chat_template=CHAT)
    own = own_tokenizer(original)
    assert own_tokenizer(original) is own
    with recorded_calls() as calls:
        message = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
        own.apply_chat_template([message], add_generation_prompt=True, tokenize=True, return_dict=True)
    assert [PROMPT in call.text for call in calls] == [True]
    assert own.tokenizer is not original.tokenizer


# every kind of tokenizer

WORDS = {
    "clip": tokenizer,
    "openclip": tokenizer_padded_with_exclamation_marks,
    "t5": t5_tokenizer,
    "gemma": sentence_pieces,
    "qwen": byte_level,
    "python": PythonTokenizer,
}
ADDED = ["<cat-toy>", "sks"]


@pytest.fixture(scope="module", params=WORDS)
def words(request: pytest.FixtureRequest) -> Any:
    made = copy.deepcopy(WORDS[request.param]())
    made.add_tokens(ADDED)
    return made


def read(words: Any, prompt: str, length: int = 400) -> tuple[Token, ...]:
    return read_typed(None, words, prompt, length)[0]


SCRIPTS = ["red", "Circle", "ÜBER", "e\u0301te\u0301", "狗", "猫", "赤い", "हिन्दी", "ไทย", "한국어", "русский"]
SCRIPTS += ["שלום", "مرحبا"]
EMOJI = ["😀", "👨\u200d👩\u200d👧", "👍🏽", "🇩🇪", "❤\ufe0f"]


@pytest.mark.parametrize("word", [*SCRIPTS, *EMOJI, *ADDED])
def test_a_word_is_found_and_shown_as_it_was_typed(words, word) -> None:
    prompt = f"a {word} on blue"
    tokens = read(words, prompt)
    found = occurrences(word, tokens)
    assert len(found) == 1
    assert "".join(tokens[at].text for at in found[0]) == word
    assert "".join(words_of(tokens)).replace(" ", "") == prompt.replace(" ", "")
    for other in ("dog", "鳥", "😃", "sk"):
        with pytest.raises(ValueError, match="is not in the prompt"):
            occurrences(other, tokens)


@pytest.mark.versions
def test_faults_that_people_met(words) -> None:
    assert words_of(read(words, "<cat-toy> dog")) == ["<cat-toy>", "dog"]
    assert words_of(read(words, "sks dog")) == ["sks", "dog"]
    with pytest.raises(ValueError, match="its words are: 'a', '狗'"):
        occurrences("猫", read(words, "a 狗"))
    assert words_of(read(words, "red! circle"))[-1] == "circle"
    assert occurrences("!", read(words, "red! circle"))
    end = words.eos_token
    tokens = read(words, f"a {end} circle", 60)
    assert end in words_of(tokens)
    padding = part_positions(PromptPart.PADDING, tokens)
    assert min(padding) > max(occurrences("circle", tokens)[0])


# "▁" is how SentencePiece writes a space
CHARACTERS = st.characters(
    exclude_categories=("Cs", "Cc", "Cn", "Co", "Zs", "Zl", "Zp", "Mn", "Me", "Mc", "Cf"), exclude_characters="▁"
)
WORD = st.text(CHARACTERS, min_size=1, max_size=4) | st.sampled_from([*SCRIPTS, *EMOJI, *ADDED, "<|endoftext|>", "!"])
SPACES = st.sampled_from([" ", "  ", "\n", "\t "])


@st.composite
def prompts(draw: st.DrawFn) -> list[str]:
    return [part for word in draw(st.lists(WORD, min_size=1, max_size=5)) for part in (draw(SPACES), word)]


@settings(deadline=None)  # a busy machine
@given(parts=prompts())
def test_each_word_that_was_read_whole_is_found_and_no_other_in_its_place(words, parts) -> None:
    prompt, typed = "".join(parts), parts[1::2]
    tokens = read(words, prompt)
    spans = [token.span for token in tokens if token.kind == "word"]
    assert all(span is not None for span in spans)
    # in the order of the prompt; every character is shown once, and none that was not typed
    assert spans == sorted(spans)
    shown = "".join(word for word in words_of(tokens))
    assert "".join(shown.split()) in ("".join(typed), "".join(typed).replace(words.eos_token, ""))
    for word in {*typed}:
        try:
            found = occurrences(word, tokens)
        except ValueError:  # a token that is wider or narrower than the word
            edges = {edge for span in spans for edge in span}
            at = [start for start in range(len(prompt)) if prompt.startswith(word, start)]
            assert not all({start, start + len(word)} <= edges for start in at)
            continue
        for positions in found:
            start, end = tokens[positions[0]].span[0], max(tokens[at].span[1] for at in positions)
            assert plain(prompt[start:end].strip()) == plain(word)


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_alignment_stays_inside_the_text(read_text, typed) -> None:
    found = align(read_text, typed)
    assert len(found) == len(read_text)
    assert all(0 <= start <= end <= len(typed) for start, end in found)
    visible = [(start, end) for start, end in found if start < end]
    assert visible == sorted(visible)
    assert align(typed, typed) == [(at, at + 1) for at in range(len(typed))]


def test_a_text_in_lower_case_is_aligned() -> None:
    assert align("a red fox", " A  RED fox ") == [
        (1, 2),
        (2, 2),
        (4, 5),
        (5, 6),
        (6, 7),
        (7, 7),
        (8, 9),
        (9, 10),
        (10, 11),
    ]


def test_the_calls_of_another_thread_are_not_recorded() -> None:
    own = own_tokenizer(tokenizer())
    with recorded_calls() as calls:
        own("a red circle", padding="max_length", max_length=8)
        own.batch_decode([[1, 2]])
    own("a dog")
    assert [call.text for call in calls] == ["a red circle"]
    assert [piece.read for piece in calls[0].pieces] == [True] * 5 + [False] * 3


# in the lens

ONE = ("a 狗", "狗")


def test_words_that_decode_alike_are_not_compared() -> None:
    lens = DiffusionLens(small_pipeline(EulerDiscreteScheduler))
    with pytest.raises(ValueError, match="b: '猫' is not in the prompt; its words are: 'a', '狗'"):
        token_similarity(lens, ONE, ("a 狗", "猫"))
    assert (token_similarity(lens, ONE, ("a 猫", "猫")) < 0.999).any()
    report = similarity_report(lens, ONE, ("A 猫", "猫"))
    assert report.words == ("狗", "猫")
    assert ("a", "A") in report.same_words.words


@pytest.fixture(scope="module")
def sdxl() -> Any:
    """A textual inversion of four vectors in the first encoder's tokenizer only."""
    pipe = small_sdxl_pipeline(EulerDiscreteScheduler)
    pipe.tokenizer = copy.deepcopy(pipe.tokenizer)
    pipe.tokenizer.add_tokens(["<cat>", "<cat>_1", "<cat>_2", "<cat>_3"])
    pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
    return pipe


def test_each_encoder_has_its_own_positions(sdxl) -> None:
    prompt = "a <cat> <cat> red! circle"
    lens = DiffusionLens(sdxl)
    view = lens.view()
    tokens = {name: view.tokenize(prompt, name)[0] for name in ("text_encoder", "text_encoder_2")}
    first, second = tokens.values()
    assert words_of(first) == ["a", "<cat>", "<cat>", "red", "!", "circle"]
    assert occurrences("<cat>", first) == [(2, 3, 4, 5), (6, 7, 8, 9)]
    assert occurrences("circle", first) == [(12,)]
    asked = ["circle", "<cat>", PromptPart.PADDING, 0]
    masks = token_positions(asked, prompt, view.tokenize)
    kept = kept_positions(masks, "text_encoder", tokens)
    (circle,) = occurrences("circle", second)
    assert circle != (12,)
    assert kept[12] == {"text_encoder": frozenset({0, 12}), "text_encoder_2": frozenset({0, *circle})}
    inverted, typed = occurrences("<cat>", first)[0], occurrences("<cat>", second)[0]
    assert kept[2] == {"text_encoder": frozenset({0, *inverted}), "text_encoder_2": frozenset({0, *typed})}
    assert kept[0] == {name: frozenset({0}) for name in tokens}
    for name, own in kept[PromptPart.PADDING].items():
        assert own == frozenset({0, *(token.index for token in tokens[name] if token.kind == "pad")})


def test_the_denoiser_is_given_each_encoders_own_word(sdxl) -> None:
    lens = DiffusionLens(sdxl, batch_size=1)
    given: list[torch.Tensor] = []
    hook = sdxl.unet.register_forward_pre_hook(
        lambda _, args, kwargs: given.append(kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    with torch.inference_mode():
        options = {"num_inference_steps": 1, "guidance_scale": 1.0, "layers": [2]}
        run = lens("a <cat> circle", keep_tokens="circle", **options)
        hook.remove()
        embeds = {text: sdxl.encode_prompt(text, do_classifier_free_guidance=False)[0][0] for text in (run.prompt, "")}
    row = torch.cat(given)[-1]
    view = lens.view()
    width = sdxl.text_encoder.config.hidden_size
    for name, part in (("text_encoder", slice(0, width)), ("text_encoder_2", slice(width, None))):
        (at,) = occurrences("circle", view.tokenize(run.prompt, name)[0])[0]
        expected = embeds[""][:, part].clone()
        expected[[0, at]] = embeds[run.prompt][[0, at], part]
        torch.testing.assert_close(row[:, part], expected)
    assert view.tokenize(run.prompt, "text_encoder_2")[0] != run.tokens
