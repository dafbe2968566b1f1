"""The figures: how each is measured, and its target (docs/performance.md)."""

import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

from peers import (
    Again, Bare, Before, BeforeOne, Dinit, Peer, Rsup, RsupOne, Runit, RunitSingle, S6, S6Single, Supervisord, Tini, bare, children, cpu,
    installed, resident, switches,
)
import peers

MB = 1_000_000
MIB = 1 << 20
FLAT = "=1,000 programs, flat: all started"


class Results:
    """Values by figure and peer, and their table."""

    ROWS = [
        # figure, unit, divisor, digits, target (text), limits of the target: each (peer, factor), or ("=figure", factor) for rsup's own,
        # or (None, absolute)
        ("start to the first child's exec", "ms", 1e6, 2, "≤ tini; ≤ 1.5 × bare", [("tini", 1), ("bare", 1.5)]),
        ("start to the first child's exec, `rsup --`", "ms", 1e6, 2, "≤ tini; ≤ 1.5 × bare", [("tini", 1), ("bare", 1.5)]),
        ("start: supervisor's CPU until then", "ms", 1e6, 2, "", [("tini", 1), ("bare", 1.5)]),
        ("start: CPU of `rsup --` until then", "ms", 1e6, 2, "", [("tini", 1), ("bare", 1.5)]),
        ("1,000 programs: all running", "ms", 1e6, 0, "≤ dinit", [("dinit", 1)]),
        ("1,000 programs: supervisor's CPU", "ms", 1e6, 0, "≤ ½ dinit", [("dinit", 0.5)]),
        ("1,000 programs: TERM to exit", "ms", 1e6, 0, "≤ dinit", [("dinit", 1)]),
        ("1,000 programs, flat: all started", "ms", 1e6, 0, "", [("dinit", 1)]),
        ("1,000 programs in 10 levels: all started", "ms", 1e6, 0, "≤ dinit", [("dinit", 1), (FLAT, 1)]),
        ("1,000 programs in 10 levels: supervisor's CPU", "ms", 1e6, 0, "≤ dinit", [("dinit", 1)]),
        ("1,000 programs in 10 levels: TERM to exit", "ms", 1e6, 0, "", [("dinit", 1)]),
        ("1,000 programs in 10 levels: memory", "KiB", 1024, 0, "≤ dinit", [("dinit", 1)]),
        ("kill -9 to next exec", "ms", 1e6, 2, "≤ runit", [("runit", 1)]),
        ("kill -9 to next exec among 1,000", "ms", 1e6, 2, "≤ runit", [("runit", 1)]),
        ("100,000 orphans: CPU a reap", "µs", 1e3, 2, "≤ 1.15 × bare", [("bare", 1.15)]),
        ("memory, 1 program", "KiB", 1024, 0, "≤ 1,500 kB", [(None, 1.5e6)]),
        ("memory, per program at 1,000, no logs", "KiB", 1024, 2, "≤ 1.5 KiB", [(None, 1536)]),
        ("memory, 1,000 programs with rotated logs", "KiB", 1024, 0, "≤ 5 MB", [(None, 5e6)]),
        ("logs, 50MB×10: CPU a GiB", "s", 1e9, 3, "≤ 1.1 × bare", [("bare", 1.1)]),
        ("logs, 1MB×3: CPU a GiB", "s", 1e9, 3, "≤ 1.1 × bare", [("bare", 1.1)]),
        ("logs, 100 × 100 lines/s: CPU a line", "µs", 1e3, 2, "≤ 1.25 × bare", [("bare", 1.25)]),
        ("getState p50, kept connection", "µs", 1e3, 1, "≤ 2 × canned", [("bare", 2)]),
        ("getState p50, connection each", "µs", 1e3, 1, "≤ 2 × canned", [("bare", 2)]),
        ("getState, kept connection: server's CPU a call", "µs", 1e3, 1, "", [("bare", 2)]),
        ("getState p50 with 1,000 programs", "µs", 1e3, 1, "the same", [("=getState p50, connection each", 1.1)]),
        ("getAllProcessInfo of 1,000: CPU", "ms", 1e6, 3, "≤ supervisord / 300", [("supervisord", 1 / 300)]),
        ("`status` of 10 programs: wall", "ms", 1e6, 2, "≤ dinitctl's 1.9", [(None, 1.9e6)]),
        ("flood: kill -9 to next exec, quiet", "ms", 1e6, 2, "", []),
        ("flood: kill -9 to next exec, flooded", "ms", 1e6, 2, "≤ 1.3 × quiet", [("=flood: kill -9 to next exec, quiet", 1.3)]),
        ("flood: getState p50, quiet", "µs", 1e3, 1, "", []),
        ("flood: getState p50, flooded", "µs", 1e3, 1, "≤ 3 × quiet", [("=flood: getState p50, quiet", 3)]),
        ("idle 30 s, 10 programs: wake-ups", "", 1, 0, "0", [(None, 0)]),
        ("idle 30 s, 10 programs: CPU", "µs", 1e3, 0, "0", [(None, 0)]),
        ("idle 30 s, 1,000 programs: wake-ups", "", 1, 0, "0", [(None, 0)]),
        ("idle 30 s, 1,000 programs: CPU", "µs", 1e3, 0, "0", [(None, 0)]),
    ]
    PEERS = ["before", "bare", "tini", "runit", "s6", "dinit", "supervisord"]

    def __init__(self):
        self.values = {}

    def add(self, figure, peer, value):
        assert any(row[0] == figure for row in self.ROWS), figure
        self.values.setdefault(figure, {}).setdefault(peer, []).append(value)
        print(f"   {figure}: {peer} {value:,.0f}", file=sys.stderr, flush=True)

    def median(self, figure, peer):
        values = self.values.get(figure, {}).get(peer)
        return statistics.median(values) if values else None

    def table(self):
        peers = [peer for peer in self.PEERS if peer != "before" or any("before" in of for of in self.values.values())]
        lines = [
            "Medians, with (lowest–highest) and the number of runs.", "",
            "| figure | rsup | " + " | ".join(peers) + " | target | |", "|---" * (len(peers) + 4) + "|",
        ]
        for row in self.ROWS:
            if row[0] in self.values:
                lines.append(self.row(peers, *row))
        return "\n".join(lines) + "\n"

    def row(self, peers, figure, unit, divisor, digits, target, limits):
        def cell(peer):
            values = self.values[figure].get(peer)
            if not values:
                return "–"
            show = lambda value: f"{value / divisor:,.{digits}f}"
            spread = "" if len(values) == 1 else f" ({show(min(values))}–{show(max(values))}; {len(values)})"
            return show(statistics.median(values)) + spread

        ours = self.median(figure, "rsup")
        verdicts = []
        for peer, factor in limits:
            if peer is None:
                limit, name = factor, None
            else:
                limit = self.median(peer[1:], "rsup") if peer[0] == "=" else self.median(figure, peer)
                name = "the other" if peer[0] == "=" else peer
                limit = limit * factor if limit is not None else None
            if limit is None or ours is None:
                continue
            text = [("met" if ours <= limit else "missed")] if target else []
            if name:
                ratio = ours / (limit / factor)
                text.append(f"{ratio:.2f} × {name}" if ratio > 0.1 else f"{name} / {1 / ratio:,.0f}")
            verdicts.append(": ".join(text))
        cells = [f"{figure}, {unit}" if unit else figure, cell("rsup"), *map(cell, peers), target, "; ".join(verdicts)]
        return "| " + " | ".join(cells) + " |"


def start(results, short):
    figure = "start to the first child's exec"
    kinds = installed(Rsup, RsupOne, Bare, Tini, RunitSingle, S6Single, Supervisord)
    for n in range(10 if short else 40):
        for kind in kinds:
            if kind is Supervisord and n >= 5:
                continue
            with kind() as peer:
                value = peer.wait_all()[0]
                time.sleep(0.05)
                used = cpu([peer.process.pid])
            if kind not in (RsupOne, BeforeOne):
                results.add(figure, kind.name, value)
                results.add("start: supervisor's CPU until then", kind.name, used)
            if kind in (RsupOne, BeforeOne, Bare, Tini):
                name = kind.name.removesuffix(" --")
                results.add(figure + ", `rsup --`", name, value)
                results.add("start: CPU of `rsup --` until then", name, used)


def thousand(results, short):
    """Starts 1,000 programs, and measures everything that needs 1,000."""
    for n in range(1 if short else 5):
        for kind in installed(Rsup, Bare, Dinit, Runit, S6, Supervisord):
            if kind in (Runit, S6, Supervisord) and n >= 1:
                continue
            with kind(1000) as peer:
                among_thousand(results, kind, peer, is_first=n == 0)


def among_thousand(results, kind, peer, is_first):
    results.add("1,000 programs: all running", kind.name, peer.wait_all()[-1])
    time.sleep(0.5)
    results.add("1,000 programs: supervisor's CPU", kind.name, cpu(peer.pids()))
    if kind is Bare:
        return
    one = results.median("memory, 1 program", kind.name)
    if one is None:
        with kind(1) as single:
            single.wait_all()
            time.sleep(1)
            one = resident(single.pids())
    results.add("memory, per program at 1,000, no logs", kind.name, (resident(peer.pids()) - one) / 999)
    time.sleep(1.2)  # A program that has run for over a second is restarted at once.
    for value in kills(peer, peer.program_pids()[1:11]):
        results.add("kill -9 to next exec among 1,000", kind.name, value)
    if issubclass(kind, Rsup):
        results.add("getState p50 with 1,000 programs", kind.name, ask(peer, "supervisor.getState", 500))
        calls = 20 if kind is Rsup else 3
        before = cpu(peer.pids())
        ask(peer, "supervisor.getAllProcessInfo", calls)
        results.add("getAllProcessInfo of 1,000: CPU", kind.name, (cpu(peer.pids()) - before) / calls)
    if is_first:
        idle_of(results, kind, peer, "idle 30 s, 1,000 programs")
    results.add("1,000 programs: TERM to exit", kind.name, peer.terminate())


def graph(results, short):
    """Starts 1,000 programs in a graph, each level after the one before is ready, and the same programs without it."""
    for _ in range(5 if short else 15):
        for kind in installed(Rsup, Dinit):
            with kind(1000) as peer:
                results.add(FLAT[1:], kind.name, peer.wait_all()[-1])
            figure = "1,000 programs in 10 levels"
            with kind(1000, levels=10) as peer:
                results.add(f"{figure}: all started", kind.name, peer.wait_all()[-1])
                time.sleep(0.5)
                results.add(f"{figure}: supervisor's CPU", kind.name, cpu(peer.pids()))
                results.add(f"{figure}: memory", kind.name, resident(peer.pids()))
                results.add(f"{figure}: TERM to exit", kind.name, peer.terminate())


def kills(peer, pids, pause=0.0):
    """Kills each of these programs. Returns the nanoseconds to the first instruction of its successor."""
    for pid in pids:
        known = len(peer.marks.all())
        begin = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        yield peer.marks.wait(known + 1)[known][1] - begin
        time.sleep(pause)


def restart(results, short):
    figure = "kill -9 to next exec"
    with ExitStack() as stack:
        running = [stack.enter_context(kind()) for kind in installed(Rsup, Again, Runit, S6, Supervisord)]
        for peer in running:
            peer.wait_all()
        for _ in range(8 if short else 25):
            time.sleep(1.3)
            for peer in running:
                pid = peer.marks.all()[-1][0]
                results.add(figure, peer.name, next(kills(peer, [pid])))


class InNamespace:
    """Runs a peer as PID 1 of a new PID namespace."""

    def __init__(self, peer):
        peer.command = ["/usr/bin/unshare", "--pid", "--fork", "--kill-child", *peer.command]
        self.peer = peer

    def pids(self):
        return [children(self.peer.process.pid)[0]]


class ReapLoop(Peer):
    name = "bare"

    def prepare(self):
        return bare("reap", peers.BARE / self.program)


def orphans(results, short):
    count = 20_000 if short else 100_000
    for n in range(3 if short else 12):
        for kind in installed(Rsup, ReapLoop, S6, Supervisord, Tini):
            if kind in (S6, Supervisord, Tini) and n >= (1 if kind is Supervisord else 3):
                continue
            number = 1_000 if kind is Supervisord else count
            with kind(program="orphans", extra={"ORPHANS": number, "BATCH": 100}, start=False) as peer:
                space = InNamespace(peer)
                peer.start()
                while not peer.process.pid or not children(peer.process.pid):
                    time.sleep(0.001)
                pids = space.pids()
                before = cpu(pids)
                peer.marks.wait(2)
                settle(pids)
                results.add("100,000 orphans: CPU a reap", kind.name, (cpu(pids) - before) / number)


def settle(pids):
    """Waits until these processes have been idle for a while."""
    while True:
        before = cpu(pids)
        time.sleep(1.2)
        if cpu(pids) - before < 3_000_000:
            return


def memory(results, short):
    for n in range(1 if short else 3):
        for kind in installed(Rsup, Tini, Runit, S6, Supervisord):
            with kind() as peer:
                peer.wait_all()
                time.sleep(1)
                results.add("memory, 1 program", kind.name, resident(peer.pids()))
        for kind in installed(Rsup, Supervisord):
            if kind is Supervisord and n >= 1:
                continue
            with kind(1000, logs=("50MB", 10)) as peer:
                peer.wait_all()
                time.sleep(1)
                results.add("memory, 1,000 programs with rotated logs", kind.name, resident(peer.pids()))


class Copy(Peer):
    name = "bare"

    def prepare(self):
        size, backups = self.logs
        size = {"50MB": 50 * MIB, "1MB": MIB}[size]
        return bare("copy", self.folder / "log", size, backups, peers.BARE / self.program)


class Logger(Peer):
    """A program, and a process that writes its log."""

    def prepare(self):
        size, backups = self.logs
        folder = self.folder / "log"
        folder.mkdir()
        command = self.logger(folder, {"50MB": 50 * MIB, "1MB": MIB}[size], backups)
        return ["/bin/sh", "-c", f"{peers.BARE / self.program} | {command} & wait"]

    def pids(self):
        word = self.word
        return [pid for pid in children(self.process.pid) if word in open(f"/proc/{pid}/comm").read()]


class S6Log(Logger):
    name, word = "s6", "s6-log"

    def logger(self, folder, size, backups):
        return f"s6-log n{backups} s{size} {folder}"


class Svlogd(Logger):
    name, word = "runit", "svlogd"

    def logger(self, folder, size, backups):
        (folder / "config").write_text(f"s{size}\nn{backups}\n")
        return f"svlogd {folder}"


def logs(results, short):
    amount = 256 * MIB if short else 1024 * MIB
    kinds = installed(Rsup, Copy, Supervisord, S6Log, Svlogd)
    for n in range(3 if short else 12):
        for rule, figure in [(("50MB", 10), "logs, 50MB×10: CPU a GiB"), (("1MB", 3), "logs, 1MB×3: CPU a GiB")]:
            for kind in kinds:
                if kind not in (Rsup, Before, Copy) and n >= (3 if kind is Supervisord else 1):
                    continue
                with kind(program="flood", logs=rule, extra={"BYTES": amount}) as peer:
                    peer.marks.wait(2, 300)
                    time.sleep(0.1)
                    results.add(figure, kind.name, cpu(peer.pids()) * 1024 * MIB / amount)


class Lines(Peer):
    name = "bare"

    def prepare(self):
        return bare("lines", self.count, self.folder, peers.BARE / self.program)


def lines(results, short):
    seconds = 3 if short else 10
    for n in range(3 if short else 6):
        for kind in installed(Rsup, Lines, Supervisord):
            if kind is Supervisord and n >= 2:
                continue
            with kind(100, program="ticker", logs=("50MB", 10)) as peer:
                time.sleep(3 if kind is Supervisord else 1)
                begin, before = time.monotonic(), cpu(peer.pids())
                time.sleep(seconds)
                used, took = cpu(peer.pids()) - before, time.monotonic() - begin
                results.add("logs, 100 × 100 lines/s: CPU a line", kind.name, used / (took * 10_000))


class Canned(Peer):
    name = "bare"

    def socket(self):
        return str(self.folder / "s")

    def prepare(self):
        return bare("canned", self.socket())


def ask(peer, method, count, gap=200, manner="new"):
    """The median of this many calls, in nanoseconds."""
    for _ in range(200):
        if os.path.exists(peer.socket()):
            break
        time.sleep(0.05)
    command = bare("ask", peer.socket(), method, count, gap, manner)
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return statistics.median(map(int, answer.stdout.split()))


def rpc(results, short):
    with ExitStack() as stack:
        running = [stack.enter_context(kind(10)) for kind in installed(Rsup, Canned, Supervisord)]
        for peer in running:
            if peer.name != "bare":
                peer.wait_all()
        time.sleep(0.5)
        for n in range(5 if short else 20):
            for peer in running:
                if peer.name == "supervisord" and n >= 5:
                    continue
                count = 100 if peer.name == "supervisord" else 2000
                results.add("getState p50, connection each", peer.name, ask(peer, "supervisor.getState", count))
                if peer.name != "supervisord":
                    before = cpu(peer.pids())
                    value = ask(peer, "supervisor.getState", count, manner="keep")
                    results.add("getState p50, kept connection", peer.name, value)
                    used = (cpu(peer.pids()) - before) / count
                    results.add("getState, kept connection: server's CPU a call", peer.name, used)
                if peer.name != "bare":
                    results.add("`status` of 10 programs: wall", peer.name, wall(peer.control("status")))
        if Runit in installed(Runit):
            with Runit(10) as peer:
                peer.wait_all()
                folders = [str(peer.folder / "scan" / f"p{n:04}") for n in range(10)]
                for _ in range(5 if short else 20):
                    results.add("`status` of 10 programs: wall", "runit", wall(["/usr/bin/sv", "status", *folders]))


def wall(command):
    answer = subprocess.run(bare("launch", *command), capture_output=True, text=True, check=True)
    _, took, status = map(int, answer.stdout.split())
    assert status == 0, command
    return took


FLOOD = """
[program:flood]
command=BARE/flood
environment=BYTES="0"
autostart=false
startsecs=0
redirect_stderr=true
stdout_logfile=FOLDER/flood.log
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=1
"""


def flood(results, short):
    for n in range(2 if short else 6):
        for kind in installed(Rsup, Supervisord):
            if kind is Supervisord and n >= 1:
                continue
            with kind(10, more=FLOOD) as peer:
                peer.wait_all()
                for mood in ("quiet", "flooded"):
                    if mood == "flooded":
                        subprocess.run(peer.control("start", "flood"), check=True, stdout=subprocess.DEVNULL)
                    time.sleep(1.3)
                    figure = f"flood: kill -9 to next exec, {mood}"
                    for value in kills(peer, peer.program_pids()[-10:-5]):
                        results.add(figure, kind.name, value)
                    results.add(f"flood: getState p50, {mood}", kind.name, ask(peer, "supervisor.getState", 500, 1000))
                    time.sleep(0.5)


def idle_of(results, kind, peer, figure):
    time.sleep(2)
    pids = peer.pids()
    used, woke = cpu(pids), switches(pids)
    time.sleep(30)
    results.add(f"{figure}: CPU", kind.name, cpu(pids) - used)
    results.add(f"{figure}: wake-ups", kind.name, switches(pids) - woke)


def idle(results, _short):
    with ExitStack() as stack:
        running = [stack.enter_context(kind(10)) for kind in installed(Rsup, Runit, S6, Supervisord)]
        for peer in running:
            peer.wait_all()
        time.sleep(2)
        before = [(cpu(peer.pids()), switches(peer.pids())) for peer in running]
        time.sleep(30)
        for peer, (used, woke) in zip(running, before):
            results.add("idle 30 s, 10 programs: CPU", peer.name, cpu(peer.pids()) - used)
            results.add("idle 30 s, 10 programs: wake-ups", peer.name, switches(peer.pids()) - woke)


ALL = {
    "start": start, "memory": memory, "thousand": thousand, "graph": graph, "restart": restart, "orphans": orphans,
    "logs": logs, "lines": lines, "rpc": rpc, "flood": flood, "idle": idle,
}
