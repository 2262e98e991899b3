"""What a guest runs to be counted: it loads the module, has operations done, and tells their cost.

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

NS = 2
"""Of the guest's clock, an instruction: nettax.lab.vm.qemu, ``-icount shift=1``."""


def refuse(what: str) -> None:
    """End, with what the host is to tell."""
    print(json.dumps({"refused": what}))
    sys.exit()


def set_sysctls(values: dict[str, str]) -> None:
    """As sysctl(8) would."""
    for name, value in values.items():
        path = Path("/proc/sys", name.replace(".", "/"))
        try:
            path.write_text(value)
        except FileNotFoundError:
            refuse(f"Linux {os.uname().release} has no sysctl {name}.")
        except OSError as error:
            refuse(f"Linux {os.uname().release} does not take {name}={value}: {error.strerror}.")


def load(module: str, parameters: list[str]) -> int:
    """Insert a module; the address of its code."""
    done = subprocess.run(["insmod", module, *parameters], capture_output=True, text=True)
    if done.returncode:
        log = subprocess.run(["dmesg"], capture_output=True, text=True).stdout.splitlines()
        refuse(f"the kernel does not take the module with {' '.join(parameters)}: {log[-1]}")
    section = Path("/sys/module", name_of(module), "sections/.text")
    return int(section.read_text(), 16)


def name_of(module: str) -> str:
    """As the kernel calls it."""
    return Path(module).stem.replace("-", "_")


def main() -> None:
    """Count."""
    plan = json.loads(sys.argv[1])
    count = ctypes.CDLL(plan["library"], use_errno=True).nettax_exact
    count.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long)
    count.restype = ctypes.c_int64
    set_sysctls(plan["sysctls"])
    instructions: dict[str, float] = {}
    code: dict[str, int] = {}
    loaded = None
    for name, number, parameters in plan["operations"]:
        if loaded != parameters:
            if loaded is not None:
                subprocess.run(["rmmod", name_of(plan["module"])], check=True)
            at = load(plan["module"], parameters)
            loaded = parameters
        ns = count(number, plan["port"], plan["count"])
        if ns < 0:
            why = os.strerror(ctypes.get_errno())
            refuse(f"the server at port {plan['port']} does not do a {name}: {why}.")
        instructions[name] = ns / NS / plan["count"]
        code[name] = at
    print(json.dumps({"instructions": instructions, "code": code}))


if __name__ == "__main__":
    main()
