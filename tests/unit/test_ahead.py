"""Working ahead changes nothing but the time."""

import threading

import pytest
from cadastral_vectorizer.engine.ahead import ahead


def test_items_come_in_order_and_all():
    assert list(ahead(range(50), depth=3)) == list(range(50))


def test_what_the_items_raise_is_raised_here():
    def items():
        yield 1
        raise ValueError("the disk is gone")

    got = []
    with pytest.raises(ValueError, match="the disk is gone"):
        for item in ahead(items()):
            got.append(item)
    assert got == [1]


def test_a_consumer_that_stops_ends_the_thread():
    before = threading.active_count()
    for item in ahead(iter(range(10**9))):
        if item == 3:
            break
    assert threading.active_count() == before


def test_never_more_than_the_depth_is_made_ahead():
    made = []
    stream = ahead((made.append(i) or i for i in range(100)), depth=2)
    assert next(stream) == 0
    threading.Event().wait(0.5)
    assert len(made) <= 4
    stream.close()


def test_a_consumer_that_stops_closes_the_items_where_they_were_made():
    ended_in = []

    def items():
        try:
            while True:
                yield threading.current_thread().name
        finally:
            ended_in.append(threading.current_thread().name)

    stream = ahead(items())
    maker = next(stream)
    stream.close()
    assert ended_in == [maker] != [threading.current_thread().name]
