"""A whole store in one thread, under one seed and one virtual clock.

The product's own code runs: replicas with their drivers, servers, front ends with their caches.  Simulated are what
it stands on: clocks that drift (`world`), a network that loses, doubles, delays and cuts (`network`), disks that keep
any prefix of what was not yet flushed (`disk`), and processes that are killed, frozen and shut down (`process`).
"""
