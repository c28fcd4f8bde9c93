"""A register for tests that look at other things: whoever reaches it is answered at once."""

from collections.abc import Callable
from typing import Any

from pygmy.messages.replication import Version, View, ViewTell
from pygmy.replication.core import Core
from pygmy.replication.views import birth


class Register:
    """The register of the tier's view, ideal: whoever reaches it is answered at once."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.value: View | None = None
        self.history: list[View] = []
        self.unreachable: set[str] = set()
        self._newborn: dict[str, int] = {}

    def look(self, name: str, incarnation: int) -> View | None:
        if self.value is None:
            self._newborn[name] = incarnation
            if len(self._newborn) == len(self.names):
                self.put(birth(self._newborn))
        return self.value

    def put(self, view: View) -> None:
        self.value = view
        self.history.append(view)

    def membership(self, core: Core, known: View | None, on_value: Callable[[View], None]) -> "Membership":
        """A `MembershipFactory`."""
        return Membership(self, core, known, on_value)

    def members(self) -> list[dict[str, int]]:
        """Who was in the view, epoch by epoch."""
        return [view.members for view in self.history if view.gen == 0]


class Membership:
    """A node's way to the register."""

    def __init__(self, register: Register, core: Core, known: View | None, on_value: Callable[[View], None]) -> None:
        self._register, self._core, self._on_value = register, core, on_value
        self.known = known

    def tick(self) -> None:
        pass

    def why(self) -> str:
        return ""

    def receive(self, sender: str, message: Any) -> None:
        self.read()

    def read(self) -> None:
        register, core = self._register, self._core
        if core.me not in register.unreachable:
            value = register.look(core.me, core.incarnation)
            if value is not None:
                self.known = value
                self._on_value(value)

    def change(self, expected: Version, new: View) -> None:
        register = self._register
        if self._core.me not in register.unreachable:
            if register.value is not None and register.value.number == expected:
                register.put(new)
                self._core.ask_all(ViewTell(self._core.incarnation, new))
            self.read()
