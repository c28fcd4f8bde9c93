"""Measurements of a store, side by side in one run: how fast, how even, what consistency costs, how soon it is whole.

`running.measure` takes them, `results` is what they leave, `report` and `summary` show it, `comparing` compares two.
Loads come from wrk where there is one, else from processes of our own (`generator`), as open loops always do.
"""
