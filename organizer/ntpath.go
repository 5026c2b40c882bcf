package organizer

import (
	"errors"
	"fmt"
	"strings"
)

// What is particular to paths, names and times of Windows and needs no Windows to be tested.

// ntRoot splits an absolute path into the kernel's name of its volume, which no limit of length and no magic name
// applies to, and the folders below it.
func ntRoot(path string) (root string, parts []string, err error) {
	p := strings.ReplaceAll(path, "/", `\`)
	unc := false
	switch {
	case len(p) >= 8 && strings.EqualFold(p[:8], `\\?\UNC\`):
		p, unc = p[8:], true
	case strings.HasPrefix(p, `\\?\`):
		p = p[4:]
	case strings.HasPrefix(p, `\\.\`):
		return "", nil, fmt.Errorf("%s names a device", path)
	case strings.HasPrefix(p, `\\`):
		p, unc = p[2:], true
	}
	split := func(n int) (string, string) { // after n components
		at := 0
		for range n {
			i := strings.IndexByte(p[at:], '\\')
			if i < 0 {
				return p, ""
			}
			at += i + 1
		}
		return p[:at-1], p[at:]
	}
	var rest string
	switch {
	case unc:
		var share string
		if share, rest = split(2); strings.Count(share, `\`) != 1 || strings.HasPrefix(share, `\`) || strings.HasSuffix(share, `\`) {
			return "", nil, fmt.Errorf("%s: no server and share", path)
		}
		root = `\??\UNC\` + share + `\`
	case len(p) >= 2 && p[1] == ':' && (len(p) == 2 || p[2] == '\\') && isLetter(p[0]):
		root, rest = `\??\`+p[:2]+`\`, p[2:]
	case len(p) > 7 && strings.EqualFold(p[:7], `Volume{`):
		var volume string
		volume, rest = split(1)
		root = `\??\` + volume + `\`
	default:
		return "", nil, fmt.Errorf("%s is not an absolute path", path)
	}
	for part := range strings.SplitSeq(rest, `\`) {
		if part == "" {
			continue
		}
		if err := checkNTName(part); err != nil {
			return "", nil, err
		}
		parts = append(parts, part)
	}
	return root, parts, nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

var errBadName = errors.New("no such name is allowed on Windows")

// checkNTName refuses what the kernel would take for something else than one name in a folder: a path, a stream of a
// file (report.txt:hidden), the folder itself or the one above.
func checkNTName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "\x00\\/:") {
		return fmt.Errorf("%q: %w", name, errBadName)
	}
	return nil
}

// unextended turns \\?\C:\x into C:\x and \\?\UNC\server\share into \\server\share.
func unextended(path string) string {
	if len(path) >= 8 && strings.EqualFold(path[:8], `\\?\UNC\`) {
		return `\\` + path[8:]
	}
	if rest, ok := strings.CutPrefix(path, `\\?\`); ok && len(rest) >= 2 && rest[1] == ':' {
		return rest
	}
	return path
}

// A FILETIME counts 100 ns since 1601.
const filetime1970 = 116444736000000000

func toFiletime(ns int64) int64 {
	t := ns / 100
	if ns%100 < 0 {
		t--
	}
	return t + filetime1970
}

func fromFiletime(t int64) int64 { return (t - filetime1970) * 100 }

// reparseKind is what a reparse point is to forg. Links of every kind have the bit of name surrogates; the others are
// files that are kept elsewhere, packed or not yet here, which move like all files; the rest are sockets and the like.
func reparseKind(tag uint32) uint32 {
	switch {
	case tag&0x20000000 != 0: // symbolic links, junctions, mount points, links of WSL
		return modeLink
	case tag == 0x80000013, tag == 0x80000017: // deduplicated, compressed by WOF
		return modeRegular
	case tag&0xffff0fff == 0x9000001a: // cloud files
		return modeRegular
	}
	return modeOther
}
