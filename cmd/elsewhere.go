package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"

	"forg/journal"
	"forg/organizer"
	"forg/sync/replica"
)

// What other devices did, as far as the last sync brought it. Nothing here asks a server.

// elsewhere opens what is known of other devices; nil if nothing is.
func (a *app) elsewhere(ctx context.Context) (*replica.Replica, error) {
	path, err := a.syncPath()
	if err != nil {
		return nil, err
	}
	r, err := replica.OpenReadOnly(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return r, err
}

// findOperation finds an operation of this journal. One of another device is none, but it is told whose it is.
func (a *app) findOperation(ctx context.Context, j *journal.Journal, ref string) (journal.Operation, error) {
	o, err := j.Operation(ctx, ref)
	if !errors.Is(err, journal.ErrNone) {
		return o, err
	}
	err = fmt.Errorf("%w in %s; \"forg history\" lists them", err, j.Path())
	r, rerr := a.elsewhere(ctx)
	if rerr != nil || r == nil {
		return o, err
	}
	defer r.Close()
	if other, ok, rerr := r.Operation(ctx, ref); rerr == nil && ok {
		name := a.remoteName(ctx, r, other.Device)
		return o, fmt.Errorf("operation %s was carried out on %s, where its files are: run forg there", other.ID, show(name))
	}
	return o, err
}

func (a *app) remoteName(ctx context.Context, r *replica.Replica, id uuid.UUID) string {
	all, err := r.Devices(ctx)
	if i := slices.IndexFunc(all, func(d replica.Device) bool { return d.ID == id }); err == nil && i >= 0 {
		return all[i].Name
	}
	return "device " + id.String()[:8]
}

// jsonRemote is an operation of another device. Its number there is not known here: its UUID names it.
type jsonRemote struct {
	UUID       uuid.UUID `json:"uuid"`
	Device     string    `json:"device"`
	DeviceID   uuid.UUID `json:"device_id"`
	Kind       string    `json:"kind"`
	Status     string    `json:"status"`
	Root       string    `json:"root,omitempty"`
	Command    string    `json:"command,omitempty"`
	StartedAt  string    `json:"started_at,omitempty"`
	FinishedAt string    `json:"finished_at,omitempty"`
	Moved      int64     `json:"moved"`
	Failed     int64     `json:"failed"`
	Bytes      int64     `json:"bytes"`
	Undoes     uuid.UUID `json:"undoes,omitzero"`
	Erased     bool      `json:"erased,omitempty"`
	Sealed     bool      `json:"sealed,omitempty"`
}

func remoteJSON(o *replica.Operation, device string) jsonRemote {
	out := jsonRemote{UUID: o.ID, Device: device, DeviceID: o.Device, Kind: o.Kind, Status: string(o.Status), Command: o.Command,
		Moved: o.Processed, Failed: o.Failed, Bytes: o.Bytes, Undoes: o.Undoes, Erased: o.Erased, Sealed: o.Sealed}
	out.Root, _ = organizer.ExactPath(o.Root)
	out.StartedAt = o.StartedAt.Format(time.RFC3339Nano)
	if !o.FinishedAt.IsZero() {
		out.FinishedAt = o.FinishedAt.Format(time.RFC3339Nano)
	}
	return out
}

func (a *app) remoteLine(o *replica.Operation, device string) string {
	status := string(o.Status)
	switch {
	case o.Erased:
		status = a.paint(dim, "forgotten there")
	case o.Sealed:
		status = a.paint(dim, "sealed: this device has no key for it")
	case o.Status == "completed":
		status = a.paint(green, status)
	case o.Status == "undone" || o.Status == "partially_undone":
		status = a.paint(dim, strings.ReplaceAll(status, "_", " "))
	default:
		status = a.paint(yellow, show(status))
	}
	what := show(o.Kind)
	if o.Undoes != uuid.Nil {
		what += " of " + o.Undoes.String()[:13]
	}
	line := fmt.Sprintf("%s  %-10s  %s  %-12s %9s  %8s  %s  %s", o.ID.String()[:13], show(device), o.StartedAt.Local().Format("2006-01-02 15:04"), what,
		filesText(o.Processed), bytesText(o.Bytes), show(o.Root), status)
	if o.Failed > 0 {
		line += fmt.Sprintf(", %d failed", o.Failed)
	}
	return line
}

// historyElsewhere lists what another device did, or with "all" every other one.
func (a *app) historyElsewhere(ctx context.Context, ref string, limit int) error {
	r, err := a.elsewhere(ctx)
	if err != nil {
		return err
	}
	if r == nil {
		return errors.New("nothing is known of other devices yet: \"forg sync\" brings their history")
	}
	defer r.Close()
	var device replica.Device
	if !strings.EqualFold(ref, "all") {
		if device, err = r.FindDevice(ctx, ref); err != nil {
			return a.noDevice(ctx, r, err)
		}
	}
	devices, err := r.Devices(ctx)
	if err != nil {
		return err
	}
	names := map[uuid.UUID]string{}
	for _, d := range devices {
		names[d.ID] = d.Name
	}
	known, err := r.Age(ctx)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(a.out)
	var out *object
	if a.json {
		out = newObject(w)
		out.field("known_at", timeOrNull(known))
		out.array("operations")
	}
	n := 0
	for o, err := range r.Operations(ctx, device.ID) {
		if err != nil {
			return err
		}
		if limit > 0 && n == limit {
			break
		}
		n++
		if out != nil {
			out.item(remoteJSON(&o, names[o.Device]))
			continue
		}
		fmt.Fprintln(w, a.remoteLine(&o, names[o.Device]))
	}
	if out != nil {
		out.end()
		if err := out.close(); err != nil {
			return err
		}
	} else if n == 0 {
		fmt.Fprintln(w, "It has not moved anything yet.")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	a.sayAge(known)
	return nil
}

// sayAge tells how old it is what is known of other devices.
func (a *app) sayAge(at time.Time) {
	switch {
	case a.json || a.quiet:
	case at.IsZero():
		a.warn("What other devices did is known in part: a sync was interrupted")
	default:
		a.warn("As of the sync %s", humanize.RelTime(at, a.now(), "ago", "from now"))
	}
}

// noDevice says which devices there are.
func (a *app) noDevice(ctx context.Context, r *replica.Replica, err error) error {
	if !errors.Is(err, replica.ErrNoDevice) {
		return err
	}
	all, derr := r.Devices(ctx)
	if derr != nil || len(all) == 0 {
		return errors.Join(err, derr)
	}
	names := make([]string, 0, len(all))
	for _, d := range all {
		names = append(names, show(d.Name))
	}
	return fmt.Errorf("%w; there are %s, and \"all\"", err, strings.Join(names, ", "))
}

// remoteWay is the way of a file on another device.
type remoteWay struct {
	device replica.Device
	moves  []replica.Move // the last one first
}

// whereElsewhere follows files of such names on other devices.
func (a *app) whereElsewhere(ctx context.Context, names []string) (ways []remoteWay, known time.Time, err error) {
	r, err := a.elsewhere(ctx)
	if err != nil || r == nil {
		return nil, time.Time{}, err
	}
	defer r.Close()
	if known, err = r.Age(ctx); err != nil {
		return nil, known, err
	}
	devices, err := r.Devices(ctx)
	if err != nil {
		return nil, known, err
	}
	found, err := r.Where(ctx, func(path, name string) bool { return organizer.MatchName(names, path, name) },
		func(action string) bool { return journal.ActionOf(action).Takes() }, func(action string) bool { return journal.ActionOf(action).Places() })
	if err != nil {
		return nil, known, err
	}
	for _, moves := range slices.Backward(found) { // what moved last is asked for most
		slices.Reverse(moves)
		w := remoteWay{moves: moves, device: replica.Device{ID: moves[0].Operation.Device, Name: moves[0].Operation.Device.String()[:8]}}
		if i := slices.IndexFunc(devices, func(d replica.Device) bool { return d.ID == w.device.ID }); i >= 0 {
			w.device = devices[i]
		}
		ways = append(ways, w)
	}
	return ways, known, nil
}

func (a *app) printElsewhere(w *bufio.Writer, ways []remoteWay) {
	for i, way := range ways {
		if i > 0 {
			fmt.Fprintln(w)
		}
		last := way.moves[0]
		fmt.Fprintf(w, "on %s: %s\n", show(way.device.Name), a.paint(bold, show(last.To)))
		for _, m := range way.moves {
			fmt.Fprintf(w, "  from %s  %s by %s %s\n", show(m.From), m.Operation.StartedAt.Local().Format("2006-01-02 15:04"), show(m.Operation.Kind), m.Operation.ID.String()[:13])
		}
		if last.Operation.Undoes == uuid.Nil {
			name := last.From[strings.LastIndexAny(last.From, `/\`)+1:]
			fmt.Fprintf(w, "  back with, on %s: forg undo %s --only %s\n", show(way.device.Name), last.Operation.ID, quote(name))
		}
	}
}

// elsewhereJSON is how --json tells of a way on another device.
func elsewhereJSON(way remoteWay) any {
	type move struct {
		UUID uuid.UUID `json:"uuid"`
		Kind string    `json:"kind"`
		At   string    `json:"at"`
		jsonMove
	}
	path, raw := organizer.ExactPath(way.moves[0].To)
	out := struct {
		Device    string    `json:"device"`
		DeviceID  uuid.UUID `json:"device_id"`
		Path      string    `json:"path"`
		PathBytes []byte    `json:"path_bytes,omitempty"`
		Moves     []move    `json:"moves"`
	}{way.device.Name, way.device.ID, path, raw, nil}
	for _, m := range way.moves {
		out.Moves = append(out.Moves, move{m.Operation.ID, m.Operation.Kind, m.Operation.StartedAt.Format(time.RFC3339Nano),
			moveJSON(m.From, m.To, "", journal.ActionOf(m.Action), m.Size)})
	}
	return out
}

// showElsewhere prints an operation of another device, if there is one of that name.
func (a *app) showElsewhere(ctx context.Context, ref string) (bool, error) {
	r, err := a.elsewhere(ctx)
	if err != nil || r == nil {
		return false, err
	}
	defer r.Close()
	op, ok, err := r.Operation(ctx, ref)
	if err != nil || !ok {
		return false, err
	}
	device := a.remoteName(ctx, r, op.Device)
	w := bufio.NewWriter(a.out)
	var o *object
	if a.json {
		o = newObject(w)
		o.field("operation", remoteJSON(&op, device))
		o.array("steps")
	} else {
		fmt.Fprintln(w, a.remoteLine(&op, device))
		fmt.Fprintf(w, "       %s\n       %s\n", op.ID, show(op.Command))
	}
	for f, err := range r.Files(ctx, op) {
		if err != nil {
			return true, err
		}
		if o != nil {
			m := moveJSON(f.SourcePath, f.DestinationPath, f.Category, journal.ActionOf(f.Action), f.Size)
			m.Action, m.State, m.Error = f.Action, string(f.Status), f.Error
			o.item(m)
			continue
		}
		line := fmt.Sprintf("  %s -> %s", show(f.SourcePath), show(f.DestinationPath))
		switch {
		case f.Action == journal.Mkdir.String() || f.Action == journal.Rmdir.String():
			if !a.verbose {
				continue
			}
			line = fmt.Sprintf("  %s %s%s", f.Action, show(f.SourcePath), show(f.DestinationPath))
		case f.Action != journal.Rename.String() && f.Action != journal.Move.String():
			line += " (" + show(f.Action) + ")"
		}
		if f.Status != "done" {
			line += "  " + a.paint(yellow, strings.ReplaceAll(show(string(f.Status)), "_", " "))
			if f.Error != "" {
				line += ": " + show(f.Error)
			}
		}
		fmt.Fprintln(w, line)
	}
	if o != nil {
		o.end()
		if err := o.close(); err != nil {
			return true, err
		}
	}
	return true, w.Flush()
}
