package seal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"
)

// File is what a device keeps of keys, in a file that only its owner can read. It lies beside the journal, which tells
// whoever reads it more than the keys do of this device; of the others the keys tell what the server has.
type File struct {
	path     string
	accounts []*Keys
	names    []byte // the secret of Hasher
}

type savedFile struct {
	Format   int     `json:"format"`
	Names    []byte  `json:"names,omitempty"`
	Accounts []*Keys `json:"accounts,omitempty"`
}

const fileFormat = 1

// Load reads the file at path; one that is not there holds nothing.
func Load(path string) (*File, error) {
	f := &File{path: path}
	fail := func(err error) (*File, error) { return nil, fmt.Errorf("read keys: %s %w", path, err) }
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer in.Close()
	if st, err := in.Stat(); err != nil || !st.Mode().IsRegular() {
		return fail(errors.New("is no regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(in, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	var s savedFile
	if err := json.Unmarshal(text, &s); err != nil {
		return fail(fmt.Errorf("is damaged: %w", err))
	}
	if s.Format != fileFormat || len(s.Names) != 0 && len(s.Names) != 32 || slices.Contains(s.Accounts, nil) {
		return fail(errors.New("was written by a newer forg, or is damaged"))
	}
	f.names, f.accounts = s.Names, s.Accounts
	return f, nil
}

// Keys are those of an account, nil if the device has none and waits for none.
func (f *File) Keys(account uuid.UUID) *Keys {
	for _, k := range f.accounts {
		if k.Account == account {
			return k
		}
	}
	return nil
}

// Others reports whether there are keys of any other account (of any at all: uuid.Nil), or some are waited for.
func (f *File) Others(account uuid.UUID) bool {
	return slices.ContainsFunc(f.accounts, func(k *Keys) bool { return k.Account != account })
}

// Put keeps keys in place of those of the same account, durably.
func (f *File) Put(k *Keys) error {
	all := slices.DeleteFunc(slices.Clone(f.accounts), func(o *Keys) bool { return o.Account == k.Account })
	before := f.accounts
	f.accounts = append(all, k)
	if err := f.save(); err != nil {
		f.accounts = before
		return err
	}
	return nil
}

// Remove forgets the keys of an account.
func (f *File) Remove(account uuid.UUID) error {
	before := f.accounts
	f.accounts = slices.DeleteFunc(slices.Clone(f.accounts), func(o *Keys) bool { return o.Account == account })
	if err := f.save(); err != nil {
		f.accounts = before
		return err
	}
	return nil
}

// Hasher is this device's; its secret is made when it is first needed and stays, so that names keep their hashes.
func (f *File) Hasher() (*Hasher, error) {
	if f.names == nil {
		f.names = make([]byte, 32)
		rand.Read(f.names) // never fails
		if err := f.save(); err != nil {
			f.names = nil
			return nil, err
		}
	}
	return NewHasher([32]byte(f.names)), nil
}

// save replaces the file at once. A link at its place is replaced, not followed.
func (f *File) save() (err error) {
	text, err := json.MarshalIndent(savedFile{fileFormat, f.names, f.accounts}, "", "  ")
	if err != nil {
		return fmt.Errorf("keep keys: %w", err)
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep keys: %w", err)
	}
	temp, err := os.CreateTemp(dir, filepath.Base(f.path)+".*.new") // mode 0600
	if err != nil {
		return fmt.Errorf("keep keys: %w", err)
	}
	defer func() {
		if err != nil {
			temp.Close()
			os.Remove(temp.Name())
			err = fmt.Errorf("keep keys: %w", err)
		}
	}()
	if _, err := temp.Write(append(text, '\n')); err != nil {
		return err
	}
	if err := errors.Join(temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), f.path); err != nil {
		return err
	}
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // not every system can; then the name is as durable as it gets
		d.Close()
	}
	return nil
}
