import numpy as np
import pytest

from pleura.errors import UsageError
from pleura.evaluation.mix import SIIM, SIZES, find_mix, find_mixes, size_class


def test_the_whole_set():
    assert SIIM.prevalence == pytest.approx(2669 / 12047)
    assert sum(SIIM.sizes) == pytest.approx(1)
    assert len(SIIM.sizes) == len(SIZES)
    assert sum(SIIM.shares()) == pytest.approx(1)


def test_the_class_of_a_size():
    shares = np.array([0.0, 0.00499, 0.005, 0.00999, 0.01, 0.02999, 0.03, 1.0])
    assert size_class(shares).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_parts_put_the_negatives_first():
    assert SIIM.parts(np.array([0.0, 0.001, 0.007, 0.5])).tolist() == [0, 1, 2, 4]
    assert find_mix("0.1").parts(np.array([0.0, 0.001, 0.5])).tolist() == [0, 1, 1]


def test_names():
    assert find_mix("siim") is SIIM
    rare = find_mix("0.05")
    assert (rare.name, rare.prevalence, rare.sizes) == ("5 % prevalence", 0.05, None)
    assert [mix.name for mix in find_mixes(["siim", "0.2"])] == ["siim", "20 % prevalence"]


@pytest.mark.parametrize("text", ["kaggle", "0", "1", "-0.1", "nan", "5 %", ""])
def test_what_is_no_mix(text):
    message = r"write siim \(.*\) or a prevalence above 0 and below 1, such as 0.05"
    with pytest.raises(UsageError, match=message):
        find_mix(text)
