package organizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"forg/journal"
)

// Folders get back what they had: those that were removed their attributes, all their times.

// folderAttributes is what it takes to make a removed folder again.
type folderAttributes struct {
	Mode     uint32
	UID, GID uint32
	Atime    int64
	Mtime    int64
	Xattrs   map[string][]byte `json:",omitempty"`
}

// remake gives a folder that was made again the attributes of the one that was removed. Its times are set when all
// files are back.
func (r *runner) remake(path string, meta []byte) error {
	var a folderAttributes
	err := json.Unmarshal(meta, &a)
	if err == nil {
		r.remade[path] = a
		err = a.restore(path)
	}
	return err
}

// folderTimes are the times of the operation's folders, before it and when it or the last undo or redo of it was
// through.
func (v *reversal) folderTimes(ctx context.Context) (before map[string]journal.Folder, after map[string]int64, err error) {
	first := v.o
	if !v.undo && len(v.later) > 0 { // a redo goes back to how it was before the undo
		first = v.later[len(v.later)-1]
	}
	before = map[string]journal.Folder{}
	for s, err := range v.j.Steps(ctx, first, false) {
		if err != nil {
			return nil, nil, err
		}
		for _, f := range []*journal.Folder{s.FromDir, s.ToDir} {
			if f == nil || f.Ino == 0 {
				continue
			}
			if _, ok := before[f.Path]; !ok {
				before[f.Path] = *f
			}
		}
	}
	for path, id := range v.remade {
		if f, ok := before[path]; ok {
			f.Ino = id.Ino
			before[path] = f
		}
	}
	if after, err = v.j.FolderTimes(ctx, v.o); err != nil {
		return nil, nil, err
	}
	// What other operations changed since and took back again counts as unchanged; what they changed and left so does not.
	since, err := v.j.Since(ctx, v.o.ID)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range since {
		times, err := v.j.FolderTimes(ctx, l)
		if err != nil {
			return nil, nil, err
		}
		for path, t := range times {
			if after[path] = t; l.Undoes == 0 && l.Status != journal.Undone {
				delete(before, path)
			}
		}
	}
	return before, after, nil
}

// restoreTimes gives folders back the times they had, unless somebody else changed them since.
func (r *runner) restoreTimes(before map[string]journal.Folder, after, now map[string]int64) {
	for path, f := range before {
		if _, ok := r.remade[path]; ok {
			continue
		}
		if t, ok := after[path]; !ok || now[path] != t {
			continue
		}
		h, err := openFolder(path)
		if err != nil {
			continue
		}
		if m, err := h.self(); err == nil && m.Ino == f.Ino {
			if err := h.touch(f.Atime, f.Mtime); !errors.Is(err, fs.ErrPermission) { // not ours: its owner alone could
				r.notKept(path, err)
			}
			r.emptied[path] = &journal.Folder{Path: path} // so that its new time is noted
		}
		h.close()
	}
	for path, a := range r.remade {
		if h, err := openFolder(path); err == nil {
			r.notKept(path, h.touch(a.Atime, a.Mtime))
			h.close()
		}
	}
}

// notKept reports that a folder could not be given back what it had: worth a note if the file system does not let it, a
// failure, which another undo may make good, if something went wrong.
func (r *runner) notKept(path string, err error) {
	if err == nil {
		return
	}
	q := Problem{path, fmt.Errorf("restore the attributes of folder %s: %w", path, err)}
	if cannotKeep(err) {
		r.res.Notes = append(r.res.Notes, q)
		return
	}
	r.res.Failed++
	r.res.Problems = append(r.res.Problems, q)
}
