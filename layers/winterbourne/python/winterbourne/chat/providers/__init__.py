"""Model providers, one module each; all implement the `Provider` protocol in `base`."""
