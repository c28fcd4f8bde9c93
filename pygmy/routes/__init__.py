"""The HTTP contract: route tables that the three servers share, whichever of them a request reaches."""
