package replica

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/client"
)

// Pulled is what a pull came to.
type Pulled struct {
	Entries int
	Sealed  int64    // entries that this device has no key for, all in all
	Reset   bool     // the server did not remember what was pulled before: it was dropped and pulled again
	Trouble []string // what is wrong with the logs of other devices, as for people
}

// A batch of a pull is written in one transaction.
const (
	batchEntries = 4000
	batchBytes   = 2 << 20
)

// Pull brings what the account's other devices have done. What came is committed here before the server is told so.
// Errors: *Stop; those of the connection, once patience has ended.
func (r *Replica) Pull(ctx context.Context, s Server, device uuid.UUID) (out Pulled, err error) {
	defer func() { r.examine(err) }()
	if stop, err := r.Stopped(ctx); err != nil || stop != nil {
		return out, errors.Join(err, stopError(stop))
	}
	patience := r.opt.Patience
	if err := r.pullAs(ctx, device); err != nil {
		return out, err
	}
	if err := r.unseal(ctx); err != nil {
		return out, err
	}
	if err := r.try(ctx, &patience, nil, func() error { return r.learnDevices(ctx, s) }); err != nil {
		return out, err
	}
	var cursor int64
	if err := fact(ctx, r.db, factCursor, &cursor); err != nil {
		return out, err
	}
	known, err := readTrouble(ctx, r.db)
	if err != nil {
		return out, err
	}
	for resets := 0; ; {
		if err := r.pullAll(ctx, s, device, &cursor, &patience, &resets, &out); err != nil {
			return out, err
		}
		if out.Trouble, err = r.compare(ctx, s, device, &patience); err != nil {
			return out, err
		}
		// A server that was restored and has grown since gives other entries under numbers that were pulled before: all is
		// pulled once more before anybody is told.
		news := slices.ContainsFunc(out.Trouble, func(t string) bool { return !slices.Contains(known, t) })
		if !news || resets > 0 {
			break
		}
		resets++
		if err := r.drop(ctx); err != nil {
			return out, err
		}
		out.Reset, out.Entries, cursor = true, 0, 0
	}
	err = r.try(ctx, &patience, nil, func() error {
		_, err := s.Ack(ctx, device, cursor)
		if p, ok := errors.AsType[*api.Problem](err); ok && (p.Code == api.CodeNotFound || p.Code == api.CodeForbidden) {
			return nil // a device that never pushes has no place where its cursor could be kept, and needs none
		}
		return err
	})
	if err != nil {
		return out, err
	}
	err = r.db.QueryRowContext(ctx, "SELECT count(*) FROM entries WHERE key_id <> '' AND body IS NOT NULL").Scan(&out.Sealed)
	if err == nil {
		err = r.tx(ctx, func(tx *sql.Tx) error { return setFact(ctx, tx, factPulled, r.opt.Now().Unix()) })
	}
	return out, err
}

// pullAs drops what was pulled as another device: what that one has done was left out of it, and is another's now.
func (r *Replica) pullAs(ctx context.Context, device uuid.UUID) error {
	was := ""
	if err := fact(ctx, r.db, factDevice, &was); err != nil || was == device.String() {
		return err
	}
	if was != "" {
		if err := r.drop(ctx); err != nil {
			return err
		}
	}
	return r.tx(ctx, func(tx *sql.Tx) error { return setFact(ctx, tx, factDevice, device.String()) })
}

// pullAll pulls up to the newest entry.
func (r *Replica) pullAll(ctx context.Context, s Server, device uuid.UUID, cursor *int64, patience *time.Duration, resets *int, out *Pulled) error {
	for {
		var end api.PullEnd
		start := *cursor
		err := r.try(ctx, patience, then(api.FromZero), func() (err error) {
			before := *cursor
			end, err = r.pullOnce(ctx, s, device, cursor, out)
			if *cursor > before && errors.Is(err, api.ErrCut) { // it got further: that costs no patience
				end, err = api.PullEnd{Next: *cursor, Head: *cursor + 1}, nil
			}
			return err
		})
		if p, ok := errors.AsType[*api.Problem](err); ok && p.Then() == api.FromZero {
			end.Reset, err = true, nil
		}
		if err != nil {
			return err
		}
		if end.Reset {
			if *resets++; *resets > 2 {
				return r.stop(ctx, CodeServer, "the server says again and again that what was pulled is not to be relied on")
			}
			if err := r.drop(ctx); err != nil {
				return err
			}
			out.Reset, out.Entries, *cursor = true, 0, 0
			continue
		}
		if end.Next >= end.Head {
			return nil
		}
		if *cursor == start {
			return r.stop(ctx, CodeServer, "the server has more to pull after %d and does not give it", start)
		}
	}
}

// pullOnce is one request. It reads while the batch before is written, and moves the cursor with every batch.
func (r *Replica) pullOnce(ctx context.Context, s Server, device uuid.UUID, cursor *int64, out *Pulled) (api.PullEnd, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type written struct {
		cursor int64
		n      int
		err    error
	}
	batches, done := make(chan []api.PullEntry), make(chan written, 1)
	go func() {
		w := written{cursor: *cursor}
		for b := range batches {
			if w.err != nil {
				continue
			}
			n, err := r.store(ctx, device, b)
			if err != nil {
				w.err = err
				cancel() // what is still being read is of no use
				continue
			}
			w.n += n
			w.cursor = b[len(b)-1].ServerSeq
		}
		done <- w
	}()
	var batch []api.PullEntry
	var bytes int
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
		batch, bytes = make([]api.PullEntry, 0, cap(batch)), 0
		return nil
	}
	last := *cursor
	end, err := s.Pull(ctx, client.PullQuery{Device: device, After: *cursor}, func(e api.PullEntry) error {
		if e.ServerSeq <= last {
			return fmt.Errorf("server_seq %d does not follow %d", e.ServerSeq, last)
		}
		last = e.ServerSeq
		batch = append(batch, e)
		if bytes += len(e.Body) + 64; len(batch) >= batchEntries || bytes >= batchBytes {
			r.opt.Note(Progress{Pulled: last, ToPull: last})
			return flush()
		}
		return nil
	})
	if ferr := flush(); err == nil {
		err = ferr
	}
	close(batches)
	w := <-done
	if *cursor, out.Entries = w.cursor, out.Entries+w.n; w.err != nil {
		return end, errors.Join(errLocal, w.err)
	}
	if err != nil || end.Reset {
		return end, err
	}
	if end.Next < last {
		return end, fmt.Errorf("the server says to go on after %d and gave %d", end.Next, last)
	}
	*cursor = max(*cursor, end.Next)
	err = r.tx(ctx, func(tx *sql.Tx) error {
		return errors.Join(setFact(ctx, tx, factCursor, *cursor), setFact(ctx, tx, factHead, max(end.Head, *cursor)))
	})
	r.opt.Note(Progress{Pulled: *cursor, ToPull: max(end.Head, *cursor)})
	return end, err
}

// errLocal marks errors of this machine, which asking the server again does not mend.
var errLocal = errors.New("write what was pulled")

// inserter adds rows to entries, many with one statement: most of what a row costs is the way to SQLite and back.
type inserter struct {
	tx   *sql.Tx
	full *sql.Stmt
	args []any
}

const (
	entryColumns = 12
	rowsAtOnce   = 40
)

func insertRows(n int) string {
	row := "(" + strings.Repeat("?, ", entryColumns-1) + "?)"
	return "INSERT INTO entries (n, log, seq, op, kind, schema, at, key_id, id, sha, codec, body) VALUES " + strings.Repeat(row+", ", n-1) + row + " ON CONFLICT (n) DO NOTHING"
}

func (i *inserter) add(ctx context.Context, row ...any) (err error) {
	if i.args = append(i.args, row...); len(i.args) < rowsAtOnce*entryColumns {
		return nil
	}
	if i.full == nil {
		if i.full, err = i.tx.PrepareContext(ctx, insertRows(rowsAtOnce)); err != nil {
			return err
		}
	}
	_, err = i.full.ExecContext(ctx, i.args...)
	i.args = i.args[:0]
	return err
}

// flush writes what was added and not written yet.
func (i *inserter) flush(ctx context.Context) error {
	if len(i.args) == 0 {
		return nil
	}
	_, err := i.tx.ExecContext(ctx, insertRows(len(i.args)/entryColumns), i.args...)
	i.args = i.args[:0]
	return err
}

func (i *inserter) close() {
	if i.full != nil {
		i.full.Close()
	}
}

// log is another device's log as far as it was pulled.
type log struct {
	n             int64
	device, epoch uuid.UUID
	seq           int64
	chain         []byte // nil: not known
	sealed        bool   // from some entry on all are
	changed       bool
}

// store writes a batch and moves the cursor behind it.
func (r *Replica) store(ctx context.Context, device uuid.UUID, batch []api.PullEntry) (n int, err error) {
	type key struct{ device, epoch uuid.UUID }
	logs := map[key]*log{}
	var trouble []string
	// The driver watches a context that can end with every row, which costs as much as the row. A batch is short.
	ctx = context.WithoutCancel(ctx)
	err = r.tx(ctx, func(tx *sql.Tx) error {
		into := &inserter{tx: tx}
		defer into.close()
		for i := range batch {
			e := &batch[i]
			if e.DeviceID == device {
				continue
			}
			l := logs[key{e.DeviceID, e.Epoch}]
			if l == nil {
				if l, err = getLog(ctx, tx, e.DeviceID, e.Epoch); err != nil {
					return err
				}
				logs[key{e.DeviceID, e.Epoch}] = l
			}
			if say := l.extend(e); say != "" {
				trouble = append(trouble, say)
			}
			if err := r.put(ctx, into, l, e); err != nil {
				return err
			}
			n++
		}
		if err := into.flush(ctx); err != nil {
			return err
		}
		for _, l := range logs {
			if !l.changed {
				continue
			}
			if _, err := tx.ExecContext(ctx, "UPDATE logs SET seq = ?, chain = ?, sealed = ? WHERE n = ?", l.seq, l.chain, l.sealed, l.n); err != nil {
				return err
			}
		}
		if err := addTrouble(ctx, tx, trouble); err != nil {
			return err
		}
		return setFact(ctx, tx, factCursor, batch[len(batch)-1].ServerSeq)
	})
	return n, err
}

func getLog(ctx context.Context, tx *sql.Tx, device, epoch uuid.UUID) (*log, error) {
	l := &log{device: device, epoch: epoch}
	err := tx.QueryRowContext(ctx, "SELECT n, seq, chain, sealed FROM logs WHERE device = ? AND epoch = ?", device[:], epoch[:]).Scan(&l.n, &l.seq, &l.chain, &l.sealed)
	if !errors.Is(err, sql.ErrNoRows) {
		return l, err
	}
	g := api.Genesis(device, epoch)
	l.chain = g[:]
	res, err := tx.ExecContext(ctx, "INSERT INTO logs (device, epoch, seq, chain) VALUES (?, ?, 0, ?)", device[:], epoch[:], l.chain)
	if err != nil {
		return nil, err
	}
	l.n, err = res.LastInsertId()
	return l, err
}

// extend adds an entry to the chain, and says what is wrong with it. After a hole nothing can be said of the chain; a log
// whose beginning is not there any more is none.
func (l *log) extend(e *api.PullEntry) (trouble string) {
	switch {
	case e.Seq == l.seq+1 && len(l.chain) == len(api.Hash{}):
		next := api.Hash(l.chain).Next(e.SHA256)
		l.chain = next[:]
	case e.Seq == l.seq+1, l.seq == 0:
		l.chain = nil
	default:
		trouble = fmt.Sprintf("of the log of device %s the server gives entry %d after entry %d", l.device, e.Seq, l.seq)
		l.chain = nil
	}
	l.seq, l.changed = max(l.seq, e.Seq), true
	return trouble
}

// put writes one entry, opened if it can be, and carries out what it asks to erase.
func (r *Replica) put(ctx context.Context, into *inserter, l *log, e *api.PullEntry) error {
	entry := e.Entry
	key, distrusted := entry.SealedBy(), false
	switch {
	case key != "":
		l.sealed = true
	case l.sealed && !entry.Redacted: // a device that has begun to seal goes on with it
		distrusted, entry.Body, entry.Codec, entry.Redacted = true, nil, api.CodecPlain, true
		if err := addTrouble(ctx, into.tx, []string{fmt.Sprintf("entry %d of device %s is not sealed, as those before it are: it is not believed", e.Seq, e.DeviceID)}); err != nil {
			return err
		}
	}
	if key != "" && !entry.Redacted && r.opt.Seal != nil {
		if open, err := r.opt.Seal.Open(e.DeviceID, e.Epoch, entry); err == nil {
			entry, key = open, open.SealedBy()
		} else if !errors.Is(err, ErrNoKey) {
			distrusted = true
			if err := addTrouble(ctx, into.tx, []string{fmt.Sprintf("entry %d of device %s cannot be opened: %v", e.Seq, e.DeviceID, err)}); err != nil {
				return err
			}
		}
	}
	var op, id, sha any
	if entry.OpID != uuid.Nil {
		op = entry.OpID[:]
	}
	if key != "" {
		id, sha = entry.ID[:], entry.SHA256[:]
	}
	var body any
	if !entry.Redacted {
		if body = entry.Body; entry.Body == nil {
			body = []byte{}
		}
	}
	if err := into.add(ctx, e.ServerSeq, l.n, e.Seq, op, entry.Kind, entry.Schema, entry.TSClient, key, id, sha, entry.Codec, body); err != nil {
		return err
	}
	if entry.Kind == api.KindRedact && op != nil && !distrusted {
		if err := into.flush(ctx); err != nil {
			return err
		}
		_, err := into.tx.ExecContext(ctx, `UPDATE entries SET body = NULL WHERE op = ? AND n < ? AND kind <> 'redact'
			AND log IN (SELECT n FROM logs WHERE device = ?)`, op, e.ServerSeq, l.device[:])
		return err
	}
	if entry.Kind == api.KindRenamed {
		if b, err := entry.Decode(); err == nil {
			if d, ok := b.(*api.DeviceRenamed); ok {
				return putDevice(ctx, into.tx, api.Device{ID: e.DeviceID, Name: d.Name})
			}
		}
	}
	return nil
}

func putDevice(ctx context.Context, tx *sql.Tx, d api.Device) error {
	revoked := d.RevokedAt != nil
	_, err := tx.ExecContext(ctx, `INSERT INTO devices (id, name, kind, revoked) VALUES (?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = CASE excluded.kind WHEN '' THEN kind ELSE excluded.kind END, revoked = excluded.revoked`,
		d.ID[:], d.Name, string(d.Kind), revoked)
	return err
}

// learnDevices brings the names of the account's devices. Credentials that may not list them can do without.
func (r *Replica) learnDevices(ctx context.Context, s Server) error {
	all, err := s.Devices(ctx)
	if p, ok := errors.AsType[*api.Problem](err); ok && (p.Code == api.CodeForbidden || p.Code == api.CodeNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.tx(ctx, func(tx *sql.Tx) error {
		for _, d := range all {
			if err := putDevice(ctx, tx, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// unseal opens what could not be opened when it came, now that there may be a key.
func (r *Replica) unseal(ctx context.Context) error {
	if r.opt.Seal == nil {
		return nil
	}
	for after := int64(0); ; {
		type sealed struct {
			n             int64
			device, epoch uuid.UUID
			e             api.Entry
		}
		var all []sealed
		rows, err := r.db.QueryContext(ctx, `SELECT e.n, l.device, l.epoch, e.seq, e.op, e.kind, e.schema, e.at, e.key_id, e.id, e.sha, e.codec, e.body
			FROM entries e JOIN logs l ON l.n = e.log WHERE e.key_id <> '' AND e.body IS NOT NULL AND e.n > ? ORDER BY e.n LIMIT 200`, after)
		if err != nil {
			return err
		}
		for rows.Next() {
			var x sealed
			var device, epoch, op, id, sha []byte
			err := rows.Scan(&x.n, &device, &epoch, &x.e.Seq, &op, &x.e.Kind, &x.e.Schema, &x.e.TSClient, &x.e.KeyID, &id, &sha, &x.e.Codec, &x.e.Body)
			if err != nil {
				return errors.Join(err, rows.Close())
			}
			copy(x.device[:], device)
			copy(x.epoch[:], epoch)
			copy(x.e.OpID[:], op)
			copy(x.e.ID[:], id)
			copy(x.e.SHA256[:], sha)
			part := x.e
			if part.KeyID = ""; part.SealedBy() == x.e.KeyID { // its own key_id is absent: a server is to understand a part of it
				x.e = part
			}
			all = append(all, x)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(all) == 0 {
			return err
		}
		opened := 0
		err = r.tx(ctx, func(tx *sql.Tx) error {
			for i := range all {
				x := &all[i]
				after = x.n
				open, err := r.opt.Seal.Open(x.device, x.epoch, x.e)
				if err != nil {
					continue // as before
				}
				opened++
				body := open.Body
				if body == nil {
					body = []byte{}
				}
				if _, err := tx.ExecContext(ctx, "UPDATE entries SET schema = ?, key_id = '', id = NULL, sha = NULL, codec = ?, body = ? WHERE n = ?",
					open.Schema, open.Codec, body, x.n); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if opened == 0 && len(all) == 200 {
			return nil // keys are the same for long stretches: the rest will not open either
		}
	}
}

// drop forgets what was pulled.
func (r *Replica) drop(ctx context.Context) error {
	return r.tx(ctx, func(tx *sql.Tx) error {
		for _, q := range []string{"DELETE FROM entries", "DELETE FROM logs", "DELETE FROM facts WHERE name IN ('cursor', 'head', 'trouble')"} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
}

// compare holds the chains of all logs against the server's word on them.
func (r *Replica) compare(ctx context.Context, s Server, device uuid.UUID, patience *time.Duration) (trouble []string, err error) {
	var state api.SyncState
	if err := r.try(ctx, patience, nil, func() (err error) {
		state, err = s.State(ctx, device)
		return err
	}); err != nil {
		return nil, err
	}
	var fresh []string
	for _, l := range state.Logs {
		if l.DeviceID == device {
			continue
		}
		var seq int64
		var chain []byte
		err := r.db.QueryRowContext(ctx, "SELECT seq, chain FROM logs WHERE device = ? AND epoch = ?", l.DeviceID[:], l.Epoch[:]).Scan(&seq, &chain)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		if seq == l.AckedSeq && chain != nil && api.Hash(chain) != l.Chain {
			fresh = append(fresh, fmt.Sprintf("the log of device %s does not come to the chain that the server tells", l.DeviceID))
		}
	}
	err = r.tx(ctx, func(tx *sql.Tx) error {
		if err := addTrouble(ctx, tx, fresh); err != nil {
			return err
		}
		trouble, err = readTrouble(ctx, tx)
		return err
	})
	return trouble, err
}

// maxTrouble is how many troubles are kept: a server that makes up more is not worth more.
const maxTrouble = 20

func readTrouble(ctx context.Context, q querier) ([]string, error) {
	var text string
	if err := fact(ctx, q, factTrouble, &text); err != nil || text == "" {
		return nil, err
	}
	var all []string
	return all, json.Unmarshal([]byte(text), &all)
}

func addTrouble(ctx context.Context, tx *sql.Tx, more []string) error {
	if len(more) == 0 {
		return nil
	}
	all, err := readTrouble(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range more {
		if len(all) < maxTrouble && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return setFact(ctx, tx, factTrouble, string(b))
}
