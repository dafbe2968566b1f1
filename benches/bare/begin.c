// begin COMMAND…: writes "0 monotonic-nanoseconds" to the file $MARK, then becomes COMMAND.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int fd = open(getenv("MARK"), O_WRONLY | O_APPEND | O_CREAT, 0666);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    char line[64];
    int n = snprintf(line, sizeof line, "0 %lld\n", t.tv_sec * 1000000000LL + t.tv_nsec);
    if (write(fd, line, n) != n) return 1;
    close(fd);
    execv(argv[1], argv + 1);
    return 127;
}
