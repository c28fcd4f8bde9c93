"""`pygmy trace`: the way of one order through all nodes, put together from what they have logged."""
