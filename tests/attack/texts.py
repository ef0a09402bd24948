"""Prompts, tags and other texts that nobody means, and all that reads them."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.inference.grid import parse_axis
from lib_rimo.inference.infotext import parse_infotext
from lib_rimo.inference.prompt import parse_emphasis, prompt_schedule, split_composition
from lib_rimo.lora.blocks import block_of_key
from lib_rimo.lora.naming import read_tensor_name
from lib_rimo.weights.axes import parse_choices, parse_numbers, parse_weights
from lib_rimo.weights.grammar import parse_block_names, parse_blocks, parse_elements
from lib_rimo.weights.presets import parse_block_presets, parse_element_presets
from lib_rimo.weights.record import restore
from lib_rimo.weights.tags import edit_tags, other_kinds, parse_prompt
from tests.attack.tally import Tally

PARSERS = {
    "infotext": parse_infotext,
    "emphasis": parse_emphasis,
    "editing": lambda text: prompt_schedule(text, 3),
    "composition": split_composition,
    "tags": parse_prompt,
    "edited tags": lambda text: edit_tags(text, lambda tag: tag),
    "other kinds": other_kinds,
    "record": lambda text: restore(text, text),
    "blocks": parse_blocks,
    "block names": parse_block_names,
    "elements": parse_elements,
    "numbers": parse_numbers,
    "weights axis": parse_weights,
    "block axis": parse_choices,
    "replacements": lambda text: parse_axis("Prompt S/R", text),
    "presets": parse_block_presets,
    "element presets": parse_element_presets,
    "tensor name": read_tensor_name,
    "block": lambda text: [block_of_key(text, family) for family in ("sd1", "sdxl", "flux")],
}
# Begun once, repeated, ended once.
TEXTS = {
    "digits in a tag": ("<lora:a:", "1", ":x>"),
    "digits in emphasis": ("(a:", "1", "x)"),
    "digits in editing": ("[a:b:", "1", "]"),
    "spaces": ("1girl", " ", "x"),
    "tabs and lines": ("a", "\t\n ", "b: c"),
    "open [": ("", "[", ""),
    "open (a": ("", "(a", ""),
    "open [a": ("", "[a", ""),
    "closed brackets": ("", "(a)[b:c:0.5]", ""),
    "closing only": ("", ")]", ""),
    "open tags": ("", "<lora:", ""),
    "tags": ("", "<lora:a:1>", ""),
    "wrong tags": ("", "<lora:a:1,1,1>", ""),
    "one tag of many parts": ("<lora:a", ":b=c", ">"),
    "colons": ("Steps: 1, Sampler: Euler, CFG scale: 7", ":", ""),
    "prose": ("", "the quick brown fox ", ""),
    "prose in settings": ("Steps: 1, Sampler: Euler, CFG scale: 7, ", "the quick brown fox ", ""),
    "fields": ("Steps: 1, Sampler: Euler, CFG scale: 7", ", a b: c", ""),
    "open quotes": ("Steps: 1, Sampler: Euler, CFG scale: 7", ', a: "b\\', ""),
    "negatives": ("", "Negative prompt:\n", ""),
    "backslashes": ("", "\\", ""),
    "BREAK": ("", " BREAK ", ""),
    "AND": ("a", " AND b :1.2", ""),
    "commas": ("", ",", ""),
    "sparse": ("IN01@1", ",IN07@0.5", ""),
    "ramp": ("<lora:a:0@0", ",1@1", ">"),
    "NOT": ("NOT", " OUT", "@1"),
    "elements": ("IN01/@1", ",IN05-OUT05/attn@0.5", ""),
    "vector": ("1", ",0.5", ""),
    "sparse values in a tag": ("<lora:a:1:IN01@1", ",IN07@0.5", ">"),
    "sparse values on an axis": ("IN01@1", ",IN07@0.5" * 12 + ";IN01@1", ""),
    "alternatives": ("[a", "|b", "]"),
    "colons in a bracket": ("[a", ":b", "]"),
    "unknown options": ("", "<lora:a:1" + ":qrst=5" * 90 + ">", ""),
    "alternatives side by side": ("", "[a|b]", ""),
    "edited within": ("", "[[a:b:1]:c:2]", ""),
    "weights": ("", "(a:1.1)", ""),
    "escaped brackets": ("", "a\\(b\\), ", ""),
    "tags in capitals": ("", "<LORA:a:1>", ""),
    "misspelt options": ("", "<lora:a:1:strt=5>", ""),
    "digits in a name": ("lora_unet_input_blocks_", "1", "_0_proj_in"),
    "names in a name": ("", "up_blocks_1_attentions_", "0"),
    "ranges": ("", "1-2 [", ""),
    "presets": ("", "A:1,1,1,1,1,1,1,1,1,1,1,1\n", ""),
    "empty lines": ("A:", "\n \n", ""),
    "dots": ("unet", ".a", ".lora_A.weight"),
    "quotes": ("", '"', ""),
}
ALPHABET = ["<lora:", "<", ">", ":", "=", "1", "0.5", ",", "@", "~", ";", "[", "]", "(", ")", "|",
            " ", "\n", "\\", "BREAK", "AND", "IN07", "-", "OUT11", "NOT", "X", "R", "lbw=", "x=",
            "te=", "Steps: 1", "Negative prompt:", '"', "\x1c", "\x00", "é", "莉", "9" * 400, "/",
            "BASE", "MIDD", "lbwe=", "start=", "Size: 64x64", "Seed: 1", "CFG scale: nan",
            "input_blocks_", "up_blocks.", "_attentions_", "lora_unet_", ".alpha", "middle_block.",
            "\ud800", "1e999", "Sampler: Euler", "Clip skip: 99", "🙂"]  # fmt: skip
LONG = 100_000  # characters
BOUND = 50.0  # milliseconds for that many


def made(text: str, length: int) -> str:
    """One of TEXTS, that long or a little shorter."""
    begin, repeated, end = TEXTS[text]
    return begin + repeated * ((length - len(begin) - len(end)) // len(repeated)) + end


def odd_texts(count: int, seed: int = 0) -> Iterator[str]:
    """Short texts of all that means something to some parser, the same ones for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        yield "".join(rng.choices(ALPHABET, k=rng.randint(0, 25)))


def read(parser, text: str) -> None:
    """Read a text; a UserError is an answer too, and a short one."""
    try:
        parser(text)
    except UserError as error:
        assert len(str(error)) < 2000  # noqa: PT017


def seconds(parser, text: str) -> float:
    """What a reading takes of the processor."""
    begin = time.process_time()
    read(parser, text)
    return time.process_time() - begin


def attack(count: int, seed: int, folder: Path) -> Tally:
    """`count` odd texts through every parser."""
    tally = Tally()
    for text in odd_texts(count, seed):
        for name, parser in PARSERS.items():
            with tally.expecting_sentences(f"{name}: {text}"):
                read(parser, text)
    tally.tried["texts"] += count
    tally.tried["readings"] += count * len(PARSERS)
    return tally


def attack_with_long_ones(count: int, seed: int, folder: Path) -> Tally:
    """Each of TEXTS through every parser, timed; of `count` readings the fastest counts."""
    tally = Tally()
    slowest = []
    for text in TEXTS:
        long = made(text, LONG)
        for name, parser in PARSERS.items():
            with tally.expecting_sentences(f"{name}: {text}"):
                taken = min(seconds(parser, long) for _ in range(count)) * 1e3
                slowest.append((taken, f"{name} of {text}: {taken:.0f} ms"))
                tally.measure("ms for 100,000 characters", round(taken, 1))
                if taken > BOUND:
                    tally.failures["over the bound"] += 1
    tally.examples += [told for taken, told in sorted(slowest, reverse=True)[:8] if taken > BOUND]
    tally.tried["long texts"] += len(TEXTS) * len(PARSERS)
    return tally
