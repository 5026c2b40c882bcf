package watch

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSame(t *testing.T) {
	born := unix.StatxTimestamp{Sec: 1}
	disk := identity{dev: 1, ino: 2, born: born, volume: unix.Fsid{Val: [2]int32{3, 4}}}
	with := func(change func(*identity)) identity {
		id := disk
		change(&id)
		return id
	}
	for name, c := range map[string]struct {
		b    identity
		want bool
	}{
		"itself":                       {disk, true},
		"mounted again":                {with(func(id *identity) { id.dev = 9 }), true},
		"another disk":                 {with(func(id *identity) { id.dev, id.volume = 9, unix.Fsid{} }), false},
		"another folder":               {with(func(id *identity) { id.ino = 9 }), false},
		"made anew":                    {with(func(id *identity) { id.born.Sec = 9 }), false},
		"a memory stick over it":       {with(func(id *identity) { id.loose = unix.MSDOS_SUPER_MAGIC }), false},
		"a memory stick no more there": {identity{dev: 1, ino: 2}, false},
	} {
		if got := disk.same(c.b); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	stick := identity{dev: 1, ino: 2, born: born, loose: unix.MSDOS_SUPER_MAGIC}
	again := identity{dev: 5, ino: 6, born: born, loose: unix.MSDOS_SUPER_MAGIC}
	if !stick.same(again) || stick.same(disk) || stick.same(identity{loose: unix.FUSE_SUPER_MAGIC, born: born}) {
		t.Error("a memory stick that comes back is not known again, or something else is taken for it")
	}
}
