"""The tools the model may call. Every module in here is found and registered; add yours beside them."""
