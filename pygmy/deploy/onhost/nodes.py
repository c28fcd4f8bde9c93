"""Nodes on a host: started, stopped, asked how they are, waited for."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import time
from pathlib import Path
from typing import IO

from pygmy.deploy.onhost.place import (
    LAST_LINES,
    Json,
    Place,
    StepFailed,
    command,
    has_systemd,
    owner,
    point,
    said,
    unit,
)

STOP_SECONDS = 40.0
ASK_SECONDS = 3.0
PAUSE = 0.3


# ---- nodes


def start(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """Have the node run that version from now on. It must be stopped."""
    node, home = request["node"], place.versions / request["version"]
    (place.nodes / node).mkdir(parents=True, exist_ok=True)
    point(place.link(node), home)
    (place.nodes / node / "stamp").write_text(request["stamp"])
    log = place.log(node)
    since = log.stat().st_size if log.exists() else 0
    try:
        if has_systemd():
            command(["systemctl", "reset-failed", unit(node)], check=False)
            command(["systemctl", "enable", "--quiet", "--now", unit(node)])
        else:
            python = str(home / "venv/bin/python")
            where = ["--cluster", home / "cluster.txt", "--data", place.data, "--config", home / "pygmy.toml"]
            command([python, "-m", "pygmy", "start", node, *map(str, where)], user=owner(), place=place)
    except StepFailed as failure:
        raise StepFailed(str(failure), _last_words(place, node, since) or failure.lines) from None
    return {}


def stop(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """End the node, gracefully, and wait until it has."""
    stop_node(place, request["node"])
    return {}


def stop_node(place: Place, node: str) -> None:
    """As systemd does it, where it runs; and if need be by a signal."""
    if has_systemd():
        command(["systemctl", "stop", unit(node)], check=False)
    deadline = time.monotonic() + STOP_SECONDS
    asked = 0
    while (pid := process(place, node)) is not None:
        if pid and pid != asked:
            os.kill(pid, signal.SIGTERM)
            asked = pid
        if time.monotonic() > deadline:
            raise StepFailed(f"{node} (process {pid}) has not stopped within {STOP_SECONDS:g} s")
        time.sleep(PAUSE)


def state(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """How the nodes are: version, process, and what they say of their health (None: no answer)."""
    nodes = request["nodes"]
    return {node: {**look_at(place, node), "health": health(place, node, url)} for node, url in nodes.items()}


def wait(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """Wait until the node serves, and its tier has so many copies."""
    node, copies = request["node"], request["redundancy"]
    deadline = time.monotonic() + request["patience"]
    last = None
    while True:
        known = health(place, node, request["reach"])
        if known is not None and serves(known, copies):
            return {"health": known}
        word = "no answer" if known is None else _word(known, copies)
        if word != last:
            said(f"{node}: {word}")
            last = word
        if time.monotonic() > deadline:
            ended = "" if process(place, node) is not None else ", and does not run"
            why = f"{node} does not serve after {request['patience']:g} s{ended}: {word}"
            raise StepFailed(why, _last_words(place, node, 0))
        time.sleep(PAUSE)


def serves(known: Json, copies: int) -> bool:
    """True for a node that does its work in a tier that has all its copies."""
    return bool(known["message"] == "Healthy" and known["state"] == "RUNNING" and known["redundancy"] >= copies)


def _word(known: Json, copies: int) -> str:
    if known["message"] != "Healthy":
        return str(known["message"])
    return f"{known['state']}, {known['redundancy']} of {copies} copies"


def logs(place: Place, request: Json, payload: IO[bytes]) -> Json:
    """The ends of the nodes' logs."""
    return {node: _tail(place.log(node), 0, request["lines"]) for node in request["nodes"]}


def _last_words(place: Place, node: str, since: int) -> list[str]:
    """The end of its log, or of what systemd kept where it did not get as far as to a log."""
    if lines := _tail(place.log(node), since, LAST_LINES):
        return lines
    if has_systemd():
        journal = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={LAST_LINES}"]
        return command([*journal, f"--unit={unit(node)}"], check=False).splitlines()
    return []


def _tail(path: Path, since: int, count: int) -> list[str]:
    with contextlib.suppress(OSError), path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(since, size - count * 2000))
        return file.read().decode("utf-8", "replace").splitlines()[-count:]
    return []


# ---- one node


def look_at(place: Place, node: str) -> Json:
    """What it was started with, and its process."""
    return {"version": place.version(node), "stamp": place.stamp(node), "pid": process(place, node)}


def process(place: Place, node: str) -> int | None:
    """The process that holds the node's pid file (0: its number is not there yet); None: nobody does."""
    try:
        file = (place.data / node / "twistd.pid").open("rb")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read(32).strip()
            return int(text) if text.isdigit() else 0
    return None


def health(place: Place, node: str, url: Json) -> Json | None:
    """The node's /health, asked on this host; None: no answer."""
    try:
        connection = _connect(place, node, url)
        try:
            connection.request("GET", "/health", headers={"Host": url["netloc"]})
            answer = json.loads(connection.getresponse().read(1 << 20))
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return answer if isinstance(answer, dict) and {"message", "state", "redundancy"} <= answer.keys() else None


def _connect(place: Place, node: str, url: Json) -> http.client.HTTPConnection:
    """By loopback: a host need not be able to reach itself by the name that others know it by."""
    return http.client.HTTPConnection(url["address"], url["port"], timeout=ASK_SECONDS)
