"""What Rimo replaces in the host: all of it or nothing, and how the host's own is put back."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lib_rimo.errors import UserError
from lib_rimo.messages import Message

_NOTHING = object()


@dataclass(frozen=True)
class Place:
    """A function of the host: where it is, and how Rimo calls it."""

    module: str
    path: str  # inside the module, such as "LoraLoader.refresh"
    positional: int  # how many arguments it gets by position, `self` among them
    named: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name inside its owner."""
        return self.path.rpartition(".")[2]

    def owner(self) -> Any:
        """The module or class that holds it; raises AttributeError where there is none.

        Only among the modules that the host has loaded: to import one could load what it never
        uses.
        """
        owner: Any = sys.modules.get(self.module, _NOTHING)
        if owner is _NOTHING:
            raise AttributeError(self.module)
        for part in self.path.split(".")[:-1]:
            owner = getattr(owner, part)
        return owner

    def is_there(self) -> bool:
        """Whether the host has anything of that name."""
        try:
            return hasattr(self.owner(), self.name)
        except AttributeError:
            return False

    def objection(self) -> Message | None:
        """Why it cannot be replaced; None where it can."""
        if not self.is_there():
            return Message("this WebUI has no {function}", function=f"{self.module}.{self.path}")
        function = getattr(self.owner(), self.name)
        try:
            inspect.signature(function).bind(
                *range(self.positional), **dict.fromkeys(self.named, None)
            )
        except (TypeError, ValueError):  # no function, other arguments, or none that can be seen
            function = f"{self.module}.{self.path}"
            return Message("this WebUI's {function} takes other arguments", function=function)
        return None


class Patches:
    """Functions of the host in whose place Rimo's stand."""

    def __init__(self) -> None:
        self._undoing: list[Callable[[], None]] = []

    def replace_all(self, functions: Mapping[Place, Callable[..., Any]]) -> None:
        """Put functions in place of the host's, each with the host's own as first argument.

        Raises UserError where one cannot be replaced, and has replaced none then.
        """
        objections = [objection for place in functions if (objection := place.objection())]
        if objections:
            raise UserError(objections[0])
        for place, function in functions.items():
            self._replace(place.owner(), place.name, function)

    def _replace(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        standing = True

        @functools.wraps(original)
        def replacement(*arguments: Any, **named: Any) -> Any:
            if standing:
                return function(original, *arguments, **named)
            return original(*arguments, **named)

        def undo() -> None:
            # Another extension may have put its own on top of ours: then ours stays there, inert.
            nonlocal standing
            standing = False
            if getattr(owner, name) is replacement:
                setattr(owner, name, original)

        setattr(owner, name, replacement)
        self._undoing.append(undo)

    def undo(self) -> None:
        """Put the host's own functions back."""
        while self._undoing:
            self._undoing.pop()()
