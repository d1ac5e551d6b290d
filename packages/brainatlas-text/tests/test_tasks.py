import operator
from functools import partial

import pytest

from brainatlas_text import tasks
from brainatlas_text.errors import StageError
from brainatlas_text.records import Rejection

pytestmark = pytest.mark.unit


def fail(error):
    raise error


def task(root, work):
    return tasks.Task(stage="prepare", key="ixi-001-t1w", inputs="0", root=root, result=Rejection, work=work)


def test_a_fault_met_on_a_scan_costs_that_scan_and_is_tried_again(tmp_path):
    broken = task(tmp_path, partial(operator.getitem, {}, "shape"))
    refused = tasks.run_for_scan(broken)
    assert (refused.stage, refused.key, refused.reason) == ("prepare", "ixi-001-t1w", "failed")
    assert "KeyError: 'shape'" in refused.detail and "report" in refused.detail
    assert tasks.finished(broken) is None
    with pytest.raises(KeyError):
        tasks.run(broken)


@pytest.mark.parametrize("error", [StageError("no space left"), PermissionError("read-only")])
def test_what_is_not_the_scans_fault_ends_the_build(tmp_path, error):
    with pytest.raises(type(error)):
        tasks.run_for_scan(task(tmp_path, partial(fail, error)))
