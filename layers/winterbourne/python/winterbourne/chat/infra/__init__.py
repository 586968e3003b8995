"""Infrastructure shared by the chat engine: HTTP connection pool, AWS clients, secrets, redaction, telemetry."""
