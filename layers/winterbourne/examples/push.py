"""Write to the response stream from concurrent tasks, as in Lambda's Node.js runtime: `push.handler`."""

import asyncio

from winterbourne import Response, ResponseStream, on_stream_error, streamify_response


@streamify_response
async def handler(event, response_stream: ResponseStream, context):
    await response_stream.start(Response(headers={"content-type": "text/event-stream"}))

    async def worker(name, pause_s):
        await asyncio.sleep(pause_s)
        await response_stream.write(f"data: {name} is done\n\n")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker("slow", 0.2))
            group.create_task(worker("quick", 0.1))
    except asyncio.CancelledError:  # the deadline is near: there is time for a final frame
        await response_stream.write("event: timeout\ndata: sorry\n\n")
        raise


@on_stream_error
def last_frame(error):
    return f"event: error\ndata: {type(error).__name__}\n\n"
