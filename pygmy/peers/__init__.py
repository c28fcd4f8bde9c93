"""Links between nodes: batched messages and calls over treq, heartbeats on a lane of their own."""

from pygmy.peers.agent import NodeAgent
from pygmy.peers.client import AsciiUrl, LinkDown, get_json, http_client
from pygmy.peers.link import Link, encode
from pygmy.peers.links import Links
from pygmy.peers.refused import as_refused, problem_of

__all__ = [
    "AsciiUrl",
    "Link",
    "LinkDown",
    "Links",
    "NodeAgent",
    "as_refused",
    "encode",
    "get_json",
    "http_client",
    "problem_of",
]
