// Writes $BYTES bytes (0: without end) to stdout, in lines of 100 bytes and pieces of 64 KiB. Then writes "0 0" to the file $MARK
// and sleeps for ever.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    static char piece[65536];
    for (size_t i = 0; i < sizeof piece; i++) piece[i] = i % 100 == 99 ? '\n' : 'a' + i % 26;
    const char *text = getenv("BYTES");
    long long bytes = text ? atoll(text) : 0, left = bytes;
    while (bytes == 0 || left > 0) {
        ssize_t n = write(1, piece, sizeof piece);
        if (n < 0) return 1;
        left -= n;
    }
    int fd = open(getenv("MARK"), O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (write(fd, "0 0\n", 4) != 4) return 1;
    for (;;) pause();
}
