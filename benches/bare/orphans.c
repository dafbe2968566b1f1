// Makes $ORPHANS orphans, $BATCH at a time, then says "pid ns" in the file $MARK and sleeps for ever.
// A parent makes a batch and ends; the batch ends by itself right then. So process number 1 gets them all at once.
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
