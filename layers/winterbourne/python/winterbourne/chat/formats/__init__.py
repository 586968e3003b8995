"""Wire formats, one package each: decode a request body, encode the answer's events."""
