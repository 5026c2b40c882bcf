package replica

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"forg/sync/api"
)

// Device is another device of the account.
type Device struct {
	ID      uuid.UUID
	Name    string // as the server tells it; the beginning of the id where it does not
	Kind    api.DeviceKind
	Revoked bool
}

// Devices are those whose history is here, by name.
func (r *Replica) Devices(ctx context.Context) ([]Device, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT l.device, coalesce(d.name, ''), coalesce(d.kind, ''), coalesce(d.revoked, 0)
		FROM (SELECT DISTINCT device FROM logs) l LEFT JOIN devices d ON d.id = l.device ORDER BY 2, 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Device
	for rows.Next() {
		var d Device
		var id []byte
		if err := rows.Scan(&id, &d.Name, &d.Kind, &d.Revoked); err != nil {
			return nil, err
		}
		copy(d.ID[:], id)
		if d.Name == "" {
			d.Name = d.ID.String()[:8]
		}
		all = append(all, d)
	}
	return all, rows.Err()
}

// ErrNoDevice says that no device of that name or id is known here.
var ErrNoDevice = errors.New("no such device")

// FindDevice finds a device by name, by id or by the beginning of its id (four characters at least). ErrNoDevice.
func (r *Replica) FindDevice(ctx context.Context, ref string) (Device, error) {
	all, err := r.Devices(ctx)
	if err != nil {
		return Device{}, err
	}
	is := []func(Device) bool{
		func(d Device) bool { return d.ID.String() == strings.ToLower(ref) },
		func(d Device) bool { return d.Name == ref },
		func(d Device) bool { return strings.EqualFold(d.Name, ref) },
		func(d Device) bool { return len(ref) >= 4 && strings.HasPrefix(d.ID.String(), strings.ToLower(ref)) },
	}
	for _, f := range is {
		found := slices.Collect(func(yield func(Device) bool) {
			for _, d := range all {
				if f(d) && !yield(d) {
					return
				}
			}
		})
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return Device{}, fmt.Errorf("device %q: %d devices are called so; give the beginning of its id (%s, %s, ...)", ref, len(found), found[0].ID.String()[:8], found[1].ID.String()[:8])
		}
	}
	return Device{}, fmt.Errorf("device %q: %w", ref, ErrNoDevice)
}

// Operation is what another device did.
type Operation struct {
	ID         uuid.UUID
	Device     uuid.UUID
	Kind       string // "" where it is sealed or erased
	Status     api.OperationStatus
	Root       string // as on that device
	Command    string
	StartedAt  time.Time // by its clock
	FinishedAt time.Time // zero while running
	Processed  int64
	Skipped    int64
	Failed     int64
	Bytes      int64
	Undoes     uuid.UUID
	Erased     bool // it was forgotten there
	Sealed     bool // there is no key for it here
	started    bool
	log        int64 // that tells of it: a log that was sent once more counts, not the one before
}

const aboutOperations = "kind IN ('op.started', 'op.finished', 'rollback.result', 'redact')"

// row is an entry as it is kept.
type row struct {
	n, log int64
	entry  api.Entry
	erased bool
}

const rowColumns = "n, log, seq, op, kind, schema, at, key_id, codec, body"

func scanRow(rows *sql.Rows, x *row) error {
	*x = row{}
	var op []byte
	if err := rows.Scan(&x.n, &x.log, &x.entry.Seq, &op, &x.entry.Kind, &x.entry.Schema, &x.entry.TSClient, &x.entry.KeyID, &x.entry.Codec, &x.entry.Body); err != nil {
		return err
	}
	copy(x.entry.OpID[:], op)
	x.erased = x.entry.Body == nil
	x.entry.Redacted = x.erased
	return nil
}

func (r *Replica) devicesOfLogs(ctx context.Context) (map[int64]uuid.UUID, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT n, device FROM logs")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[int64]uuid.UUID{}
	for rows.Next() {
		var n int64
		var id []byte
		if err := rows.Scan(&n, &id); err != nil {
			return nil, err
		}
		all[n] = uuid.UUID(id)
	}
	return all, rows.Err()
}

// Operations yields what other devices did, newest first; with a device only what that one did. It reads no more than is
// asked for.
func (r *Replica) Operations(ctx context.Context, device uuid.UUID) iter.Seq2[Operation, error] {
	return func(yield func(Operation, error) bool) {
		devices, err := r.devicesOfLogs(ctx)
		if err != nil {
			yield(Operation{}, err)
			return
		}
		rows, err := r.db.QueryContext(ctx, "SELECT "+rowColumns+" FROM entries WHERE "+aboutOperations+" ORDER BY n DESC")
		if err != nil {
			yield(Operation{}, err)
			return
		}
		defer rows.Close()
		// Backwards an operation's end comes before its beginning, and what an undo has made of it before both.
		open, become := map[uuid.UUID]*Operation{}, map[uuid.UUID]api.OperationStatus{}
		for rows.Next() {
			var x row
			if err := scanRow(rows, &x); err != nil {
				yield(Operation{}, err)
				return
			}
			if device != uuid.Nil && devices[x.log] != device {
				continue
			}
			id := x.entry.OpID
			o := open[id]
			if o == nil {
				o = &Operation{ID: id, Device: devices[x.log], Status: api.OpRunning}
				open[id] = o
			}
			if o.started {
				continue // sent once more, or by two devices: the newest counts
			}
			body, err := x.entry.Decode()
			if err != nil {
				yield(Operation{}, err)
				return
			}
			o.add(&x, body)
			if f, ok := body.(*api.Finished); ok && f.RootStatus != "" {
				// It is known whom this is about only once the beginning is met; see below.
				become[id] = f.RootStatus
			}
			if x.entry.Kind != api.KindStarted {
				continue
			}
			o.started, o.log = true, x.log
			if s := become[id]; s != "" && o.Undoes != uuid.Nil && become[o.Undoes] == "" {
				become[o.Undoes] = s
			}
			if s := become[id]; s != "" && o.Undoes == uuid.Nil {
				o.Status = s
			}
			if !yield(*o, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Operation{}, err)
		}
	}
}

// add takes in an entry; those of an operation come newest first.
func (o *Operation) add(x *row, body api.Body) {
	o.Sealed = o.Sealed || x.entry.KeyID != "" && !x.erased
	at := time.UnixMicro(x.entry.TSClient)
	switch x.entry.Kind {
	case api.KindRedact:
		o.Erased = true
	case api.KindFinished:
		if !o.FinishedAt.IsZero() {
			return
		}
		o.FinishedAt = at
		o.Status = api.OpCompleted
		if f, ok := body.(*api.Finished); ok {
			o.Status, o.Processed, o.Skipped, o.Failed, o.Bytes = f.Status, f.Processed, f.Skipped, f.Failed, f.Bytes
		}
	case api.KindStarted:
		o.StartedAt = at
		if s, ok := body.(*api.Started); ok {
			o.Kind, o.Command, o.Undoes = s.Kind, s.Command, s.RollbackOf
			if o.Root = s.Root; len(s.RootBytes) > 0 {
				o.Root = string(s.RootBytes)
			}
		}
	}
}

// Operation finds what another device did by its UUID or the beginning of it (eight characters at least).
func (r *Replica) Operation(ctx context.Context, ref string) (Operation, bool, error) {
	hex := strings.ToLower(strings.ReplaceAll(ref, "-", ""))
	if len(hex) < 8 || strings.Trim(hex, "0123456789abcdef") != "" {
		return Operation{}, false, nil
	}
	for o, err := range r.Operations(ctx, uuid.Nil) {
		if err != nil {
			return Operation{}, false, err
		}
		if strings.HasPrefix(strings.ReplaceAll(o.ID.String(), "-", ""), hex) {
			return o, true, nil
		}
	}
	return Operation{}, false, nil
}

// Move is what an operation of another device did with a file.
type Move struct {
	Operation Operation
	From, To  string // as on that device, exactly
	Action    string
	Size      int64
}

// Where follows files of other devices that match, by their path or name, through all operations: the moves of each,
// oldest first, and the files in the order of their last moves. takes tells of an action whether what it places at To is no
// longer at From; places, whether it places anything.
func (r *Replica) Where(ctx context.Context, match func(path, name string) bool, takes, places func(action string) bool) ([][]Move, error) {
	ops := map[uuid.UUID]*told{} // looked up when one of their files matches: most do not
	devices, err := r.devicesOfLogs(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := r.db.QueryContext(ctx, "SELECT "+rowColumns+" FROM entries WHERE kind = 'files' AND body IS NOT NULL AND key_id = '' ORDER BY n")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	type place struct {
		device uuid.UUID
		path   string
	}
	var ways [][]Move
	var order []int64 // of the last move of each
	at := map[place]int{}
	for rows.Next() {
		var x row
		if err := scanRow(rows, &x); err != nil {
			return nil, err
		}
		body, err := x.entry.Decode()
		if err != nil {
			return nil, err
		}
		files, _ := body.(api.Files)
		device := devices[x.log]
		for i := range files {
			f := &files[i]
			if !places(f.Action) {
				continue
			}
			from, to := exact(f.SourcePath, f.SourcePathBytes), exact(f.DestinationPath, f.DestinationPathBytes)
			n, known := at[place{device, from}]
			if !known && !match(from, base(from)) && !match(to, base(to)) {
				continue
			}
			o := ops[x.entry.OpID]
			if o == nil {
				if o, err = r.tell(ctx, x.entry.OpID, device); err != nil {
					return nil, err
				}
				ops[x.entry.OpID] = o
			}
			if o.log != x.log { // it was sent once more since
				break
			}
			o.outcomes.Apply(f, o.Status)
			if f.Status != api.FileDone {
				continue
			}
			m := Move{Operation: o.Operation, From: from, To: to, Action: f.Action, Size: f.Size}
			if known && takes(f.Action) {
				delete(at, place{device, from})
				ways[n] = append(ways[n], m)
				order[n] = x.n
			} else {
				n = len(ways)
				ways, order = append(ways, []Move{m}), append(order, x.n)
			}
			at[place{device, to}] = n
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	index := make([]int, len(ways))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int { return int(min(max(order[a]-order[b], -1), 1)) })
	sorted := make([][]Move, len(ways))
	for i, n := range index {
		sorted[i] = ways[n]
	}
	return sorted, nil
}

// told is an operation of another device with what became of its files.
type told struct {
	Operation
	outcomes api.OutcomeSet
}

// tell reads what the newest log that has the operation says of it; what was undone since is not looked for.
func (r *Replica) tell(ctx context.Context, id, device uuid.UUID) (*told, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT "+rowColumns+` FROM entries WHERE op = ? AND kind <> 'files' AND log IN (SELECT n FROM logs WHERE device = ?)
		ORDER BY n DESC`, id[:], device[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	t := &told{Operation: Operation{ID: id, Device: device, Status: api.OpRunning}}
	var outs []*api.Outcomes
	for rows.Next() && !t.started {
		var x row
		if err := scanRow(rows, &x); err != nil {
			return nil, err
		}
		body, err := x.entry.Decode()
		if err != nil {
			return nil, err
		}
		t.add(&x, body)
		if o, ok := body.(*api.Outcomes); ok {
			outs = append(outs, o)
		}
		if x.entry.Kind == api.KindStarted {
			t.started, t.log = true, x.log
		}
	}
	for _, o := range slices.Backward(outs) {
		t.outcomes.Add(o.Outcomes)
	}
	return t, rows.Err()
}

func exact(s string, b []byte) string {
	if len(b) > 0 && !utf8.Valid(b) {
		return string(b)
	}
	return s
}

// base is what follows the last separator, of whatever system the path is.
func base(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

// Files yields the records of an operation of another device, with the last word on each.
func (r *Replica) Files(ctx context.Context, o Operation) iter.Seq2[api.FileRecord, error] {
	return func(yield func(api.FileRecord, error) bool) {
		var set api.OutcomeSet
		rows, err := r.db.QueryContext(ctx, "SELECT "+rowColumns+` FROM entries WHERE op = ? AND kind IN ('outcomes', 'files') AND body IS NOT NULL
			AND log = ? ORDER BY kind DESC, n`, o.ID[:], o.log) // outcomes first
		if err != nil {
			yield(api.FileRecord{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var x row
			err := scanRow(rows, &x)
			var body api.Body
			if err == nil {
				body, err = x.entry.Decode()
			}
			if err != nil {
				yield(api.FileRecord{}, err)
				return
			}
			switch b := body.(type) {
			case *api.Outcomes:
				set.Add(b.Outcomes)
			case api.Files:
				for i := range b {
					set.Apply(&b[i], o.Status)
					if !yield(b[i], nil) {
						return
					}
				}
			}
		}
		if err := rows.Err(); err != nil {
			yield(api.FileRecord{}, err)
		}
	}
}

// Status is how syncing stands, as far as it is known here.
type Status struct {
	Account  string
	Acked    int64 // events of the current epoch that are at the server
	Last     int64 // of the journal
	Chain    api.Hash
	Epoch    uuid.UUID // as the server knows it
	Cursor   int64
	Head     int64
	PushedAt time.Time // zero: never
	PulledAt time.Time
	Stop     *Stop
	Trouble  []string
	Entries  int64 // of other devices
	Sealed   int64
	Bytes    int64 // of the file
}

// Age is when the history of other devices was last brought; zero: never.
func (r *Replica) Age(ctx context.Context) (time.Time, error) {
	var at int64
	err := fact(ctx, r.db, factPulled, &at)
	return unix(at), err
}

func unix(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// Status tells how syncing stands; epoch is the journal's current one, and last its last event.
func (r *Replica) Status(ctx context.Context, device, epoch uuid.UUID, last int64) (Status, error) {
	s := Status{Last: last, Epoch: epoch, Chain: api.Genesis(device, epoch)}
	var pushed, pulled int64
	err := errors.Join(fact(ctx, r.db, "account", &s.Account), fact(ctx, r.db, factCursor, &s.Cursor), fact(ctx, r.db, factHead, &s.Head),
		fact(ctx, r.db, factPushed, &pushed), fact(ctx, r.db, factPulled, &pulled))
	if err != nil {
		return s, err
	}
	s.PushedAt, s.PulledAt = unix(pushed), unix(pulled)
	o, err := readOutbox(ctx, r.db, device, epoch)
	if err != nil {
		return s, err
	}
	if o != nil {
		s.Acked, s.Chain, s.Epoch = o.head.AckedSeq, o.head.Chain, o.epoch
	}
	if s.Stop, err = r.Stopped(ctx); err != nil {
		return s, err
	}
	if s.Trouble, err = readTrouble(ctx, r.db); err != nil {
		return s, err
	}
	err = r.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM entries WHERE key_id <> '' AND body IS NOT NULL),
		(SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size)`).Scan(&s.Entries, &s.Sealed, &s.Bytes)
	return s, err
}

// Logs are the logs of other devices, as far as they are here.
func (r *Replica) Logs(ctx context.Context) ([]api.DeviceLog, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT device, epoch, seq, chain FROM logs ORDER BY n")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []api.DeviceLog
	for rows.Next() {
		var l api.DeviceLog
		var device, epoch, chain []byte
		if err := rows.Scan(&device, &epoch, &l.AckedSeq, &chain); err != nil {
			return nil, err
		}
		copy(l.DeviceID[:], device)
		copy(l.Epoch[:], epoch)
		copy(l.Chain[:], chain)
		all = append(all, l)
	}
	return all, rows.Err()
}
