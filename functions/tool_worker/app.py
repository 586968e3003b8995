"""The tool worker's Lambda handler: runs the tools that `chat.tools.worker` declares."""

from tool_worker import tools
from winterbourne.chat import ToolWorker

worker = ToolWorker(tools=tools)
handler = worker.handler
