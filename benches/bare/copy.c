// copy FILE MAXBYTES BACKUPS COMMAND…: the bare loop of logging: reads what COMMAND writes in pieces of 64 KiB, writes
// them to FILE, and rotates it as Supervisor does.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char piece[65536];
    if (argc < 5) return 2;
    long long max = atoll(argv[2]), size = 0;
    int backups = atoi(argv[3]), pipes[2];
    if (pipe2(pipes, O_CLOEXEC)) return 1;
    if (vfork() == 0) {
        dup2(pipes[1], 1);
        execv(argv[4], argv + 4);
        _exit(127);
    }
    close(pipes[1]);
    int out = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0666);
    for (ssize_t n; (n = read(pipes[0], piece, sizeof piece)) > 0;) {
        if (write(out, piece, n) != n) return 1;
        size += n;
        if (size < max) continue;
        for (int i = backups - 1; i >= 0; i--) {
            char from[4096], to[4096];
            snprintf(from, sizeof from, i ? "%s.%d" : "%s", argv[1], i);
            snprintf(to, sizeof to, "%s.%d", argv[1], i + 1);
            rename(from, to);
        }
        close(out);
        out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666);
        size = 0;
    }
}
