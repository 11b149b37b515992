"""The planted faults fit the current source."""

from collections import Counter
from pathlib import Path

import pytest
from tests.planted_faults import FAULTS, PACKAGE, ROOT, chosen


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_source_and_names_tests(fault, tmp_path):
    copy = tmp_path / PACKAGE / fault.file
    copy.parent.mkdir(parents=True)
    source = ROOT / PACKAGE / fault.file
    copy.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    fault.plant(tmp_path)
    planted = copy.read_text(encoding="utf-8")
    assert planted != source.read_text(encoding="utf-8")
    compile(planted, str(copy), "exec")
    assert all(
        (Path(__file__).parent / f"test_{name}.py").is_file() for name in fault.tests.split()
    )


def test_names_are_unique_and_choose_faults():
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1
    assert [fault.name for fault in chosen(["retries"])] == ["cluster: no retries"]
    assert chosen([]) == list(FAULTS)
