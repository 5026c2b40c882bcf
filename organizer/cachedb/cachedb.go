// Package cachedb opens the SQLite files of caches: such that may be lost, damaged or deleted at any time, and that other
// processes use as well. It knows nothing of what is in them.
package cachedb

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Format tells the caches of one kind and version from all other files.
type Format struct {
	Application int32         // application_id of SQLite
	Version     int           // must grow with each change of Schema
	Schema      string        // statements that make an empty cache
	Wait        time.Duration // for others that use the file, before it is said to be busy
	PageBytes   int           // of a new file, a power of two; 0 for 4096
	// Careless leaves it to the system when to write to the disk, so that a power cut may damage the file: for caches that
	// find out of each entry whether it is what they wrote.
	Careless bool
}

// DB is an open cache. It is one file with a rollback journal rather than a WAL, which would want shared memory and so a
// local disk. It has one connection.
type DB struct {
	*sql.DB
	path string // absolute
}

// Open opens the cache at path, creating it (mode 0600, folders 0700). One that is damaged, of another program, or of a
// newer version is set aside with .old behind its name. An error of ready, which is for what else is needed of an open
// cache, is an error of Open. Errors name the cache.
func Open(path string, format Format, ready func(*DB) error) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	d, err := open(path, format)
	if errors.Is(err, errOther) || isDamage(err) {
		if err = setAside(path); err == nil {
			d, err = open(path, format)
		}
	}
	if err == nil {
		if err = ready(d); err != nil {
			d.abandon(err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", path, err)
	}
	return d, nil
}

var (
	errOther    = errors.New("it was made by another program, or a newer forg")
	errNotAFile = errors.New("it is not a regular file")
)

func open(path string, format Format) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// A link or a device of that name is somebody's: neither its mode nor what it leads to is ours to change.
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil, errNotAFile
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = f.Chmod(0o600)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	synchronous := "NORMAL"
	if format.Careless {
		synchronous = "OFF"
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: fmt.Sprintf(
		"_pragma=page_size(%d)&_pragma=busy_timeout(%d)&_pragma=journal_mode(TRUNCATE)&_pragma=synchronous(%s)&_txlock=immediate", max(format.PageBytes, 4096), format.Wait.Milliseconds(), synchronous)}
	if !strings.HasPrefix(u.Path, "/") { // C:/...
		u.Path = "/" + u.Path
	}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := prepare(db, format); err != nil {
		db.Close()
		return nil, err
	}
	return &DB{db, path}, nil
}

func prepare(db *sql.DB, format Format) error {
	var application, version, tables int
	ask := func(q interface {
		QueryRow(string, ...any) *sql.Row
	}) error {
		return q.QueryRow(`SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
			(SELECT count(*) FROM sqlite_schema)`).Scan(&application, &version, &tables)
	}
	ready := func() bool { return application == int(format.Application) && version == format.Version }
	if err := ask(db); err != nil || ready() {
		return err
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// Another process may have been faster.
	if err := ask(tx); err != nil || ready() {
		return err
	}
	if application != 0 || version != 0 || tables != 0 {
		return errOther
	}
	_, err = tx.Exec(fmt.Sprintf("%s; PRAGMA application_id = %d; PRAGMA user_version = %d", format.Schema, format.Application, format.Version))
	if err != nil {
		return err
	}
	return tx.Commit()
}

// setAside makes way for a new file. What was set aside before goes: a cache is no treasure.
func setAside(path string) error {
	if err := os.Rename(path, path+".old"); err != nil {
		return err
	}
	// A journal of the old file must not be played back into the new one.
	if err := os.Remove(path + "-journal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Close closes the cache. Of a nil *DB it does nothing.
func (d *DB) Close() error {
	if d == nil {
		return nil
	}
	if err := d.DB.Close(); err != nil {
		return fmt.Errorf("close cache %s: %w", d.path, err)
	}
	return nil
}

// After is what to go on with after err came of using the cache: d, unless err says that it cannot be used any more. Then d is
// closed, set aside if it is damaged, and After returns nil. That another process is using the file passes.
func (d *DB) After(err error) *DB {
	if d == nil || err == nil || isBusy(err) {
		return d
	}
	d.abandon(err)
	return nil
}

func (d *DB) abandon(err error) {
	d.DB.Close()
	if isDamage(err) {
		setAside(d.path) // if that fails, the next one to open it tries again
	}
}

// isDamage reports whether an error says that the file is not a sound database.
func isDamage(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB)
}

// isBusy reports whether an error says that another process is using the file.
func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED)
}

// Evict makes room once more than limit bytes are in use: it executes remove, which deletes some of what is needed least, until a
// quarter of the room is free or nothing is left. Pages of what was deleted are used again; the file does not shrink.
func Evict(tx *sql.Tx, limit int64, remove string) error {
	for most := limit; ; most = limit / 4 * 3 {
		bytes, err := inUse(tx)
		if err != nil || bytes <= most {
			return err
		}
		result, err := tx.Exec(remove)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return err
		}
	}
}

// inUse is how many bytes the content takes.
func inUse(tx *sql.Tx) (bytes int64, err error) {
	err = tx.QueryRow(`SELECT ((SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)) *
		(SELECT page_size FROM pragma_page_size)`).Scan(&bytes)
	return bytes, err
}
