/* What a process does to the files below one path, in order, and its end at a chosen step of it.
 *
 * To be loaded with LD_PRELOAD (Linux with glibc, 64 bits). It stands in front of the C library's calls that change files, and
 * makes the system calls itself, one at a time. Its settings are in the environment (see disk_trace.py):
 *
 *   DISK_BELOW   files are watched whose absolute name starts so; directories that lead there or lie there are, too
 *   DISK_TRACE   the file that a record of each call is appended to; none: no records
 *   DISK_KILL    SIGKILL to this process at its n-th call that changes the disk, counted from 1; 0 or none: never
 *   DISK_MOMENT  before, during (half of what is to be written is) or after that call; or unflushed: before the first
 *                call from that one on that would flush something
 *   DISK_ARMED   calls are counted once this file exists; none: from the start
 *   DISK_HANG    while this file exists, whatever flushes waits
 *
 * SQLite's index of the log (-shm) is left out: it is made anew by whoever opens the database after a crash.
 * Links are not followed: files are known by the names that they are opened under.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(long) == 8, "offsets go to the kernel as one word");

enum { MOST_FILES = 65536 };
enum moment { NEVER, BEFORE, DURING, AFTER, UNFLUSHED };

struct head {
    int32_t operation, descriptor;
    int64_t offset; /* of a write; the new size; the flags of an open */
    uint32_t name_size, data_size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char below[PATH_MAX], armed[PATH_MAX], hang[PATH_MAX];
static size_t below_size;
static int trace = -1;
static long kill_at, steps;
static enum moment kill_moment = BEFORE;
static char watched[MOST_FILES]; /* by descriptor: what its open was recorded as */

static void complain(const char *what)
{
    dprintf(2, "disk_trace: %s\n", what);
    abort();
}

/* ---- settings */

static enum moment moment_named(const char *name)
{
    if (name && !strcmp(name, "during"))
        return DURING;
    if (name && !strcmp(name, "unflushed"))
        return UNFLUSHED;
    return name && !strcmp(name, "after") ? AFTER : BEFORE;
}

__attribute__((constructor)) static void settle(void)
{
    const char *value = getenv("DISK_BELOW");
    if (!value || strlen(value) >= PATH_MAX)
        return;
    strcpy(below, value);
    below_size = strlen(below);
    if ((value = getenv("DISK_KILL")))
        kill_at = atol(value);
    kill_moment = moment_named(getenv("DISK_MOMENT"));
    if ((value = getenv("DISK_ARMED")) && strlen(value) < PATH_MAX)
        strcpy(armed, value);
    if ((value = getenv("DISK_HANG")) && strlen(value) < PATH_MAX)
        strcpy(hang, value);
    if ((value = getenv("DISK_TRACE"))) {
        int found = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        trace = found < 0 ? -1 : fcntl(found, F_DUPFD_CLOEXEC, 1000);
        if (trace < 0)
            complain("the trace cannot be written");
        syscall(SYS_close, found);
    }
}

/* For a process that knows only later when it is to end: count anew, and end at the n-th call from here (0: never). */
void disk_trace_kill(long at, const char *moment)
{
    pthread_mutex_lock(&lock);
    steps = 0;
    kill_at = at;
    kill_moment = moment_named(moment);
    pthread_mutex_unlock(&lock);
}

/* How many calls have changed the disk since counting began. */
long disk_trace_steps(void)
{
    return steps;
}

/* ---- one call at a time */

static void end_here(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Before a call that changes the disk. What it returns is for `done`. */
static enum moment begin(int flushes)
{
    while (flushes && hang[0] && !syscall(SYS_faccessat, AT_FDCWD, hang, F_OK))
        usleep(5000);
    pthread_mutex_lock(&lock);
    if (armed[0] && syscall(SYS_faccessat, AT_FDCWD, armed, F_OK))
        return NEVER;
    steps++;
    if (kill_moment == UNFLUSHED && flushes && kill_at && steps >= kill_at)
        end_here();
    if (kill_moment == UNFLUSHED || steps != kill_at)
        return NEVER;
    if (kill_moment == BEFORE)
        end_here();
    return kill_moment;
}

static void done(enum moment moment)
{
    if (moment != NEVER)
        end_here();
    pthread_mutex_unlock(&lock);
}

static void record(char operation, int descriptor, int64_t offset, const char *name, size_t name_size,
                   const void *data, size_t data_size)
{
    if (trace < 0)
        return;
    int before = errno;
    struct head head = {operation, descriptor, offset, name_size, data_size};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)name, name_size}, {(void *)data, data_size}};
    if (syscall(SYS_writev, trace, parts, 3) != (ssize_t)(sizeof head + name_size + data_size))
        complain("a record could not be written");
    errno = before;
}

/* ---- names */

static int ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size >= end_size && !strcmp(name + size - end_size, end);
}

/* The absolute name in `full`; 0 if there is none. */
static int absolute(int directory, const char *name, char *full)
{
    char base[PATH_MAX];
    ssize_t size;
    if (!below_size || !name)
        return 0;
    if (name[0] == '/')
        return snprintf(full, PATH_MAX, "%s", name) < PATH_MAX;
    if (directory == AT_FDCWD) {
        size = readlink("/proc/self/cwd", base, sizeof base - 1);
    } else {
        char link[40];
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        size = readlink(link, base, sizeof base - 1);
    }
    if (size < 0)
        return 0;
    base[size] = 0;
    return (size_t)snprintf(full, PATH_MAX, "%s/%s", base, name) < PATH_MAX;
}

static int is_watched_name(const char *full)
{
    return !strncmp(full, below, below_size) && !ends_with(full, "-shm");
}

static int leads_there(const char *full)
{
    size_t size = strlen(full);
    return size < below_size && !strncmp(full, below, size) && below[size] == '/';
}

static int is_watched(int descriptor)
{
    return descriptor >= 0 && descriptor < MOST_FILES && watched[descriptor];
}

/* ---- opening and closing */

static int open_at(int directory, const char *name, int flags, mode_t mode)
{
    char full[PATH_MAX];
    if (!absolute(directory, name, full) || !(is_watched_name(full) || leads_there(full)))
        return syscall(SYS_openat, directory, name, flags, mode);
    enum moment moment = NEVER;
    if (flags & (O_CREAT | O_TRUNC))
        moment = begin(0);
    else
        pthread_mutex_lock(&lock);
    int descriptor = syscall(SYS_openat, directory, name, flags, mode);
    struct stat found;
    if (descriptor >= 0 && descriptor < MOST_FILES && !fstat(descriptor, &found)) {
        watched[descriptor] = S_ISDIR(found.st_mode) ? 'd' : is_watched_name(full) ? 'o' : 0;
        if (watched[descriptor])
            record(watched[descriptor], descriptor, flags, full, strlen(full), 0, 0);
    }
    done(moment);
    return descriptor;
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...)                       \
    {                                                                 \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        mode_t mode = mode_of(flags, rest);                           \
        va_end(rest);                                                 \
        return open_at(AT_FDCWD, path, flags, mode);                  \
    }
#define OPEN_AT(name)                                                 \
    int name(int directory, const char *path, int flags, ...)        \
    {                                                                 \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        mode_t mode = mode_of(flags, rest);                           \
        va_end(rest);                                                 \
        return open_at(directory, path, flags, mode);                 \
    }
OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)
int __open_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __openat_2(int directory, const char *path, int flags) { return open_at(directory, path, flags, 0); }
int __openat64_2(int directory, const char *path, int flags) { return open_at(directory, path, flags, 0); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int descriptor)
{
    if (!is_watched(descriptor))
        return syscall(SYS_close, descriptor);
    pthread_mutex_lock(&lock);
    watched[descriptor] = 0;
    int result = syscall(SYS_close, descriptor);
    record('c', descriptor, 0, 0, 0, 0, 0);
    done(NEVER);
    return result;
}

/* ---- writing */

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset)
{
    if (!is_watched(descriptor))
        return syscall(SYS_pwrite64, descriptor, data, size, offset);
    enum moment moment = begin(0);
    ssize_t written = syscall(SYS_pwrite64, descriptor, data, moment == DURING ? size / 2 : size, offset);
    if (written > 0)
        record('w', descriptor, offset, 0, 0, data, written);
    done(moment);
    return written;
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset)
{
    return pwrite64(descriptor, data, size, offset);
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    if (!is_watched(descriptor))
        return syscall(SYS_write, descriptor, data, size);
    enum moment moment = begin(0);
    ssize_t written = syscall(SYS_write, descriptor, data, moment == DURING ? size / 2 : size);
    if (written > 0) /* where it went is known afterwards, also with O_APPEND */
        record('w', descriptor, lseek(descriptor, 0, SEEK_CUR) - written, 0, 0, data, written);
    done(moment);
    return written;
}

/* As the kernel may: only the first part that is not empty. The caller goes on with the rest. */
static const struct iovec *first_of(const struct iovec *parts, int count)
{
    static const struct iovec none;
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len)
            return parts + i;
    return &none;
}

ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
    if (!is_watched(descriptor))
        return syscall(SYS_writev, descriptor, parts, count);
    const struct iovec *part = first_of(parts, count);
    return write(descriptor, part->iov_base, part->iov_len);
}

ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t offset)
{
    if (!is_watched(descriptor))
        return syscall(SYS_pwritev, descriptor, parts, (long)count, (long)offset, 0L);
    const struct iovec *part = first_of(parts, count);
    return pwrite64(descriptor, part->iov_base, part->iov_len, offset);
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset)
{
    return pwritev64(descriptor, parts, count, offset);
}

/* A change through memory leaves no call to see, so that a trace of it would be wrong. */
void *mmap64(void *address, size_t size, int protection, int flags, int descriptor, off64_t offset)
{
    if (is_watched(descriptor) && protection & PROT_WRITE && flags & MAP_SHARED)
        complain("a watched file was mapped for writing");
    return (void *)syscall(SYS_mmap, address, size, protection, flags, descriptor, offset);
}

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    return mmap64(address, size, protection, flags, descriptor, offset);
}

/* ---- sizes */

int ftruncate64(int descriptor, off64_t size)
{
    if (!is_watched(descriptor))
        return syscall(SYS_ftruncate, descriptor, size);
    enum moment moment = begin(0);
    int result = syscall(SYS_ftruncate, descriptor, size);
    if (!result)
        record('t', descriptor, size, 0, 0, 0, 0);
    done(moment);
    return result;
}

int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

int fallocate64(int descriptor, int mode, off64_t offset, off64_t size)
{
    if (!is_watched(descriptor))
        return syscall(SYS_fallocate, descriptor, mode, offset, size);
    if (mode & ~FALLOC_FL_KEEP_SIZE)
        complain("fallocate in a mode that is not traced");
    enum moment moment = begin(0);
    struct stat found;
    int result = syscall(SYS_fallocate, descriptor, mode, offset, size);
    if (!result && !mode && !fstat(descriptor, &found))
        record('t', descriptor, found.st_size, 0, 0, 0, 0);
    done(moment);
    return result;
}

int fallocate(int descriptor, int mode, off_t offset, off_t size)
{
    return fallocate64(descriptor, mode, offset, size);
}

int posix_fallocate64(int descriptor, off64_t offset, off64_t size)
{
    int before = errno, result = fallocate64(descriptor, 0, offset, size) ? errno : 0;
    errno = before;
    return result;
}

int posix_fallocate(int descriptor, off_t offset, off_t size)
{
    return posix_fallocate64(descriptor, offset, size);
}

/* ---- making it last */

static int sync_by(long call, int descriptor)
{
    if (!is_watched(descriptor))
        return syscall(call, descriptor);
    enum moment moment = begin(1);
    int result = syscall(call, descriptor);
    if (!result)
        record('s', descriptor, 0, 0, 0, 0, 0);
    done(moment);
    return result;
}

int fsync(int descriptor) { return sync_by(SYS_fsync, descriptor); }
int fdatasync(int descriptor) { return sync_by(SYS_fdatasync, descriptor); }

/* ---- names on the disk */

int unlinkat(int directory, const char *name, int flags)
{
    char full[PATH_MAX];
    if (!absolute(directory, name, full) || !is_watched_name(full) || flags & AT_REMOVEDIR)
        return syscall(SYS_unlinkat, directory, name, flags);
    enum moment moment = begin(0);
    int result = syscall(SYS_unlinkat, directory, name, flags);
    if (!result)
        record('u', -1, 0, full, strlen(full), 0, 0);
    done(moment);
    return result;
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int renameat(int old_directory, const char *old_name, int new_directory, const char *new_name)
{
    char old[PATH_MAX], new[PATH_MAX];
    int seen = absolute(old_directory, old_name, old) && absolute(new_directory, new_name, new);
    if (!seen || !(is_watched_name(old) || is_watched_name(new)))
        return syscall(SYS_renameat2, old_directory, old_name, new_directory, new_name, 0);
    enum moment moment = begin(0);
    int result = syscall(SYS_renameat2, old_directory, old_name, new_directory, new_name, 0);
    if (!result)
        record('r', -1, 0, old, strlen(old), new, strlen(new));
    done(moment);
    return result;
}

int rename(const char *old_name, const char *new_name)
{
    return renameat(AT_FDCWD, old_name, AT_FDCWD, new_name);
}
