"""Everything HTTP that all three roles share."""
