import operator
import signal
from functools import partial

import pytest

from brainatlas_text.distribute import Engine
from brainatlas_text.errors import StageError, one_line

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
CRASH = partial(signal.raise_signal, signal.SIGSEGV)


def power(number):
    return partial(pow, number, 2)


@pytest.fixture
def engine():
    engine = Engine(2)
    yield engine
    engine.close()


def test_a_task_that_kills_its_worker_is_given_up_alone_even_as_the_last_one(engine):
    tasks = [power(0), power(1), CRASH, power(3), power(4), power(5)]
    results = dict(engine.run(operator.call, tasks, lambda task: "given up"))
    assert results == {0: 0, 1: 1, 2: "given up", 3: 9, 4: 16, 5: 25}
    assert dict(engine.run(operator.call, [CRASH], lambda task: "alone")) == {0: "alone"}
    with pytest.raises(StageError, match="died twice"):
        list(engine.run(operator.call, [CRASH, power(4)]))


def test_one_worker_is_this_process():
    assert list(Engine(1).run(operator.call, [power(3), power(4)])) == [(0, 9), (1, 16)]


def test_text_from_file_names_is_one_line():
    assert one_line("a\nb\tc\udcff \u00e9") == "a\\nb\\tc\\udcff \u00e9"
