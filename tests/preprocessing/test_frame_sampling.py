"""The positions of evenly spaced frames."""

import numpy as np
import pytest

from deepfake_ms.preprocessing.sampling import evenly_spaced


@pytest.mark.parametrize(
    ("length", "number", "positions"),
    [
        (100, 4, [0, 33, 66, 99]),
        (11, 3, [0, 5, 10]),
        (10, 3, [0, 4, 9]),  # 4.5 is rounded down
        (7, 1, [0]),
        (5, 5, [0, 1, 2, 3, 4]),
        (3, 32, [0, 1, 2]),
        (1, 32, [0]),
    ],
)
def test_positions_reach_from_the_first_to_the_last(length, number, positions):
    assert evenly_spaced(length, number) == positions


@pytest.mark.parametrize("number", [2, 8, 32])
def test_positions_are_those_of_deepfakebench(number):
    for length in range(number, 700):
        expected = np.linspace(0, length - 1, number, endpoint=True, dtype=int)
        assert evenly_spaced(length, number) == expected.tolist()
