"""Chaos on real processes: faults by a seeded schedule, clients throughout, and a verdict on what they were told."""
