"""Limits on the threads of BLAS: a setting of the process that many threads of it ask for at once."""

import threading
from contextlib import ExitStack, contextmanager

import pytest

from labelloop import cores
from tests.conftest import PATIENCE


@pytest.fixture(autouse=True)
def four():
    """BLAS with four threads, whatever this machine has; gives what it has at the time of asking."""
    with cores._blas().limit(limits=4):
        yield


def blas():
    (count,) = {library.num_threads for library in cores._blas().lib_controllers}
    return count


@contextmanager
def elsewhere(limit):
    """A limit that another thread holds; `leave` on the event that is given ends it."""
    is_inside, leave = threading.Event(), threading.Event()

    def hold():
        with limit():
            is_inside.set()
            leave.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_inside.wait(PATIENCE)

    def end():
        leave.set()
        thread.join()

    try:
        yield end
    finally:
        end()


def test_one_thread_holds_until_the_last_one_leaves_and_then_blas_has_what_it_had():
    with elsewhere(cores.one_thread) as end:
        with cores.one_thread():
            end()  # who came first leaves first
            assert blas() == 1
        assert blas() == 4


def test_a_share_that_begins_or_ends_meanwhile_does_not_loosen_one_thread():
    with cores.one_thread():
        with elsewhere(lambda: cores.share(2)):
            assert blas() == 1
        assert blas() == 1
    assert blas() == 4


def test_of_two_shares_the_smaller_one_counts():
    with elsewhere(lambda: cores.share(2)) as end, cores.share(3):
        assert (blas(), cores.threads()) == (2, 2)
        end()
        assert (blas(), cores.threads()) == (3, 3)
    assert (blas(), cores.threads()) == (4, 4)


def test_workers_are_as_many_as_there_may_be_although_another_thread_keeps_blas_to_one():
    with elsewhere(cores.one_thread):
        assert cores.threads() == 4
        with cores.workers() as executor:
            assert executor.submit(cores.threads).result() == 1  # workers of workers would be too many
            assert cores.threads() == 1
        assert cores.threads(2) == 2


def test_workers_within_workers_are_the_same_ones_until_these_end():
    with cores.workers() as outer:
        with cores.workers() as inner:
            assert inner is outer
        assert outer.submit(lambda: 7).result() == 7
        with pytest.raises(KeyError), cores.workers():
            raise KeyError
    with cores.workers() as other:
        assert other is not outer


def test_many_threads_at_once_leave_everything_as_it_was():
    def work():
        for _ in range(200):
            with cores.one_thread():
                seen.add(blas())

    seen, threads = set(), [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (seen, blas()) == ({1}, 4)


def test_an_error_inside_lifts_the_limit():
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(ZeroDivisionError))
        stack.enter_context(cores.one_thread())
        raise ZeroDivisionError
    assert (blas(), cores.threads()) == (4, 4)
