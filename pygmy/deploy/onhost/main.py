"""One step of a deployment, asked for on standard input, told of in lines on standard output.

A request is JSON, `{"step": ..., "prefix": ...}`, after its length in a line, and may be followed by a tar archive.
An answer is lines that begin with MARK, JSON each: `{"said": ...}` on the way, then
`{"done": {...}}` or `{"failed": ..., "lines": [...]}`.
"""

import json
import os
import tarfile
from collections.abc import Callable
from typing import IO

from pygmy.deploy.onhost.installing import finish, look, prepare, remove, secrets, units
from pygmy.deploy.onhost.nodes import logs, start, state, stop, wait
from pygmy.deploy.onhost.place import Json, Place, StepFailed, emit

STEPS: dict[str, Callable[[Place, Json, IO[bytes]], Json]] = {
    step.__name__: step for step in (look, prepare, secrets, units, finish, remove, start, stop, state, wait, logs)
}


def main(stdin: IO[bytes]) -> None:
    """Carry out the request that is waiting there."""
    os.umask(0o022)
    request = json.loads(stdin.read(int(stdin.readline())))
    try:
        answer = STEPS[request["step"]](Place(request["prefix"]), request, stdin)
    except StepFailed as failure:
        emit(failed=str(failure), lines=failure.lines)
    except (OSError, tarfile.TarError) as error:
        emit(failed=str(error), lines=[])
    else:
        emit(done=answer)
