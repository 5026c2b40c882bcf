package organizer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"forg/journal"
)

// shareChunk is how much two files are asked to share at once: as much as btrfs takes.
const shareChunk = 16 << 20

// share lets a duplicate share its blocks with the file that stays. The kernel compares them under its own locks and
// refuses what differs; inode, times and attributes stay as they are.
func (r *runner) share(ctx context.Context, s *journal.Step, g *guard) error {
	if shared, err := sharesBlocks(g.dup, g.keep, g.was.Size); err == nil && shared || g.was.Size == 0 {
		r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped, Err: "shared already"})
		return errSettled
	}
	for at := int64(0); at < g.was.Size; {
		err := ctx.Err()
		var n int64
		if err == nil {
			n, err = shareRange(g.dup, g.keep, at, min(shareChunk, g.was.Size-at))
		}
		if err == nil && n <= 0 {
			err = io.ErrNoProgress
		}
		if err != nil && at > 0 {
			return fmt.Errorf("%w; the first %d of %d bytes are shared", err, at, g.was.Size)
		}
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// unshare gives a file that has shared its blocks its own ones again. It changes nothing else, and nothing at all if the
// file was edited since, or where the file system parts blocks only when they are written.
func (r *runner) unshare(s *journal.Step, from *folder) error {
	err := ownBlocks(from, s.From, s.File)
	if !errors.Is(err, errNoUnshare) {
		return err
	}
	if !r.toldUnshare {
		r.toldUnshare = true
		r.res.Notes = append(r.res.Notes, Problem{s.FromPath(), fmt.Errorf("%s is a file of its own and goes on sharing blocks until either file is written: %w", s.FromPath(), err)})
	}
	return nil
}

var errNoUnshare = errors.New("the file system cannot give it blocks of its own")

// decideShare settles a Share or an Unshare. Either leaves content and attributes as they are, but for the time of
// modification in the middle of an Unshare, which comes back if the content is that of the file that stays.
func (s *settler) decideShare(step *journal.StepResult) journal.Outcome {
	var k keeperMeta
	if err := unmarshalMeta(step.Meta, &k); err != nil {
		return outcome(journal.Lost, "%v", err)
	}
	dir, now, there, err := s.at(step.FromDir, step.From)
	if err != nil {
		return outcome(journal.Lost, "cannot tell: %v", err)
	}
	if !there || !now.SameFile(step.File) {
		return outcome(journal.NotDone, "")
	}
	dup, err := dir.open(step.From)
	if err != nil {
		return outcome(journal.Lost, "cannot tell: %v", cause(err))
	}
	defer dup.Close()
	keep, err := openPath(k.path())
	if err != nil {
		return outcome(journal.NotDone, "")
	}
	defer keep.Close()
	if step.Action == journal.Unshare && now.Size == step.File.Size && now.Mtime != step.File.Mtime {
		if same, err := sameBytes(step.FromPath(), k.path()); err == nil && same {
			if err := setTimes(dup, now.Atime, step.File.Mtime); err != nil {
				return outcome(journal.Lost, "give it back its time of modification: %v", err)
			}
		}
	}
	shared, err := sharesBlocks(dup, keep, now.Size)
	if err == nil && shared == (step.Action == journal.Share) {
		return outcome(journal.Done, "")
	}
	return outcome(journal.NotDone, "")
}
