"""What each key does to the model; names of keys are textual's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nettax.tui.model import Model
from nettax.tui.moment import VIEWS

__all__ = ["press"]

Action = Callable[[Model], object]

BY_NAME: Final[Mapping[str, Action]] = {
    "up": lambda model: _move(model, -1),
    "down": lambda model: _move(model, 1),
    "pageup": lambda model: _move(model, -model.page),
    "pagedown": lambda model: _move(model, model.page),
    "home": lambda model: _to(model, 0),
    "end": lambda model: _to(model, 1 << 30),
    "enter": Model.zoom,
    "escape": Model.back,
    "backspace": Model.back,
    "tab": lambda model: model.go_beside(1),
    "shift+tab": lambda model: model.go_beside(-1),
    "left": lambda model: model.sort_beside(-1),
    "right": lambda model: model.sort_beside(1),
    "f1": Model.toggle_help,
}
BY_CHARACTER: Final[Mapping[str, Action]] = {
    "k": lambda model: _move(model, -1),
    "j": lambda model: _move(model, 1),
    "g": lambda model: _to(model, 0),
    "G": lambda model: _to(model, 1 << 30),
    "<": lambda model: model.sort_beside(-1),
    ">": lambda model: model.sort_beside(1),
    "r": Model.reverse,
    "/": Model.begin_typing,
    " ": Model.pause,
    "?": Model.toggle_help,
    "h": Model.toggle_help,
}


def press(model: Model, key: str, character: str | None) -> bool:
    """Do what a key means; False if it means to quit."""
    if model.typing is not None:
        _type(model, key, character)
        return True
    if character == "q" or key in ("ctrl+c", "ctrl+d"):
        return False
    if character and character in "123456"[: len(VIEWS)]:
        model.go(VIEWS[int(character) - 1])
    elif action := BY_NAME.get(key) or BY_CHARACTER.get(character or ""):
        action(model)
    return True


def _move(model: Model, step: int) -> None:
    if model.help or model.task:
        model.top = max(model.top + step, 0)
    else:
        model.move(step)


def _to(model: Model, place: int) -> None:
    if model.help or model.task:
        model.top = place
    else:
        model.select(place)


def _type(model: Model, key: str, character: str | None) -> None:
    """A key while a filter is being typed."""
    typed = model.typing or ""
    if key == "enter":
        model.pattern, model.typing = typed, None
    elif key in ("escape", "ctrl+c"):
        model.typing = None
    elif key == "backspace":
        model.typing = typed[:-1] if typed else None
    elif key == "ctrl+u":
        model.typing = ""
    elif character and character.isprintable():
        model.typing = typed + character
