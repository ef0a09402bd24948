"""What the base model predicts, and what the options say against it."""

import pytest

from lib_rimo.lora.files import read_lora
from lib_rimo.training.config.job_file import from_mapping
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.jobs.job import run_job
from lib_rimo.training.setup import settle_prediction
from tests.sd.narrow import narrow_checkpoint

V, NOISE = ("v_prediction", True), ("epsilon", False)


def settled(found, source, v=None, zero=None):
    """(what is trained, the level and option of each sentence)."""
    checkpoint = narrow_checkpoint("sdxl")
    checkpoint.prediction_type, checkpoint.zero_terminal_snr = found
    checkpoint.prediction_source = source
    options = TrainingOptions(v_parameterization=v, zero_terminal_snr=zero)
    told = [(one.level, one.about) for one in settle_prediction(checkpoint, options)]
    return (checkpoint.prediction_type, checkpoint.zero_terminal_snr), told


@pytest.mark.parametrize(
    ("found", "source", "v", "zero", "trained", "told"),
    [
        (V, "stated", None, None, V, []),
        (V, "probed", None, None, V, [("warning", "v_parameterization")]),
        (NOISE, "probed", None, None, NOISE, [("note", "v_parameterization")]),
        (NOISE, "assumed", None, None, NOISE, []),
        (V, "probed", True, None, V, []),
        (V, "probed", False, None, NOISE, [("warning", "v_parameterization")]),
        (NOISE, "assumed", True, True, V, []),
        (V, "stated", None, False, ("v_prediction", False), [("warning", "zero_terminal_snr")]),
    ],
)
def test_the_model_is_followed_unless_the_options_say_otherwise(
    found, source, v, zero, trained, told
):
    assert settled(found, source, v, zero) == (trained, told)


def test_the_file_tells_what_was_done(options):
    options.v_parameterization = options.zero_terminal_snr = True
    metadata = read_lora(run_job(options)).metadata
    assert metadata["ss_zero_terminal_snr"] == "True"
    assert metadata["modelspec.prediction_type"] == "v"


def test_an_unticked_box_of_another_program_leaves_it_to_the_model():
    unticked = {"v_parameterization": False, "zero_terminal_snr": False}
    options, _ = from_mapping({"network_module": "networks.lora", **unticked})
    assert options.v_parameterization is options.zero_terminal_snr is None
    options, _ = from_mapping(unticked)
    assert options.v_parameterization is options.zero_terminal_snr is False
