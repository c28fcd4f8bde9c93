"""Nodes on a host: started, stopped, asked how they are, waited for."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import IO, Any

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
MOST_BYTES = 1 << 20


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
    """The ends of the nodes' logs, from systemd's journal where they go there."""
    count = request["lines"]
    return {node: _tail(place.log(node), 0, count) or _journal(node, count) for node in request["nodes"]}


def _last_words(place: Place, node: str, since: int) -> list[str]:
    """The end of its log, or of what systemd kept where it did not get as far as to a log."""
    return _tail(place.log(node), since, LAST_LINES) or _journal(node, LAST_LINES)


def _journal(node: str, count: int) -> list[str]:
    if not has_systemd():
        return []
    journal = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={count}"]
    return command([*journal, f"--unit={unit(node)}"], check=False).splitlines()


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


def health(place: Place, node: str, reach: Json) -> Json | None:
    """The node's /health, asked on this host; None: no answer.

    By TLS where there are certificates, else in the clear, as a node does that was started before there were any.
    """
    for connect in (_encrypted, _plain) if (place.data / "tls" / "ca.pem").exists() else (_plain,):
        try:
            answer = _get(connect(place, node, reach), "/health", reach["netloc"])
        except (OSError, ValueError, http.client.HTTPException):
            continue
        if isinstance(answer, dict) and {"message", "state", "redundancy"} <= answer.keys():
            return answer
    return None


def _get(connection: http.client.HTTPConnection, path: str, host: str) -> Any:
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": host})
        return json.loads(connection.getresponse().read(MOST_BYTES))


def _plain(place: Place, node: str, reach: Json) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(reach["address"], reach["port"], timeout=ASK_SECONDS)


def _encrypted(place: Place, node: str, reach: Json) -> http.client.HTTPConnection:
    """A connection to nobody but that node, by the name in its certificate."""
    context = ssl.create_default_context(cafile=str(place.data / "tls" / "ca.pem"))
    plain = socket.create_connection((reach["address"], reach["port"]), ASK_SECONDS)
    try:
        secure = context.wrap_socket(plain, server_hostname=reach["tls_name"])
    except BaseException:
        plain.close()
        raise
    connection = http.client.HTTPConnection(reach["address"], reach["port"])
    connection.sock = secure
    return connection
