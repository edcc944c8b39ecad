/* A disk that forgets: loaded before the C library, it decides what a power loss leaves behind.
 *
 * Below DISK_ROOT, every call that writes is a numbered site, in order: open for writing, write,
 * truncate, allocate, sync, rename, link, make and remove. Each is noted in DISK_LOG as `NUMBER CALL PATH`.
 * DISK_FAULT chooses one of them:
 *   kill:N              the process dies before it
 *   fail:N:ERRNO        it fails, once
 *   fail-on:N:ERRNO     it and all after it fail
 *
 * With DISK_SHADOW, a sync copies what it makes durable into that folder and nothing else is: a
 * file's content to `f-ID`, a folder's names to `d-ID`, a line `TYPE ID NAME` each. An ID is an
 * inode and its time of birth, because inodes are used again. The real sync is left out then.
 * sync_file_range, msync and syncfs promise nothing that survives, so they are not looked at.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX], shadow[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static enum { NONE, KILL, ONCE, ON } fault;
static long fault_at;
static int fault_errno;
static atomic_long passed;

static void note(const char *format, ...) {
    char line[PATH_MAX + 64];
    va_list given;
    if (log_fd < 0) return;
    va_start(given, format);
    int n = vsnprintf(line, sizeof line, format, given);
    va_end(given);
    if (n > 0) (void)!syscall(SYS_write, log_fd, line, (size_t)n);
}

/* Read the environment anew and count from one; called at load, and by a forked child. */
__attribute__((visibility("default"))) void disk_begin(void) {
    const char *given = getenv("DISK_ROOT"), *what = getenv("DISK_FAULT");
    snprintf(root, sizeof root, "%s", given ? given : "");
    root_length = strlen(root);
    given = getenv("DISK_SHADOW");
    snprintf(shadow, sizeof shadow, "%s", given ? given : "");
    given = getenv("DISK_LOG");
    if (log_fd >= 0) syscall(SYS_close, log_fd);
    log_fd = -1;
    if (given && *given) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, given,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 200); /* out of the way of small numbers */
        if (log_fd >= 0) syscall(SYS_close, fd);
        else log_fd = fd;
    }
    atomic_store(&passed, 0);
    fault = NONE;
    if (!what || !*what) return;
    if (sscanf(what, "kill:%ld", &fault_at) == 1) fault = KILL;
    else if (sscanf(what, "fail:%ld:%d", &fault_at, &fault_errno) == 2) fault = ONCE;
    else if (sscanf(what, "fail-on:%ld:%d", &fault_at, &fault_errno) == 2) fault = ON;
}

__attribute__((constructor)) static void load(void) { disk_begin(); }

/* The path behind a descriptor; false if there is nothing to look at. */
static int path_of(int fd, char *path) {
    char link[64];
    if (!root_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return 1;
}

static int absolute(int folder, const char *name, char *path) {
    if (!root_length || !name) return 0;
    if (*name == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return 1;
    }
    char above[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, above, sizeof above) < 0) return 0;
    } else if (!path_of(folder, above)) {
        return 0;
    }
    return snprintf(path, PATH_MAX, "%s/%s", above, name) < PATH_MAX;
}

static int below(const char *path) {
    return root_length && strncmp(path, root, root_length) == 0 &&
           (path[root_length] == '/' || path[root_length] == 0);
}

/* Pass a site. Zero to go on; else -1, with errno set. */
static int site(const char *call, const char *path) {
    if (!below(path)) return 0;
    long number = atomic_fetch_add(&passed, 1) + 1;
    note("%ld %s %s\n", number, call, path);
    if (fault == KILL && number == fault_at) {
        note("fired\n");
        kill(getpid(), SIGKILL);
    }
    /* A full disk lets go of names, and opens what is there. */
    int spared = fault_errno == ENOSPC && (!strcmp(call, "unlink") || !strcmp(call, "open"));
    if (!spared && ((fault == ONCE && number == fault_at) || (fault == ON && number >= fault_at))) {
        note("fired\n");
        errno = fault_errno;
        return -1;
    }
    return 0;
}

static int site_fd(const char *call, int fd) {
    char path[PATH_MAX];
    return path_of(fd, path) ? site(call, path) : 0;
}

static int site_at(const char *call, int folder, const char *name) {
    char path[PATH_MAX];
    return absolute(folder, name, path) ? site(call, path) : 0;
}

/* What tells a file from all others that ever were. */
static int identify(int fd, const char *path, char *out, size_t size, mode_t *mode) {
    struct statx found;
    int flags = AT_SYMLINK_NOFOLLOW | (*path ? 0 : AT_EMPTY_PATH);
    if (statx(fd, path, flags, STATX_BASIC_STATS | STATX_BTIME, &found) != 0) return -1;
    snprintf(out, size, "%llu-%llx.%x", (unsigned long long)found.stx_ino,
             (unsigned long long)found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
    if (mode) *mode = found.stx_mode;
    return 0;
}

static int put(int to, const char *bytes, size_t n) {
    while (n) {
        ssize_t done = syscall(SYS_write, to, bytes, n);
        if (done <= 0) return -1;
        bytes += done, n -= (size_t)done;
    }
    return 0;
}

static int copy_content(int from, int to) {
    static _Thread_local char block[1 << 16];
    ssize_t n;
    while ((n = read(from, block, sizeof block)) > 0)
        if (put(to, block, (size_t)n)) return -1;
    return n < 0 ? -1 : 0;
}

static int copy_names(int from, int to) {
    int again = dup(from), result = 0;
    DIR *names = again < 0 ? NULL : fdopendir(again);
    if (!names) return -1;
    for (struct dirent *one; !result && (one = readdir(names));) {
        char id[128], line[512];
        mode_t mode;
        if (!strcmp(one->d_name, ".") || !strcmp(one->d_name, "..")) continue;
        if (identify(from, one->d_name, id, sizeof id, &mode)) continue; /* gone meanwhile */
        int n = snprintf(line, sizeof line, "%c %s %s\n", S_ISDIR(mode) ? 'd' : 'f', id,
                         one->d_name);
        result = put(to, line, (size_t)n);
    }
    closedir(names);
    return result;
}

/* Keep what a path holds now, as durable, in a shadow folder. Also called from outside. */
__attribute__((visibility("default"))) int disk_record(const char *path, const char *into) {
    char id[128], fresh[2 * PATH_MAX], place[2 * PATH_MAX];
    struct stat kind;
    int from = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (from < 0) return -1;
    if (fstat(from, &kind) || identify(from, "", id, sizeof id, NULL)) goto failed;
    snprintf(place, sizeof place, "%s/%c-%s", into, S_ISDIR(kind.st_mode) ? 'd' : 'f', id);
    snprintf(fresh, sizeof fresh, "%s/new-%ld", into, syscall(SYS_gettid));
    int to = (int)syscall(SYS_openat, AT_FDCWD, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                          0666);
    if (to < 0) goto failed;
    int wrong = S_ISDIR(kind.st_mode) ? copy_names(from, to) : copy_content(from, to);
    syscall(SYS_close, to);
    syscall(SYS_close, from);
    return wrong ? -1 : (int)syscall(SYS_renameat, AT_FDCWD, fresh, AT_FDCWD, place);
failed:
    syscall(SYS_close, from);
    return -1;
}

__attribute__((visibility("default"))) int disk_id(const char *path, char *out, size_t size) {
    return identify(AT_FDCWD, path, out, size, NULL);
}

static int sync_site(const char *call, int fd, long number) {
    char path[PATH_MAX], link[64];
    if (!path_of(fd, path) || !below(path)) return (int)syscall(number, fd);
    if (site(call, path)) return -1;
    if (!*shadow) return (int)syscall(number, fd);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int before = errno;
    if (disk_record(link, shadow)) {
        note("the shadow of %s could not be written\n", path);
        abort();
    }
    errno = before;
    return 0;
}

#define EXPORT __attribute__((visibility("default")))

EXPORT int fsync(int fd) { return sync_site("fsync", fd, SYS_fsync); }
EXPORT int fdatasync(int fd) { return sync_site("fsync", fd, SYS_fdatasync); }

static int open_site(int folder, const char *name, int flags, mode_t mode) {
    if (flags & (O_WRONLY | O_RDWR)) {
        char path[PATH_MAX];
        struct stat found;
        if (absolute(folder, name, path)) {
            int there = fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) == 0;
            if (site(there || !(flags & O_CREAT) ? "open" : "create", path)) return -1;
        }
    }
    return (int)syscall(SYS_openat, folder, name, flags, mode);
}

static mode_t mode_in(int flags, va_list given) {
    return flags & (O_CREAT | __O_TMPFILE) ? (mode_t)va_arg(given, int) : 0;
}

#define OPEN(name)                                                 \
    EXPORT int name(const char *path, int flags, ...) {            \
        va_list given;                                             \
        va_start(given, flags);                                    \
        mode_t mode = mode_in(flags, given);                       \
        va_end(given);                                             \
        return open_site(AT_FDCWD, path, flags, mode);             \
    }
#define OPENAT(name)                                               \
    EXPORT int name(int folder, const char *path, int flags, ...) { \
        va_list given;                                             \
        va_start(given, flags);                                    \
        mode_t mode = mode_in(flags, given);                       \
        va_end(given);                                             \
        return open_site(folder, path, flags, mode);               \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
EXPORT int creat(const char *path, mode_t mode) {
    return open_site(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
EXPORT int creat64(const char *path, mode_t mode) { return creat(path, mode); }

EXPORT ssize_t write(int fd, const void *bytes, size_t n) {
    return site_fd("write", fd) ? -1 : syscall(SYS_write, fd, bytes, n);
}
EXPORT ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) {
    return site_fd("write", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, n, at);
}
EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) {
    return site_fd("write", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, n, at);
}
EXPORT ssize_t writev(int fd, const struct iovec *parts, int n) {
    return site_fd("write", fd) ? -1 : syscall(SYS_writev, fd, parts, n);
}
EXPORT int ftruncate(int fd, off_t n) {
    return site_fd("truncate", fd) ? -1 : (int)syscall(SYS_ftruncate, fd, n);
}
EXPORT int ftruncate64(int fd, off64_t n) {
    return site_fd("truncate", fd) ? -1 : (int)syscall(SYS_ftruncate, fd, n);
}
EXPORT int fallocate(int fd, int how, off_t from, off_t n) {
    return site_fd("allocate", fd) ? -1 : (int)syscall(SYS_fallocate, fd, how, from, n);
}
EXPORT int fallocate64(int fd, int how, off64_t from, off64_t n) {
    return site_fd("allocate", fd) ? -1 : (int)syscall(SYS_fallocate, fd, how, from, n);
}
EXPORT int posix_fallocate(int fd, off_t from, off_t n) {
    if (site_fd("allocate", fd)) return errno; /* it gives the error, and leaves errno alone */
    return syscall(SYS_fallocate, fd, 0, from, n) ? errno : 0;
}
EXPORT int posix_fallocate64(int fd, off64_t from, off64_t n) {
    return posix_fallocate(fd, (off_t)from, (off_t)n);
}
EXPORT int renameat2(int a, const char *from, int b, const char *to, unsigned how) {
    return site_at("rename", b, to) ? -1 : (int)syscall(SYS_renameat2, a, from, b, to, how);
}
EXPORT int renameat(int a, const char *from, int b, const char *to) {
    return renameat2(a, from, b, to, 0);
}
EXPORT int rename(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}
EXPORT int linkat(int a, const char *from, int b, const char *to, int how) {
    return site_at("link", b, to) ? -1 : (int)syscall(SYS_linkat, a, from, b, to, how);
}
EXPORT int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}
EXPORT int mkdirat(int folder, const char *name, mode_t mode) {
    return site_at("mkdir", folder, name) ? -1 : (int)syscall(SYS_mkdirat, folder, name, mode);
}
EXPORT int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
EXPORT int unlinkat(int folder, const char *name, int how) {
    return site_at("unlink", folder, name) ? -1 : (int)syscall(SYS_unlinkat, folder, name, how);
}
EXPORT int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
EXPORT int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
EXPORT int remove(const char *name) {
    struct stat found;
    int folder = lstat(name, &found) == 0 && S_ISDIR(found.st_mode);
    return unlinkat(AT_FDCWD, name, folder ? AT_REMOVEDIR : 0);
}
