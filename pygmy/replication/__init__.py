"""The protocol core: it does no I/O.

It takes a message, a tick or a finished commit, and the time; it returns what to send, to store and to answer.
Rule numbers (P1..P8, V1..V8) are those of docs/protocol.md.
"""
