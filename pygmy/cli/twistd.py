"""twistd in a session of its own: the terminal's Ctrl-C reaches the command that waits there, not the nodes."""

import contextlib
import gc
import os
import sys

from pygmy.claim import claim_early, drop


def main() -> None:
    """twistd, with the arguments of this process."""
    with contextlib.suppress(PermissionError):  # a process that leads its group stays where it is
        os.setsid()
    # Loading a program makes no garbage, and looking for some takes a tenth of a start; `NodeProcess` turns it on.
    gc.disable()
    claim_early(sys.argv[1:])
    from twisted.scripts.twistd import run

    sys.argv[0] = "twistd"
    try:
        run()
    finally:
        drop()


if __name__ == "__main__":
    main()
