"""Programs that the inits under test run, or that run them: programs.py NAME [ARGUMENT...]"""

import os
import sys


def libc():
    import ctypes
    return ctypes, ctypes.CDLL(None, use_errno=True)


def watch():
    """Blocks every signal, prints `ready PID`, then each signal as `NUMBER CODE SENDER VALUE`; exits with 42 on TERM."""
    ctypes, c = libc()
    full = (ctypes.c_ulong * 16)(*([2**64 - 1] * 16))
    c.sigprocmask(0, full, None)
    print("ready", os.getpid(), flush=True)
    info = (ctypes.c_int * 32)()
    while True:
        number = c.sigwaitinfo(full, info)
        print(number, info[2], info[4], info[6], flush=True)
        if number == 15:
            sys.exit(42)


def orphans(count):
    """Leaves `count` orphans to PID 1, and prints `left 0` when none of them is a zombie."""
    made = 0
    while made < count:
        if os.fork() == 0:
            for _ in range(100):
                if os.fork() == 0:
                    os._exit(0)
            os._exit(0)
        os.wait()
        made += 100
    while True:
        left = 0
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat") as stat:
                        left += stat.read().rsplit(") ")[1].startswith("Z 1 ")
                except OSError:
                    pass
        if left == 0:
            break
    print("left 0", flush=True)


def storm():
    """Leaves orphans to PID 1 without end, and exits with 43 on TERM."""
    import signal
    signal.signal(signal.SIGTERM, lambda *_: os._exit(43))
    print("ready", flush=True)
    while True:
        if os.fork() == 0:
            for _ in range(20):
                if os.fork() == 0:
                    os._exit(0)
            os._exit(0)
        os.wait()


def with_signals(how, *command):
    """Runs a command with SIGCHLD ignored, or with TERM, USR1 and 40 blocked."""
    import signal
    if how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1, 40])
    os.execvp(command[0], command)


def counts():
    """Prints `ready`, then `got NAME` for each signal, and the number of each when the line `end` is typed."""
    import select
    import signal
    import threading
    import time
    wanted = [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGWINCH, signal.SIGHUP, signal.SIGUSR1]
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)

    def read():
        with open("/dev/tty") as terminal:
            line = ""
            while line != "end\n":
                # In the background a read would stop this process.
                select.select([terminal], [], [])
                if os.tcgetpgrp(terminal.fileno()) in (os.getpgrp(), 0):
                    line = terminal.readline()
                else:
                    time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=read, daemon=True).start()
    seen = []
    print("ready", flush=True)
    while (number := signal.sigwait(wanted)) != signal.SIGUSR1:
        seen.append(signal.Signals(number).name)
        print("got", seen[-1], flush=True)
    print("over", *(f"{name}={seen.count(name)}" for name in sorted(set(seen))), flush=True)


name, arguments = sys.argv[1], sys.argv[2:]
if name == "orphans":
    orphans(int(arguments[0]))
else:
    {"counts": counts, "watch": watch, "storm": storm, "with_signals": with_signals}[name](*arguments)
