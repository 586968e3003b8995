"""AG-UI 1.0, `POST /agui`: what CopilotKit and `@ag-ui/client` speak."""

from winterbourne.chat.formats.ag_ui.decode import FORMAT

__all__ = ["FORMAT"]
