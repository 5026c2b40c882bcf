// The bare peers: what the work costs with nothing around the system calls.
//
//   baseline scan DIR      getdents64 + fstatat of every file, one thread; prints files and bytes
//   baseline count DIR     regular files directly in DIR, and in the whole tree
//   baseline organize DIR  readdir, fstatat, renameat2(NOREPLACE) of each file of DIR into DIR/<extension>/,
//                          then fsync of the folders filled and of DIR
//   baseline renames DIR   the same without the fstatat
//   baseline read DIR      the same as scan, then open, read and close of each file of a size that another has, one thread
//   baseline evict DIR     the content of every file is dropped from memory, so that the next reader waits for the disk
//   baseline back DIR      the reverse: every file below DIR is renamed back into DIR, then fsync, then rmdir
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

struct dent {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

static uint64_t files, bytes, newest, top;

static void die(const char *what, const char *name) {
	fprintf(stderr, "baseline: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static int dots(const char *n) { return n[0] == '.' && (!n[1] || (n[1] == '.' && !n[2])); }

static int opendirat(int at, const char *name) {
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) die("open", name);
	return fd;
}

static void scan(int fd, int depth, int stats) {
	enum { SIZE = 64 << 10 };
	char *buf = malloc(SIZE);
	if (!buf) die("malloc", "");
	for (;;) {
		long n = syscall(SYS_getdents64, fd, buf, SIZE);
		if (n < 0) die("getdents64", "");
		if (n == 0) break;
		for (long i = 0; i < n;) {
			struct dent *d = (struct dent *)(buf + i);
			i += d->reclen;
			if (dots(d->name)) continue;
			if (d->type == DT_DIR) {
				int sub = opendirat(fd, d->name);
				scan(sub, depth + 1, stats);
				close(sub);
				continue;
			}
			files++;
			if (depth == 0) top++;
			if (!stats) continue;
			struct stat st;
			if (fstatat(fd, d->name, &st, AT_SYMLINK_NOFOLLOW)) die("stat", d->name);
			bytes += (uint64_t)st.st_size;
			uint64_t t = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
			if (t > newest) newest = t;
		}
	}
	free(buf);
}

static void rename_or_die(int from, int to, const char *name) {
	if (syscall(SYS_renameat2, from, name, to, name, RENAME_NOREPLACE)) die("rename", name);
}

static void organize(int root, int stats) {
	struct { char ext[32]; int fd; } folder[256];
	int folders = 0;
	DIR *dir = fdopendir(dup(root));
	if (!dir) die("opendir", "");
	for (struct dirent *d; (d = readdir(dir));) {
		if (d->d_type != DT_REG) continue;
		struct stat st;
		if (stats) {
			if (fstatat(root, d->d_name, &st, AT_SYMLINK_NOFOLLOW)) die("stat", d->d_name);
			bytes += (uint64_t)st.st_size;
		}
		const char *dot = strrchr(d->d_name, '.');
		const char *ext = dot && dot[1] ? dot + 1 : "none";
		int i = 0;
		while (i < folders && strcmp(folder[i].ext, ext)) i++;
		if (i == folders) {
			if (folders == 256 || strlen(ext) >= sizeof folder[i].ext) { errno = E2BIG; die("extension", ext); }
			if (mkdirat(root, ext, 0755) && errno != EEXIST) die("mkdir", ext);
			strcpy(folder[i].ext, ext);
			folder[i].fd = opendirat(root, ext);
			folders++;
		}
		rename_or_die(root, folder[i].fd, d->d_name);
		files++;
	}
	closedir(dir);
	for (int i = 0; i < folders; i++)
		if (fsync(folder[i].fd)) die("fsync", folder[i].ext);
	if (fsync(root)) die("fsync", "");
}

static void back(int root, int at) {
	DIR *dir = fdopendir(dup(at));
	if (!dir) die("opendir", "");
	for (struct dirent *d; (d = readdir(dir));) {
		if (dots(d->d_name)) continue;
		if (d->d_type == DT_DIR) {
			int sub = opendirat(at, d->d_name);
			back(root, sub);
			if (fsync(root) || fsync(sub)) die("fsync", d->d_name);
			close(sub);
			if (unlinkat(at, d->d_name, AT_REMOVEDIR)) die("rmdir", d->d_name);
		} else if (at != root) {
			rename_or_die(at, root, d->d_name);
			files++;
		}
	}
	closedir(dir);
	if (at == root && fsync(root)) die("fsync", "");
}

struct found { uint64_t size; char *path; };
static struct found *all;
static size_t room;

// collect notes the path and the size of every file below fd.
static void collect(int fd, const char *path) {
	enum { SIZE = 64 << 10 };
	char *buf = malloc(SIZE);
	if (!buf) die("malloc", "");
	for (long n; (n = syscall(SYS_getdents64, fd, buf, SIZE)) != 0;) {
		if (n < 0) die("getdents64", path);
		for (long i = 0; i < n;) {
			struct dent *d = (struct dent *)(buf + i);
			i += d->reclen;
			if (dots(d->name) || (d->type != DT_DIR && d->type != DT_REG)) continue;
			char *name;
			if (asprintf(&name, "%s/%s", path, d->name) < 0) die("malloc", "");
			if (d->type == DT_DIR) {
				int sub = opendirat(fd, d->name);
				collect(sub, name);
				close(sub);
				free(name);
				continue;
			}
			struct stat st;
			if (fstatat(fd, d->name, &st, AT_SYMLINK_NOFOLLOW)) die("stat", name);
			if (files == room && !(all = realloc(all, (room = room * 2 + 1024) * sizeof *all))) die("malloc", "");
			all[files++] = (struct found){(uint64_t)st.st_size, name};
		}
	}
	free(buf);
}

static int larger(const void *a, const void *b) {
	uint64_t x = ((const struct found *)a)->size, y = ((const struct found *)b)->size;
	return (x > y) - (x < y);
}

static void readall(void) {
	enum { SIZE = 1 << 20 };
	char *buf = aligned_alloc(4096, SIZE);
	if (!buf) die("malloc", "");
	uint64_t *sizes = malloc((files + 1) * sizeof *sizes);
	struct found *sorted = malloc((files + 1) * sizeof *sorted);
	if (!sizes || !sorted) die("malloc", "");
	memcpy(sorted, all, files * sizeof *all);
	qsort(sorted, files, sizeof *sorted, larger);
	size_t n = 0; // sizes that are there more than once, each once
	for (size_t i = 1; i < files; i++)
		if (sorted[i].size && sorted[i].size == sorted[i - 1].size && (!n || sizes[n - 1] != sorted[i].size)) sizes[n++] = sorted[i].size;
	for (size_t i = 0; i < files; i++) { // in the order of the folders
		size_t lo = 0, hi = n;
		while (lo < hi) {
			size_t mid = (lo + hi) / 2;
			if (sizes[mid] < all[i].size) lo = mid + 1; else hi = mid;
		}
		if (lo == n || sizes[lo] != all[i].size) continue;
		int fd = open(all[i].path, O_RDONLY | O_CLOEXEC);
		if (fd < 0) die("open", all[i].path);
		for (uint64_t off = 0; off < all[i].size;) {
			ssize_t got = pread(fd, buf, SIZE, (off_t)off);
			if (got <= 0) die("read", all[i].path);
			off += (uint64_t)got;
		}
		bytes += all[i].size;
		close(fd);
	}
	printf("%llu bytes read\n", (unsigned long long)bytes);
}

static void evict(void) {
	for (size_t i = 0; i < files; i++) {
		int fd = open(all[i].path, O_RDONLY | O_CLOEXEC);
		if (fd < 0) die("open", all[i].path);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); // of what was written out: the caller has synced
		close(fd);
	}
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: baseline scan|count|read|evict|organize|renames|back DIR\n");
		return 2;
	}
	const char *what = argv[1];
	int root = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) die("open", argv[2]);
	if (!strcmp(what, "scan")) {
		scan(root, 0, 1);
		printf("%llu files %llu bytes newest %llu\n", (unsigned long long)files, (unsigned long long)bytes,
		       (unsigned long long)newest);
	} else if (!strcmp(what, "count")) {
		scan(root, 0, 0);
		printf("%llu %llu\n", (unsigned long long)top, (unsigned long long)files);
	} else if (!strcmp(what, "read")) {
		collect(root, argv[2]);
		readall();
	} else if (!strcmp(what, "evict")) {
		collect(root, argv[2]);
		evict();
	} else if (!strcmp(what, "organize")) {
		organize(root, 1);
	} else if (!strcmp(what, "renames")) {
		organize(root, 0);
	} else if (!strcmp(what, "back")) {
		back(root, root);
	} else {
		fprintf(stderr, "baseline: unknown work %s\n", what);
		return 2;
	}
	return 0;
}
