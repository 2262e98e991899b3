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
"""


@click.command(epilog=EXAMPLES)
@click.option("-C", "--cpu", type=int, help="The CPU to sit on (the last one online).")
@click.option(
    "--engine",
    type=click.Choice(["gap", "chain", "openssl"]),
    default="gap",
    help="gap watches the cycle counter, chain computes, openssl is `openssl speed` (gap).",
)
@click.option(
    "-d",
    "--duration",
    type=click.IntRange(min=1, max=600),
    default=3,
    help="Seconds; for openssl, of each block size (3).",
)
@click.option("--idle", is_flag=True, help="The CPU is quiet now: keep this as the reference.")
@click.option(
    "--cpu-time", is_flag=True, help="openssl: time by user CPU time, as without -elapsed."
)
@click.option("--calibrate", "do_calibrate", is_flag=True, help="Measure the toll and keep it.")
@click.option("--json", "as_json", is_flag=True, help="One document.")
def command(
    cpu: int | None,
    engine: str,
    duration: int,
    idle: bool,
    cpu_time: bool,
    do_calibrate: bool,
    as_json: bool,
) -> None:
    """What a program of known speed loses on a CPU: by its own clock, and by the ledger's.

    A canary computes and makes no system calls, so whatever stops it is somebody else's work.
    gap finds each interruption and needs no reference; chain and openssl compare with what
    --idle kept. All run at the usual priority: a real-time canary would starve ksoftirqd.
    """
    if cpu_time and engine != "openssl":
        raise UsageError("--cpu-time is a mode of openssl speed: add --engine openssl")
    online = cpus.online()
    where = online[-1] if cpu is None else cpu
    if where not in online:
        raise UsageError(f"CPU {where} is not online: {cpus.format_list(online)} are")
    if do_calibrate:
        _calibrate(where, as_json)
    elif engine == "openssl":
        _openssl(where, duration, not cpu_time, idle, as_json)
    else:
        _watch(where, engine, duration, idle, as_json)


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
