"""The page in Chinese: every text and every sentence that can reach it has a translation."""

import ast
import dataclasses
import json
import re

import pytest

from lib_rimo.environment import ROOT
from lib_rimo.errors import UserError
from lib_rimo.messages import Message
from lib_rimo.training.config.built_in import BUILT_IN as RECIPES
from lib_rimo.training.config.options import GROUPS, TrainingOptions
from lib_rimo.training.config.questions import QUESTIONS
from lib_rimo.ui.settings import HIDDEN_OPTIONS

CHINESE = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
SCRIPTS = sorted((ROOT / "javascript").glob("rimo_*.js"))
# What only the command line tells, or nobody: verbs, their environment, what makes the base model.
NEVER_IN_A_PAGE = ("commands", "environment.py", "pytorch_build.py", "demo", "base_model")
TELLING = {"UserError", "MissingError", "Message"}
SENTENCE = ("sentence", "template")  # what a function's parameter is called that becomes a message
# Messages made elsewhere, states, names of devices, and what the X/Y/Z script shows as it is.
NOT_FROM_HERE = (
    "objections[0]",
    "framing",
    "what",
    "command",
    "properties.name",
    "job.state()",
    "str(error)",
)
WORD = re.compile("[A-Za-z]{2}")


def modules():
    for path in sorted((ROOT / "lib_rimo").rglob("*.py")):
        place = path.relative_to(ROOT / "lib_rimo")
        if place.parts[0] not in NEVER_IN_A_PAGE:
            yield place, ast.parse(path.read_text(encoding="utf-8"))


def texts_of(node, names):
    """The texts that an expression can be; None for what cannot be told from the source."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        either = [texts_of(part, names) for part in (node.body, node.orelse)]
        return None if None in either else [text for texts in either for text in texts]
    if isinstance(node, ast.Name):
        return names.get(node.id)
    return None


def forwarding():
    """Functions and classes that make a message of the sentence that they get first."""
    names = set(TELLING)
    for _, tree in modules():
        for node in ast.walk(tree):
            made = [node] if getattr(node, "name", "") != "__init__" else []
            if isinstance(node, ast.ClassDef):
                made = [part for part in node.body if getattr(part, "name", "") == "__init__"]
            for function in made:
                parameters = getattr(getattr(function, "args", None), "args", [])
                if any(parameter.arg in SENTENCE for parameter in parameters[:2]):
                    names.add(node.name)
    return names


def told():
    """(module, line, expression, texts or None) of every place where a message is made."""
    telling = forwarding()
    constants = {
        node.targets[0].id: texts
        for _, tree in modules()
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and (texts := texts_of(node.value, {}))
    }
    for place, tree in modules():
        names = dict(constants)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name, texts = node.targets[0].id, texts_of(node.value, {})
                names[name] = [*names.get(name, []), *(texts or [])]
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            if getattr(node.func, "id", getattr(node.func, "attr", "")) in telling:
                yield place, node.lineno, node.args[0], texts_of(node.args[0], names)


def test_every_sentence_that_can_reach_the_page_is_translated():
    untranslated, found = [], 0
    for place, line, _, texts in told():
        for text in texts or []:
            found += 1
            if WORD.search(text) and text not in CHINESE:
                untranslated.append(f"{place}:{line}: {text}")
    assert found > 150
    assert untranslated == []


def test_sentences_are_told_with_their_values_apart():
    """A finished sentence, as an f-string is, could not be translated."""
    finished = [
        f"{place}:{line}"
        for place, line, first, _ in told()
        if isinstance(first, (ast.JoinedStr, ast.BinOp))
        and "__name__" not in ast.unparse(first)  # a fault of ours, which has no sentence
    ]
    assert finished == []


def test_every_sentence_stands_where_it_can_be_found():
    """Else nobody would see that its translation is missing."""
    hidden = [
        f"{place}:{line}: {ast.unparse(first)}"
        for place, line, first, texts in told()
        if texts is None
        and not isinstance(first, (ast.Starred, ast.JoinedStr))
        and ast.unparse(first) not in (*SENTENCE, *NOT_FROM_HERE)
    ]
    assert hidden == []


def test_every_text_of_the_page_is_translated():
    said = set()
    for path in SCRIPTS:
        source = path.read_text(encoding="utf-8")
        said |= set(re.findall(r'\b(?:say|button|labelled|card)\("([^"]+)"', source))
        said |= set(re.findall(r'\bbutton\([^,]+,\s+"([^"]+)"', source))
        said |= set(re.findall(r'\blabel: "([^"]+)"', source))
        said |= set(re.findall(r'\blabelled\([^()]+, "([^"]+)"\)', source))
        said |= set(re.findall(r'#cross\("([^"]+)"', source))
    assert len(said) > 60
    said.remove("{name}: ")  # a job's state follows
    said |= {f"{{name}}: {state}" for state in ("finished", "stopped", "failed", "died")}
    said |= {"damaged", "stop", "save", "sample", *RECIPES}
    for question in QUESTIONS:
        said |= {question.text}
        said |= {text for answer in question.answers for text in (answer.text, answer.why)}
    assert {text for text in said if WORD.search(text)} - set(CHINESE) == set()


def test_every_option_is_translated():
    said = set(GROUPS.values())
    for option in dataclasses.fields(TrainingOptions):
        if option.name not in HIDDEN_OPTIONS:
            said.add(option.metadata["help"])
            said |= {text for text in [option.metadata["usual"]] if re.search("^0, or", text)}
    assert said - set(CHINESE) == set()


def test_translations_have_the_same_holes():
    for text, translated in CHINESE.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", translated)), text


def test_no_translation_is_of_a_sentence_that_nobody_says():
    sources = [path.read_text(encoding="utf-8") for path in SCRIPTS]
    for path in (ROOT / "lib_rimo").rglob("*.py"):
        # Texts that are broken over lines are put together again.
        tree = ast.parse(path.read_text(encoding="utf-8"))
        sources += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    everything = "\n".join(sources)
    states = {f"{{name}}: {state}" for state in ("finished", "stopped", "failed", "died")}
    axes = {f"{letter} axis" for letter in "XYZ"}
    unsaid = [text for text in CHINESE if text not in everything]
    unsaid = sorted(set(unsaid) - states - axes)
    assert unsaid == []


MESSAGES = [
    Message("{name} is {value}: use {what}.", name="seed", value=-1, what=Message("a number")),
    Message("{first}, then {second}", first=Message("text_encoder_lr 0"), second="x {first} y"),
    Message("Nobody said this."),
    Message("{n} and {n}, {missing}", n=[1, "two", Message("weights")]),
]


@pytest.mark.parametrize("language", [None, CHINESE])
def test_page_and_server_make_the_same_sentence_of_a_message(page, language):
    page.set_content("<p></p>")
    page.add_script_tag(content=f"window.localization = {json.dumps(language)};")
    script = (ROOT / "javascript" / "rimo_page.js").read_text(encoding="utf-8")
    page.add_script_tag(content=f"{script}; window.RimoPage = RimoPage;")
    shown = page.evaluate(
        "all => all.map(RimoPage.text)", [message.as_json() for message in MESSAGES]
    )
    assert shown == [message.text(language) for message in MESSAGES]
    together = page.evaluate("RimoPage.text", [message.as_json() for message in MESSAGES])
    assert together == " ".join(shown)
    assert [Message.from_json(message.as_json()) for message in MESSAGES] == MESSAGES
    assert str(UserError(*MESSAGES)) == " ".join(map(str, MESSAGES))
