/* A file system that shows late what another node has done, as NFS may: preloaded into a process.

   LATE_ROOT     folder below which names are late (absolute, without links)
   LATE_LEDGER   folder on the same file system, in which all nodes note what they do
   LATE_NODE     name of the node that this process runs on; gethostname returns it too
   LATE_FLOCK    "local": flock does not reach other nodes (here: it holds nothing)
   LATE_NOTHING  where it is set, this node sees everything at once; others see its work late

   What a node makes or renames it sees at once. For others, until it is shown:
   - a new name does not exist, nor is it listed; nor does what is below a new folder;
   - a name that was given to another file still names the old one.
   What asks the server is true at once, and the node knows the name from then on: to create a file
   (O_CREAT, O_EXCL), to make a folder, to rename. As on NFS, a file that is opened has its newest
   content (close-to-open), where it was changed in place. Deleted names are gone at once.

   LATE_LEDGER/shown is a link to "SECONDS TIME": shown is what is older than so many seconds, and
   what was made before that time. The ledger has, by number of inode: INO -> "NODE TIME", who named it and when; INO.old, the file
   that had this name before; NODE.INO -> the same as INO, where the node knows of it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *root, *ledger, *node;

__attribute__((constructor)) static void begin(void) {
    root = getenv("LATE_ROOT"), ledger = getenv("LATE_LEDGER"), node = getenv("LATE_NODE");
    if (!ledger || !node) root = NULL;
}

/* --- the real file system ------------------------------------------------------------------ */

static int real_stat(int at, const char *path, struct stat *st, int flags) {
    return syscall(SYS_newfstatat, at, path, st, flags);
}
static int real_open(int at, const char *path, int flags, mode_t mode) {
    return syscall(SYS_openat, at, path, flags, mode);
}
static int exists(const char *path, struct stat *st) {
    return real_stat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- the ledger ---------------------------------------------------------------------------- */

static void entry(char *out, const char *of, ino_t ino, const char *ending) {
    snprintf(out, PATH_MAX, "%s/%s%ju%s", ledger, of, (uintmax_t)ino, ending);
}
static int read_link(const char *path, char *text) {
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, path, text, 255);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}
static int read_entry(const char *of, ino_t ino, char *text) {
    char path[PATH_MAX];
    entry(path, of, ino, "");
    return read_link(path, text);
}
static void write_entry(const char *of, ino_t ino, const char *text) {
    char path[PATH_MAX], fresh[PATH_MAX + 32];
    entry(path, of, ino, "");
    snprintf(fresh, sizeof fresh, "%s.%ld.new", path, (long)syscall(SYS_gettid));
    syscall(SYS_symlinkat, text, AT_FDCWD, fresh);
    syscall(SYS_renameat2, AT_FDCWD, fresh, AT_FDCWD, path, 0);
}
static const char *own(char *buffer) {
    snprintf(buffer, 256, "%s.", node);
    return buffer;
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static void know(ino_t ino) {
    char text[256], of[256];
    if (read_entry("", ino, text)) write_entry(own(of), ino, text);
}
static void note(ino_t ino) { /* that this node has just named it */
    char text[256], old[PATH_MAX];
    entry(old, "", ino, ".old");
    syscall(SYS_unlinkat, AT_FDCWD, old, 0);
    snprintf(text, sizeof text, "%s %.6f", node, now());
    write_entry("", ino, text);
    know(ino);
}
static int is_late(ino_t ino) {
    char text[256], known[256], of[256], path[PATH_MAX], shown[256], *before;
    if (getenv("LATE_NOTHING") || !read_entry("", ino, text)) return 0;
    char *space = strrchr(text, ' ');
    snprintf(path, sizeof path, "%s/shown", ledger);
    if (!space || !read_link(path, shown)) return 0;
    double named = atof(space), seconds = strtod(shown, &before);
    if (now() - named >= seconds || named <= strtod(before, NULL)) return 0;
    if (read_entry(own(of), ino, known) && !strcmp(known, text)) return 0;
    return (size_t)(space - text) != strlen(node) || strncmp(text, node, space - text);
}

/* --- what this node sees ------------------------------------------------------------------- */

/* The absolute path, without ".", ".." and "//"; whether it is below the root. */
static int is_below(int at, const char *path, char *out) {
    char whole[2 * PATH_MAX], base[PATH_MAX] = "", link[64];
    if (!root || !path || !*path) return 0;
    if (*path != '/') {
        snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        if (n < 0) return 0;
        base[n] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    size_t length = 0;
    for (char *save, *word = strtok_r(whole, "/", &save); word; word = strtok_r(0, "/", &save)) {
        if (!strcmp(word, ".")) continue;
        if (!strcmp(word, "..")) {
            while (length && out[--length] != '/') continue;
            continue;
        }
        if (length + strlen(word) + 2 > PATH_MAX) return 0;
        length += sprintf(out + length, "/%s", word);
    }
    out[length] = 0;
    size_t n = strlen(root);
    return !strncmp(out, root, n) && out[n] == '/';
}

/* Whether the folder that holds the path is unseen, itself or one above it. */
static int is_unseen_parent(const char *path) {
    char above[PATH_MAX];
    struct stat st;
    for (const char *end = strchr(path + strlen(root) + 1, '/'); end; end = strchr(end + 1, '/')) {
        snprintf(above, sizeof above, "%.*s", (int)(end - path), path);
        if (exists(above, &st) && is_late(st.st_ino)) return 1;
    }
    return 0;
}

/* What the path names here: itself, an older file (in `out`), or NULL with errno: nothing yet. */
static const char *seen(const char *path, char *out) {
    struct stat st;
    int before = errno;
    if (is_unseen_parent(path)) goto nothing;
    if (path != out) snprintf(out, PATH_MAX, "%s", path);
    while (exists(out, &st) && is_late(st.st_ino)) {
        entry(out, "", st.st_ino, ".old");
        if (!exists(out, &st)) goto nothing;
    }
    errno = before;
    return out;
nothing:
    errno = ENOENT;
    return NULL;
}

static const char *resolved(int *at, const char *path, char *out) {
    char whole[PATH_MAX];
    if (!is_below(*at, path, whole)) return path;
    *at = AT_FDCWD;
    return seen(whole, out);
}

/* --- opening ------------------------------------------------------------------------------- */

static int create(const char *path, int flags, mode_t mode) {
    struct stat st;
    if (is_unseen_parent(path)) return errno = ENOENT, -1;
    int existed = exists(path, &st), fd = real_open(AT_FDCWD, path, flags, mode), error = errno;
    if (fd >= 0 && !existed && !real_stat(fd, "", &st, AT_EMPTY_PATH)) note(st.st_ino);
    else if (existed || (error == EEXIST && exists(path, &st))) know(st.st_ino);
    errno = error;
    return fd;
}
static int any_open(int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX], out[PATH_MAX];
    if (!is_below(at, path, whole)) return real_open(at, path, flags, mode);
    if (flags & O_CREAT) return create(whole, flags, mode);
    const char *name = seen(whole, out);
    return name ? real_open(AT_FDCWD, name, flags, mode) : -1;
}
#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }
int open(const char *path, int flags, ...) { MODE(flags) return any_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return any_open(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return any_open(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return any_open(at, path, flags, mode); }

static FILE *any_fopen(const char *path, const char *how) {
    int plus = strchr(how, '+') != NULL;
    int flags = *how == 'r' ? (plus ? O_RDWR : O_RDONLY)
                            : O_CREAT | (plus ? O_RDWR : O_WRONLY) | (*how == 'a' ? O_APPEND : O_TRUNC);
    if (strchr(how, 'x')) flags |= O_EXCL;
    if (strchr(how, 'e')) flags |= O_CLOEXEC;
    int fd = any_open(AT_FDCWD, path, flags, 0666);
    return fd < 0 ? NULL : fdopen(fd, how);
}
FILE *fopen(const char *path, const char *how) { return any_fopen(path, how); }
FILE *fopen64(const char *path, const char *how) { return any_fopen(path, how); }

/* --- asking -------------------------------------------------------------------------------- */

static int any_stat(int at, const char *path, void *st, int flags) {
    char out[PATH_MAX];
    const char *name = resolved(&at, path, out);
    return name ? real_stat(at, name, st, flags) : -1;
}
int stat(const char *path, struct stat *st) { return any_stat(AT_FDCWD, path, st, 0); }
int stat64(const char *path, struct stat64 *st) { return any_stat(AT_FDCWD, path, st, 0); }
int lstat(const char *path, struct stat *st) { return any_stat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW); }
int lstat64(const char *path, struct stat64 *st) { return any_stat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW); }
int fstatat(int at, const char *path, struct stat *st, int flags) { return any_stat(at, path, st, flags); }
int fstatat64(int at, const char *path, struct stat64 *st, int flags) { return any_stat(at, path, st, flags); }
/* by programs that were built with an older C library */
int __xstat(int v, const char *path, struct stat *st) { (void)v; return any_stat(AT_FDCWD, path, st, 0); }
int __xstat64(int v, const char *path, struct stat64 *st) { (void)v; return any_stat(AT_FDCWD, path, st, 0); }
int __lxstat(int v, const char *path, struct stat *st) { (void)v; return any_stat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW); }
int __lxstat64(int v, const char *path, struct stat64 *st) { (void)v; return any_stat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW); }

int statx(int at, const char *path, int flags, unsigned mask, struct statx *st) {
    char out[PATH_MAX];
    const char *name = resolved(&at, path, out);
    return name ? syscall(SYS_statx, at, name, flags, mask, st) : -1;
}
int faccessat(int at, const char *path, int how, int flags) {
    char out[PATH_MAX];
    const char *name = resolved(&at, path, out);
    (void)flags;
    return name ? syscall(SYS_faccessat, at, name, how) : -1;
}
int access(const char *path, int how) { return faccessat(AT_FDCWD, path, how, 0); }

DIR *opendir(const char *path) {
    int fd = any_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return fd < 0 ? NULL : fdopendir(fd);
}
struct dirent64 *readdir64(DIR *folder) {
    static struct dirent64 *(*real)(DIR *);
    char path[PATH_MAX], out[PATH_MAX];
    struct dirent64 *found;
    if (!real) real = (struct dirent64 * (*)(DIR *)) dlsym(RTLD_NEXT, "readdir64");
    while ((found = real(folder))) {
        int before = errno;
        if (!is_below(dirfd(folder), found->d_name, path) || seen(path, out)) break;
        errno = before;
    }
    return found;
}
struct dirent *readdir(DIR *folder) { return (struct dirent *)readdir64(folder); }

int gethostname(char *name, size_t size) {
    static int (*real)(char *, size_t);
    if (root) return snprintf(name, size, "%s", node), 0;
    if (!real) real = (int (*)(char *, size_t))dlsym(RTLD_NEXT, "gethostname");
    return real(name, size);
}
int flock(int fd, int how) {
    const char *kind = getenv("LATE_FLOCK");
    return root && kind && !strcmp(kind, "local") ? 0 : syscall(SYS_flock, fd, how);
}

/* --- making and renaming ------------------------------------------------------------------- */

int mkdirat(int at, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    struct stat st;
    if (!is_below(at, path, whole)) return syscall(SYS_mkdirat, at, path, mode);
    if (is_unseen_parent(whole)) return errno = ENOENT, -1;
    int done = syscall(SYS_mkdirat, AT_FDCWD, whole, mode), error = errno;
    if (exists(whole, &st)) {
        if (done == 0) note(st.st_ino);
        else know(st.st_ino);
    }
    errno = error;
    return done;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char source[PATH_MAX], target[PATH_MAX], old[PATH_MAX], kept[PATH_MAX];
    struct stat st, before;
    if (!is_below(to_at, to, target))
        return syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (is_below(from_at, from, source)) from = source, from_at = AT_FDCWD;
    if (is_unseen_parent(target) || (from == source && is_unseen_parent(source)))
        return errno = ENOENT, -1;
    int replaced = exists(target, &before) && S_ISREG(before.st_mode);
    snprintf(kept, sizeof kept, "%s/kept.%ld", ledger, (long)syscall(SYS_gettid));
    if (replaced) syscall(SYS_linkat, AT_FDCWD, target, AT_FDCWD, kept, 0);
    int done = syscall(SYS_renameat2, from_at, from, AT_FDCWD, target, flags), error = errno;
    if (done == 0 && exists(target, &st)) {
        note(st.st_ino);
        entry(old, "", st.st_ino, ".old");
        if (replaced) syscall(SYS_renameat2, AT_FDCWD, kept, AT_FDCWD, old, 0);
    } else if (replaced) {
        syscall(SYS_unlinkat, AT_FDCWD, kept, 0);
    }
    errno = error;
    return done;
}
int renameat(int from_at, const char *from, int to_at, const char *to) {
    return renameat2(from_at, from, to_at, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
