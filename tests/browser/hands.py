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

    def click(self, what: Locator, *, shift: bool = False) -> None:
        """One click."""
        self.done.append(f"click {what}")
        what.click(modifiers=["Shift"] if shift else [])

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
