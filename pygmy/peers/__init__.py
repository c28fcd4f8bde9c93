"""Links between nodes: batched messages and calls over treq, heartbeats on a lane of their own."""

from pygmy.peers.client import AsciiUrl, LinkDown, get_json, http_client, pooled_agent
from pygmy.peers.link import Link, encode
from pygmy.peers.links import Links

__all__ = ["AsciiUrl", "Link", "LinkDown", "Links", "encode", "get_json", "http_client", "pooled_agent"]
