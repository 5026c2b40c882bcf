package organizer

import (
	"cmp"
	"context"
	"encoding/binary"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/zeebo/blake3"
)

// Folders that are copies of others, told from the contents of their files: who has a folder twice thinks of folders, not
// of the four thousand files in them. Folders are numbered so that a folder and all below it are one range; then whether
// a folder holds a content is a binary search, and all it takes is some numbers for each folder and each equal file.

// copyNode is a folder in the order in which a walk comes to it.
type copyNode struct {
	dir    uint32 // in Tree.Dirs
	parent int32  // -1 for a root
	end    int32  // one behind the last node below it
	depth  int32
	files  int32 // in duplicateFolders.classes, up to this folder and without it
	left   int64 // entries here and below that were not compared
	gone   int64 // bytes here and below that are superfluous as things stand
	bytes  int64 // here and below
	exact  int32 // equal for folders that hold the same under the same names; 0 if that is not known
	equal  bool  // all files here and below equal others
	copy   bool  // and none of them must stay
	taken  bool  // a folder below it is a copy itself
}

// duplicateFolders is the work of finding copies of folders.
type duplicateFolders struct {
	*duplicateFinder
	nodes   []copyNode
	nodeOf  []int32   // by folder
	classes []int32   // of files, in the order of nodes
	where   [][]int32 // by class: nodes that hold such a file, in order; not those in projects
	stamp   []int32   // by class: the last node that was found to hold it, plus one
	found   []int32   // by node: 1 + index in Folders of the copy that it lies in
}

// minCopiedFiles is how many files a folder has that is worth to be told of: a copy of one file is told as a file.
const minCopiedFiles = 2

// mostPlaces bounds how many places are tried for a content that is all over the tree.
const mostPlaces = 64

// compareFolders finds folders whose files are all in another folder, too, and notes them in Folders.
func (f *duplicateFinder) compareFolders(ctx context.Context) error {
	if len(f.contents) == 0 {
		return nil
	}
	w := &duplicateFolders{duplicateFinder: f}
	w.walk()
	w.read()
	twins := w.twins()
	order := make([]int32, len(w.nodes))
	for n := range order {
		order[n] = int32(n)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(w.nodes[a].depth, w.nodes[b].depth) })
	for i, n := range order {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		node := &w.nodes[n]
		if w.found[n] != 0 || !node.copy || node.bytes == 0 || w.count(n) < minCopiedFiles {
			continue
		}
		if best := w.best(n, twins[node.exact]); best != n {
			w.report(n, best, true)
		} else if of, ok := w.container(n); ok {
			w.report(n, of, false)
		}
	}
	if len(f.Folders) == 0 {
		return nil
	}
	f.copied = make([]int32, len(f.Tree.Dirs))
	for d, n := range w.nodeOf {
		f.copied[d] = w.found[n]
	}
	return nil
}

// walk numbers the folders.
func (w *duplicateFolders) walk() {
	dirs := w.Tree.Dirs
	at := make(map[string]uint32, len(dirs))
	for d := range dirs {
		if _, ok := at[dirs[d].Path]; !ok {
			at[dirs[d].Path] = uint32(d)
		}
	}
	first, next := make([]int32, len(dirs)), make([]int32, len(dirs)) // children, as lists
	for d := range dirs {
		first[d] = -1
	}
	var roots []uint32
	for d := len(dirs) - 1; d >= 0; d-- {
		up, ok := at[filepath.Dir(dirs[d].Path)]
		if !ok || up == uint32(d) {
			roots = append(roots, uint32(d))
			continue
		}
		next[d], first[up] = first[up], int32(d)
	}
	slices.Reverse(roots)
	w.nodes, w.nodeOf = make([]copyNode, 0, len(dirs)), make([]int32, len(dirs))
	var visit func(d uint32, parent, depth int32)
	visit = func(d uint32, parent, depth int32) {
		n := int32(len(w.nodes))
		w.nodeOf[d] = n
		w.nodes = append(w.nodes, copyNode{dir: d, parent: parent, depth: depth})
		for c := first[d]; c >= 0; c = next[c] {
			visit(uint32(c), n, depth+1)
		}
		w.nodes[n].end = int32(len(w.nodes))
	}
	for _, d := range roots {
		visit(d, -1, 0)
	}
	w.found = make([]int32, len(w.nodes))
}

// count is how many files are in a folder and below it.
func (w *duplicateFolders) count(n int32) int32 {
	return int32(len(w.below(n)))
}

// below are the classes of the files in a folder and below it.
func (w *duplicateFolders) below(n int32) []int32 {
	to := int32(len(w.classes))
	if end := w.nodes[n].end; int(end) < len(w.nodes) {
		to = w.nodes[end].files
	}
	return w.classes[w.nodes[n].files:to]
}

// read takes the files of all folders up: what each folder holds, whether all of that equals other files, and what of it
// would go as things stand.
func (w *duplicateFolders) read() {
	unread := map[string]bool{} // a folder that was not read to its end may hold more
	for _, p := range w.Tree.Problems {
		unread[p.Path] = true
	}
	w.where = make([][]int32, len(w.contents)+1)
	w.stamp = make([]int32, len(w.contents)+1)
	for n := range w.nodes {
		node := &w.nodes[n]
		p, d := &w.places[node.dir], &w.Tree.Dirs[node.dir]
		node.files = int32(len(w.classes))
		node.equal, node.copy = true, !p.reference && !p.protected
		for r, file := range w.Tree.InDir(node.dir) {
			if !w.candidate(r, file) {
				continue
			}
			c := w.class(r)
			w.classes = append(w.classes, c)
			node.bytes += file.Size
			node.equal = node.equal && c != 0
			if places := w.where[c]; c != 0 && p.counts() && (len(places) == 0 || places[len(places)-1] != int32(n)) {
				w.where[c] = append(places, int32(n))
			}
		}
		node.left += int64(d.Names - (len(w.classes) - int(node.files)))
		if unread[d.Path] {
			node.left++
		}
		if node.parent >= 0 {
			w.nodes[node.parent].left--
		}
	}
	for i := range w.contents {
		c := &w.contents[i]
		for _, copy := range c.copies {
			if copy.Role == Superfluous {
				w.nodes[w.nodeOf[w.Tree.DirOf(copy.File)]].gone += c.size
			}
		}
	}
	for n := len(w.nodes) - 1; n >= 0; n-- { // what is below a folder comes after it
		node := &w.nodes[n]
		if node.left < 0 { // only some of its files were named
			node.left, node.equal = 1, false
		}
		node.copy = node.copy && node.equal
		if node.parent >= 0 {
			up := &w.nodes[node.parent]
			up.left, up.gone, up.bytes = up.left+node.left, up.gone+node.gone, up.bytes+node.bytes
			up.equal, up.copy = up.equal && node.equal, up.copy && node.copy
		}
	}
}

// counts reports whether a file there counts as one that stays.
func (p *duplicatePlace) counts() bool { return p.reference || !p.protected }

// twins finds the folders that are equal in all that is in them, by their number in copyNode.exact.
func (w *duplicateFolders) twins() map[int32][]int32 {
	known := map[[32]byte]int32{}
	twins := map[int32][]int32{}
	type entry struct {
		name string
		is   int32 // class of a file; number of a folder, below zero
	}
	var entries []entry
	var key []byte
	h := blake3.New()
	for n := len(w.nodes) - 1; n >= 0; n-- {
		node := &w.nodes[n]
		if !node.equal || node.left != 0 || !w.places[node.dir].counts() {
			continue
		}
		entries = entries[:0]
		for r, file := range w.Tree.InDir(node.dir) {
			if w.candidate(r, file) {
				entries = append(entries, entry{w.Tree.Name(r), w.class(r)})
			}
		}
		whole := true
		for c := int32(n) + 1; c < node.end; c = w.nodes[c].end {
			entries = append(entries, entry{filepath.Base(w.Tree.Dirs[w.nodes[c].dir].Path), -w.nodes[c].exact})
			whole = whole && w.nodes[c].exact != 0
		}
		if !whole {
			continue
		}
		slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
		key = key[:0]
		for _, e := range entries {
			key = append(binary.AppendUvarint(key, uint64(len(e.name))), e.name...)
			key = binary.AppendVarint(key, int64(e.is))
		}
		h.Reset()
		h.Write(key)
		id := [32]byte(h.Sum(nil))
		if known[id] == 0 {
			known[id] = int32(len(known) + 1)
		}
		node.exact = known[id]
		if w.count(int32(n)) >= minCopiedFiles {
			twins[node.exact] = append(twins[node.exact], int32(n))
		}
	}
	return twins
}

// better orders folders of the same contents, the one to stay first: as for files, what a person has said of their places
// comes first; then the one that would lose least as things stand.
func (w *duplicateFolders) better(a, b int32) int {
	x, y := &w.nodes[a], &w.nodes[b]
	p, q := &w.places[x.dir], &w.places[y.dir]
	s, t := w.Tree.Dirs[x.dir].Path, w.Tree.Dirs[y.dir].Path
	return cmp.Or(compareBool(q.reference, p.reference), cmp.Compare(p.priority, q.priority), cmp.Compare(x.gone, y.gone),
		cmp.Compare(len(s), len(t)), strings.Compare(s, t), cmp.Compare(a, b))
}

// apart reports whether files of two folders may be duplicates of each other.
func (w *duplicateFolders) apart(a, b int32) bool {
	return !w.opt.Isolate || w.places[w.nodes[a].dir].root != w.places[w.nodes[b].dir].root
}

// best is which of the twins of a folder stays, itself perhaps.
func (w *duplicateFolders) best(n int32, twins []int32) int32 {
	best := n
	for _, t := range twins {
		if w.found[t] == 0 && !w.nodes[t].taken && w.apart(t, n) && w.better(t, best) < 0 {
			best = t
		}
	}
	return best
}

// container finds a folder that holds all contents of folder n, the smallest one around some place of its rarest content.
func (w *duplicateFolders) container(n int32) (int32, bool) {
	node := &w.nodes[n]
	if first := n + 1; first < node.end && w.nodes[first].end == node.end && w.nodes[first].files == node.files {
		return 0, false // nothing but one folder is in it, which is the one to tell of
	}
	var distinct []int32
	for _, c := range w.below(n) {
		if w.stamp[c] != n+1 {
			w.stamp[c] = n + 1
			distinct = append(distinct, c)
		}
	}
	slices.SortFunc(distinct, func(a, b int32) int { return cmp.Or(cmp.Compare(len(w.where[a]), len(w.where[b])), cmp.Compare(a, b)) })
	best, ok, tried := int32(0), false, 0
	for _, at := range w.where[distinct[0]] {
		if at >= n && at < node.end {
			continue
		}
		if tried++; tried > mostPlaces {
			break
		}
		next := 0 // of distinct; the ones before are in b, and so in all around it
		equal := false
		for b := at; b >= 0 && !(b <= n && n < w.nodes[b].end); b = w.nodes[b].parent {
			for next < len(distinct) && w.holds(b, distinct[next]) {
				next++
			}
			if next < len(distinct) {
				continue
			}
			same := w.sameContents(n, b)
			if equal && !same {
				break // a folder in it is to be the copy, not n
			}
			if w.apart(n, b) && w.found[b] == 0 && !(same && w.better(n, b) < 0) {
				if !ok || w.better(b, best) < 0 {
					best, ok = b, true
				}
				break
			}
			if equal = same; !equal {
				break
			}
		}
	}
	return best, ok
}

// holds reports whether a file of class c is in folder n or below it, and not in a copy: who removes all that is told of as a
// copy must not lose anything.
func (w *duplicateFolders) holds(n, c int32) bool {
	places := w.where[c]
	for i := sort.Search(len(places), func(i int) bool { return places[i] >= n }); i < len(places) && places[i] < w.nodes[n].end; i++ {
		if w.found[places[i]] == 0 {
			return true
		}
	}
	return false
}

// sameContents reports whether folder b, which holds all contents of folder n, holds no others. n is the one that stamps
// were given for last.
func (w *duplicateFolders) sameContents(n, b int32) bool {
	return !slices.ContainsFunc(w.below(b), func(c int32) bool { return c == 0 || w.stamp[c] != n+1 })
}

// report notes that folder n is a copy.
func (w *duplicateFolders) report(n, of int32, exact bool) {
	node := &w.nodes[n]
	w.Folders = append(w.Folders, FolderCopies{Of: w.nodes[of].dir, Folder: node.dir, Exact: exact, Files: int64(w.count(n)), LeftOut: node.left})
	for i := n; i < node.end; i++ {
		w.found[i] = int32(len(w.Folders))
	}
	for up := node.parent; up >= 0; up = w.nodes[up].parent {
		w.nodes[up].taken = true
	}
}
