"""Models that state nothing are asked what they predict."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib_rimo.sd.checkpoint import load_checkpoint
from lib_rimo.sd.prediction import probe_prediction
from lib_rimo.sd.schedule import alphas_cumprod
from tests.sd.narrow import narrow_checkpoint, write_narrow_checkpoint

SPREAD = 0.7  # of the brightness of the pictures that the ideal model knows
CONFIG = narrow_checkpoint("sdxl").unet.config


class Output:
    def __init__(self, sample):
        self.sample = sample


class IdealModel:
    """What a model would say that has learned all of plain pictures, grey in grey, of any size."""

    config, device, dtype = CONFIG, torch.device("cpu"), torch.float32

    def __init__(self, *, is_v, zero_terminal_snr=False):
        self.is_v = is_v
        self.alphas = alphas_cumprod(zero_terminal_snr)

    def __call__(self, latent, timestep, **words):
        assert words["added_cond_kwargs"]["text_embeds"].shape == (1, 64)
        signal, strength = self.alphas[timestep].sqrt(), (1 - self.alphas[timestep]).sqrt()
        doubt = strength**2 / latent.numel()  # of the noise's mean
        picture = latent.mean() * signal * SPREAD**2 / (signal**2 * SPREAD**2 + doubt)
        noise = (latent - signal * picture) / strength
        return Output(signal * noise - strength * picture if self.is_v else noise)


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize("is_v", [False, True])
def test_an_sdxl_model_tells_what_it_predicts(is_v, zero_terminal_snr):
    model = IdealModel(is_v=is_v, zero_terminal_snr=zero_terminal_snr)
    expected = ("v_prediction", zero_terminal_snr) if is_v else ("epsilon", False)
    assert probe_prediction(model, "sdxl") == (*expected, "probed")


def test_a_model_that_has_learned_nothing_tells_nothing():
    assert probe_prediction(narrow_checkpoint("sdxl").unet, "sdxl").source == "assumed"


def test_a_file_is_asked_only_where_it_states_nothing(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_narrow_checkpoint(path, "sdxl")
    ask = "lib_rimo.sd.checkpoint.probe_prediction"
    model = IdealModel(is_v=True, zero_terminal_snr=True)
    monkeypatch.setattr(ask, lambda unet, family: probe_prediction(model, family))
    loaded = load_checkpoint(path)
    told = loaded.prediction_type, loaded.zero_terminal_snr, loaded.prediction_source
    assert told == ("v_prediction", True, "probed")
    save_file(load_file(path), path, {"modelspec.prediction_type": "epsilon"})
    loaded = load_checkpoint(path)
    told = loaded.prediction_type, loaded.zero_terminal_snr, loaded.prediction_source
    assert told == ("epsilon", False, "stated")
