"""Everything HTTP that all three roles share: errors, limits, contract types, secrets, the internal path, metrics."""
