// The bare peers: what the work costs with nothing around the system calls.
//
//   baseline scan DIR      getdents64 + fstatat of every file, one thread; prints files and bytes
//   baseline count DIR     regular files directly in DIR, and in the whole tree
//   baseline organize DIR  readdir, fstatat, renameat2(NOREPLACE) of each file of DIR into DIR/<extension>/,
//                          then fsync of the folders filled and of DIR
//   baseline renames DIR   the same without the fstatat
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

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: baseline scan|count|organize|renames|back DIR\n");
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
