// Makes $ORPHANS orphans, $BATCH at a time, then appends "0 0" to the file $MARK and sleeps for ever.
// A parent forks a batch of children that exit at once, and exits too, so PID 1 gets the whole batch at the same time.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    int left = atoi(getenv("ORPHANS")), batch = atoi(getenv("BATCH"));
    while (left > 0) {
        int n = left < batch ? left : batch;
        pid_t parent = vfork();
        if (parent < 0) continue;
        if (parent == 0) {
            for (int i = 0; i < n; i++) {
                pid_t child = vfork();
                if (child == 0) _exit(0);
                if (child < 0) i--;
            }
            _exit(0);
        }
        waitpid(parent, NULL, 0);
        left -= n;
    }
    int fd = open(getenv("MARK"), O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (write(fd, "0 0\n", 4) != 4) return 1;
    for (;;) pause();
}
