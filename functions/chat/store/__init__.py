"""What outlives a request: conversations, limits and stops, over one small store with three backends."""
