// Writes a line of 80 bytes to stdout 100 times a second, for ever.
#define _GNU_SOURCE
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    char line[80];
    memset(line, 'x', sizeof line);
    line[79] = '\n';
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    for (;;) {
        t.tv_nsec += 10000000;
        if (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        if (write(1, line, sizeof line) < 0) return 1;
    }
}
