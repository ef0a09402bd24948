"""The folders of pictures that the page may look into and write captions to."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.files import written_beside
from lib_rimo.held_folders import HeldFolders
from lib_rimo.hosts.training import TrainingHost, check_folder
from lib_rimo.text import parse_json


class OpenedFolders:
    """The host's own folder, and what the user opened by its name.

    What was opened is remembered over restarts: a page that stayed open goes on with it.
    """

    def __init__(self, host: TrainingHost) -> None:
        self.host = host

    @cached_property
    def held(self) -> HeldFolders:
        """The folders by their handles."""
        return HeldFolders(self.host.home)

    def open(self, path: Path) -> Path:
        """The real path of a folder that the user asks for; raises UserError."""
        real = check_folder(path, self.host)
        if not real.is_dir():
            raise UserError("There is no folder {folder}: check its name.", folder=real)
        if not self.held.holds(real):
            self.held.hold(real)
            self._remember(real)
        return real

    def find(self, path: Path) -> Path:
        """The real path of a folder that was opened; raises UserError for any other."""
        real = check_folder(path, self.host)
        if self.held.holds(real):
            return real
        if str(real) in self._remembered() and real.is_dir():
            return self.held.hold(real)
        raise UserError("{folder} is not open: open the folder first.", folder=real)

    @property
    def _list(self) -> Path:
        return self.host.home / "opened.json"

    def _remembered(self) -> list[str]:
        try:
            known = parse_json(self._list.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [path for path in known if isinstance(path, str)] if isinstance(known, list) else []

    def _remember(self, real: Path) -> None:
        known = [path for path in self._remembered() if path != str(real)]
        with written_beside(self._list) as beside:
            text = json.dumps([*known, str(real)][-HeldFolders.MOST :], indent=1)
            beside.write_text(text, encoding="utf-8")
