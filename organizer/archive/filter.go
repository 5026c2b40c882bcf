package archive

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Programs are packed with the targets of their jumps made absolute, which makes them more alike; these filters make
// them relative again, as the LZMA SDK does (Bra.c, Bra86.c, Bcj2.c, Delta.c), which is in the public domain.

type delta struct {
	r    io.Reader
	last []byte
	at   int
}

func newDelta(r io.Reader, distance int) io.Reader { return &delta{r: r, last: make([]byte, distance)} }

func (d *delta) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	for i := range p[:n] {
		p[i] += d.last[d.at]
		d.last[d.at] = p[i]
		d.at = (d.at + 1) % len(d.last)
	}
	return n, err
}

// A branch filter changes b, which begins at an offset of the whole, in place, and tells how much of it is done. The
// rest needs what follows.
type branch func(b []byte, offset uint32) int

type branchReader struct {
	r      io.Reader
	filter branch
	buf    []byte
	done   int // filtered bytes of buf
	given  int // of those, passed on
	have   int // bytes in buf
	offset uint32
	err    error
}

func newBranch(r io.Reader, f branch) io.Reader {
	return &branchReader{r: r, filter: f, buf: make([]byte, 16<<10)}
}

func (b *branchReader) Read(p []byte) (int, error) {
	for b.given == b.done {
		if b.err != nil && b.have == b.done {
			return 0, b.err
		}
		b.offset += uint32(b.done)
		b.have = copy(b.buf, b.buf[b.done:b.have])
		b.given, b.done = 0, 0
		for b.have < len(b.buf) && b.err == nil {
			var n int
			n, b.err = b.r.Read(b.buf[b.have:])
			b.have += n
			if n > 0 {
				break
			}
		}
		b.done = b.filter(b.buf[:b.have], b.offset)
		if b.err != nil {
			b.done = b.have // no branch is left in what is too short for one
		}
	}
	n := copy(p, b.buf[b.given:b.done])
	b.given += n
	return n, nil
}

func arm(b []byte, offset uint32) int {
	i := 0
	for ; i+4 <= len(b); i += 4 {
		if b[i+3] == 0xeb { // BL
			v := uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16
			v = (v<<2 - (offset + uint32(i) + 8)) >> 2
			b[i], b[i+1], b[i+2] = byte(v), byte(v>>8), byte(v>>16)
		}
	}
	return i
}

func arm64(b []byte, offset uint32) int {
	i := 0
	for ; i+4 <= len(b); i += 4 {
		v := binary.LittleEndian.Uint32(b[i:])
		pc := offset + uint32(i)
		switch {
		case v>>26 == 0x25: // BL
			v = 0x94000000 | (v-pc>>2)&0x03ffffff
		case v&0x9f000000 == 0x90000000: // ADRP, within 512 MiB
			page := v>>29&3 | v>>3&0x1ffffc
			if (page+0x020000)&0x1c0000 != 0 {
				continue
			}
			page -= pc >> 12
			v = v&0x9000001f | page&3<<29 | page&0x03fffc<<3 | (0-page&0x020000)&0xe00000
		}
		binary.LittleEndian.PutUint32(b[i:], v)
	}
	return i
}

// x86 returns a filter for CALL and JMP, with the state that it keeps from one piece to the next: which of the three
// bytes before could be the opcode of another.
func x86() branch {
	allowed := [8]bool{true, true, true, false, true, false, false, false}
	number := [8]int{0, 1, 2, 2, 3, 3, 3, 3}
	absolute := func(c byte) bool { return c == 0 || c == 0xff }
	var mask uint32
	return func(b []byte, offset uint32) int {
		if len(b) < 5 {
			return 0
		}
		at, before := 0, -1
		for end := len(b) - 4; ; {
			for at < end && b[at]&0xfe != 0xe8 {
				at++
			}
			gap := at - before
			if mask = mask << min(gap-1, 3) & 7; gap > 3 {
				mask = 0
			}
			if at >= end {
				return at
			}
			before = at
			near := mask != 0 && (!allowed[mask] || absolute(b[at+4-number[mask]]))
			if near || !absolute(b[at+4]) {
				mask = mask<<1&7 | 1
				at++
				continue
			}
			ip := offset + uint32(at) + 5
			target := binary.LittleEndian.Uint32(b[at+1:]) - ip
			if shift := number[mask] * 8; mask != 0 && absolute(byte(target>>(24-shift))) {
				target = target ^ (1<<(32-shift) - 1) - ip
			}
			binary.LittleEndian.PutUint32(b[at+1:], target&0x00ffffff|(0-target>>24&1)<<24)
			at += 5
		}
	}
}

// bcj2 joins a program with the targets of its calls and jumps, which were packed by themselves.
type bcj2 struct {
	main, call, jump, rc *bufio.Reader
	probs                [2 + 256]uint16
	rng, code            uint32
	started              bool
	previous             byte
	at                   uint32
	pending              []byte
	store                [4]byte
	err                  error
}

func newBCJ2(main, call, jump, rc io.Reader) io.Reader {
	b := &bcj2{main: bufio.NewReader(main), call: bufio.NewReader(call), jump: bufio.NewReader(jump), rc: bufio.NewReader(rc)}
	for i := range b.probs {
		b.probs[i] = 1 << 10
	}
	return b
}

func (b *bcj2) Read(p []byte) (n int, err error) {
	for n < len(p) && b.err == nil {
		if len(b.pending) > 0 {
			p[n] = b.pending[0]
			b.pending = b.pending[1:]
			b.previous = p[n]
			n++
			continue
		}
		c, err := b.main.ReadByte()
		if err != nil {
			b.err = err
			break
		}
		p[n] = c
		n++
		b.at++
		was := b.previous
		b.previous = c
		if c&0xfe == 0xe8 || was == 0x0f && c&0xf0 == 0x80 {
			b.branch(c, was)
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, b.err
}

// branch decides whether the target of the jump c was taken out, and puts it back.
func (b *bcj2) branch(c, was byte) {
	prob := &b.probs[257]
	switch c {
	case 0xe8:
		prob = &b.probs[was]
	case 0xe9:
		prob = &b.probs[256]
	}
	taken, err := b.bit(prob)
	if err != nil || !taken {
		b.fail(err)
		return
	}
	from := b.jump
	if c == 0xe8 {
		from = b.call
	}
	var target [4]byte
	if _, err := io.ReadFull(from, target[:]); err != nil {
		b.fail(err)
		return
	}
	b.at += 4
	binary.LittleEndian.PutUint32(b.store[:], binary.BigEndian.Uint32(target[:])-b.at)
	b.pending = b.store[:]
}

// fail ends the stream; a stream of targets that is too short is damage, not an end.
func (b *bcj2) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if b.err == nil {
		b.err = err
	}
}

func (b *bcj2) bit(prob *uint16) (bool, error) {
	if !b.started {
		b.started = true
		b.rng = 0xffffffff
		for range 5 {
			c, err := b.rc.ReadByte()
			if err != nil {
				return false, err
			}
			b.code = b.code<<8 | uint32(c)
		}
	}
	for b.rng < 1<<24 {
		c, err := b.rc.ReadByte()
		if err != nil {
			return false, err
		}
		b.rng <<= 8
		b.code = b.code<<8 | uint32(c)
	}
	bound := b.rng >> 11 * uint32(*prob)
	one := b.code >= bound
	if one {
		b.rng -= bound
		b.code -= bound
		*prob -= *prob >> 5
	} else {
		b.rng = bound
		*prob += (1<<11 - *prob) >> 5
	}
	return one, nil
}
