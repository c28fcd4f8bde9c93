"""Which replica a request goes to: whose turn it is, what is heard of each, and going on to the next."""
