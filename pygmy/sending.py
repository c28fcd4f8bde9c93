"""Sending what is complete at once, and not when the reactor comes to it."""

from typing import Any

from twisted.internet.tcp import Connection


def send(transport: Any, data: bytes) -> None:
    """Send what the socket takes now, if nothing waits to be sent before; the rest when the reactor finds it ready.

    Having the reactor find that takes four system calls and another turn, where one is enough.
    """
    if isinstance(transport, Connection) and not (transport.dataBuffer or transport._tempDataLen):
        sent = transport.writeSomeData(data)
        if isinstance(sent, int):  # else the connection is lost, as the reactor will notice in its own way
            data = data[sent:]
    if data:
        transport.write(data)
