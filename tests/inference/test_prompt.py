import pytest
import torch

from lib_rimo.errors import UserError
from lib_rimo.inference.prompt import (
    Piece,
    encode_prompt,
    parse_emphasis,
    prompt_at,
    prompt_schedule,
    split_composition,
    tokenize,
)
from lib_rimo.sd.tokenizer import clip_tokenizer, pad_with_zero
from tests.sd.narrow import narrow_checkpoint


@pytest.fixture(scope="module")
def tokenizer():
    return clip_tokenizer()


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # what the WebUI's documentation and its own tests state
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.3 * 1.1**2),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.1**4),
                (".", 1.1),
            ],
        ),
        ("(a, b: 0.8),", [("a, b", 0.8), (",", 1.0)]),
        ("a:1.3)", [("a:1.3)", 1.0)]),
        ("a]", [("a]", 1.0)]),
        ("", [("", 1.0)]),
        ("()", [("", 1.0)]),
        ("a BREAK b", [("a", 1.0), ("BREAK", None), ("b", 1.0)]),
        ("(a BREAK b:2)", [("a", 2.0), ("BREAK", None), ("b", 2.0)]),
        ("BREAKFAST", [("BREAKFAST", 1.0)]),
    ],
)
def test_emphasis(text, expected):
    pieces = parse_emphasis(text)
    assert [piece.text for piece in pieces] == [text for text, _ in expected]
    for piece, (_, weight) in zip(pieces, expected, strict=True):
        assert piece.weight == (None if weight is None else pytest.approx(weight))


def test_emphasis_never_fails_on_any_text():
    for text in ("(((", "]]][", "(:)", "(a:1.2.3)", "\\", "(a\\", ":::", "[a:b", "(a:-1)"):
        assert parse_emphasis(text)
    assert parse_emphasis("(a:-1)") == [Piece("a", -1.0)]


def runs(text, steps=10):
    """(last step, text) wherever the text changes."""
    texts = [prompt_at(text, step, steps) for step in range(1, steps + 1)]
    return [
        [step, now]
        for step, (now, then) in enumerate(zip(texts, [*texts[1:], None], strict=True), 1)
        if now != then
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # the WebUI's own examples
        ("test", [[10, "test"]]),
        ("a [b:3]", [[3, "a "], [10, "a b"]]),
        ("a [b: 3]", [[3, "a "], [10, "a b"]]),
        ("a [[[b]]:2]", [[2, "a "], [10, "a [[b]]"]]),
        ("[(a:2):3]", [[3, ""], [10, "(a:2)"]]),
        ("a [b : c : 1] d", [[1, "a b  d"], [10, "a  c  d"]]),
        ("a[b:[c:d:2]:1]e", [[1, "abe"], [2, "ace"], [10, "ade"]]),
        ("a [unbalanced", [[10, "a [unbalanced"]]),
        ("a [b:.5] c", [[5, "a  c"], [10, "a b c"]]),
        ("((a][:b:c [d:3]", [[3, "((a][:b:c "], [10, "((a][:b:c d"]]),
        ("a [b] (c:1.2)", [[10, "a [b] (c:1.2)"]]),
        (r"\[a:b:3\]", [[10, r"\[a:b:3\]"]]),
    ],
)
def test_prompt_editing(text, expected):
    assert runs(text) == expected


def test_alternation():
    assert [prompt_at("[fe|]male", step, 4) for step in range(1, 5)] == [
        "female",
        "male",
        "female",
        "male",
    ]
    assert [prompt_at("[a|(b:1.1)|c]", step, 4) for step in range(1, 5)] == [
        "a",
        "(b:1.1)",
        "c",
        "a",
    ]


def test_the_schedule_counts_the_first_step_as_none():
    assert prompt_schedule("[a:b:2]", 4) == ["a", "a", "a", "b"]


def test_long_prompts_go_on_in_further_chunks(tokenizer):
    (chunk,) = tokenize("cat " * 75, tokenizer)
    assert len(chunk.tokens) == 75
    first, second = tokenize("cat " * 80, tokenizer)
    assert (len(first.tokens), len(second.tokens)) == (75, 5)
    tokens, weights = second.padded(tokenizer)
    assert len(tokens) == len(weights) == 77
    assert tokens[0] == 49406
    assert tokens[6:] == [49407] * 71


def test_a_comma_near_the_end_takes_its_words_along(tokenizer):
    near = "cat " * 60 + ", " + "dog " * 20
    first, second = tokenize(near, tokenizer)
    assert (len(first.tokens), len(second.tokens)) == (61, 20)
    far = "cat " * 50 + ", " + "dog " * 30
    first, second = tokenize(far, tokenizer)
    assert (len(first.tokens), len(second.tokens)) == (75, 6)
    at_end = "cat " * 75 + ", dog"
    first, second = tokenize(at_end, tokenizer)
    assert (len(first.tokens), len(second.tokens)) == (75, 2)


def test_break_begins_a_chunk(tokenizer):
    assert [len(chunk.tokens) for chunk in tokenize("a BREAK b c", tokenizer)] == [1, 2]
    assert [len(chunk.tokens) for chunk in tokenize("BREAK a", tokenizer)] == [0, 1]
    assert [len(chunk.tokens) for chunk in tokenize("a BREAK", tokenizer)] == [1]
    assert [len(chunk.tokens) for chunk in tokenize("", tokenizer)] == [0]


def test_open_clip_pads_behind_the_end_mark_with_zero():
    tokenizer = pad_with_zero(clip_tokenizer())
    (chunk,) = tokenize("cat", tokenizer)
    tokens, _ = chunk.padded(tokenizer)
    assert tokens == [49406, 2368, 49407, *[0] * 74]


@pytest.fixture(scope="module")
def sd1():
    return narrow_checkpoint("sd1")


def test_emphasis_scales_tokens_and_keeps_the_mean(sd1):
    plain = encode_prompt(sd1, "a cat").states
    stressed = encode_prompt(sd1, "a (cat:1.5)").states
    # 0 start, 1 "a", 2 "cat", 3 end and padding
    ratio = stressed / plain
    torch.testing.assert_close(ratio[:, 2] / ratio[:, 1], torch.full((1, 32), 1.5))
    torch.testing.assert_close(ratio[:, 3], ratio[:, 1])
    torch.testing.assert_close(stressed.mean(), plain.mean())
    assert not torch.allclose(ratio[:, 1], torch.ones(1, 32))


def test_states_are_the_text_encoders(sd1):
    tokens = sd1.tokenizers[0]("a cat", padding="max_length", return_tensors="pt").input_ids
    output = sd1.text_encoders[0](tokens, output_hidden_states=True)
    torch.testing.assert_close(encode_prompt(sd1, "a cat").states, output.last_hidden_state)
    skipped = sd1.text_encoders[0].final_layer_norm(output.hidden_states[-2])
    torch.testing.assert_close(encode_prompt(sd1, "a cat", clip_skip=2).states, skipped)
    assert not torch.allclose(skipped, output.last_hidden_state)


def test_chunks_follow_each_other(sd1):
    states = encode_prompt(sd1, "a cat BREAK a dog").states
    assert states.shape == (1, 154, 32)
    torch.testing.assert_close(states[:, :77], encode_prompt(sd1, "a cat").states)
    torch.testing.assert_close(states[:, 77:], encode_prompt(sd1, "a dog").states)


def test_sdxl_reads_two_encoders_and_a_summary():
    sdxl = narrow_checkpoint("sdxl")
    conditioning = encode_prompt(sdxl, "a cat BREAK a dog", clip_skip=2)
    assert conditioning.states.shape == (1, 154, 96)
    tokens = torch.tensor([[49406, 320, 2368, 49407, *[0] * 73]])
    output = sdxl.text_encoders[1](tokens, output_hidden_states=True)
    torch.testing.assert_close(conditioning.states[:, :77, 32:], output.hidden_states[-2])
    torch.testing.assert_close(conditioning.pooled, output.text_embeds)
    nothing = conditioning.zeros()
    assert nothing.states.abs().max() == nothing.pooled.abs().max() == 0


def test_prompts_joined_by_and_have_weights():
    assert split_composition("a cat") == [("a cat", 1.0)]
    assert split_composition("a cat:1.2 AND a dog : -0.5 AND a LAND") == [
        ("a cat", 1.2),
        (" a dog", -0.5),
        (" a LAND", 1.0),
    ]
    assert split_composition("a (cat:1.2)") == [("a (cat:1.2)", 1.0)]


@pytest.mark.parametrize(
    "text", ["(" * 33, "([" * 17, "[" * 33 + "]" * 33, "(a:9" + "9" * 400 + ")"]
)
def test_what_nobody_means_is_refused(text):
    with pytest.raises(UserError, match=r"brackets inside each other|beyond"):
        [parse_emphasis(one) for one in prompt_schedule(text, 3)]


@pytest.mark.parametrize("text", ["(a)" * 4001, "[a|b]" * 2001, "[a" + ":b" * 4000 + "]"])
def test_more_signs_than_anybody_writes_are_refused(text):
    with pytest.raises(UserError, match="more than 4000 of the signs"):
        prompt_schedule(text, 3)


def test_a_separator_of_files_is_no_space_around_a_number():
    assert prompt_schedule("[a:b:2\x1c]", 3) == ["[a:b:2\x1c]"] * 3


def test_a_moment_of_400_digits_is_the_end():
    assert prompt_at(f"[cat:dog:{'1' * 400}]", 3, 5) == "cat"
