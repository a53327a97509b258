"""The published builders' large files, rebuilt and compared as the small ones are."""

import pytest

from tests.golden.test_datasets import (
    CASES,
    assert_every_file_is_the_published_one,
    is_large,
    name_of,
    raw_dir,
)

__all__ = ["raw_dir"]  # a fixture


@pytest.mark.parametrize("case", [case for case in CASES if is_large(case)], ids=name_of)
def test_every_file_is_the_published_one(case, raw_dir, tmp_path, monkeypatch):
    assert_every_file_is_the_published_one(case, raw_dir, tmp_path, monkeypatch)
