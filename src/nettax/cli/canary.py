"""`nettax canary`: a program of known speed, and what it loses."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from nettax.canary import openssl
from nettax.cli.progress import progress
from nettax.errors import UsageError
from nettax.experiment import reference
from nettax.experiment.calibration import calibrate
from nettax.experiment.watch import watch
from nettax.kernel import cpus
from nettax.report import canary as report

EXAMPLES = """
\b
Examples:
  nettax canary --calibrate            the cost of an interrupt on this host
  nettax canary -C 1 --idle            keep what a quiet CPU 1 gives, for later
  nettax canary -C 1 -d 10             what a gap canary loses there now
  nettax canary -C 1 --engine openssl  the real openssl speed, idle against now
  nettax canary --working-set 0,256M --load   the indirect cost, on traffic of its own
  nettax canary --watch -C 0-3 --alert 20%    keep score beside production work
"""
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def sizes(text: str) -> tuple[int, ...]:
    """Sizes with binary units: 0, 64K, 256M; several with commas."""
    return tuple(map(_size, text.split(",")))


def _size(word: str) -> int:
    number = word.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in UNITS else ""
    digits = number.removesuffix(unit)
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 15:
        raise click.BadParameter(f"{word!r} is no size: give 0, 64K, 2M or 1G")
    return int(digits) * UNITS[unit]


def share(text: str) -> float:
    """A share of one CPU, or of a speed: 5% or 0.05."""
    try:
        part = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        part = -1.0
    if not 0 <= part <= 1:  # a NaN, too
        raise click.BadParameter(f"{text!r} is no share: give 5% or 0.05")
    return part


@click.command(epilog=EXAMPLES)
@click.option(
    "-C", "--cpu", metavar="CPU", help="The CPU to sit on (the last one online); --watch: a list."
)
@click.option(
    "--engine",
    type=click.Choice(["gap", "chain", "openssl"]),
    help="gap watches the cycle counter, chain computes, openssl is `openssl speed` (gap).",
)
@click.option(
    "-d",
    "--duration",
    type=click.IntRange(min=1, max=600),
    help="Seconds (3; --watch: until Ctrl-C); for openssl, of each block size.",
)
@click.option("--idle", is_flag=True, help="The CPU is quiet now: keep this as the reference.")
@click.option(
    "--cpu-time", is_flag=True, help="openssl: time by user CPU time, as without -elapsed."
)
@click.option("--calibrate", "do_calibrate", is_flag=True, help="Measure the toll and keep it.")
@click.option(
    "--working-set",
    type=sizes,
    metavar="SIZE[,…]",
    help="Read a set of so much memory (0, 64K, 256M): what that loses beside the time taken.",
)
@click.option("--load", is_flag=True, help="--working-set: part its loss, on traffic of its own.")
@click.option(
    "-r", "--repeat", type=click.IntRange(min=1), help="--load: rounds, 1.5 s for each size (40)."
)
@click.option("--huge-pages", is_flag=True, help="--working-set: 2 MiB pages, not 4 KiB.")
@click.option("--watch", "do_watch", is_flag=True, help="Keep score: bursts at a small share.")
@click.option(
    "--share",
    "most",
    type=share,
    metavar="SHARE",
    help="--watch: at most so much of each CPU (1%).",
)
@click.option(
    "-I",
    "--interval",
    type=click.FloatRange(min=0.1, max=86400),
    help="--watch: seconds a line (1).",
)
@click.option(
    "--alert", type=share, metavar="SHARE", help="--watch: mark with ! what surely loses more."
)
@click.option("--no-ledger", is_flag=True, help="--watch: by its own clock alone; needs no root.")
@click.option("--json", "as_json", is_flag=True, help="One document; --watch: one a line.")
def command(
    cpu: str | None,
    engine: str | None,
    duration: int | None,
    idle: bool,
    cpu_time: bool,
    do_calibrate: bool,
    working_set: tuple[int, ...] | None,
    load: bool,
    repeat: int | None,
    huge_pages: bool,
    do_watch: bool,
    most: float | None,
    interval: float | None,
    alert: float | None,
    no_ledger: bool,
    as_json: bool,
) -> None:
    """What a program of known speed loses on a CPU: by its own clock, and by the ledger's.

    A canary computes and makes no system calls, so whatever stops it is somebody else's work.
    gap finds each interruption and needs no reference; chain and openssl compare with what
    --idle kept. All run at the usual priority: a real-time canary would starve ksoftirqd.

    --working-set reads memory as programs do, and tells how much slower it was in the time that
    it had: the indirect cost. --watch runs in bursts, beside the work that the CPUs are there for.
    """
    _check_modes(
        {
            "--calibrate": do_calibrate,
            "--watch": do_watch,
            "--working-set": working_set is not None,
            "--engine": engine is not None,
        },
        {
            "--cpu-time": (cpu_time, "--engine openssl", engine == "openssl"),
            "--load": (load, "--working-set SIZE", working_set is not None),
            "--huge-pages": (huge_pages, "--working-set SIZE", working_set is not None),
            "--repeat": (repeat is not None, "--load", load),
            "--share": (most is not None, "--watch", do_watch),
            "--interval": (interval is not None, "--watch", do_watch),
            "--alert": (alert is not None, "--watch", do_watch),
            "--no-ledger": (no_ledger, "--watch", do_watch),
        },
        {"--calibrate": do_calibrate, "--load": load, "--watch": do_watch},
        {
            "--idle": (idle, ("--calibrate", "--load", "--watch")),
            "--duration": (duration is not None, ("--calibrate", "--load")),
        },
    )
    online = cpus.online()
    where = online[-1:] if cpu is None else cpus.select(cpu)
    if do_watch:
        from nettax.cli.canary_watch import keep_score

        keep_score(where, most or 0.01, interval or 1.0, duration, alert, not no_ledger, as_json)
        return
    if len(where) > 1:
        raise UsageError("-C takes one CPU: a list is for --watch")
    if do_calibrate:
        _calibrate(where[0], as_json)
    elif working_set is not None and load:
        _experiment(where[0], working_set, repeat or 40, huge_pages, as_json)
    elif working_set is not None:
        if len(working_set) > 1:
            raise UsageError("--working-set takes one size: a list is for --load")
        _observe(where[0], working_set[0], duration or 3, huge_pages, idle, as_json)
    elif engine == "openssl":
        _openssl(where[0], duration or 3, not cpu_time, idle, as_json)
    else:
        _watch(where[0], engine or "gap", duration or 3, idle, as_json)


def _check_modes(
    modes: dict[str, bool],
    needs: dict[str, tuple[bool, str, bool]],
    others: dict[str, bool],
    useless: dict[str, tuple[bool, tuple[str, ...]]],
) -> None:
    """Refuse options that would do nothing.

    `modes` exclude each other. Of each of `needs`: whether it is given, what it needs, and whether
    that is; of each of `useless`: whether it is given, and with which of `others` it does nothing.
    """
    if len(asked := [name for name, given in modes.items() if given]) > 1:
        raise UsageError(f"{' and '.join(asked)} exclude each other")
    for option, (given, needed, there) in needs.items():
        if given and not there:
            raise UsageError(f"{option} does nothing without {needed}: add it")
    for option, (given, without) in useless.items():
        if given and (clash := [name for name in without if others[name]]):
            raise UsageError(f"{option} does nothing with {clash[0]}: leave it out")


def _calibrate(cpu: int, as_json: bool) -> None:
    found = calibrate(cpu, progress=progress("calibrating"))
    path = found.kept().save()
    if as_json:
        click.echo(json.dumps({"schema": "nettax.calibration/1", **asdict(found)}, indent=1))
    else:
        click.echo(report.calibration_text(found))
        click.echo(f"kept in {path}", err=True)


def _watch(cpu: int, engine: str, duration: int, idle: bool, as_json: bool) -> None:
    seen = watch(cpu, "gap" if engine == "gap" else "chain", duration)
    if idle:
        path = reference.keep_speed(engine, cpu, report.speed(seen.canary))
        click.echo(f"kept as the reference of CPU {cpu} in {path}", err=True)
    known = reference.kept_speed(engine, cpu)
    if as_json:
        click.echo(json.dumps(report.document(seen, known), indent=1))
    else:
        click.echo(report.text(seen, known))


def _experiment(
    cpu: int, sizes: tuple[int, ...], rounds: int, huge_pages: bool, as_json: bool
) -> None:
    from nettax.experiment.working_set import experiment
    from nettax.host.privilege import require
    from nettax.report.working_set import experiment_document, experiment_text

    require("CAP_SYS_ADMIN", "make network namespaces")
    found = experiment(
        sizes, cpu, rounds=rounds, huge_pages=huge_pages, progress=progress("measuring")
    )
    click.echo(
        json.dumps(experiment_document(found), indent=1) if as_json else experiment_text(found)
    )


def _observe(
    cpu: int, size: int, duration: int, huge_pages: bool, idle: bool, as_json: bool
) -> None:
    from nettax.experiment.working_set import observe
    from nettax.report.working_set import observation_document, observation_text

    seen = observe(cpu, size, duration, huge_pages=huge_pages)
    if idle:
        path = reference.keep_working_set(cpu, seen.size, huge_pages, seen.speed)
        click.echo(f"kept as the reference of CPU {cpu} in {path}", err=True)
    known = reference.kept_working_set(cpu, seen.size, huge_pages)
    click.echo(
        json.dumps(observation_document(seen, known), indent=1)
        if as_json
        else observation_text(seen, known)
    )


def _openssl(cpu: int, seconds: int, elapsed: bool, idle: bool, as_json: bool) -> None:
    now = openssl.speed(cpu, seconds, elapsed=elapsed)
    if idle:
        path = reference.keep_openssl(cpu, now)
        click.echo(f"kept as the reference of CPU {cpu} in {path}", err=True)
    known = reference.kept_openssl(cpu)
    if as_json:
        click.echo(json.dumps(report.openssl_document(now, known), indent=1))
    else:
        click.echo(report.openssl_text(cpu, now, known))
