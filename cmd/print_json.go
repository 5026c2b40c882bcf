package cmd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"forg/journal"
	"forg/organizer"
)

type jsonOperation struct {
	ID         int64          `json:"id"`
	UUID       string         `json:"uuid"`
	Kind       string         `json:"kind"`
	Status     journal.Status `json:"status"`
	Root       string         `json:"root,omitempty"`
	Command    string         `json:"command,omitempty"`
	StartedAt  string         `json:"started_at,omitempty"`
	FinishedAt string         `json:"finished_at,omitempty"`
	Moved      *int64         `json:"moved,omitempty"`
	Failed     *int64         `json:"failed,omitempty"`
	Bytes      *int64         `json:"bytes,omitempty"`
	UndoneBy   *int64         `json:"undone_by"`
	Undoes     *int64         `json:"undoes"`
}

type jsonShort struct {
	ID     int64          `json:"id"`
	UUID   string         `json:"uuid"`
	Kind   string         `json:"kind"`
	Status journal.Status `json:"status"`
}

func shortOf(r *organizer.Result) *jsonShort {
	if r == nil || r.ID == 0 {
		return nil
	}
	return &jsonShort{r.ID, r.UUID, r.Kind, r.Status}
}

func operationJSON(o journal.Operation) jsonOperation {
	out := jsonOperation{ID: o.ID, UUID: o.UUID.String(), Kind: o.Kind, Status: o.Status, Root: o.Root, Command: o.Command,
		StartedAt: o.StartedAt.Format(time.RFC3339Nano), Moved: &o.Moved, Failed: &o.Failed, Bytes: &o.Bytes}
	if !o.FinishedAt.IsZero() {
		out.FinishedAt = o.FinishedAt.Format(time.RFC3339Nano)
	}
	if o.UndoneBy != 0 {
		out.UndoneBy = &o.UndoneBy
	}
	if o.Undoes != 0 {
		out.Undoes = &o.Undoes
	}
	return out
}

type jsonMove struct {
	From      string `json:"from"`
	FromBytes []byte `json:"from_bytes,omitempty"`
	To        string `json:"to"`
	ToBytes   []byte `json:"to_bytes,omitempty"`
	Category  string `json:"category,omitempty"`
	Rule      string `json:"rule,omitempty"` // which rule decided
	Action    string `json:"action,omitempty"`
	State     string `json:"state,omitempty"`
	Error     string `json:"error,omitempty"`
	Bytes     int64  `json:"bytes"`
}

func moveJSON(from, to, label string, action journal.Action, bytes int64) jsonMove {
	m := jsonMove{Category: label, Bytes: bytes}
	m.From, m.FromBytes = organizer.ExactPath(from)
	m.To, m.ToBytes = organizer.ExactPath(to)
	switch action {
	case journal.Rename, journal.Move:
	default:
		m.Action = action.String()
	}
	return m
}

type jsonProblem struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
	Error     string `json:"error"`
}

func problemsJSON(lists ...[]organizer.Problem) []jsonProblem {
	out := []jsonProblem{}
	for _, p := range slices.Concat(lists...) {
		q := jsonProblem{Error: strings.ToValidUTF8(p.Err.Error(), "\ufffd")}
		q.Path, q.PathBytes = organizer.ExactPath(p.Path)
		out = append(out, q)
	}
	return out
}

// printJSON prints an answer that is small.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// object writes one JSON object field by field, so that a million moves need not be held.
type object struct {
	w     *bufio.Writer
	buf   bytes.Buffer
	comma bool
	items bool
}

func newObject(w io.Writer) *object {
	o := &object{w: bufio.NewWriterSize(w, 64<<10)}
	o.w.WriteByte('{')
	return o
}

func (o *object) key(name string) {
	if o.comma {
		o.w.WriteByte(',')
	}
	o.comma = true
	fmt.Fprintf(o.w, "%q:", name)
}

func (o *object) field(name string, v any) {
	o.key(name)
	o.value(v)
}

func (o *object) value(v any) {
	o.buf.Reset()
	e := json.NewEncoder(&o.buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only our own types come here, and they encode
	}
	o.w.Write(bytes.TrimRight(o.buf.Bytes(), "\n"))
}

func (o *object) array(name string) { o.key(name); o.w.WriteByte('['); o.items = false }
func (o *object) item(v any) {
	if o.items {
		o.w.WriteByte(',')
	}
	o.items = true
	o.value(v)
}
func (o *object) end() { o.w.WriteByte(']') }
func (o *object) close() error {
	o.w.WriteString("}\n")
	return o.w.Flush()
}
