package replica

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/feed"
)

// Pushed is what a push came to.
type Pushed struct {
	Entries  int   // acknowledged now
	Acked    int64 // all events of the journal's epoch up to this one are at the server
	Commands int   // that wait for this device
	// NewEpoch says that the journal has begun a new epoch, and why: the user is to be told. Left are the events of the
	// old one that are in this journal only.
	NewEpoch Reason
	Left     int64
	Skew     time.Duration // the server's clock less ours, where it is more than a minute
}

// Reason is why a journal has begun a new epoch.
type Reason string

// The reasons.
const (
	ReasonFork     Reason = "fork"     // the server has other entries under the same numbers
	ReasonRetired  Reason = "retired"  // another copy of the journal has begun a newer epoch
	ReasonAhead    Reason = "ahead"    // the server has more of this log than the journal
	ReasonRestored Reason = "restored" // the journal no longer has what was acknowledged
)

// outbox is how far one epoch is at the server.
type outbox struct {
	n       int64
	device  uuid.UUID
	journal uuid.UUID
	epoch   uuid.UUID
	head    api.LogHead
	id      uuid.UUID // of the event AckedSeq; uuid.Nil: there is none
}

// Push sends what the journal has and the server has not. It waits for no forg that writes the journal. device is whom
// the server knows this journal as. Errors: *Stop; journal.ErrLocked when a new epoch is due and another forg is at
// work; those of the connection, once patience has ended.
func (r *Replica) Push(ctx context.Context, s Server, j *journal.Journal, device uuid.UUID) (out Pushed, err error) {
	defer func() { r.examine(err) }()
	if stop, err := r.Stopped(ctx); err != nil || stop != nil {
		return out, errors.Join(err, stopError(stop))
	}
	patience := r.opt.Patience
	limits, err := r.limits(ctx, s, &patience)
	if err != nil {
		return out, err
	}
	if err := r.reform(ctx, j, device); err != nil {
		return out, err
	}
	// Whoever shares a log with another copy of the journal begins anew once; twice in one push means that the other one is
	// at it this very moment, and then it is the user who has to do something.
	learned, begun := false, false
	for first := Reason(""); ; {
		reason, err := r.pushEpoch(ctx, s, j, device, limits, &patience, &out)
		if err != nil || reason == "" {
			return out, err
		}
		first = cmp.Or(first, reason)
		if reason != ReasonRestored && !learned {
			// What was written down here may be older than both the journal and the server, or have made an entry anew that was
			// sent already: then the server's log is this journal's, event for event, and it is learned again.
			learned = true
			if err := r.unlearn(ctx, j, device); err != nil {
				return out, err
			}
			continue
		}
		if begun {
			return out, r.stop(ctx, api.CodeFork, "another copy of this journal syncs as the same device at this very moment; "+
				"make it another device with \"forg login --new-device\" there, or stop it, then run \"forg sync\"")
		}
		begun = true
		if err := r.begin(ctx, j, first, &out); err != nil {
			return out, err
		}
	}
}

// unlearn drops what is known of the current epoch at the server.
func (r *Replica) unlearn(ctx context.Context, j *journal.Journal, device uuid.UUID) error {
	e, err := currentEpoch(ctx, j)
	if err != nil {
		return err
	}
	return r.tx(ctx, func(tx *sql.Tx) error {
		const which = "(SELECT n FROM outbox WHERE device = ? AND journal = ?)"
		for _, q := range []string{"DELETE FROM pending WHERE outbox IN " + which, "DELETE FROM acks WHERE outbox IN " + which, "DELETE FROM outbox WHERE n IN " + which} {
			if _, err := tx.ExecContext(ctx, q, device[:], e.ID[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// reform drops the push that waits if bodies are to leave the device in another form now: somebody has decided that what is
// readable is not to be sent any more. How much of it the server has all the same is learned anew.
func (r *Replica) reform(ctx context.Context, j *journal.Journal, device uuid.UUID) error {
	form, was, waits := fmt.Sprintf("%T", r.opt.Seal), "", false
	err := errors.Join(fact(ctx, r.db, factForm, &was), r.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pending)").Scan(&waits))
	if err != nil || was == form {
		return err
	}
	if waits {
		if err := r.unlearn(ctx, j, device); err != nil {
			return err
		}
	}
	return r.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM pending")
		return errors.Join(err, setFact(ctx, tx, factForm, form))
	})
}

func stopError(s *Stop) error {
	if s == nil {
		return nil
	}
	return s
}

// begin begins a new epoch in the journal.
func (r *Replica) begin(ctx context.Context, j *journal.Journal, reason Reason, out *Pushed) error {
	e, err := currentEpoch(ctx, j)
	if err != nil {
		return err
	}
	if r.opt.NewEpoch == nil {
		return r.stop(ctx, api.CodeFork, "another copy of this journal has been synced as this device (%s)", reason)
	}
	sent := out.Acked
	if reason == ReasonRestored {
		sent = 0 // of another history that had the same numbers
	}
	if err := r.opt.NewEpoch(ctx, sent); err != nil {
		return fmt.Errorf("begin a new epoch: %w", err)
	}
	if out.NewEpoch == "" {
		out.NewEpoch, out.Left = reason, max(0, e.Last-out.Acked)
	}
	out.Acked = 0
	return r.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM pending")
		return err
	})
}

func currentEpoch(ctx context.Context, j *journal.Journal) (journal.Epoch, error) {
	all, err := j.Epochs(ctx)
	if err != nil || len(all) == 0 {
		return journal.Epoch{}, err
	}
	return all[len(all)-1], nil
}

// pushEpoch sends what is left of the journal's current epoch; with a reason it could not, and a new one is due.
func (r *Replica) pushEpoch(ctx context.Context, s Server, j *journal.Journal, device uuid.UUID, l api.Limits, patience *time.Duration, out *Pushed) (Reason, error) {
	e, err := currentEpoch(ctx, j)
	if err != nil || e.ID == uuid.Nil {
		return "", err
	}
	o, reason, err := r.outbox(ctx, s, j, device, e, patience)
	if err != nil || reason != "" {
		return reason, err
	}
	out.Acked = o.head.AckedSeq
	if ok, err := r.remembers(ctx, j, o); err != nil || !ok {
		return ReasonRestored, err
	}
	most, asked, resealed := l.MaxEntries, false, false
	for {
		entries, err := r.pending(ctx, j, o, l)
		if err != nil {
			return "", err
		}
		if len(entries) == 0 && asked {
			return "", r.tx(ctx, func(tx *sql.Tx) error { return setFact(ctx, tx, factPushed, r.opt.Now().Unix()) })
		}
		send := append([]api.Entry{}, entries[:min(len(entries), most)]...) // never null
		req := &api.PushRequest{Protocol: api.Protocol, DeviceID: o.device, Epoch: o.epoch, PrevChain: o.head.Chain, Entries: send}
		var res api.PushResponse
		err = r.try(ctx, patience, pushAnswer, func() (err error) {
			res, err = s.Push(ctx, req)
			return err
		})
		if p, ok := errors.AsType[*api.Problem](err); ok && !errors.Is(err, ErrStopped) {
			switch p.Then() {
			case api.NewEpoch:
				if p.Code == api.CodeEpochRetired {
					return ReasonRetired, nil
				}
				return ReasonFork, nil
			case api.Halve:
				if len(send) <= 1 {
					return "", r.stop(ctx, p.Code, "one event of the journal is too large for the server, which is a bug: %v", err)
				}
				most = len(send) / 2
				if err := r.forgetLimits(ctx); err != nil {
					return "", err
				}
				continue
			case api.Reseal: // it was made before this device knew of the account's key, or of a newer one
				if _, err := r.db.ExecContext(ctx, "DELETE FROM pending WHERE outbox = ?", o.n); err != nil {
					return "", err
				}
				if resealed || r.opt.Seal == nil {
					return "", r.stop(ctx, p.Code, "%s", advice(p))
				}
				resealed = true
				continue
			case api.GoOn:
				if p.AckedSeq == nil || *p.AckedSeq >= o.head.AckedSeq {
					return "", r.stop(ctx, CodeServer, "the server misses entries before %d, and says it has them", o.head.AckedSeq+1)
				}
				if reason, err := r.rewind(ctx, s, j, o, patience); err != nil || reason != "" {
					return reason, err
				}
				out.Acked = o.head.AckedSeq
				continue
			}
		}
		if err != nil {
			return "", err
		}
		asked = true
		want, n := o.head, 0
		for n < len(entries) && entries[n].Seq <= res.AckedSeq { // an answer that was lost may have been about more
			want = api.LogHead{AckedSeq: entries[n].Seq, Chain: want.Chain.Next(entries[n].SHA256)}
			n++
		}
		switch {
		case res.AckedSeq > want.AckedSeq: // somebody else has written there
			return ReasonAhead, nil
		case res.AckedSeq < want.AckedSeq && len(send) == 0:
			if reason, err := r.rewind(ctx, s, j, o, patience); err != nil || reason != "" {
				return reason, err
			}
			out.Acked = o.head.AckedSeq
			continue
		case n < len(send):
			return "", r.stop(ctx, CodeServer, "the server took entries up to %d and acknowledged only %d of them", send[len(send)-1].Seq, res.AckedSeq)
		case res.Chain != want.Chain:
			return "", r.stop(ctx, CodeChain, "after %d events the server's log of this device is not the one that was sent (chain %.16s there, %.16s here); "+
				"\"forg sync push --again\" sends everything anew", want.AckedSeq, res.Chain, want.Chain)
		}
		if err := r.acked(ctx, o, want, entries, n); err != nil {
			return "", err
		}
		out.Entries += n
		out.Acked, out.Commands, out.Skew = o.head.AckedSeq, res.CommandsPending, 0
		if skew := res.ServerTime.Sub(r.opt.Now()); skew.Abs() > time.Minute && !res.ServerTime.IsZero() {
			out.Skew = skew
		}
		if res.Limits.MaxEntries > 0 {
			l = bounded(res.Limits)
			most = max(most, 1)
		}
		r.opt.Note(Progress{Pushed: out.Acked, ToPush: max(e.Last, out.Acked)})
	}
}

// pushAnswer are the answers to a push that a client goes on after.
func pushAnswer(t api.Then) bool {
	return t == api.GoOn || t == api.NewEpoch || t == api.Halve || t == api.Reseal
}

// outbox is how far the epoch is, as it was written down or, the first time, as the server says.
func (r *Replica) outbox(ctx context.Context, s Server, j *journal.Journal, device uuid.UUID, e journal.Epoch, patience *time.Duration) (*outbox, Reason, error) {
	o, err := readOutbox(ctx, r.db, device, e.ID)
	if err != nil || o != nil {
		return o, "", err
	}
	var state api.SyncState
	err = r.try(ctx, patience, nil, func() (err error) {
		state, err = s.State(ctx, device)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	o = &outbox{device: device, journal: e.ID, epoch: e.ID, head: api.LogHead{Chain: api.Genesis(device, e.ID)}}
	epochs, err := j.Epochs(ctx)
	if err != nil {
		return nil, "", err
	}
	retired := false
	for _, l := range state.Logs {
		if l.Epoch != e.ID && slices.ContainsFunc(epochs, func(o journal.Epoch) bool { return o.ID == l.Epoch }) {
			continue // one that this journal has ended
		}
		if l.DeviceID != device || l.AckedSeq == 0 {
			continue
		}
		if l.Retired {
			retired = retired || l.Epoch == e.ID
			continue
		}
		// The server has a log of ours that nothing is known of here. It is this journal's if its last entry is the event of
		// that number: events have random ids.
		id, chain, err := r.lastOf(ctx, s, l, patience)
		if err != nil {
			return nil, "", err
		}
		ours, err := eventID(ctx, j, e.ID, l.AckedSeq)
		if err != nil {
			return nil, "", err
		}
		if ours == uuid.Nil || ours != id || chain != l.Chain {
			if l.Epoch == e.ID {
				return nil, ReasonAhead, nil
			}
			continue // the log of a journal before this one: the first push retires it
		}
		o.epoch, o.head, o.id = l.Epoch, api.LogHead{AckedSeq: l.AckedSeq, Chain: l.Chain}, id
		retired = false
		break
	}
	if retired {
		return nil, ReasonRetired, nil
	}
	err = r.tx(ctx, func(tx *sql.Tx) error { return o.insert(ctx, tx) })
	return o, "", err
}

func readOutbox(ctx context.Context, q querier, device, epoch uuid.UUID) (*outbox, error) {
	o := &outbox{device: device, journal: epoch}
	var wire, chain, id []byte
	err := q.QueryRowContext(ctx, "SELECT n, epoch, acked, chain, id FROM outbox WHERE device = ? AND journal = ? ORDER BY n DESC LIMIT 1", device[:], epoch[:]).
		Scan(&o.n, &wire, &o.head.AckedSeq, &chain, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	copy(o.epoch[:], wire)
	copy(o.head.Chain[:], chain)
	copy(o.id[:], id)
	return o, nil
}

func (o *outbox) insert(ctx context.Context, tx *sql.Tx) error {
	res, err := tx.ExecContext(ctx, "INSERT INTO outbox (device, journal, epoch, acked, chain, id) VALUES (?, ?, ?, ?, ?, ?)",
		o.device[:], o.journal[:], o.epoch[:], o.head.AckedSeq, o.head.Chain[:], orNull(o.id))
	if err != nil {
		return err
	}
	o.n, err = res.LastInsertId()
	return err
}

func orNull(id uuid.UUID) any {
	if id == uuid.Nil {
		return nil
	}
	return id[:]
}

// lastOf reads a log of this device at the server to its end: the id of its last entry, and the chain. Where the beginning
// is not there any more the chain is the server's word.
func (r *Replica) lastOf(ctx context.Context, s Server, l api.DeviceLog, patience *time.Duration) (id uuid.UUID, chain api.Hash, err error) {
	var after, seq int64
	chain = api.Genesis(l.DeviceID, l.Epoch)
	for {
		var end api.PullEnd
		start := after
		err := r.try(ctx, patience, nil, func() (err error) {
			before := after
			end, err = s.Pull(ctx, client.PullQuery{Device: l.DeviceID, After: after, Own: true}, func(e api.PullEntry) error {
				after = e.ServerSeq
				if e.DeviceID != l.DeviceID || e.Epoch != l.Epoch || e.Seq > l.AckedSeq {
					return nil
				}
				if e.Seq != seq+1 {
					chain = api.Hash{}
				}
				if seq = e.Seq; chain != (api.Hash{}) {
					chain = chain.Next(e.SHA256)
				}
				if seq == l.AckedSeq {
					id = e.ID
				}
				return nil
			})
			if errors.Is(err, api.ErrCut) && after > before {
				end.Next, end.Head, err = after, after+1, nil // what came is good
			}
			return err
		})
		switch {
		case err != nil:
			return uuid.Nil, api.Hash{}, err
		case id != uuid.Nil || end.Next >= end.Head:
			if chain == (api.Hash{}) {
				chain = l.Chain
			}
			return id, chain, nil
		}
		if after = max(after, end.Next); after == start {
			return uuid.Nil, api.Hash{}, r.stop(ctx, CodeServer, "the server has more to pull after %d and does not give it", start)
		}
	}
}

// remembers reports whether the journal still has the event that was acknowledged last: a backup that was restored has
// not, or has another one under its number.
func (r *Replica) remembers(ctx context.Context, j *journal.Journal, o *outbox) (bool, error) {
	if o.head.AckedSeq == 0 {
		return true, nil
	}
	id, err := eventID(ctx, j, o.journal, o.head.AckedSeq)
	return id == o.id && id != uuid.Nil, err
}

// eventID is the id of an event, uuid.Nil if there is none of that number.
func eventID(ctx context.Context, j *journal.Journal, epoch uuid.UUID, seq int64) (uuid.UUID, error) {
	for ev, err := range j.Events(ctx, epoch, seq-1) {
		if err != nil || ev.Seq != seq {
			return uuid.Nil, err
		}
		return ev.ID, nil
	}
	return uuid.Nil, nil
}

// pending are the entries to send next. They were sent before, or are made now and written down before they are: an entry
// that a push has carried must never be made in another way.
func (r *Replica) pending(ctx context.Context, j *journal.Journal, o *outbox, l api.Limits) ([]api.Entry, error) {
	var text []byte
	err := r.db.QueryRowContext(ctx, "SELECT entries FROM pending WHERE outbox = ?", o.n).Scan(&text)
	if err == nil {
		var entries []api.Entry
		if err := json.Unmarshal(text, &entries); err != nil {
			return nil, fmt.Errorf("read the push that waits: %w", err)
		}
		if len(entries) > 0 && entries[0].Seq == o.head.AckedSeq+1 && !r.tooReadable(o, entries) {
			return entries, nil
		}
	} else if !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	req, err := feed.Next(ctx, j, o.device, o.journal, o.head, l)
	if err != nil || req == nil {
		return nil, err
	}
	for i := range req.Entries {
		if r.opt.Seal == nil {
			break
		}
		if req.Entries[i], err = r.opt.Seal.Seal(o.device, o.epoch, req.Entries[i]); err != nil {
			return nil, fmt.Errorf("seal event %d: %w", req.Entries[i].Seq, err)
		}
	}
	if text, err = json.Marshal(req.Entries); err != nil {
		return nil, err
	}
	err = r.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO pending (outbox, entries) VALUES (?, ?) ON CONFLICT (outbox) DO UPDATE SET entries = excluded.entries", o.n, text)
		return err
	})
	return req.Entries, err
}

// tooReadable reports whether entries that wait were made readable, before this device knew that it has to seal: whether they
// were sent is not known, and they must not be from now on. If the server has some of them, the push that follows is a fork
// that is none, see Push.
func (r *Replica) tooReadable(o *outbox, entries []api.Entry) bool {
	i := slices.IndexFunc(entries, func(e api.Entry) bool { return e.SealedBy() == "" })
	if i < 0 || r.opt.Seal == nil {
		return false
	}
	// Some ways to make an entry unreadable leave it in the form of a readable one.
	e, err := r.opt.Seal.Seal(o.device, o.epoch, entries[i])
	return err == nil && e.SealedBy() != ""
}

// acked writes down that the first n of the entries are at the server.
func (r *Replica) acked(ctx context.Context, o *outbox, head api.LogHead, entries []api.Entry, n int) error {
	if n == 0 {
		return nil
	}
	id := entries[n-1].ID
	rest, err := json.Marshal(entries[n:])
	if err != nil {
		return err
	}
	// Whoever was told that it is acknowledged believes it: this is written down whatever becomes of ctx.
	ctx = context.WithoutCancel(ctx)
	err = r.tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE outbox SET acked = ?, chain = ?, id = ? WHERE n = ?", head.AckedSeq, head.Chain[:], id[:], o.n); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO acks (outbox, seq, chain) VALUES (?, ?, ?)", o.n, head.AckedSeq, head.Chain[:]); err != nil {
			return err
		}
		if n == len(entries) {
			_, err := tx.ExecContext(ctx, "DELETE FROM pending WHERE outbox = ?", o.n)
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE pending SET entries = ? WHERE outbox = ?", rest, o.n)
		return err
	})
	if err == nil {
		o.head, o.id = head, id
	}
	return err
}

// rewind goes back to where the server says that its log ends: it was restored from a backup. It goes on from there only
// if the log there is one that was acknowledged here.
func (r *Replica) rewind(ctx context.Context, s Server, j *journal.Journal, o *outbox, patience *time.Duration) (Reason, error) {
	var state api.SyncState
	err := r.try(ctx, patience, nil, func() (err error) {
		state, err = s.State(ctx, o.device)
		return err
	})
	if err != nil {
		return "", err
	}
	there := api.LogHead{Chain: api.Genesis(o.device, o.epoch)}
	if i := slices.IndexFunc(state.Logs, func(l api.DeviceLog) bool { return l.DeviceID == o.device && l.Epoch == o.epoch }); i >= 0 {
		there = api.LogHead{AckedSeq: state.Logs[i].AckedSeq, Chain: state.Logs[i].Chain}
	}
	if there.AckedSeq >= o.head.AckedSeq {
		return "", r.stop(ctx, CodeServer, "the server says of the log of this device that it has %d entries, and then that it has less", there.AckedSeq)
	}
	here := api.LogHead{Chain: api.Genesis(o.device, o.epoch)}
	if there.AckedSeq > 0 {
		var chain []byte
		err := r.db.QueryRowContext(ctx, "SELECT chain FROM acks WHERE outbox = ? AND seq = ?", o.n, there.AckedSeq).Scan(&chain)
		if errors.Is(err, sql.ErrNoRows) {
			return ReasonFork, nil
		}
		if err != nil {
			return "", err
		}
		here.AckedSeq = there.AckedSeq
		copy(here.Chain[:], chain)
	}
	if here != there {
		return ReasonFork, nil
	}
	id, err := eventID(ctx, j, o.journal, here.AckedSeq)
	if err != nil {
		return "", err
	}
	err = r.tx(ctx, func(tx *sql.Tx) error {
		for _, q := range []string{"UPDATE outbox SET acked = ?2, chain = ?3, id = ?4 WHERE n = ?1", "DELETE FROM acks WHERE outbox = ?1 AND seq > ?2",
			"DELETE FROM pending WHERE outbox = ?1"} {
			if _, err := tx.ExecContext(ctx, q, o.n, here.AckedSeq, here.Chain[:], orNull(id)); err != nil {
				return err
			}
		}
		return nil
	})
	o.head, o.id = here, id
	return "", err
}

// Again makes the next push send everything once more under a new name of the epoch, for a server that lost or mangled
// it, or in another form. What was there stays until it is forgotten.
func (r *Replica) Again(ctx context.Context, j *journal.Journal, device uuid.UUID) error {
	e, err := currentEpoch(ctx, j)
	if err != nil || e.ID == uuid.Nil {
		return err
	}
	o := &outbox{device: device, journal: e.ID, epoch: uuid.New()}
	o.head.Chain = api.Genesis(device, o.epoch)
	return r.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM pending") // it would never be sent, and names files that may be forgotten meanwhile
		return errors.Join(err, o.insert(ctx, tx))
	})
}

// limits are those of the server, asked for once a day.
func (r *Replica) limits(ctx context.Context, s Server, patience *time.Duration) (api.Limits, error) {
	var text string
	var asked int64
	if err := errors.Join(fact(ctx, r.db, factLimits, &text), fact(ctx, r.db, factAsked, &asked)); err != nil {
		return api.Limits{}, err
	}
	l := api.DefaultLimits()
	if age := r.opt.Now().Unix() - asked; text != "" && age >= 0 && age < 24*60*60 && json.Unmarshal([]byte(text), &l) == nil {
		return bounded(l), nil
	}
	var caps api.Capabilities
	err := r.try(ctx, patience, nil, func() (err error) {
		caps, err = s.Capabilities(ctx)
		return err
	})
	if err != nil {
		return l, err
	}
	if !slices.Contains(caps.Protocols, api.Protocol) {
		return l, r.stop(ctx, api.CodeProtocol, "the server speaks %q and this forg %s: one of the two is too old", caps.Protocols, api.Protocol)
	}
	l = bounded(caps.Limits)
	b, err := json.Marshal(l)
	if err != nil {
		return l, err
	}
	return l, r.tx(ctx, func(tx *sql.Tx) error {
		return errors.Join(setFact(ctx, tx, factLimits, string(b)), setFact(ctx, tx, factAsked, r.opt.Now().Unix()))
	})
}

func (r *Replica) forgetLimits(ctx context.Context) error {
	_, err := r.db.ExecContext(ctx, "DELETE FROM facts WHERE name = ?", factAsked)
	return err
}

// bounded keeps the limits of a peer within what the protocol allows them to be.
func bounded(l api.Limits) api.Limits {
	d := api.DefaultLimits()
	within := func(v, def, most int64) int64 { return min(max(v, def/4), most) }
	l.MaxEntries = int(within(int64(l.MaxEntries), int64(d.MaxEntries), 10*int64(d.MaxEntries)))
	l.MaxCompressedBytes = within(l.MaxCompressedBytes, d.MaxCompressedBytes, 16*d.MaxCompressedBytes)
	l.MaxDecodedBytes = within(l.MaxDecodedBytes, d.MaxDecodedBytes, 16*d.MaxDecodedBytes)
	l.MaxBodyBytes = within(l.MaxBodyBytes, d.MaxBodyBytes, 16<<20)
	l.MaxRecords = int(within(int64(l.MaxRecords), int64(d.MaxRecords), int64(d.MaxRecords)))
	return l
}
