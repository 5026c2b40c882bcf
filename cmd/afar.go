package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/sync/api"
	"forg/sync/client"
)

// What is asked of another device goes through the server to its agent (cmd/agent.go), which may refuse.

// afarFlags say which other device is to do something.
type afarFlags struct {
	serverFlags
	device string
	noWait bool
}

func (f *afarFlags) register(fl *pflag.FlagSet, what string) {
	fl.StringVar(&f.device, "device", "", "let your other device of this `name` "+what+", by way of the server and of its agent")
	fl.BoolVar(&f.noWait, "no-wait", false, "with --device: do not wait until it is done")
	for _, name := range registerOfSync(fl, f.serverFlags.register) { // few will look for them here
		_ = fl.MarkHidden(name) // it is there
	}
}

// registerOfSync adds flags to a command that is not about syncing: the settings of sync count for them, too.
func registerOfSync(fl *pflag.FlagSet, register func(*pflag.FlagSet)) (names []string) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	register(own)
	own.VisitAll(func(g *pflag.Flag) {
		names = append(names, g.Name)
		_ = own.SetAnnotation(g.Name, settingsOf, []string{"sync"}) // it is there
		fl.AddFlag(g)
	})
	return names
}

// only refuses flags of the command line that mean nothing on another device, where its own settings count.
func (f *afarFlags) only(c *cobra.Command, allowed ...string) error {
	allowed = append(allowed, "device", "no-wait", "server", "ca-file", "insecure-http")
	var wrong []string
	c.Flags().Visit(func(fl *pflag.Flag) {
		if c.InheritedFlags().Lookup(fl.Name) == nil && !slices.Contains(allowed, fl.Name) {
			wrong = append(wrong, "--"+fl.Name)
		}
	})
	if len(wrong) > 0 {
		return usage("%s cannot be given with --device: what counts there are the settings of that device", strings.Join(wrong, ", "))
	}
	return nil
}

// undoAfar asks another device to take back an operation of its own.
func (a *app) undoAfar(ctx context.Context, refs []string, only []string, f *afarFlags) error {
	if len(only) > 1 {
		return usage("with --device, --only takes one glob")
	}
	s, d, err := a.otherDevice(ctx, f)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := offers(d, api.CommandRollback); err != nil {
		return err
	}
	ref := "last"
	if len(refs) > 0 {
		ref = refs[0]
	}
	op, err := s.operationOf(ctx, d, ref)
	if err != nil {
		return err
	}
	req := api.RollbackRequest{ID: uuid.Must(uuid.NewV7())}
	if len(only) > 0 {
		req.Only = only[0]
	}
	if req.MAC, err = a.signCommand(ctx, s.account, &api.Command{DeviceID: d.ID, Kind: api.CommandRollback, OperationID: req.ID, RollbackOf: op.ID, Only: req.Only}); err != nil {
		return err
	}
	o, err := s.Rollback(ctx, op.ID, req)
	if err != nil {
		return err
	}
	asked := fmt.Sprintf("undo %s", op.ID)
	if op.Kind != "" {
		asked = fmt.Sprintf("undo its %s of %s, %s", show(op.Kind), op.CreatedAt.Local().Format("2006-01-02 15:04"), filesText(op.FilesProcessed))
	}
	return s.follow(ctx, d, o, asked, "put back", f.noWait)
}

// organizeAfar asks another device to organize a folder that it offers.
func (a *app) organizeAfar(ctx context.Context, folders []string, rules string, f *afarFlags) error {
	if len(folders) != 1 {
		return usage("with --device, give one folder by the name that the device offers it under (agent.folders there)")
	}
	for _, name := range append(folders, rules) {
		if name != "" && !offeredName().MatchString(name) {
			return usage("%q: folders and rules of another device have names, such as downloads: a path cannot be given", name)
		}
	}
	s, d, err := a.otherDevice(ctx, f)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := offers(d, api.CommandOrganize); err != nil {
		return err
	}
	if o := d.Offers; o != nil && !slices.Contains(o.Folders, folders[0]) {
		return fmt.Errorf("%s offers no folder %q%s; it offers: %s", show(d.Name), folders[0], didYouMean(folders[0], o.Folders), cmp.Or(show(strings.Join(o.Folders, ", ")), "none"))
	} else if o != nil && rules != "" && !slices.Contains(o.Rules, rules) {
		return fmt.Errorf("%s offers no rules %q%s; it offers: %s", show(d.Name), rules, didYouMean(rules, o.Rules), cmp.Or(show(strings.Join(o.Rules, ", ")), "none"))
	}
	req := api.OperationRequest{ID: uuid.Must(uuid.NewV7()), Kind: "organize", Target: api.Target{DeviceID: d.ID, Root: folders[0]}}
	if rules != "" {
		req.Options = map[string]any{"rules": rules}
	}
	if req.MAC, err = a.signCommand(ctx, s.account, &api.Command{DeviceID: d.ID, Kind: api.CommandOrganize, OperationID: req.ID, Root: folders[0], Rules: rules, Options: req.Options}); err != nil {
		return err
	}
	o, err := s.StartOperation(ctx, req)
	if err != nil {
		return err
	}
	return s.follow(ctx, d, o, "organize "+folders[0], "moved", f.noWait)
}

// offers refuses what a device has said that it will refuse.
func offers(d api.Device, kind api.CommandKind) error {
	if d.Offers != nil && !slices.Contains(d.Offers.Kinds, kind) {
		return fmt.Errorf("%s does not allow %q from afar: agent.allow there says what it does", show(d.Name), kind)
	}
	return nil
}

// otherAccount is the account, and the device of it that is to do something.
type otherAccount struct {
	*account
	app *app
}

// otherDevice finds the device that the flags name.
func (a *app) otherDevice(ctx context.Context, f *afarFlags) (*otherAccount, api.Device, error) {
	acc, err := a.account(&f.serverFlags)
	if err != nil {
		return nil, api.Device{}, err
	}
	s := &otherAccount{account: acc, app: a}
	d, err := findDevice(ctx, acc, f.device)
	switch {
	case err != nil:
	case d.RevokedAt != nil:
		err = fmt.Errorf("%s was shut out of the account", show(d.Name))
	case d.Kind == api.DeviceLocation:
		err = usage("%s is a folder of the server, which has no agent", show(d.Name))
	case d.ID == acc.login.DeviceID:
		err = usage("%s is this device: leave --device out", show(d.Name))
	}
	if err != nil {
		acc.Close()
		return nil, d, err
	}
	return s, d, nil
}

// listed is how many operations of a device are looked through for one.
const listed = 5000

// operationOf finds an operation of a device by UUID, the beginning of one, or "last": the newest that an undo could take
// back.
func (s *otherAccount) operationOf(ctx context.Context, d api.Device, ref string) (api.Operation, error) {
	q := client.OperationQuery{Device: d.ID, Limit: 500}
	want := strings.ToLower(ref)
	if ref != "last" && (len(want) < 4 || strings.Trim(want, "0123456789abcdef-") != "") {
		return api.Operation{}, usage("operation %q: numbers are each device's own; give its UUID or the beginning of it, as \"forg history --device %s\" shows, or \"last\"", ref, d.Name)
	}
	var found []api.Operation
	for n := 0; n < listed; {
		page, err := s.Operations(ctx, q)
		if err != nil {
			return api.Operation{}, err
		}
		for _, o := range page.Items {
			undoable := o.RollbackOf == nil && (o.FilesProcessed > 0 || o.Status == api.OpInterrupted)
			switch o.Status {
			case api.OpCompleted, api.OpPartial, api.OpInterrupted, api.OpPartiallyUndone:
			default:
				undoable = false
			}
			if ref == "last" && undoable {
				return o, nil
			}
			if strings.HasPrefix(o.ID.String(), want) {
				found = append(found, o)
			}
		}
		if n += len(page.Items); page.NextCursor == nil || len(page.Items) == 0 {
			break
		}
		q.Cursor = *page.NextCursor
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return api.Operation{}, fmt.Errorf("operation %q: more than one of %s begins so; give more of its UUID", ref, show(d.Name))
	case ref == "last":
		return api.Operation{}, fmt.Errorf("the server knows no operation of %s that could be undone", show(d.Name))
	}
	return api.Operation{}, fmt.Errorf("the server knows no operation %q of %s; \"forg history --device %s\" lists them, once both have synced", ref, show(d.Name), shellWord(d.Name))
}

// follow waits until another device has done what it was asked for, and says what became of it.
func (s *otherAccount) follow(ctx context.Context, d api.Device, o api.Operation, asked, done string, noWait bool) error {
	a, name := s.app, show(d.Name)
	if noWait {
		if a.json {
			return json.NewEncoder(a.out).Encode(map[string]any{"operation": o, "errors": []string{}})
		}
		a.say("%s is asked to %s. What became of it: forg history --device %s", name, asked, shellWord(d.Name))
		return nil
	}
	if !a.quiet {
		fmt.Fprintf(a.err, "%s is asked to %s.\n", name, asked)
	}
	bar := a.newProgress()
	defer bar.done()
	var pauses client.Backoff
	began, hinted := a.now(), false
	for pause := 200 * time.Millisecond; !o.Status.Finished(); pause = min(pause*3/2, 3*time.Second) {
		if o.Status == api.OpPending && !hinted && a.now().Sub(began) > 5*time.Second && !a.quiet {
			fmt.Fprintf(a.err, "%s has not begun yet: it needs \"forg agent\" running there. It stays asked for 7 days; Ctrl-C ends only this waiting.\n", name)
			hinted = true
		}
		if o.Status == api.OpRunning && o.FilesTotal > 0 {
			bar.move(o.FilesTotal)(o.FilesProcessed, o.BytesMoved)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			a.warn("It stays asked: %s does it when its agent runs.", name)
			return ctx.Err()
		}
		next, err := s.Operation(ctx, o.ID)
		switch {
		case err == nil:
			o = next
			pauses.Reset()
		case ctx.Err() != nil:
		case client.ThenOf(err) == api.Again:
			pause = pauses.Next(err)
		default:
			return err
		}
	}
	bar.done()
	var err error
	switch {
	case o.Status == api.OpExpired:
		err = fmt.Errorf("%s did not fetch it in time", name)
	case o.Status == api.OpCancelled:
		err = errors.New("it was cancelled before it was begun")
	case o.Status == api.OpFailed:
		err = fmt.Errorf("%s has not done it: %s", name, cmp.Or(o.Error, "its own history or log says why"))
	case o.Status != api.OpCompleted && o.Status != api.OpUndone && o.Status != api.OpPartiallyUndone:
		err = &exitError{exitPartial, fmt.Errorf("%s has done a part of it: %s", name, cmp.Or(o.Error, "its own history says what is missing"))}
	}
	if a.json {
		out := newObject(a.out)
		out.field("operation", o)
		problems := []jsonProblem{}
		if err != nil {
			problems = append(problems, jsonProblem{Error: err.Error()})
		}
		out.field("errors", problems)
		if e := out.close(); e != nil {
			return errors.Join(err, e)
		}
		return err
	}
	if err == nil || o.FilesProcessed > 0 {
		a.say("%s %s %s, %s.", name, done, filesText(o.FilesProcessed), bytesText(o.BytesMoved))
	}
	return err
}
