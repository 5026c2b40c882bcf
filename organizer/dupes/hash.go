package dupes

import (
	"database/sql"
	"encoding/binary"
	"runtime"
	"sync/atomic"

	"github.com/zeebo/blake3"

	"forg/organizer/cachedb"
)

const (
	// Hashes are kept in as many blobs; each with so many, of which the oldest go.
	hashBuckets     = 256
	hashesPerBucket = 8192
	pairBytes       = 16 + 32
)

// contentKey names a content in the cache. That of a file of which nothing is known is 0.
func (f *finder) contentKey(k int32) [2]uint64 {
	size := f.file(k).Size
	id := [2]uint64(f.prints[k])
	if size > wholeBelow {
		if f.classes == nil || f.classes[k].session == 0 {
			return [2]uint64{}
		}
		id = [2]uint64{f.classes[k].session, f.classes[k].number}
	}
	id[1] ^= mix(uint64(size))
	return id
}

// hashed gives groups their hashes, of one file each. It reports false if a file could not be read: then the groups are not
// what they were.
func (f *finder) hashed(groups []Group, members [][]int32) bool {
	kept := f.loadHashes()
	var fresh []int
	for g := range groups {
		k := members[g][0]
		if f.file(k).Size == 0 {
			groups[g].Hash = blake3.Sum256(nil)
		} else if hash, ok := kept[f.contentKey(k)]; ok && f.states[k] != known {
			groups[g].Hash = hash
		} else {
			fresh = append(fresh, g)
		}
	}
	var next, lost atomic.Int64
	parallel(min(runtime.GOMAXPROCS(0), len(fresh)), func() {
		c := &comparer{f: f}
		for f.ctx.Err() == nil {
			at := next.Add(1) - 1
			if at >= int64(len(fresh)) {
				return
			}
			g := fresh[at]
			k := members[g][0]
			var err error
			if groups[g].Hash, err = c.hash(k, f.file(k).Size); err != nil && f.ctx.Err() == nil {
				f.unread(k, err)
				lost.Add(1)
			}
		}
	})
	if f.ctx.Err() != nil || lost.Load() > 0 {
		return false
	}
	if f.memory != nil && len(fresh) > 0 {
		more := map[uint64][]byte{}
		for _, g := range fresh {
			k := members[g][0]
			key := f.contentKey(k)
			if key == [2]uint64{} || !f.storable(k) {
				continue
			}
			b := binary.LittleEndian.AppendUint64(more[key[0]%hashBuckets], key[0])
			more[key[0]%hashBuckets] = append(binary.LittleEndian.AppendUint64(b, key[1]), groups[g].Hash[:]...)
		}
		f.saveHashes(more)
	}
	return true
}

// loadHashes returns what is known of contents.
func (f *finder) loadHashes() map[[2]uint64][32]byte {
	c := f.opt.Cache
	if f.memory == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return nil
	}
	kept := map[[2]uint64][32]byte{}
	rows, err := c.db.Query(`SELECT bucket, pairs FROM hashes`)
	if err != nil {
		c.db = c.db.After(err)
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var bucket int64
		var b sql.RawBytes
		if rows.Scan(&bucket, &b) != nil {
			break
		}
		for b := unsealHashes(b, bucket, f.seed); len(b) > 0; b = b[pairBytes:] {
			kept[[2]uint64{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}] = [32]byte(b[16:])
		}
	}
	return kept
}

func unsealHashes(b []byte, bucket int64, seed uint64) []byte {
	b = unseal(b, ^uint64(0), uint64(bucket), seed)
	return b[:len(b)/pairBytes*pairBytes]
}

// saveHashes adds pairs of contents and hashes, by bucket.
func (f *finder) saveHashes(more map[uint64][]byte) {
	c := f.opt.Cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db != nil && len(more) > 0 {
		c.db = c.db.After(writeHashes(c.db, more, f.seed))
	}
}

func writeHashes(db *cachedb.DB, more map[uint64][]byte, seed uint64) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for bucket, pairs := range more {
		var old []byte
		if err := tx.QueryRow(`SELECT pairs FROM hashes WHERE bucket = ?`, int64(bucket)).Scan(&old); err != nil && err != sql.ErrNoRows {
			return err
		}
		old = unsealHashes(old, int64(bucket), seed)
		pairs = pairs[max(0, len(pairs)-hashesPerBucket*pairBytes):]
		old = old[max(0, len(old)+len(pairs)-hashesPerBucket*pairBytes):]
		blob := append(append(make([]byte, sumBytes), old...), pairs...)
		seal(blob, ^uint64(0), bucket, seed)
		if _, err := tx.Exec(`INSERT OR REPLACE INTO hashes (bucket, pairs) VALUES (?, ?)`, int64(bucket), blob); err != nil {
			return err
		}
	}
	return tx.Commit()
}
