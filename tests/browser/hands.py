"""What somebody does at the page, counted: a click, a key and something typed are one action each."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import Locator, Page


@dataclass
class Hands:
    """Does it, and remembers what it did."""

    tab: Page
    done: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many actions so far."""
        return len(self.done)

    def click(self, what: Locator, *, shift: bool = False, at: tuple[float, float] | None = None) -> None:
        """One click, in the middle of it unless told where."""
        self.done.append(f"click {what}")
        what.click(modifiers=["Shift"] if shift else [], position={"x": at[0], "y": at[1]} if at else None)

    def press(self, keys: str) -> None:
        """One key, with what is held down beside it."""
        self.done.append(f"press {keys}")
        self.tab.keyboard.press(keys)

    def type(self, text: str) -> None:
        """Type where the focus is."""
        self.done.append(f"type {text}")
        self.tab.keyboard.type(text)

    def put(self, what: Locator, text: str) -> None:
        """Put something else into a field."""
        self.done.append(f"put {text} into {what}")
        what.fill(text)
