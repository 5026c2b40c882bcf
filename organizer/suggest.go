package organizer

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"forg/journal"
	"forg/organizer/metadata"
	"forg/rules"
)

// Learning: where a person has put files that forg had placed, and the rule that would have put them there.

// PlacedFile is a file that forg has put somewhere.
type PlacedFile struct {
	From      string // where it was before forg moved it first
	Root      string // the folder that was organized
	To        string // where forg put it last
	Label     string // the category or rule that decided
	Operation int64
	Now       string // where it is, empty if it was not found

	id     journal.Identity
	volume uint64 // of the folder it was put into, 0 if unknown
}

// Elsewhere reports whether the file is known to be somewhere else than where forg put it.
func (p *PlacedFile) Elsewhere() bool { return p.Now != "" && p.Now != p.To }

// Search says how files are looked for that are not where forg put them.
type Search struct {
	Folders []string // where to look besides the folders that were organized
	Limit   int      // how many folders are looked into at most
}

// PlacedFiles returns the files that forg has put somewhere and that no undo took back, in the order of their paths, and
// how many folders it looked into for those that are not there any more. Files are known by inode and birth time, so a
// file that went to another file system is not found. Hidden folders and projects are not looked into.
func PlacedFiles(ctx context.Context, j *journal.Journal, set *rules.Set, s Search) ([]PlacedFile, int, error) {
	placed, err := placedBy(ctx, j)
	if err != nil {
		return nil, 0, err
	}
	missing := map[inode][]*PlacedFile{}
	for i := range placed {
		p := &placed[i]
		if st, err := lstat(p.To); err == nil && p.is(st.Identity, 0) {
			p.Now = p.To
			continue
		}
		if p.id.Ino != 0 {
			key := inode{p.id.Ino, p.id.Born}
			missing[key] = append(missing[key], p)
		}
	}
	looked := 0
	var mu sync.Mutex
	seen := map[string]bool{}
	enter := func(path string) bool {
		mu.Lock()
		defer mu.Unlock()
		if seen[path] || looked >= s.Limit {
			return false
		}
		seen[path] = true
		looked++
		return true
	}
	var folders []string
	for i := range placed {
		folders = append(folders, placed[i].Root)
	}
	slices.Sort(folders)
	for _, folder := range append(slices.Compact(folders), s.Folders...) {
		if len(missing) == 0 {
			break
		}
		folder, err := ResolveDir(folder)
		if err != nil || !enter(folder) {
			continue // it is gone, or was looked into
		}
		tree, err := Scan(ctx, folder, set, ScanOptions{Recursive: true, Enter: enter})
		if ctx.Err() != nil {
			return nil, looked, ctx.Err()
		}
		if err != nil {
			continue
		}
		for r, f := range tree.All() {
			key := inode{f.Ino, f.Born}
			for _, p := range missing[key] {
				if p.is(identity(f), tree.Dirs[tree.DirOf(r)].ID.Volume) {
					p.Now = tree.Path(r)
					delete(missing, key)
				}
			}
		}
	}
	return placed, looked, nil
}

// is reports whether id, on a volume, is the file. An inode without a birth time may have been given to another file.
func (p *PlacedFile) is(id journal.Identity, volume uint64) bool {
	if volume != 0 && p.volume != 0 && volume != p.volume {
		return false
	}
	return p.id.SameFile(id) && (id.Born != 0 || id.Size == p.id.Size && id.Mtime == p.id.Mtime)
}

// placedBy follows the journal.
func placedBy(ctx context.Context, j *journal.Journal) ([]PlacedFile, error) {
	all, err := j.Since(ctx, 0)
	if err != nil {
		return nil, err
	}
	at := map[place]*PlacedFile{}
	for _, o := range all {
		aside := map[place]journal.StepResult{}
		for s, err := range j.Steps(ctx, o, false) {
			if err != nil {
				return nil, err
			}
			if s.State != journal.Done || !s.Action.Takes() {
				continue
			}
			from, to := place{s.FromDir.Path, s.From}, place{s.ToDir.Path, s.To}
			if IsAside(s.To) {
				aside[to] = s
				continue
			}
			if first, ok := aside[from]; ok {
				from = place{first.FromDir.Path, first.From}
			}
			p := at[from]
			delete(at, from)
			if o.Kind == "undo" || s.Action.Trashes() || s.Action == journal.Untrash || s.ToDir == nil {
				continue
			}
			if p == nil {
				p = &PlacedFile{From: filepath.Join(from.dir, from.name)}
			}
			p.Root = rootHolding(o.Root, p.From)
			p.To, p.Label, p.Operation, p.id, p.volume = s.ToPath(), s.Label, o.ID, s.File, s.ToDir.Volume
			if s.Ino != 0 {
				p.id.Ino, p.id.Born = s.Ino, s.Born
			}
			at[to] = p
		}
	}
	placed := make([]PlacedFile, 0, len(at))
	for _, p := range at {
		placed = append(placed, *p)
	}
	slices.SortFunc(placed, func(a, b PlacedFile) int { return cmp.Compare(a.To, b.To) })
	return placed, nil
}

// rootHolding is the one of the roots of an operation that path lies in, or its folder.
func rootHolding(roots, path string) string {
	best := ""
	for _, r := range filepath.SplitList(roots) {
		if Within(path, r) && len(r) > len(best) {
			best = r
		}
	}
	return cmp.Or(best, filepath.Dir(path))
}

// A Suggestion is a rule that would have put files where a person has put them.
type Suggestion struct {
	Name  string
	Text  string       // as an item of the list of a rules file, not indented
	Files []PlacedFile // that it would have put right
	Wrong int          // how many others it would have put elsewhere than where they are
}

// Suggest finds rules for the files of placed that are elsewhere now. write is how a rules file names a folder, and opt is
// what rules are read with. A rule is suggested only if it puts more files right than wrong, of those that forg has placed.
func Suggest(placed []PlacedFile, set *rules.Set, opt rules.Options, write func(dir string) string) ([]Suggestion, error) {
	s := &suggester{placed: placed, set: set, opt: opt, write: write, reader: metadata.NewReader(metadata.Limits{}, nil)}
	var out []Suggestion
	for _, g := range s.groups() {
		best, err := s.best(g)
		if err != nil {
			return nil, err
		}
		if best == nil { // what went to one folder may have several reasons
			for _, part := range s.byExtension(g) {
				one, err := s.best(part)
				if err != nil {
					return nil, err
				}
				if one != nil {
					out = append(out, *one)
				}
			}
			continue
		}
		out = append(out, *best)
	}
	slices.SortStableFunc(out, func(a, b Suggestion) int { return cmp.Compare(len(b.Files), len(a.Files)) })
	names := map[string]int{}
	for i := range out {
		if names[out[i].Name]++; names[out[i].Name] > 1 {
			was := out[i].Name
			out[i].rename(fmt.Sprintf("%s %d", was, names[was]))
		}
	}
	return out, nil
}

// rename gives the suggestion another name.
func (s *Suggestion) rename(name string) {
	s.Text = strings.Replace(s.Text, "- name: "+quote(s.Name), "- name: "+quote(name), 1)
	s.Name = name
}

// Avoid gives the suggestion a name that is none of taken.
func (s *Suggestion) Avoid(taken []string) {
	name := s.Name
	for n := 2; slices.Contains(taken, name); n++ {
		name = fmt.Sprintf("%s %d", s.Name, n)
	}
	if name != s.Name {
		s.rename(name)
	}
}

type suggester struct {
	placed []PlacedFile
	set    *rules.Set
	opt    rules.Options
	write  func(dir string) string
	reader *metadata.Reader
}

// A handful is what a person has taken from one location to one folder.
type handful struct {
	root   string
	folder string // where to; the folder of the years if byYear
	byYear bool   // into subfolders of the year of modification
	files  []*PlacedFile
}

// groups are the files that are elsewhere, by where they went. Those that went back to where they were are none.
func (s *suggester) groups() []handful {
	var all []handful
	years := map[place]map[string]bool{} // by location and folder of the years
	yearOf := func(p *PlacedFile) (parent, year string) {
		dir := filepath.Dir(p.Now)
		year = filepath.Base(dir)
		if year != strconv.Itoa(time.Unix(0, p.id.Mtime).In(s.zone()).Year()) {
			return "", ""
		}
		return filepath.Dir(dir), year
	}
	for i := range s.placed {
		if p := &s.placed[i]; p.Elsewhere() {
			if parent, year := yearOf(p); year != "" {
				key := place{p.Root, parent}
				if years[key] == nil {
					years[key] = map[string]bool{}
				}
				years[key][year] = true
			}
		}
	}
	for i := range s.placed {
		p := &s.placed[i]
		if !p.Elsewhere() || filepath.Dir(p.Now) == filepath.Dir(p.From) || filepath.Dir(p.Now) == filepath.Dir(p.To) {
			continue // renamed, or taken back
		}
		g := handful{root: p.Root, folder: filepath.Dir(p.Now)}
		if parent, year := yearOf(p); year != "" && len(years[place{p.Root, parent}]) > 1 {
			g.folder, g.byYear = parent, true
		}
		at := slices.IndexFunc(all, func(o handful) bool { return o.root == g.root && o.folder == g.folder && o.byYear == g.byYear })
		if at < 0 {
			at, all = len(all), append(all, g)
		}
		all[at].files = append(all[at].files, p)
	}
	return all
}

func (s *suggester) zone() *time.Location {
	if s.opt.Now.IsZero() {
		return time.UTC
	}
	return s.opt.Now.Location()
}

func (s *suggester) byExtension(g handful) []handful {
	parts := map[string]*handful{}
	for _, p := range g.files {
		_, ext := s.set.Split(filepath.Base(p.From))
		ext = strings.ToLower(ext)
		if parts[ext] == nil {
			parts[ext] = &handful{root: g.root, folder: g.folder, byYear: g.byYear}
		}
		parts[ext].files = append(parts[ext].files, p)
	}
	var all []handful
	for _, ext := range slices.Sorted(mapKeys(parts)) {
		all = append(all, *parts[ext])
	}
	if len(all) < 2 {
		return nil
	}
	return all
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// best is the rule that puts the most of g right and no other file wrong; of those the narrowest in what it asks for, for
// a few files are little to learn from. It is nil if every rule puts as many wrong as right.
func (s *suggester) best(g handful) (*Suggestion, error) {
	var best *Suggestion
	for _, filters := range s.candidates(g) {
		one, err := s.try(g, filters)
		if err != nil {
			return nil, err
		}
		score := len(one.Files) - 2*one.Wrong
		if score > 0 && (best == nil || score > len(best.Files)-2*best.Wrong) {
			best = one
		}
	}
	return best, nil
}

// candidates are the filters that all files of g have in common, the narrowest first.
func (s *suggester) candidates(g handful) [][]string {
	var exts, words, categories, hosts []string
	for i, p := range g.files {
		name := filepath.Base(p.From)
		stem, ext := s.set.Split(name)
		if ext = strings.ToLower(ext); !slices.Contains(exts, ext) {
			exts = append(exts, ext)
		}
		mine := wordsOf(stem)
		f := &placedFile{s: s, p: p}
		host := f.host()
		category := ""
		if k, _ := s.set.ByExtension(ext); k != nil {
			category = k.Category
		}
		if i == 0 {
			words, hosts, categories = mine, []string{host}, []string{category}
			continue
		}
		words = slices.DeleteFunc(words, func(w string) bool { return !slices.Contains(mine, w) })
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
		if !slices.Contains(categories, category) {
			categories = append(categories, category)
		}
	}
	slices.SortStableFunc(words, func(a, b string) int { return cmp.Compare(len([]rune(b)), len([]rune(a))) })
	words = words[:min(len(words), 3)]
	slices.Sort(exts)
	var extension, host, category string
	if len(exts) <= 6 && !slices.Contains(exts, "") {
		quoted := make([]string, len(exts))
		for i, e := range exts {
			quoted[i] = quote(e)
		}
		extension = "extension: [" + strings.Join(quoted, ", ") + "]"
	}
	if len(hosts) == 1 && hosts[0] != "" {
		host = "origin: " + quote(hosts[0])
	}
	if len(categories) == 1 && categories[0] != "" {
		category = "category: " + quote(categories[0])
	}
	var all [][]string
	add := func(filters ...string) {
		if !slices.Contains(filters, "") {
			all = append(all, filters)
		}
	}
	for _, w := range words {
		add(extension, "name: {contains: "+quote(w)+", case_sensitive: false}")
	}
	add(extension, host)
	for _, w := range words {
		add("name: {contains: " + quote(w) + ", case_sensitive: false}")
	}
	add(host)
	add(extension)
	add(category)
	return all
}

// noWords are words in names that say nothing of what a file is.
var noWords = []string{"copy", "final", "new", "the", "and", "for", "img", "dsc", "file", "document", "download", "kopie", "und", "der", "die", "das",
	"copie", "copia"}

// wordsOf are the words in a name, in lower case, each once.
func wordsOf(stem string) []string {
	var words []string
	for _, w := range strings.FieldsFunc(composed(stem), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }) {
		w = strings.ToLower(w)
		if len([]rune(w)) >= 3 && !slices.Contains(noWords, w) && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return words
}

// try writes the rule and asks it about every file that forg has placed.
func (s *suggester) try(g handful, filters []string) (*Suggestion, error) {
	name := filepath.Base(g.folder)
	dest := s.write(g.folder)
	if rel, err := filepath.Rel(g.root, g.folder); err == nil && filepath.IsLocal(rel) && rel != "." {
		dest = filepath.ToSlash(rel)
	}
	dest = escapeTemplate(strings.TrimSuffix(dest, "/")) + "/"
	if g.byYear {
		dest += "{modified:%Y}/"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "- name: %s\n  locations: %s\n", quote(name), quote(escapeTemplate(s.write(g.root))))
	if slices.ContainsFunc(g.files, func(p *PlacedFile) bool { return filepath.Dir(p.From) != g.root }) {
		b.WriteString("  subfolders: true\n")
	}
	b.WriteString("  filters:\n")
	for _, f := range filters {
		b.WriteString("    - " + f + "\n")
	}
	fmt.Fprintf(&b, "  actions:\n    - move: %s\n", quoted(dest))
	one := &Suggestion{Name: name, Text: b.String()}
	r, err := rules.Parse("the suggested rule", []byte("rules:\n"+one.Text), s.opt)
	if err != nil {
		return nil, fmt.Errorf("suggest a rule for %s: %w", g.folder, err)
	}
	root := filepath.ToSlash(g.root)
	r.Resolve(func(string) (string, error) { return root, nil })
	for i := range s.placed {
		p := &s.placed[i]
		if p.Root != g.root || p.Now == "" {
			continue
		}
		switch place, ok := s.goesTo(r, p); {
		case !ok:
		case place == filepath.Dir(p.Now):
			one.Files = append(one.Files, *p)
		default:
			one.Wrong++
		}
	}
	return one, nil
}

// goesTo is the folder that rules put a file into, taken as it was before forg moved it first.
func (s *suggester) goesTo(r *rules.Rules, p *PlacedFile) (string, bool) {
	root := filepath.ToSlash(p.Root)
	d := r.Scope(root, filepath.ToSlash(filepath.Dir(p.From)), false).Decide(&placedFile{s: s, p: p})
	for _, step := range d.Steps {
		if step.Kind == rules.Move {
			to := step.To
			if !path.IsAbs(to) && filepath.VolumeName(to) == "" {
				to = path.Join(root, to)
			}
			if !step.Folder {
				to = path.Dir(to)
			}
			return filepath.Clean(filepath.FromSlash(to)), true
		}
	}
	return "", false
}

// Takes says which rule of r would take the file, taken as it was before forg moved it first; it is nil if none would.
func Takes(r *rules.Rules, p *PlacedFile, set *rules.Set) *rules.Rule {
	s := &suggester{set: set, reader: metadata.NewReader(metadata.Limits{}, nil)}
	d := r.Scope(filepath.ToSlash(p.Root), filepath.ToSlash(filepath.Dir(p.From)), false).Decide(&placedFile{s: s, p: p})
	if len(d.Steps) == 0 {
		return nil
	}
	return d.Steps[0].Rule
}

// A placedFile is a file as rules would have seen it before forg moved it: by its name then, and by what can still be told.
type placedFile struct {
	s *suggester
	p *PlacedFile
}

func (f *placedFile) Dir() string  { return filepath.ToSlash(filepath.Dir(f.p.From)) }
func (f *placedFile) Name() string { return filepath.Base(f.p.From) }

func (f *placedFile) Fact(name string) (rules.Value, error) {
	_, ext := f.s.set.Split(f.Name())
	kind, _ := f.s.set.ByExtension(ext)
	switch name {
	case rules.FactDir:
		return false, nil
	case rules.FactSize:
		return f.p.id.Size, nil
	case rules.FactEmpty:
		return f.p.id.Size == 0, nil
	case rules.FactModified:
		return time.Unix(0, f.p.id.Mtime), nil
	case rules.FactCategory:
		if kind != nil {
			return kind.Category, nil
		}
		return nil, nil
	case rules.FactType:
		if kind != nil {
			return kind.Type, nil
		}
		return nil, nil
	}
	if !metadata.Knows(name) || f.p.Now == "" {
		return nil, nil
	}
	file, err := openPath(f.p.Now)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.p.Now, cause(err))
	}
	defer file.Close()
	return f.s.reader.File(file).Fact(context.Background(), name)
}

// host is where the file was downloaded from, "" if that is not known.
func (f *placedFile) host() string {
	v, err := f.Fact(rules.FactOrigin)
	urls, _ := v.([]string)
	if err != nil || len(urls) == 0 {
		return ""
	}
	_, rest, ok := strings.Cut(urls[0], "://")
	if !ok {
		return ""
	}
	host, _, _ := strings.Cut(rest, "/")
	_, after, ok := strings.Cut(host, "@")
	if ok {
		host = after
	}
	host, _, _ = strings.Cut(host, ":")
	if strings.ContainsFunc(host, func(r rune) bool {
		return r != '.' && r != '-' && (r > 0x7f || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	}) {
		return ""
	}
	return strings.ToLower(host)
}

func escapeTemplate(s string) string { return strings.NewReplacer("{", "{{", "}", "}}").Replace(s) }

// quote writes text as a YAML scalar, with quotes unless it is a plain word or path.
func quote(text string) string {
	plain := text != ""
	for i, r := range text {
		if !(unicode.IsLetter(r) || r == '~' && i == 0 || i > 0 && (unicode.IsDigit(r) || strings.ContainsRune("/._- ", r)) || r == '/') {
			plain = false
		}
	}
	switch strings.ToLower(text) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n", "~":
		plain = false
	}
	if plain && strings.TrimSpace(text) == text {
		return text
	}
	return quoted(text)
}

// quoted writes text as a YAML scalar in double quotes.
func quoted(text string) string { return strconv.Quote(text) }
