"""The wheel's names of dependencies are those of requirements/, and its files are all there."""

import re
import sys

import pytest
from packaging.requirements import Requirement

from lib_rimo.environment import REQUIREMENTS, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def names(lines):
    return {
        Requirement(line).name.lower()
        for line in lines
        if line.strip() and not line.startswith(("#", "-"))
    }


@pytest.mark.parametrize("extra", ["ui", "demo", "test"])
def test_an_extra_names_what_its_requirements_pin(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = names((REQUIREMENTS / f"{extra}.txt").read_text(encoding="utf-8").splitlines())
    assert names(project["optional-dependencies"][extra]) - {"rimo"} == pinned


def test_every_kind_of_file_beside_the_modules_is_in_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kinds = {p.removeprefix("*") for p in settings["tool"]["setuptools"]["package-data"]["*"]}
    # Trainings leave latents beside the pictures that they train on.
    files = (path for path in (ROOT / "lib_rimo").rglob("*") if path.is_file())
    lost = [
        p
        for p in files
        if "__pycache__" not in p.parts and (p.suffix or p.name) not in {*kinds, ".py"}
    ]
    assert not lost


def test_the_changelog_begins_with_this_version():
    from lib_rimo import __version__

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE)[1] == __version__
