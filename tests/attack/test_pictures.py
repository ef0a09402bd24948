"""Where pictures lie in folders of any shape, all are used or named."""

import random
from pathlib import Path

from lib_rimo.errors import UserError
from lib_rimo.training.data.folders import find_folders, unused_folders
from lib_rimo.training.data.pictures import find_pictures


def test_no_picture_is_passed_over_in_silence(tmp_path: Path, attack_scale: int) -> None:
    rng = random.Random(0)
    names = ["10_rimo", "0_aside", "plain", "deep", "é莉", "3_b"]
    for number in range(20 * attack_scale):
        root = tmp_path / str(number)
        placed = set()
        for picture in range(rng.randint(1, 6)):
            folder = root.joinpath(*rng.sample(names, rng.randint(0, 3)))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{picture}.png").touch()
            placed.add(folder)
        try:
            used = find_folders(root)
        except UserError:  # a sentence, and so not in silence
            continue
        found = {folder.path for folder in used if find_pictures(folder.path)}
        told = " ".join(message.text() for message in unused_folders(root, used))
        for folder in placed - found:
            assert folder.name.startswith("0_") or folder.name in told or folder == root, told
        assert root not in placed - found or "beside the numbered folders" in told
