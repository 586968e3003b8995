"""Infrastructure that everything else stands on: HTTP pool, AWS, secrets, redaction, telemetry."""
