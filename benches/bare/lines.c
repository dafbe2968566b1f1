// lines N DIRECTORY COMMAND…: the bare loop of many logs: starts COMMAND N times, each with a pipe and a file; then epoll, read, write.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char piece[65536];
    if (argc < 4) return 2;
    int count = atoi(argv[1]), epoll = epoll_create1(EPOLL_CLOEXEC);
    int in[count], out[count];
    for (int i = 0; i < count; i++) {
        int pipes[2];
        if (pipe2(pipes, O_CLOEXEC)) return 1;
        if (vfork() == 0) {
            dup2(pipes[1], 1);
            execv(argv[3], argv + 3);
            _exit(127);
        }
        close(pipes[1]);
        char path[4096];
        snprintf(path, sizeof path, "%s/bare%d", argv[2], i);
        in[i] = pipes[0];
        out[i] = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, in[i], &event);
    }
    for (;;) {
        struct epoll_event ready[256];
        int n = epoll_wait(epoll, ready, 256, -1);
        for (int k = 0; k < n; k++) {
            int i = ready[k].data.u32;
            ssize_t got = read(in[i], piece, sizeof piece);
            if (got <= 0) return 1;
            if (write(out[i], piece, got) != got) return 1;
        }
    }
}
