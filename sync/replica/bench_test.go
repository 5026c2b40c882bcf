package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/replica"
)

// lines is a server whose answer to a pull is there already.
type lines struct {
	memory
	text []byte
}

func (l *lines) Pull(_ context.Context, q client.PullQuery, each func(api.PullEntry) error) (api.PullEnd, error) {
	r := api.NewPullReader(bytes.NewReader(l.text), q.After, api.DefaultLimits())
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			end, _ := r.End()
			return end, nil
		}
		if err != nil {
			return api.PullEnd{}, err
		}
		if err := each(*e); err != nil {
			return api.PullEnd{}, err
		}
	}
}

func (l *lines) State(context.Context, uuid.UUID) (api.SyncState, error) { return api.SyncState{}, nil }

// BenchmarkPull is what a pull costs the client: reading, checking and keeping.
func BenchmarkPull(b *testing.B) {
	const events = 40000
	device, epoch := uuid.New(), uuid.New()
	var text bytes.Buffer
	for seq := int64(1); seq <= events; {
		op := uuid.Must(uuid.NewV7())
		name := fmt.Sprintf("invoice-%d.pdf", seq)
		for _, body := range []api.Body{
			&api.Started{Kind: "organize", Root: "/home/ana/Downloads", Command: "forg watch /home/ana/Downloads", Planned: 1},
			api.Files{{Seq: 1, SourcePath: "/home/ana/Downloads/" + name, DestinationPath: "/home/ana/Downloads/Documents/" + name, Size: 81234, Category: "Documents", Action: "rename", Status: api.FilePlanned}},
			&api.Void{},
			&api.Finished{Status: api.OpCompleted, Processed: 1, Bytes: 81234},
		} {
			e, err := api.NewEntry(seq, uuid.Must(uuid.NewV7()), op, 1785574800003000, body)
			if err != nil {
				b.Fatal(err)
			}
			if err := api.WritePull(&text, &api.PullEntry{ServerSeq: seq, DeviceID: device, Epoch: epoch, Entry: e}); err != nil {
				b.Fatal(err)
			}
			seq++
		}
	}
	if err := api.WritePull(&text, &api.PullEnd{Next: events, Head: events}); err != nil {
		b.Fatal(err)
	}
	s := &lines{text: text.Bytes()}
	b.SetBytes(int64(text.Len()))
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		r, err := replica.Open(b.Context(), replica.Options{Path: filepath.Join(dir, fmt.Sprint(i), "sync.db"), Account: "a"})
		if err != nil {
			b.Fatal(err)
		}
		if out, err := r.Pull(b.Context(), s, uuid.New()); err != nil || out.Entries != events {
			b.Fatal(out, err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
}
