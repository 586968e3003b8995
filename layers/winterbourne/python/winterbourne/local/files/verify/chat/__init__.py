"""What `winterbourne verify` deploys in the place of the chat."""
