"""AG-UI 1.0, `POST /agui`: the protocol of CopilotKit and `@ag-ui/client`."""

from winterbourne.chat.formats.ag_ui.decode import FORMAT

__all__ = ["FORMAT"]
