"""How long certificates are good for, in days."""

DAYS = 825  # a node's: what browsers take at most from a CA that somebody has added
CA_DAYS = 3653
EXPIRING_DAYS = 30  # from then on `pygmy certs` makes a new one
