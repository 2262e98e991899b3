"""A real trace viewer, driven as a person would: speedscope, in a headless Chromium.

It is loaded with a file as its own command does that, then told to save what it understood, by
Ctrl-S. `npm install --global speedscope` and Chromium have to be there; SPEEDSCOPE may name the
package's directory.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

import pytest

LIMIT_S = 60
_KEEP = """
URL.createObjectURL = blob => { blob.text().then(text => { window.saved = text }); return "#" };
HTMLAnchorElement.prototype.click = () => {};
"""
_SAVE = 'window.dispatchEvent(new KeyboardEvent("keydown", {key: "s", ctrlKey: true})); 0'


def needed() -> tuple[str, Path]:
    """Where Chromium and speedscope are; skips if one is not."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("needs a browser: apt install chromium")
    named = os.environ.get("SPEEDSCOPE")
    if named is None and shutil.which("npm"):
        root = subprocess.run(["npm", "root", "--global"], capture_output=True, text=True).stdout
        named = f"{root.strip()}/speedscope"
    if named is None or not Path(named, "dist/release/index.html").exists():
        pytest.skip("needs speedscope: npm install --global speedscope")
    return browser, Path(named)


class Viewer:
    """Chromium, told what to do over a pipe (Chrome DevTools Protocol); a context manager."""

    def __init__(self) -> None:
        browser, self._speedscope = needed()
        self._directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (low_in, to), (back, low_out) = os.pipe(), os.pipe()
        # above 3 and 4, which they become
        theirs_in, theirs_out = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (low_in, low_out))
        options = "--headless --no-sandbox --disable-gpu --remote-debugging-pipe"
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"', "bash"),
                *(browser, *options.split(), f"--user-data-dir={self._directory.name}/profile"),
                *("--allow-file-access-from-files", "about:blank"),
            ],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (low_in, low_out, theirs_in, theirs_out):
            os.close(descriptor)
        self._to, self._back = open(to, "wb", 0), open(back, "rb")  # noqa: SIM115, PTH123
        self._number, self._left = 0, b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._call("Browser.close")
        self._process.wait(LIMIT_S)
        self._to.close()
        self._back.close()
        self._directory.cleanup()

    def _call(self, method: str, session: str | None = None, **params: object) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._left:
                more = self._back.read1(1 << 20)
                assert more, "the browser has gone"
                self._left += more
            answer, _, self._left = self._left.partition(b"\0")
            told = json.loads(answer)
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]

    def _evaluate(self, expression: str) -> Any:
        answer = self._call(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _until(self, condition: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not self._evaluate(condition):
            assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {condition}"
            time.sleep(0.05)

    def understood(self, trace: Path) -> dict[str, Any]:
        """What it saves of a file, as its own format has it."""
        content = base64.b64encode(trace.read_bytes()).decode()
        script = Path(self._directory.name, "load.js")
        script.write_text(
            f"speedscope.loadFileFromBase64({json.dumps(trace.name)}, {json.dumps(content)})"
        )
        page = f"file://{self._speedscope}/dist/release/index.html#localProfilePath={script}"
        self._call("Page.enable", self._session)
        self._call("Page.addScriptToEvaluateOnNewDocument", self._session, source=_KEEP)
        self._call("Page.navigate", self._session, url=page)
        self._until(f"document.title.startsWith({json.dumps(trace.name)})")
        self._evaluate(_SAVE)
        self._until("window.saved !== undefined")
        found: dict[str, Any] = json.loads(self._evaluate("window.saved"))
        self._call("Page.navigate", self._session, url="about:blank")
        return found

    def self_times(self, trace: Path) -> dict[str, Counter[str]]:
        """By track, ns that each name had without what is inside it; arguments are left out."""
        understood = self.understood(trace)
        frames = [frame["name"].split(" {")[0] for frame in understood["shared"]["frames"]]
        return {profile["name"]: _self_times(profile, frames) for profile in understood["profiles"]}


def _self_times(profile: dict[str, Any], frames: list[str]) -> Counter[str]:
    assert profile["unit"] == "microseconds"
    times: Counter[str] = Counter()
    stack: list[str] = []
    last = 0
    for event in profile["events"]:
        now = round(1000 * event["at"])
        if stack:
            times[stack[-1]] += now - last
        if event["type"] == "O":
            stack.append(frames[event["frame"]])
        else:
            assert stack.pop() == frames[event["frame"]]
        last = now
    assert not stack
    return times
