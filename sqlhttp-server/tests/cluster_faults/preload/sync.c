// Delays fsync and fdatasync, or lets them fail, in a process that loads this library with LD_PRELOAD. The file named
// by SQLHTTP_SYNC_CONTROL contains the delay in milliseconds, and `fail` after it if the calls fail with EIO.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Waits for the delay. Returns whether the call must fail.
static int disturb(void) {
    const char *path = getenv("SQLHTTP_SYNC_CONTROL");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    char text[64] = {0};
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    long milliseconds = strtol(text, NULL, 10);
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (milliseconds > 0 && nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
    return strstr(text, "fail") != NULL;
}

static int call(const char *name, int file) {
    if (disturb()) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(file);
}

int fsync(int file) { return call("fsync", file); }

int fdatasync(int file) { return call("fdatasync", file); }
