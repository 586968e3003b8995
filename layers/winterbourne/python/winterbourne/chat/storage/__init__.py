"""Storage: conversations, rate limits and stop signals over one small item store with three backends."""
