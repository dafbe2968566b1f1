// reap COMMAND…: the bare loop of reaping: starts COMMAND, then calls waitpid(-1) for ever. Runs as PID 1 of a namespace.
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    if (vfork() == 0) {
        execv(argv[1], argv + 1);
        _exit(127);
    }
    int status;
    for (;;)
        if (waitpid(-1, &status, 0) < 0) pause();
}
