"""Names that say that a region is no pneumothorax."""

import pytest

from pleura.dicom.structures import names_another


@pytest.mark.parametrize(
    "name",
    [
        *("lung", "Lungs", "Left_Lung", "left lung fields", "HEART", "Pleural effusion", "rib-5"),
        *("No Pneumothorax", "no_pneumothorax", "pneumothorax: absent", "non-pneumothorax"),
    ],
)
def test_other_structures_are_known_by_name(name):
    assert names_another(name)


@pytest.mark.parametrize(
    "name",
    ["", "1", "ptx", "mask", "Pneumothorax", "lung pneumothorax", "pneumothorax_tube", "Air"],
)
def test_a_name_that_may_be_meant_for_a_pneumothorax_is_none_of_these(name):
    assert not names_another(name)
