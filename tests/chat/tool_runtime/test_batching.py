"""Batching: a batch collects calls in order until its window closes."""

from winterbourne.chat.tool_runtime.batching import CallBatch


def test_each_call_gets_its_index_in_the_batch() -> None:
    batch = CallBatch("first")
    assert [batch.add("second"), batch.add("third")] == [1, 2]
    assert batch.close() == ["first", "second", "third"]


def test_it_is_open_until_it_is_closed() -> None:
    batch = CallBatch("first")
    assert batch.is_open
    batch.close()
    assert not batch.is_open
