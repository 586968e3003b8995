"""A batch has its jobs in order until its window closes."""

from winterbourne.chat.tool_runtime.batching import Batch


def test_each_job_knows_its_place() -> None:
    batch = Batch("first")
    assert [batch.add("second"), batch.add("third")] == [1, 2]
    assert batch.close() == ["first", "second", "third"]


def test_it_is_open_until_it_is_closed() -> None:
    batch = Batch("first")
    assert batch.open
    batch.close()
    assert not batch.open
