"""One module per wire format: a request body into a ChatRequest, events into bytes."""
