"""What a guest runs to be counted: it loads modules, has operations done, and tells their cost.

``python exact_client.py JSON``, in a guest whose clock advances by 2 ns with each instruction.
exact.py has what the plan holds and reads what is printed.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NS = 2
"""Of the guest's clock, an instruction: nettax.lab.vm.qemu, ``-icount shift=1``."""


class Refused(Exception):
    """What the host is to tell."""


def set_sysctls(values: dict[str, str]) -> dict[str, str]:
    """As sysctl(8) would; what they were before."""
    before = {}
    for name, value in values.items():
        path = Path("/proc/sys", name.replace(".", "/"))
        try:
            before[name] = path.read_text()
            path.write_text(value)
        except FileNotFoundError:
            raise Refused(f"Linux {os.uname().release} has no sysctl {name}.") from None
        except OSError as error:
            raise Refused(
                f"Linux {os.uname().release} does not take {name}={value}: {error.strerror}."
            ) from None
    return before


def load(module: str, parameters: list[str]) -> dict[str, int]:
    """Insert a module; where the sections of its code are."""
    done = subprocess.run(["insmod", module, *parameters], capture_output=True, text=True)
    if done.returncode:
        log = subprocess.run(["dmesg"], capture_output=True, text=True).stdout.splitlines()
        raise Refused(
            f"the kernel does not take the module with {' '.join(parameters)}: "
            f"{log[-1].partition('] ')[2] or done.stderr.strip()}."
        )
    sections = Path("/sys/module", name_of(module), "sections").glob(".text*")
    return {path.name: int(path.read_text(), 16) for path in sections}


def name_of(module: str) -> str:
    """As the kernel calls it."""
    return Path(module).stem.replace("-", "_")


def counted(library: str, operation: int, phase: int, port: int, count: int) -> tuple[int, int]:
    """The clock's time for so many operations, or -1, and errno; of a process of its own."""
    readable, writable = os.pipe()
    if (child := os.fork()) == 0:
        function = ctypes.CDLL(library, use_errno=True).nettax_exact
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
        function.restype = ctypes.c_int64
        ns = function(operation, phase, port, count)
        os.write(writable, f"{ns} {ctypes.get_errno()}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    ns, error = os.read(readable, 64).split()
    return int(ns), int(error)


def serve(library: str, count: int, plan: dict[str, Any]) -> dict[str, Any]:
    """All operations of one setting: their instructions, and where the module's code was."""
    module, port = plan["module"], plan["port"]
    before = set_sysctls(plan["sysctls"])
    instructions: dict[str, float] = {}
    code: dict[str, dict[str, int]] = {}
    loaded = None
    for name, operation, phase, parameters in plan["operations"]:
        if loaded != parameters:
            if loaded is not None:
                subprocess.run(["rmmod", name_of(module)], check=True)
            at = load(module, parameters)
            loaded = parameters
        ns, error = counted(library, operation, phase, port, count)
        if ns < 0:
            raise Refused(f"the server at port {port} does no {name}: {os.strerror(error)}.")
        instructions[name] = ns / NS / count
        code[name] = at
    subprocess.run(["rmmod", name_of(module)], check=True)
    set_sysctls(before)
    return {"instructions": instructions, "code": code}


def rehearsal(plan: dict[str, Any]) -> dict[str, Any]:
    """The first operation of a setting, in no phase that counts."""
    name, operation, _, parameters = plan["operations"][0]
    return {**plan, "operations": [(name, operation, 0, parameters)]}


def main() -> None:
    """Count."""
    plan = json.loads(sys.argv[1])
    try:
        # What comes first in a guest also pays for slabs that those after it find there.
        serve(plan["library"], plan["count"], rehearsal(plan["settings"][0]))
        done = [serve(plan["library"], plan["count"], each) for each in plan["settings"]]
    except Refused as error:
        print(json.dumps({"refused": str(error)}))
        return
    print(json.dumps({"settings": done}))


if __name__ == "__main__":
    main()
