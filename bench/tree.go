//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// extensions is what a full Downloads folder holds; all of them have a category of their own or share one.
var extensions = []string{
	"jpg", "png", "gif", "mp4", "mkv", "mp3", "flac", "pdf", "docx", "xlsx", "txt", "md", "zip", "gz", "json",
}

var words = []string{
	"holiday", "invoice", "report", "draft", "scan", "meeting", "backup", "photo", "lecture", "budget", "recipe",
	"ticket", "contract", "notes", "garden", "family", "project", "summary", "letter", "sample",
}

// Tree describes a tree; the same value always builds the same names, sizes, contents and modification times.
type Tree struct {
	Kind string // one of treeKinds
	N    int    // files
	Seed uint64
}

var treeKinds = map[string]string{
	"flat":     "one folder, 15 extensions, sizes all distinct and sparse but for one file in a hundred of 0.5-1.5 KB",
	"same":     "one folder, 15 extensions, every file 64 bytes of its own: the worst case for duplicate detection",
	"part":     "one folder of partial downloads, which organize leaves alone",
	"nested":   "folders in folders (8 each), 0-40 files a folder, sizes sparse",
	"onename":  "N folders holding one file each, all of one name",
	"ownnames": "N folders holding one file each, all of different names",
	"content":  "one folder, N files of real content; 16 KiB each",
	"mebi":     "one folder, N files of real content; 1 MiB each",
	"big":      "one folder, one file of N MiB",

	"dupes-small": "a hundred files a folder, 0-8 KiB, 30 % of them copies",
	"dupes-mixed": "a copy of what this system holds, a part of it twice, with links",
	"dupes-big":   "one folder, 8-64 MiB a file, 40 % of them copies, 5 % nearly so",
}

// mix is SplitMix64's finalizer: a number that looks random from one that counts.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (t Tree) hash(i int) uint64 { return mix(t.Seed<<32 ^ uint64(i)) }

// name is unique by its number, so that no two files share a stem (which would make them companions).
func (t Tree) name(i int) string {
	h := t.hash(i)
	return fmt.Sprintf("%s_%s_%07d.%s", words[h%20], words[h>>8%20], i, extensions[h>>16%15])
}

// size gives every file a size of its own: i*K mod P is a bijection for every i below the prime P.
func (t Tree) size(i int) int64 {
	const prime = 268435399
	return 4096 + int64((uint64(i)+t.Seed%1000)*2654435761%prime)
}

func (t Tree) content(i int, size int64) []byte {
	b := make([]byte, size)
	x := t.hash(i)
	for k := range b {
		if k%8 == 0 {
			x = mix(x)
		}
		b[k] = byte(x >> (8 * (k % 8)))
	}
	return b
}

// mtime lies in the five years from 2020.
func (t Tree) mtime(i int) time.Time {
	h := t.hash(^i)
	return time.Unix(1577836800+int64(h%157680000), int64(h>>32%1000000000))
}

// file writes one file: content when there is any, else a hole of that size.
func (t Tree) file(path string, i int, size int64, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if content != nil {
		_, err = f.Write(content)
	} else {
		err = f.Truncate(size)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Chtimes(path, t.mtime(i), t.mtime(i))
}

// Build makes the tree in dir, which must not exist.
func (t Tree) Build(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	switch t.Kind {
	case "nested":
		return t.buildNested(dir)
	case "dupes-small":
		return t.buildDupesSmall(dir)
	case "dupes-mixed":
		return t.buildDupesMixed(dir)
	case "dupes-big":
		return t.buildDupesBig(dir)
	}
	for i := range t.N {
		name := t.name(i)
		var size int64
		var content []byte
		switch t.Kind {
		case "flat":
			size = t.size(i)
			if i%100 == 7 {
				content = t.content(i, 512+int64(t.hash(i)>>24%1024))
			}
		case "same":
			content = t.content(i, 64)
		case "part":
			name, size = name+".part", t.size(i)
		case "content":
			content = t.content(i, 16<<10)
		case "mebi":
			content = t.content(i, 1<<20)
		case "big":
			return t.buildBig(filepath.Join(dir, name))
		case "onename", "ownnames":
			sub := fmt.Sprintf("folder_%07d", i)
			if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
				return err
			}
			name, size = filepath.Join(sub, "scan_000000.pdf"), t.size(i)
			if t.Kind == "ownnames" {
				name = filepath.Join(sub, fmt.Sprintf("scan_%06d.pdf", i))
			}
		default:
			return fmt.Errorf("unknown tree %q", t.Kind)
		}
		if err := t.file(filepath.Join(dir, name), i, size, content); err != nil {
			return err
		}
	}
	return nil
}

func (t Tree) buildNested(root string) error {
	for folder, made := 0, 0; made < t.N; folder++ {
		// Folder 0 is the root and folder i lies in folder (i-1)/8, which exists already.
		dir := root
		if folder > 0 {
			dir = filepath.Join(root, nestedPath(folder))
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
		for range min(int(mix(t.Seed^uint64(folder)<<20)%41), t.N-made) {
			if err := t.file(filepath.Join(dir, t.name(made)), made, t.size(made), nil); err != nil {
				return err
			}
			made++
		}
	}
	return nil
}

func nestedPath(folder int) string {
	path := fmt.Sprintf("d%d", folder)
	for folder = (folder - 1) / 8; folder > 0; folder = (folder - 1) / 8 {
		path = fmt.Sprintf("d%d/", folder) + path
	}
	return path
}

func (t Tree) buildBig(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for i := range t.N {
		if _, err := f.Write(t.content(i, 1<<20)); err != nil {
			f.Close()
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chtimes(path, t.mtime(0), t.mtime(0))
}

// meanName is the mean length of the names of a flat tree, in bytes.
func (t Tree) meanName() float64 {
	sum := 0
	for i := range t.N {
		sum += len(t.name(i))
	}
	return float64(sum) / float64(t.N)
}
