"""The chat's Lambda handler: retiring an environment with stuck threads, and shutdown, in a process of its own."""

from tests.chat.processes import run


def test_an_environment_with_stuck_threads_retires_after_the_response() -> None:
    """Stuck threads cost memory and CPU for good; Lambda starts a fresh environment instead."""
    assert run(
        """
        from chat import app
        app._runner.add([hang])
        event = {
            "rawPath": "/chat",
            "requestContext": {"http": {"method": "POST"}},
            "headers": {"content-type": "application/json"},
            "body": json.dumps({"messages": [{"role": "user", "content": "hang"}]}),
        }
        answer = app.handler(event, CONTEXT)
        print("timed_out" in answer["body"], '"done"' in answer["body"], retired)
        """,
        AUTH="none",
        SCRIPTED_WORDS_PER_SECOND="0",
        TOOL_ABANDONED_LIMIT="1",
    ).endswith("True True [True]")


def test_a_shutdown_hook_that_fails_does_not_stop_the_others() -> None:
    assert run(
        """
        from chat import app
        from winterbourne.chat.infra import http_pool

        async def closing():
            http_pool.client()
            app._store._backend = object()
            try:
                await lifecycle.run_shutdown()
            except* Exception as failures:
                print(len(failures.exceptions), http_pool._Pool.client)

        asyncio.run(closing())
        """,
        AUTH="none",
    ).endswith("1 None")


def test_shutdown_cancels_connecting_to_mcp_servers() -> None:
    assert run(
        """
        import os, socket
        silent = socket.create_server(("127.0.0.1", 0))
        os.environ["MCP_SERVERS"] = f"station=http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        from chat import app

        async def closing():
            asking = asyncio.create_task(app._servers.connect())
            await asyncio.sleep(0)
            await lifecycle.run_shutdown()
            await asyncio.wait([asking])
            print(asking.cancelled())

        asyncio.run(closing())
        """,
        AUTH="none",
    ).endswith("True")
