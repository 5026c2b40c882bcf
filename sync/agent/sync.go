package agent

import (
	"context"
	"math/rand/v2"
	"time"
)

// syncing pushes soon after the journal has changed, and asks now and then what other devices did. It looks at the journal
// by its mark, so that it costs next to nothing while nothing happens.
func (a *agent) syncing(ctx context.Context) {
	var b backoff
	synced, mark := false, "" // of the journal, when that was
	var due, not time.Time    // when to sync without a reason; before when not at all
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		now, at := time.Now(), a.Mark()
		if (!synced || at != mark || now.After(due)) && !now.Before(not) {
			err := a.Sync(ctx)
			if ctx.Err() != nil {
				return
			}
			a.worry("sync", err)
			if err == nil {
				synced, mark, b = true, at, backoff{}
				due = time.Now().Add(pullEvery/2 + random(pullEvery))
			} else {
				synced = false
				not = time.Now().Add(b.next(a.retryAfter(err)))
			}
		}
		select {
		case <-look.C:
		case <-a.kick:
			synced = false
		case <-ctx.Done():
			return
		}
	}
}

// The bounds of what is waited after errors, as PROTOCOL.md has them.
const (
	firstPause = time.Second
	mostPause  = 15 * time.Minute
)

// backoff is how often something has failed in a row.
type backoff struct{ n int }

// next is how long to wait: a random time below a bound that doubles, but not less than the server has asked for.
func (b *backoff) next(least time.Duration) time.Duration {
	bound := min(firstPause<<min(b.n, 20), mostPause)
	b.n++
	return max(random(bound), least)
}

// random is a time below d, to spread what many devices do at once.
func random(d time.Duration) time.Duration { return rand.N(d) }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
