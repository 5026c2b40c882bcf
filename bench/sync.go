//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// sync measures what syncing costs whoever uses it, and that it costs others nothing: a push and a pull over loopback, with the
// server on this machine too, and organize with a login and a full sync.db, the server dead, against organize without.
func (b *Bench) sync() (secs []*Section, err error) {
	if b.forg == "" {
		return nil, errNoForg
	}
	s := &served{b: b, sec: &Section{}}
	data := filepath.Join(b.work, "sync-server")
	if err := s.start(data, ""); err != nil {
		return nil, err
	}
	running := true
	stop := func() {
		if running {
			s.cmd.Process.Kill()
			s.cmd.Wait()
			running = false
		}
	}
	defer func() {
		stop()
		err = errors.Join(err, os.RemoveAll(data))
	}()
	if err := s.ask("POST", "/api/v1/auth/signup", "", 201, api.SignupRequest{Email: "ana@example.org", Password: benchPassword, FullName: "Ana"}, nil); err != nil {
		return nil, err
	}
	n := b.size(200_000)
	dir, err := b.tree("flat", n)
	if err != nil {
		return nil, err
	}
	login := func(h string) func() error {
		return command(home(h), "sh", "-c", fmt.Sprintf("echo %q | %s login --server %s --password-stdin ana@example.org", benchPassword, b.forg, s.url))
	}

	desk := filepath.Join(b.work, "desk")
	if err := chain(func() error { return fresh(desk) }, command(home(desk), b.organizeArgv(dir)...), login(desk))(); err != nil {
		return nil, err
	}
	push, err := b.interleave(fmt.Sprintf("%d records of files in one journal, to SQLite", n),
		Variant{Name: "forg sync push --again", Argv: b.forgArgv("sync", "push", "--again", "--quiet"), Env: home(desk)})
	if err != nil {
		return nil, err
	}
	push.limit("1000 records (100000/s)", "forg sync push --again", func(s Sample) float64 { return wall(s) * 1e6 / float64(n) }, 10, "ms")
	push.limit("max RSS of the client", "forg sync push --again", rss, 80, "MB")

	if err := s.fill(n); err != nil {
		return nil, err
	}
	laptop := filepath.Join(b.work, "laptop")
	if err := chain(func() error { return fresh(laptop) }, login(laptop))(); err != nil {
		return nil, err
	}
	state := filepath.Join(laptop, "state", "forg")
	pull, err := b.interleave(fmt.Sprintf("%d events of another device, and what was pushed before", n),
		Variant{Name: "forg sync pull", Argv: b.forgArgv("sync", "pull", "--quiet"), Env: home(laptop),
			Setup: func() error { return errors.Join(os.RemoveAll(state+"/sync.db"), os.RemoveAll(state+"/sync.db-wal")) }},
		Variant{Name: "forg sync pull, nothing new", Argv: b.forgArgv("sync", "pull", "--quiet"), Env: home(laptop), Setup: command(home(laptop), b.forg, "sync", "pull", "--quiet")},
		Variant{Name: "forg history --device all --limit 20", Argv: b.forgArgv("history", "--device", "all", "--limit", "20"), Env: home(laptop), Setup: command(home(laptop), b.forg, "sync", "pull", "--quiet")},
		Variant{Name: "forg where NAME", Argv: []string{"sh", "-c", b.forg + " where invoice-77.pdf >/dev/null"}, Env: home(laptop), Setup: command(home(laptop), b.forg, "sync", "pull", "--quiet")},
	)
	if err != nil {
		return nil, err
	}
	pull.limit("a fresh device pulls", "forg sync pull", wall, 5, "s")
	pull.limit("max RSS of the client", "forg sync pull", rss, 80, "MB")
	pull.Goals = append(pull.Goals, Goal{What: "max RSS of the server", Values: []float64{s.memory("VmHWM")}, Unit: "MB"})
	stop()

	m := b.size(100_000)
	if m != n {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		if dir, err = b.tree("flat", m); err != nil {
			return nil, err
		}
	}
	h := filepath.Join(b.work, "home")
	keep := "cp " + strings.Join([]string{state + "/journal.login", state + "/sync.db", h + "/state/forg"}, " ")
	plain := chain(b.restore(dir, m), func() error { return fresh(h) })
	way, err := b.interleave(fmt.Sprintf("organize of %d files, the server dead", m),
		Variant{Name: "organize", Setup: plain, Argv: b.organizeArgv(dir), Env: home(h), Check: b.expect(dir, 0, m)},
		Variant{Name: "organize, logged in", Argv: b.organizeArgv(dir), Env: append(home(h), "FORG_SYNC_SERVER="+s.url), Check: b.expect(dir, 0, m),
			Setup: chain(plain, func() error { return os.MkdirAll(h+"/state/forg", 0o700) }, command(nil, "sh", "-c", keep))},
	)
	if err != nil {
		return nil, err
	}
	way.ratio("organize, logged in", "organize", 1.02)
	return []*Section{push, pull, way}, os.RemoveAll(dir)
}

// fill pushes n events of another device: operations of one file each.
func (s *served) fill(n int) error {
	device, epoch := uuid.Must(uuid.NewV7()), uuid.New()
	var tokens api.TokenResponse
	login := api.LoginRequest{Email: "ana@example.org", Password: benchPassword, Device: &api.LoginDevice{ID: device, Name: "other"}}
	if err := s.ask("POST", "/api/v1/auth/login", "", 200, login, &tokens); err != nil {
		return err
	}
	chain := api.Genesis(device, epoch)
	req := api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch, PrevChain: chain}
	for seq := int64(1); seq <= int64(n); {
		op := uuid.Must(uuid.NewV7())
		name := fmt.Sprintf("invoice-%d.pdf", seq)
		for _, body := range []api.Body{
			&api.Started{Kind: "organize", Root: "/home/ana/Downloads", Command: "forg watch /home/ana/Downloads", Planned: 1},
			api.Files{{Seq: 1, SourcePath: "/home/ana/Downloads/" + name, DestinationPath: "/home/ana/Downloads/Documents/" + name, Size: 81234, Category: "Documents", Action: "rename", Status: api.FilePlanned, MovedAt: time.Now()}},
			&api.Void{},
			&api.Finished{Status: api.OpCompleted, Processed: 1, Bytes: 81234},
		} {
			e, err := api.NewEntry(seq, uuid.Must(uuid.NewV7()), op, time.Now().UnixMicro(), body)
			if err != nil {
				return err
			}
			req.Entries = append(req.Entries, e)
			chain = chain.Next(e.SHA256)
			seq++
		}
		if len(req.Entries) == 1000 || seq > int64(n) {
			if err := s.ask("POST", "/api/v1/sync/push", tokens.AccessToken, 200, req, nil); err != nil {
				return err
			}
			req.PrevChain, req.Entries = chain, nil
		}
	}
	return nil
}
