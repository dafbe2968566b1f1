"""The supervisors that are measured: how to set up, start, watch and stop each."""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

BARE = RSUP = BEFORE = ORACLE = SCRATCH = None
_count = 0


def ready(bare, rsup, before, oracle, scratch):
    global BARE, RSUP, BEFORE, ORACLE, SCRATCH
    BARE, RSUP, BEFORE, ORACLE, SCRATCH = bare, rsup, before, oracle, scratch
    # Processes that a peer leaves behind become children of this process, so that they can be killed.
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def bare(name, *words):
    return [str(BARE / name), *map(str, words)]


# Values of /proc for a process.


def stat_fields(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def children(pid):
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def cpu(pids):
    """CPU time in nanoseconds."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids)


def status(pid, key):
    line = next(line for line in open(f"/proc/{pid}/status") if line.startswith(key + ":"))
    return int(line.split()[1])


def resident(pids):
    """Resident memory in bytes."""
    return sum(status(pid, "VmRSS") for pid in pids) * 1024


def switches(pids):
    return sum(status(pid, "voluntary_ctxt_switches") for pid in pids)


# Programs write lines of "pid nanoseconds" to a file.


class Marks:
    def __init__(self, path):
        self.path = path

    def all(self):
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        return [tuple(map(int, line.split())) for line in text.splitlines() if " " in line]

    def wait(self, count, seconds=120):
        """Waits for at least this many lines, and returns them."""
        end = time.monotonic() + seconds
        least = count * 4
        while time.monotonic() < end:
            if self.path.exists() and self.path.stat().st_size >= least and len(marks := self.all()) >= count:
                return marks
            time.sleep(0.0005 if count < 100 else 0.01)
        said = (self.path.parent / "stderr").read_text()
        raise TimeoutError(f"{self.path}: {len(self.all())} of {count} lines after {seconds} s; {said}")


class Peer:
    """A supervisor that runs `count` programs, each of them `program` (a bare one) with the variables `extra`.

    `logs`: None, or (maxbytes, backups) for rotated logs of their stdout.
    `levels`: 0, or the number of levels of a graph: each program depends on all programs of the level before, and is ready when it
    has written to descriptor 3.
    """

    def __init__(self, count=1, program="mark", logs=None, extra=None, start=True, more="", levels=0):
        global _count
        _count += 1
        self.folder = SCRATCH / f"{self.name}{_count}"
        self.folder.mkdir()
        self.count, self.program, self.logs, self.extra, self.more = count, program, logs, extra or {}, more
        self.levels = levels
        self.marks = Marks(self.folder / "marks")
        self.env = {"PATH": "/usr/bin:/bin", "MARK": str(self.marks.path), **{k: str(v) for k, v in self.extra.items()}}
        if levels:
            self.env["READY"] = "3"
        self.process = None
        self.command = self.prepare()
        if start:
            self.start()

    def start(self):
        command = bare("begin", *self.command)
        self.process = subprocess.Popen(
            command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(self.folder / "stderr", "w"), start_new_session=True,
        )

    def level_before(self, n):
        """The programs that program `n` depends on."""
        size = self.count // self.levels if self.levels else 0
        begin = n // size * size - size if size else -1
        return [f"p{each:04}" for each in range(begin, begin + size)] if begin >= 0 else []

    def wait_all(self):
        """Nanoseconds from exec of the supervisor to each program's first instruction."""
        marks = self.marks.wait(self.count + 1)
        return sorted(at - marks[0][1] for _, at in marks[1:])

    def pids(self):
        """The supervising processes."""
        return [self.process.pid]

    def program_pids(self):
        return [pid for pid, _ in self.marks.all() if pid]

    def terminate(self, seconds=120):
        """Sends SIGTERM. Returns the nanoseconds until the supervisor has exited."""
        # Popen.wait polls with pauses of up to 50 ms.
        handle = os.pidfd_open(self.process.pid)
        begin = time.monotonic_ns()
        os.kill(self.process.pid, signal.SIGTERM)
        ended = select.select([handle], [], [], seconds)[0]
        took = time.monotonic_ns() - begin
        os.close(handle)
        if not ended:
            raise TimeoutError(self.name)
        self.process.wait()
        return took

    def end(self):
        if self.process and self.process.poll() is None:
            end_tree(self.process.pid)
            self.process.wait()
        reap_rest()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Bare(Peer):
    name = "bare"

    def prepare(self):
        return bare("spawn", self.count, BARE / self.program)


class Again(Peer):
    """The bare loop of restarting, for one program."""

    name = "bare"

    def prepare(self):
        return bare("again", BARE / self.program)


class Tini(Peer):
    name = "tini"

    def prepare(self):
        return [shutil.which("tini") or "tini", "-s", "--", *bare(self.program)]


class RsupOne(Peer):
    name = "rsup --"

    def prepare(self):
        return [str(self.binary()), "--", *bare(self.program)]

    def binary(self):
        return RSUP


class BeforeOne(RsupOne):
    name = "before --"

    def binary(self):
        return BEFORE


class Rsup(Peer):
    name = "rsup"

    def binary(self):
        return RSUP

    def executable(self):
        return [str(self.binary())]

    def control(self, *words):
        link = self.folder / "rsupctl"
        if not link.exists():
            link.symlink_to(self.binary())
        return [str(link), "-c", str(self.folder / "x.conf"), *words]

    def socket(self):
        return str(self.folder / "s")

    def prepare(self):
        folder = self.folder
        text = [
            f"[supervisord]\nlogfile={folder}/main.log\npidfile={folder}/pid\nnodaemon=true\nsilent=true\n",
            f"[unix_http_server]\nfile={self.socket()}\n[supervisorctl]\nserverurl=unix://{self.socket()}\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = "
            "supervisor.rpcinterface:make_main_rpcinterface\n",
        ]
        for n in range(self.count):
            text.append(f"[program:p{n:04}]\ncommand={BARE / self.program}\nstartsecs=0\nautorestart=true\n")
            if self.levels:
                text.append("ready=fd:3\n")
            if needs := self.level_before(n):
                text.append(f"depends_on={','.join(needs)}\n")
            if self.logs:
                size, backups = self.logs
                text.append(
                    f"redirect_stderr=true\nstdout_logfile={folder}/p{n:04}.log\nstdout_logfile_maxbytes={size}\n"
                    f"stdout_logfile_backups={backups}\n"
                )
            else:
                text.append("stdout_logfile=NONE\nstderr_logfile=NONE\n")
        text.append(self.more.replace("FOLDER", str(folder)).replace("BARE", str(BARE)))
        (folder / "x.conf").write_text("".join(text))
        return [*self.executable(), "-c", str(folder / "x.conf")]


class Before(Rsup):
    """Another build of rsup, to compare with."""

    name = "before"

    def binary(self):
        return BEFORE


class Supervisord(Rsup):
    name = "supervisord"

    def executable(self):
        return [str(ORACLE / "python"), str(ORACLE / "supervisord"), "-n"]

    def control(self, *words):
        return [str(ORACLE / "python"), str(ORACLE / "supervisorctl"), "-c", str(self.folder / "x.conf"), *words]


class Dinit(Peer):
    """One service for each program, and one that waits for all."""

    name = "dinit"

    def prepare(self):
        services = self.folder / "services"
        services.mkdir()
        names = [f"p{n:04}" for n in range(self.count)]
        for n, name in enumerate(names):
            text = f"type = process\ncommand = {BARE / self.program}\nrestart = true\nrestart-delay = 0\nrestart-limit-count = 0\n"
            text += "ready-notification = pipefd:3\n" if self.levels else ""
            text += "".join(f"depends-on: {need}\n" for need in self.level_before(n))
            (services / name).write_text(text)
        (services / "boot").write_text("type = internal\n" + "".join(f"waits-for: {name}\n" for name in names))
        return [shutil.which("dinit") or "dinit", "-u", "-q", "-d", str(services), "-p", str(self.folder / "s"), "boot"]


class Scanned(Peer):
    """One directory and one supervising process for each program, under one process that scans."""

    def prepare(self):
        scan = self.folder / "scan"
        scan.mkdir()
        for n in range(self.count):
            service = scan / f"p{n:04}"
            service.mkdir()
            (service / "run").symlink_to(BARE / self.program)
        return self.scanner(scan)

    def pids(self):
        top = self.process.pid
        return [top, *children(top)]

    def terminate(self, seconds=120):
        pids = self.pids()
        begin = time.monotonic_ns()
        os.kill(pids[0], self.stop_signal)
        while any(is_alive(pid) for pid in pids):
            self.process.poll()
            reap_rest(self.process.pid)
            if time.monotonic_ns() - begin > seconds * 1e9:
                raise TimeoutError(self.name)
            time.sleep(0.001)
        return time.monotonic_ns() - begin


class S6(Scanned):
    name = "s6"
    stop_signal = signal.SIGTERM

    def scanner(self, scan):
        return [shutil.which("s6-svscan") or "s6-svscan", "-c", "2000", str(scan)]


class Runit(Scanned):
    name = "runit"
    stop_signal = signal.SIGHUP

    def scanner(self, scan):
        return [shutil.which("runsvdir") or "runsvdir", str(scan)]


class S6Single(S6):
    """s6-supervise alone."""

    def scanner(self, scan):
        return [shutil.which("s6-supervise"), str(scan / "p0000")]


class RunitSingle(Runit):
    """runsv alone; runsvdir would wait for a second first."""

    def scanner(self, scan):
        return [shutil.which("runsv"), str(scan / "p0000")]


def installed(*kinds):
    """The peers of these kinds that are installed."""
    kinds = [each for kind in kinds for each in [kind, *{Rsup: [Before], RsupOne: [BeforeOne]}.get(kind, [])]]
    there = {"before": BEFORE, "before --": BEFORE, "tini": shutil.which("tini"), "s6": shutil.which("s6-svscan"), "runit": shutil.which("runsvdir"), "dinit": shutil.which("dinit"), "supervisord": ORACLE}
    return [kind for kind in kinds if there.get(kind.name, True)]


# Stopping: only descendants of this process are killed.


def is_alive(pid):
    try:
        return stat_fields(pid)[0] not in "ZX"
    except (OSError, IndexError):
        return False


def end_tree(pid):
    tree = [pid]
    for each in tree:
        tree.extend(children(each))
    for each in tree:  # The supervisor first, so that it restarts nothing.
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass


def reap_rest(but=None):
    """Reaps adopted children. Children of Popen objects are left to those."""
    for pid in children(os.getpid()):
        if pid != but and not is_alive(pid):
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def end_all():
    for pid in children(os.getpid()):
        end_tree(pid)
    time.sleep(0.05)
    reap_rest()
