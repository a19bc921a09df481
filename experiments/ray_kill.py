"""A Ray run whose worker is killed, then its driver, and which one worker continues.

    python experiments/ray_kill.py OUT

Prints what was there after each step. Needs the extra `ray`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nas.record import store

SETTINGS = ("--proxy", "images=1280,resolution=8", "--seed", "7")


def nas(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nas", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(run: Path) -> dict[int, str]:
    if not (run / "run.json").exists():
        return {}
    return {trial.number: trial.canonical() for trial in store.read(run).trials}


def until(run: Path, count: int, process: subprocess.Popen[str]) -> None:
    while len(finished(run)) < count and process.poll() is None:
        time.sleep(0.2)


def descendants(driver: int) -> dict[int, str]:
    """Process ids below the driver, with what they are."""
    table = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in table.splitlines()[1:]]
    ours = {driver}
    before: set[int] = set()
    while ours != before:
        before = set(ours)
        ours |= {int(pid) for pid, parent, _ in rows if int(parent) in before}
    return {int(pid): what for pid, _, what in rows if int(pid) in ours - {driver}}


def ray_workers(driver: int) -> list[int]:
    """The driver's own Ray workers that hold a trial.

    Agents are left out: the death of one would take the whole node down.
    """
    workers = []
    for pid, what in descendants(driver).items():
        if what.startswith("ray::") and "IDLE" not in what and "Agent" not in what:
            workers.append(pid)
    return workers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    run: Path = parser.parse_args().out
    with nas(
        "search", *SETTINGS, "--trials", 10, "--ray", "local", "--workers", 2, "--out", run
    ) as process:
        until(run, 2, process)
        victims = ray_workers(process.pid)
        while not victims and process.poll() is None:
            time.sleep(0.1)  # between two trials
            victims = ray_workers(process.pid)
        os.kill(victims[0], signal.SIGKILL)
        print(
            f"after {len(finished(run))} trials Ray worker {victims[0]} of {len(victims)} is "
            f"killed",
            flush=True,
        )
        until(run, 5, process)
        before, open_, below = finished(run), len(store.read(run).claims), descendants(process.pid)
        process.kill()
        print(f"after {len(before)} trials, {open_} running, the driver is killed", flush=True)
        process.communicate()
    time.sleep(5)
    before |= finished(run)
    left = [pid for pid in below if Path(f"/proc/{pid}").exists()]
    print(f"of its {len(below)} Ray processes {len(left)} are left", flush=True)
    with nas("search", "--resume", run, "--workers", 1) as process:
        problem = process.communicate()[1]
    if process.returncode:
        sys.exit(problem)
    after, record = finished(run), store.read(run)
    paid = [trial.digest for trial in record.trials if trial.number not in record.answered]
    lost = sum(after.get(number) != line for number, line in before.items())
    states = {
        state: sum(t.state == state for t in record.trials) for state in ("complete", "failed")
    }
    print(
        f"continued with --workers 1: {len(after)} trials, {states}; {lost} lost, "
        f"{len(paid) - len(set(paid))} paid twice"
    )


if __name__ == "__main__":
    main()
