"""Drills: what a stranger would try on a store, with what was promised and what was seen."""
