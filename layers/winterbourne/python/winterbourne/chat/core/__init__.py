"""The conversation itself: messages, events, history, the turn loop and its supervisor."""
