"""Folders of base models that the user has named."""

import json

import pytest

from lib_rimo.errors import UserError
from lib_rimo.hosts.model_folders import FILE, models_in, remember_folder, remembered_folders


def test_a_folder_whose_name_no_folder_can_have_costs_itself_only(tmp_path):
    (tmp_path / "models").mkdir()
    model = tmp_path / "models" / "sd15.safetensors"
    model.touch()
    names = ["n" * 4000, str(tmp_path / "gone"), str(tmp_path / "models")]
    (tmp_path / FILE).write_text(json.dumps(names))
    assert list(models_in(remembered_folders(tmp_path))) == [model]
    with pytest.raises(UserError, match="There is no folder"):
        remember_folder(tmp_path, tmp_path / ("n" * 4000))
