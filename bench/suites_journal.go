//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

func (b *Bench) undo() ([]*Section, error) {
	g, err := b.prepare("flat", 100_000)
	if err != nil {
		return nil, err
	}
	sec, err := b.interleave(fmt.Sprintf("%d moves", g.n),
		Variant{Name: "forg undo", Argv: b.forgArgv("undo", "--quiet"), Env: g.env, Check: b.expect(g.dir, g.n, g.n),
			Setup: chain(b.restore(g.dir, g.n), g.empty,
				command(g.env, b.organizeArgv(g.dir)...), b.expect(g.dir, 0, g.n))},
		Variant{Name: "C renames back", Argv: []string{b.c, "back", g.dir}, Check: b.expect(g.dir, g.n, g.n),
			Setup: chain(b.restore(g.dir, g.n), command(nil, b.c, "organize", g.dir))},
	)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg undo", "C renames back", 1.2)
	return []*Section{sec}, os.RemoveAll(g.dir)
}

func (b *Bench) journal() ([]*Section, error) {
	g, err := b.prepareForg("flat", 100_000)
	if err != nil {
		return nil, err
	}
	if err := chain(g.empty, command(g.env, b.organizeArgv(g.dir)...), b.expect(g.dir, 0, g.n))(); err != nil {
		return nil, err
	}
	sec := &Section{Title: fmt.Sprintf("after %d moves", g.n)}
	total, err := sizeOf(filepath.Join(g.home, "state"), func(path string, size int64) {
		sec.note("%s: %d bytes", path, size)
	})
	if err != nil {
		return nil, err
	}
	name := Tree{Kind: "flat", N: g.n, Seed: b.seed}.meanName()
	sec.Goals = append(sec.Goals, Goal{What: fmt.Sprintf("bytes a move, without its name (%.1f)", name),
		Values: []float64{float64(total)/float64(g.n) - name}, Limit: 30, Unit: "bytes"})
	return []*Section{sec}, os.RemoveAll(g.dir)
}

// sizeOf adds up the files below dir.
func sizeOf(dir string, report func(path string, size int64)) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		report(rel, info.Size())
		total += info.Size()
		return nil
	})
	return total, err
}

// recovery kills an organize after most of its renames. How many there were differs from kill to kill, so the raw
// renames are scaled to that number.
func (b *Bench) recovery() ([]*Section, error) {
	g, err := b.prepareForg("flat", 100_000)
	if err != nil {
		return nil, err
	}
	k := &kills{b: b, g: g, setup: chain(b.restore(g.dir, g.n), g.empty, b.flush)}
	if err := k.setup(); err != nil {
		return nil, err
	}
	full, err := timed(Variant{Name: "organize", Argv: b.organizeArgv(g.dir), Env: g.env})
	if err != nil {
		return nil, err
	}
	k.full, k.delay = full.Wall, full.Wall*8/10
	sec := &Section{Title: fmt.Sprintf("%d files, kill -9 of an organize", g.n), Runs: map[string][]Sample{},
		Order: []string{"forg history, settling", "forg history, settled", "raw renames"}}
	var share, per []float64
	for round := range b.rounds {
		moved, err := k.kill()
		if err != nil {
			return nil, err
		}
		if err := b.flush(); err != nil {
			return nil, err
		}
		first, err := k.settle(sec)
		if err != nil {
			return nil, err
		}
		second, err := timed(Variant{Name: sec.Order[1], Argv: b.forgArgv("history", "--json"), Env: g.env})
		if err != nil {
			return nil, err
		}
		if err := chain(command(g.env, b.forgArgv("undo", "--quiet")...), b.expect(g.dir, g.n, g.n), b.flush)(); err != nil {
			return nil, fmt.Errorf("undo of what the kill left: %w", err)
		}
		raw, err := timed(Variant{Name: sec.Order[2], Argv: []string{b.c, "renames", g.dir}})
		if err != nil {
			return nil, err
		}
		for i, s := range []Sample{first, second, raw} {
			sec.Runs[sec.Order[i]] = append(sec.Runs[sec.Order[i]], s)
		}
		share = append(share, float64(moved)/float64(g.n)*100)
		per = append(per, wall(first)/(wall(raw)*float64(moved)/float64(g.n)))
		fmt.Fprintf(os.Stderr, "   %d moved %d, settled in %s\n", round, moved, seconds(wall(first)))
	}
	sec.Goals = []Goal{{What: "settling / raw renames of as many", Values: per, Limit: 0.40, Unit: "x"},
		{What: "moved before the kill", Values: share, Unit: "%"}}
	return []*Section{sec}, os.RemoveAll(g.dir)
}

// kills is organizes of one folder that are killed.
type kills struct {
	b           *Bench
	g           ground
	setup       func() error  // restores the folder
	full, delay time.Duration // of a whole organize; before the next kill, learnt from those before
}

// kill kills an organize between half of its moves and all, and says how many it had made.
func (k *kills) kill() (moved int, err error) {
	for range 30 {
		if err := k.setup(); err != nil {
			return 0, err
		}
		if moved, err = k.killAfter(k.delay); err != nil {
			return 0, err
		}
		switch {
		case moved < k.g.n/2:
			k.delay += k.full / 12
		case moved == k.g.n:
			k.delay -= k.full / 20
		default:
			return moved, nil
		}
	}
	return 0, fmt.Errorf("in 30 tries no kill met the organize between half of its moves and all (%d)", moved)
}

func (k *kills) killAfter(delay time.Duration) (moved int, err error) {
	argv := k.b.organizeArgv(k.g.dir)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = k.g.env
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	time.Sleep(delay)
	_ = cmd.Process.Kill() // it may have finished
	_ = cmd.Wait()
	top, all, err := k.b.count(k.g.dir)
	if err == nil && all != k.g.n {
		err = fmt.Errorf("after the kill %d of %d files are there", all, k.g.n)
	}
	return k.g.n - top, err
}

// settle times the command that settles what a kill has left.
func (k *kills) settle(sec *Section) (Sample, error) {
	v := Variant{Name: sec.Order[0], Argv: k.b.forgArgv("history", "--json"), Env: k.g.env}
	s, err := timed(v)
	if err != nil {
		return s, err
	}
	status, err := k.b.lastStatus(k.g.home)
	if err != nil {
		return s, err
	}
	if status == "running" { // history only reads: the doctor settles
		v.Argv = k.b.forgArgv("doctor", "--fix")
		if s, err = timed(v); err != nil {
			return s, err
		}
		sec.Notes = []string{"`forg history` left the operation as it was; the time is `forg doctor --fix`'s."}
		if status, err = k.b.lastStatus(k.g.home); err != nil {
			return s, err
		}
	}
	if status != "interrupted" {
		err = fmt.Errorf("the killed operation has status %q, want interrupted", status)
	}
	return s, err
}

// lastStatus is the status of the newest operation that is not an undo.
func (b *Bench) lastStatus(h string) (string, error) {
	cmd := exec.Command(b.forg, "history", "--json")
	cmd.Env = home(h)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("forg history --json: %w", err)
	}
	var answer struct {
		Operations []struct{ Status string }
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return "", fmt.Errorf("forg history --json: %w", err)
	}
	if len(answer.Operations) == 0 {
		return "", errors.New("forg history --json: no operation")
	}
	return answer.Operations[0].Status, nil
}
