"""The seam between the services and how their tier keeps its data, and the replicated way of keeping it."""
