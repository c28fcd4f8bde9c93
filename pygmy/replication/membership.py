"""What a replica needs of its membership: the view, from whatever keeps it (`pygmy.replication.register`)."""

from collections.abc import Callable
from typing import Protocol

from pygmy.messages.register import RegisterReply
from pygmy.messages.replication import Version, View, ViewMessage
from pygmy.replication.core import Core


class Membership(Protocol):
    """The view as this node knows it, and how it asks for and changes it.

    `read` and `change` end in `on_value` with the view that counts now, later or, when messages are lost, never.
    """

    known: View | None

    def read(self) -> None:
        """Ask for the view that counts."""

    def change(self, expected: Version, new: View) -> None:
        """Put `new` in place of the view numbered `expected`, if that is still the one that counts."""

    def receive(self, sender: str, message: ViewMessage | RegisterReply) -> None:
        """A message about the view: from a node of the tier, or a voter's reply from any node of the cluster."""

    def tick(self) -> None:
        """A heartbeat is due: repeat whatever is unanswered."""

    def why(self) -> str:
        """One sentence on why the view can be neither read nor changed; "" where it can."""


MembershipFactory = Callable[[Core, View | None, Callable[[View], None]], Membership]
