package cmd

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"forg/organizer"
)

// The formats of a report.
const (
	formatText        = "text"
	formatJSON        = "json"
	formatNDJSON      = "ndjson"
	formatCSV         = "csv"
	formatFclones     = "fclones"
	formatFclonesJSON = "fclones-json"
	formatHTML        = "html"
)

// formatFlag is the flag --format. text is for people, and the only one that leaves hashes out.
func formatFlag(p *string) choice {
	*p = formatText
	return choice{p, []string{formatText, formatJSON, formatNDJSON, formatCSV, formatHTML, formatFclones, formatFclonesJSON}}
}

// write writes the report to w in its format, a group at a time.
func (r *dupesReport) write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	switch r.format {
	case formatJSON:
		o := newObject(w)
		r.groups(o)
		r.totals(o, nil, nil)
		return o.close()
	case formatNDJSON:
		r.ndjson(b)
	case formatCSV:
		r.csv(b)
	case formatHTML:
		return r.page(context.Background(), w, &progress{})
	case formatFclones:
		writeFclonesText(b, r.fclonesHead(), r.fclonesGroups())
	case formatFclonesJSON:
		writeFclonesJSON(b, r.fclonesHead(), r.fclonesGroups())
	default:
		if r.quiet && (r.to == "" || r.to == "-") {
			return nil
		}
		return r.text(w)
	}
	return b.Flush()
}

// ndjson writes an object a line, its "type" first: groups, folders, errors, and at the end a summary, without which the
// report is not complete.
func (r *dupesReport) ndjson(w *bufio.Writer) {
	e := json.NewEncoder(w) // which ends each value with a newline
	e.SetEscapeHTML(false)
	line := func(v any) { e.Encode(v) } // our own types encode, and w keeps the error of its stream
	for i := range r.found.Groups {
		line(struct {
			Type string `json:"type"`
			jsonGroup
		}{"group", r.jsonGroup(&r.found.Groups[i])})
	}
	for i := range r.found.Folders {
		line(struct {
			Type string `json:"type"`
			jsonFolder
		}{"folder", r.jsonFolder(&r.found.Folders[i])})
	}
	for _, p := range problemsJSON(r.problems(nil, nil)) {
		line(struct {
			Type string `json:"type"`
			jsonProblem
		}{"error", p})
	}
	line(struct {
		Type       string `json:"type"`
		Groups     int    `json:"groups"`
		Scanned    int64  `json:"scanned"`
		Duplicates int64  `json:"duplicate_files"`
		Wasted     int64  `json:"wasted_bytes"`
		Protected  int64  `json:"protected_files"`
		Duration   int64  `json:"duration_ms"`
	}{"summary", len(r.found.Groups), r.found.Tree.Files, r.found.Files, r.found.Wasted, r.found.Protected, r.now().Sub(r.start).Milliseconds()})
}

// csv writes a table (RFC 4180), a row a file.
func (r *dupesReport) csv(w *bufio.Writer) {
	w.WriteString("group,size,hash,keep,role,path,path_bytes\r\n")
	for i := range r.found.Groups {
		g := &r.found.Groups[i]
		hash := ""
		if g.Hash != [32]byte{} {
			hash = "blake3:" + hex.EncodeToString(g.Hash[:])
		}
		for _, c := range g.Files {
			path := r.found.Tree.Path(c.File)
			text, raw := organizer.ExactPath(path)
			if raw == nil && strings.ContainsRune(path, '\r') { // which readers of CSV take for a part of a newline
				raw = []byte(path)
			}
			fmt.Fprintf(w, "%d,%d,%s,%t,%s,%s,%s\r\n", i+1, g.Size, hash, c.Role != organizer.Superfluous, c.Role, csvField(text),
				base64.StdEncoding.EncodeToString(raw))
		}
	}
}

// csvField quotes a field where it has to be. encoding/csv would make \r\n of a newline in a name.
func csvField(s string) string {
	if strings.ContainsAny(s, "\",\r\n") || strings.TrimSpace(s) != s {
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return s
}

// fclonesGroups are the groups as fclones would have them: it takes all files of a group for superfluous but the first
// ones, and so gets only the copies that stay, as many as it is told to keep, and those that may go.
func (r *dupesReport) fclonesGroups() iter.Seq[fclonesGroup] {
	return func(yield func(fclonesGroup) bool) {
		var out fclonesGroup
		for i := range r.found.Groups {
			g := &r.found.Groups[i]
			out.Size, out.Hash, out.Paths = g.Size, g.Hash, out.Paths[:0]
			stay := map[int32]bool{} // by first name
			for _, c := range g.Files {
				if c.Role == organizer.Kept && len(stay) < r.minCopies {
					stay[c.Same] = true
				}
				if stay[c.Same] {
					out.Paths = append(out.Paths, r.found.Tree.Path(c.File))
				}
			}
			for _, c := range g.Files {
				if c.Role == organizer.Superfluous {
					out.Paths = append(out.Paths, r.found.Tree.Path(c.File))
				}
			}
			if !yield(out) {
				return
			}
		}
	}
}

// fclonesHead is the head of the report. Its command is the one with which fclones would have looked, as far as it can.
func (r *dupesReport) fclonesHead() fclonesHead {
	// The time is that of the beginning: a file that changed while it was compared is not to be touched.
	head := fclonesHead{At: r.start, Base: cmp.Or(r.dir, string(filepath.Separator)), Groups: len(r.found.Groups)}
	head.Command = []string{"fclones", "group"}
	if r.minCopies > 1 {
		head.Command = append(head.Command, "--rf-over", strconv.Itoa(r.minCopies))
	}
	head.Command = append(head.Command, r.found.Tree.Roots...)
	i := 0
	for listed := range r.fclonesGroups() {
		head.Files += int64(len(listed.Paths))
		head.Bytes += int64(len(listed.Paths)) * listed.Size
		for _, c := range r.found.Groups[i].Files {
			if c.Role == organizer.Superfluous { // fclones counts each name of a file
				head.Extra++
				head.Wasted += listed.Size
			}
		}
		i++
	}
	return head
}

// output writes the report to where it goes: to standard output, or to a file that is there complete or not at all.
func (r *dupesReport) output() error {
	write := r.write
	if r.draw != nil {
		write = r.draw
	}
	if r.to == "" || r.to == "-" {
		return write(r.out)
	}
	if err := r.reportFile(); err != nil {
		return err
	}
	defer func(tty bool) { r.outTTY = tty }(r.outTTY)
	r.outTTY = false
	if err := writeWhole(r.to, write); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// checkOutput refuses a name for the report that is taken by anything but a regular file, such as a device.
func checkOutput(name string) error {
	st, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if st, err := os.Stat(filepath.Dir(name)); err != nil || !st.IsDir() {
			return fmt.Errorf("--output %s: %s is no folder", name, filepath.Dir(name))
		}
		return nil
	case err != nil:
		return fmt.Errorf("--output: %w", err)
	case st.IsDir():
		return fmt.Errorf("--output %s: it is a folder", name)
	case !st.Mode().IsRegular():
		return fmt.Errorf("--output %s: it is no regular file, and forg replaces nothing else; - is standard output", name)
	}
	return nil
}

// reportFile refuses to replace a file by the report that the report is about.
func (r *dupesReport) reportFile() error {
	if err := checkOutput(r.to); err != nil {
		return err
	}
	st, err := os.Stat(r.to)
	if err != nil {
		return nil // it is new
	}
	t := r.found.Tree
	for i := range t.Dirs {
		dir := t.Dirs[i].Path
		if at, err := os.Lstat(filepath.Join(dir, filepath.Base(r.to))); err != nil || !os.SameFile(st, at) {
			continue
		}
		for ref := range t.InDir(uint32(i)) {
			if t.Name(ref) == filepath.Base(r.to) {
				return fmt.Errorf("--output %s: it is one of the files that were looked at, so it is not replaced", r.to)
			}
		}
	}
	return nil
}

// writeWhole makes f write a file that has its name when it is complete, and is gone if something goes wrong.
func writeWhole(name string, f func(io.Writer) error) (err error) {
	mode := fs.FileMode(0o666)
	old, lstatErr := os.Lstat(name)
	if lstatErr == nil {
		mode = old.Mode().Perm()
	}
	var tmp *os.File
	for {
		hidden := filepath.Join(filepath.Dir(name), fmt.Sprintf(".forg-report-%08x", rand.Uint32()))
		if tmp, err = os.OpenFile(hidden, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode); err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name()) // it is ours, and no report
		}
	}()
	if err := f(tmp); err != nil {
		return err
	}
	if lstatErr == nil {
		if err := tmp.Chmod(mode); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if lstatErr != nil { // nothing was there, and nothing that is there now is replaced
		if err := os.Link(tmp.Name(), name); err == nil {
			return os.Remove(tmp.Name())
		} else if errors.Is(err, fs.ErrExist) {
			return err
		} // a file system without hard links
	}
	if err := checkOutput(name); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

// formats checks the flags that say how a report looks and where it goes.
func (d *duping) formats() error {
	f := d.flags
	if d.json && f.format != formatJSON {
		if f.format != formatText {
			return usage("--json and --format %s: a report has one format", f.format)
		}
		f.format = formatJSON
	}
	d.json = f.format == formatJSON
	d.find.Hash = f.format != formatText && f.format != formatHTML
	if f.acts() && (!slices.Contains([]string{formatText, formatJSON}, f.format) || f.output != "") {
		return usage("--format %s and --output are for reports; save one and act on it with --from, or use --json to be told of each file", f.format)
	}
	if f.output != "" && f.output != "-" {
		return checkOutput(f.output)
	}
	return nil
}
