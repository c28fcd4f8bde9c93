"""What a deployment does on a host. These modules travel over ssh to hosts on which there is no Pygmy yet.

So they need Python's standard library and one another, nothing else, and run on Python 3.11 or newer.
"""
