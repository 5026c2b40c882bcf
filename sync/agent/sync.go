package agent

import (
	"context"
	"math/rand/v2"
	"time"

	"forg/sync/client"
)

// syncing pushes soon after the journal has changed, and asks now and then what other devices did. It looks at the journal
// by its mark, so that it costs next to nothing while nothing happens.
func (a *agent) syncing(ctx context.Context) {
	var b client.Backoff
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
				synced, mark = true, at
				b.Reset()
				due = time.Now().Add(pullEvery/2 + random(pullEvery))
			} else {
				synced = false
				not = time.Now().Add(b.Next(err))
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
