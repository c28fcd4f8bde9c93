"""The two tiers' state machines: pure folds of their logs."""
