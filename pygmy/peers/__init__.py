"""Links between nodes: batched messages and calls over treq, heartbeats on a lane of their own."""

from pygmy.peers.agent import NodeAgent
from pygmy.peers.client import AsciiUrl, LinkDown, get_json, http_client
from pygmy.peers.link import Link, encode
from pygmy.peers.links import Links
from pygmy.peers.refusals import problem_of, refusal_of

__all__ = [
    "AsciiUrl",
    "Link",
    "LinkDown",
    "Links",
    "NodeAgent",
    "encode",
    "get_json",
    "http_client",
    "problem_of",
    "refusal_of",
]
