"""One module per model provider, all behind the protocol in `base`."""
