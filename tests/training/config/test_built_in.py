"""The built-in recipes, and what they are for base models of each family."""

import pytest

from lib_rimo.sd.native import Native
from lib_rimo.training.config.built_in import (
    BACKGROUNDS_KEPT,
    BUILT_IN,
    FEW_PICTURES,
    FOR_ANY_FAMILY,
    SDXL,
    V_PREDICTION,
    options_of,
    recipe_for,
)
from lib_rimo.training.config.options import TrainingOptions


def native(family, predicted="epsilon"):
    return Native(family, (512, 512), (448, 704), predicted, False)


FAMILIES = {
    FEW_PICTURES: native("sd1"),
    SDXL: native("sdxl"),
    V_PREDICTION: native("sdxl", "v_prediction"),
}


@pytest.mark.parametrize(("family", "base"), FAMILIES.items())
def test_what_is_for_any_family_goes_on_top_of_the_familys(family, base):
    assert recipe_for(base) == family
    for name in FOR_ANY_FAMILY:
        options = options_of(name, base)
        assert options == {**BUILT_IN[family].options, **BUILT_IN[name].options}
        TrainingOptions(**options)


def test_all_others_are_as_they_are_whatever_the_base():
    for base in (*FAMILIES.values(), native("sd2"), None):
        for name in set(BUILT_IN) - set(FOR_ANY_FAMILY):
            assert options_of(name, base) == BUILT_IN[name].options
    assert options_of(BACKGROUNDS_KEPT, None) == BUILT_IN[BACKGROUNDS_KEPT].options
    assert options_of(BACKGROUNDS_KEPT, native("sd2")) == BUILT_IN[BACKGROUNDS_KEPT].options
