"""Environment pool: scaling with concurrent requests up to the limit, the waiting queue, and failed starts."""

import asyncio
from pathlib import Path

from tests.local.sinks import raw_function, running_pool, until
from tests.opt import WRAPPER
from winterbourne.local.function_config import FunctionConfig


class TestRequestsAtOnce:
    async def test_get_an_environment_each(self) -> None:
        async with running_pool(size=3) as run:
            hanging = [asyncio.create_task(run("hang")) for _ in range(2)]
            await run.surroundings()
            assert len(run.environments) == 3
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    async def test_beyond_the_limit_wait_their_turn(self) -> None:
        async with running_pool(size=2) as run:
            seen = await asyncio.gather(*(run.surroundings() for _ in range(6)))
        assert len(run.environments) == 2
        assert len({each["pid"] for each in seen}) <= 2

    async def test_that_wait_are_mentioned_in_the_log(self) -> None:
        async with running_pool(size=1) as run:
            await asyncio.gather(run("echo"), run("echo"))
        assert "A request is waiting: all environments are busy, and the limit is 1." in run.log

    async def test_that_need_not_wait_are_not_mentioned(self) -> None:
        async with running_pool(size=2) as run:
            await asyncio.gather(run("echo"), run("echo"))
        assert not [line for line in run.log if "is waiting" in line]

    async def test_one_after_the_other_need_one_environment(self) -> None:
        async with running_pool(size=4) as run:
            for _ in range(3):
                invocation = run.invocation("echo")
                await run.run(invocation)
                await invocation.runtime_done.wait()
        assert len(run.environments) == 1

    async def test_take_whichever_environment_is_free_first(self) -> None:
        async with running_pool(size=2) as run:
            pid = (await run.surroundings())["pid"]
            hanging = asyncio.create_task(run("linger", seconds=0.2))
            seen = await asyncio.gather(run.surroundings(), run.surroundings())
            assert len(run.environments) == 2
            assert all(each["pid"] for each in seen)
            assert pid
            await hanging


class TestAFailedStart:
    async def test_answers_one_request_and_the_next_tries_again(self) -> None:
        async with running_pool(raw_function(variables={"INIT": "exit"}), size=1) as run:
            first, second = await asyncio.gather(run("echo"), run("echo"))
        assert first.error
        assert second.error
        assert len(run.environments) == 2

    async def test_completes_the_request_it_answers(self) -> None:
        async with running_pool(raw_function(variables={"INIT": "exit"}), size=1) as run:
            invocation = run.invocation("echo")
            await run.run(invocation)
            await asyncio.wait_for(invocation.runtime_done.wait(), 5)


class TestStarting:
    async def test_before_the_first_request_saves_it_the_cold_start(self) -> None:
        async with running_pool() as run:
            run.pool.start_environment()
            await until(lambda: bool(run.pool._idle))
            await run("echo")
        assert len(run.environments) == 1


async def test_stopping_the_pool_ends_all_its_processes() -> None:
    async with running_pool(size=2) as run:
        await asyncio.gather(run.surroundings(), run.surroundings())
        processes = [environment._process for environment in run.environments]
    assert all(process and process._process.returncode is not None for process in processes)


class TestAnEnvironmentThatRetires:
    async def test_has_a_successor_while_it_finishes_what_it_has(self, tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text(
            "import asyncio, os\nfrom winterbourne import retire\nasync def handler(event, context):\n"
            "    if event['do'] == 'retire':\n        retire()\n"
            "    while event['do'] == 'linger' and not os.path.exists('enough'):\n        await asyncio.sleep(0.01)\n"
            "    return os.getpid()"
        )
        function = FunctionConfig(task_root=tmp_path, handler="app.handler", wrapper=str(WRAPPER), managed_instances=4)
        async with running_pool(function, size=1) as run:
            await run("start")
            await until(lambda: len(run.pool._idle) == 4)
            lingering = asyncio.create_task(run("linger"))
            retiring = await run("retire")
            later = await asyncio.gather(*(run("later") for _ in range(3)))
            assert not lingering.done()
            assert [each.error for each in later] == [None] * 3
            assert later[-1].body != retiring.body
            (tmp_path / "enough").touch()
            assert ((await lingering).error, (await lingering).body) == (None, retiring.body)
        assert len(run.environments) == 2


class TestReplacingEnvironments:
    async def test_gives_the_next_request_a_new_process_and_ends_the_idle_one(self) -> None:
        async with running_pool(size=1) as run:
            before = (await run.surroundings())["pid"]
            run.pool.replace_environments()
            assert (await run.surroundings())["pid"] != before
            await until(lambda: not Path(f"/proc/{before}").exists())

    async def test_lets_an_answer_under_way_end_even_at_the_limit(self) -> None:
        async with running_pool(size=1) as run:
            await run.surroundings()
            slow = asyncio.create_task(run("linger", seconds=0.3))
            await until(lambda: bool(run.environments[0].in_flight))
            run.pool.replace_environments()
            await run.surroundings()
            assert len(run.environments) == 2
            assert not (await slow).error
            await until(lambda: len(run.pool._tasks) == 1)

    async def test_twice_is_no_different(self) -> None:
        async with running_pool(size=1) as run:
            await run.surroundings()
            run.pool.replace_environments()
            run.pool.replace_environments()
            assert not (await run("echo")).error

    async def test_serves_on_with_one_process_for_many(self) -> None:
        async with running_pool(raw_function(managed_instances=1), size=1) as run:
            await run.surroundings()
            run.pool.replace_environments()
            assert not (await run("echo")).error


class TestTheFirstStart:
    async def test_is_waited_for(self) -> None:
        async with running_pool() as run:
            run.pool.start_environment()
            assert await run.pool.initialized(10) is None

    async def test_that_failed_has_its_error(self) -> None:
        async with running_pool(raw_function(variables={"INIT": "exit"})) as run:
            run.pool.start_environment()
            error = await run.pool.initialized(10)
        assert error
        assert error.at_init
