// again COMMAND…: the bare loop of restarting: vfork, exec, wait, repeat. TERM ends it.
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    for (;;) {
        if (vfork() == 0) {
            execv(argv[1], argv + 1);
            _exit(127);
        }
        wait(NULL);
    }
}
