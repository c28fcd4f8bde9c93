"""TLS between nodes: a private CA, a certificate for each node, and who is let in by them."""
