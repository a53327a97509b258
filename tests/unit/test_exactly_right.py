"""When an answer counts as right."""

import numpy as np
import pytest

from trm.scoring.predictions import exactly_right


@pytest.mark.parametrize(
    ("ignored", "right"), [(None, [True, False, False]), (0, [True, True, False])]
)
def test_cells_that_are_not_scored_do_not_count(ignored: int | None, right: list[bool]) -> None:
    labels = np.array([[2, 3], [2, 0], [2, 3]])
    preds = np.array([[2, 3], [2, 5], [2, 0]])
    assert exactly_right(preds, labels, ignored).tolist() == right
