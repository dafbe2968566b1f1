// ask SOCKET METHOD COUNT GAP_US keep|new: calls METHOD COUNT times and prints how long each took, in nanoseconds.
// keep: one connection for all; new: one for each call.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    int keep = !strcmp(argv[5], "keep"), count = atoi(argv[3]), fd = -1;
    char body[1024], request[4096];
    int length = snprintf(body, sizeof body, "<?xml version='1.0'?>\n<methodCall>\n<methodName>%s</methodName>\n"
                                             "<params>\n</params>\n</methodCall>\n", argv[2]);
    int whole = snprintf(request, sizeof request, "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
                                                  "Content-Length: %d\r\n\r\n%s", length, body);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", argv[1]);
    size_t space = 16 << 20;
    char *answer = malloc(space);
    for (int i = 0; i < count; i++) {
        usleep(atoi(argv[4]));
        long long begin = now();
        if (fd < 0) {
            fd = socket(AF_UNIX, SOCK_STREAM, 0);
            if (connect(fd, (struct sockaddr *)&name, sizeof name)) return perror("connect"), 1;
        }
        if (write(fd, request, whole) != whole) return perror("write"), 1;
        size_t got = 0;
        for (;;) {
            ssize_t n = read(fd, answer + got, space - 1 - got);
            if (n <= 0) return fprintf(stderr, "ask: no answer\n"), 1;
            got += n;
            answer[got] = 0;
            if (strstr(answer + (got > 40 ? got - 40 : 0), "</methodResponse>")) break;
        }
        printf("%lld\n", now() - begin);
        if (!keep) close(fd), fd = -1;
    }
}
