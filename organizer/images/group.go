package images

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// DefaultThreshold is the distance up to which pictures are taken for alike, if nobody says otherwise. It finds nearly all
// copies that were scaled, compressed, brightened, stripped of colour or cropped by two percent. Photographs of
// different things have not been seen below twice that; see TestThreshold.
const DefaultThreshold = 20

// MaxThreshold is the highest threshold that makes sense: from there on what has nothing in common becomes alike.
const MaxThreshold = 35

// sparseShare is how much of the threshold holds for sparse pictures. Letters on one letterhead and windows of one program
// differ only where they are not background, which is little.
const sparseShare = 5

// Of two pictures of near fingerprints a second look must not find that they differ in what frequencies do not tell.
const (
	maxShape    = 1.08 // how much wider one may be than the other, for its height
	minLikeness = 0.85 // correlation of coarse brightness
	maxTint     = 10   // mean difference of colour, in steps of 256
	greyBelow   = 2.5  // mean distance from grey of a picture without colour
)

// Options say what counts as alike.
type Options struct {
	Threshold int  // largest distance, 0 to MaxThreshold
	Rotation  bool // pictures that are rotated by 90, 180 or 270 degrees, or mirrored, are alike too
	// Progress is told, one call at a time, how many pictures of all were compared.
	Progress func(done, all int)
}

// Member is a picture of a group.
type Member struct {
	Picture  int  // index in what Similar was given
	Distance int  // from the first of the group
	Turn     Turn // what makes it look like the first
}

// Similar groups pictures that look alike. The order of prints is that of preference: the first of each group is the one
// that comes first in it, and every other is at most opt.Threshold away from that one. So a group never strays: of a
// chain of pictures, each like the next, only those that are like its first member belong to it. A picture is in one
// group at most. A nil print stands for no picture. Groups are in the order of their first members, members in the order of
// prints. The only errors are those of ctx.
func Similar(ctx context.Context, prints []*Print, opt Options) ([][]Member, error) {
	if opt.Threshold < 0 || opt.Threshold > MaxThreshold {
		return nil, fmt.Errorf("find similar pictures: the threshold is %d, and must be 0 to %d", opt.Threshold, MaxThreshold)
	}
	near, err := pairs(ctx, prints, opt)
	if err != nil {
		return nil, err
	}
	var groups [][]Member
	taken := make([]bool, len(prints))
	for i := range prints {
		if taken[i] || len(near[i]) == 0 {
			continue
		}
		group := []Member{{Picture: i}}
		for _, m := range near[i] {
			if !taken[m.Picture] {
				taken[m.Picture] = true
				group = append(group, m)
			}
		}
		if taken[i] = true; len(group) > 1 {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// pairs finds for each picture those after it that look like it, in order.
//
// It compares every two pictures of about one shape: half of a fingerprint tells nearly all of them apart. What is meant to save comparisons does not here. Unrelated pictures are all about equally far from each
// other, so a BK-tree visits nearly all of its nodes; and at the default threshold an index of words of the fingerprint
// (multi-index hashing) has to be asked 22 000 times for each picture.
func pairs(ctx context.Context, prints []*Print, opt Options) ([][]Member, error) {
	type candidate struct {
		signs
		count int // of frequencies
		i     int
		shape float64 // width by height
	}
	var all []candidate
	for i, p := range prints {
		if p != nil && !p.Plain() {
			all = append(all, candidate{p.signs, p.signs.count(), i, float64(p.Width) / float64(p.Height)})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.shape, b.shape) })
	near := make([][]Member, len(prints))
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	const some = 64
	for from := 0; from < len(all); from += some {
		g.Go(func() error {
			type pair struct {
				leader int
				member Member
			}
			var found []pair
			if err := ctx.Err(); err != nil {
				return err
			}
			part := all[from:min(from+some, len(all))]
			turned := make([]*Print, len(part))
			here := make([]signs, len(part)) // so that memory is walked through once for all of them
			for t := Upright; t < turns && (t == Upright || opt.Rotation); t++ {
				narrow, wide := math.Inf(1), 0.
				for at := range part {
					// Who looks like this one when turned looks like this one turned back.
					p := prints[part[at].i].turned(t.back())
					turned[at], here[at] = p, p.signs
					shape := float64(p.Width) / float64(p.Height)
					narrow, wide = min(narrow, shape), max(wide, shape)
				}
				first := from + 1 // of one shape: the pairs with those before were found from there
				if t.onItsSide() {
					first, _ = slices.BinarySearchFunc(all, narrow/maxShape, func(c candidate, s float64) int { return cmp.Compare(c.shape, s) })
				}
				for k := first; k < len(all) && all[k].shape <= wide*maxShape; k++ {
					if k%1024 == 0 && ctx.Err() != nil {
						return ctx.Err()
					}
					o := &all[k]
					for at := range here {
						both := part[at].count + o.count
						if limit := both * opt.Threshold / MaxDistance; here[at].differUp(&o.signs) > limit {
							continue // as nearly all do
						}
						c, p, q := &part[at], turned[at], prints[o.i]
						d := distance(here[at].differ(&o.signs), both)
						switch {
						case d > opt.Threshold || !alike(p, q, d, opt.Threshold):
						case t.onItsSide() && o.i <= c.i || !t.onItsSide() && k <= from+at:
						case c.i < o.i:
							found = append(found, pair{c.i, Member{o.i, d, t}})
						default:
							found = append(found, pair{o.i, Member{c.i, d, t.back()}})
						}
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, f := range found {
				near[f.leader] = append(near[f.leader], f.member)
			}
			if done += len(part); opt.Progress != nil {
				opt.Progress(done, len(all))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i := range near {
		// Of several turns that make a picture look like another, the nearest counts, of those the simplest.
		slices.SortFunc(near[i], func(a, b Member) int {
			return cmp.Or(cmp.Compare(a.Picture, b.Picture), cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Turn, b.Turn))
		})
		near[i] = slices.CompactFunc(near[i], func(a, b Member) bool { return a.Picture == b.Picture })
	}
	return near, nil
}

// back is the turn that undoes t. Mirroring first and then rotating is its own opposite.
func (t Turn) back() Turn {
	if t >= Mirrored {
		return t
	}
	return (4 - t) % 4
}

// distance is how many percent of the frequencies that two pictures have differ, rounded up.
func distance(differ, both int) int {
	if both == 0 {
		return 0
	}
	return (differ*MaxDistance + both - 1) / both
}

// Distance is how far two pictures are from each other, from 0 to MaxDistance, as they are laid down.
func (p *Print) Distance(o *Print) int {
	return distance(p.signs.differ(&o.signs), p.signs.count()+o.signs.count())
}

// alike is the second look at two pictures of distance d.
func alike(a, b *Print, d, threshold int) bool {
	if (a.sparse || b.sparse) && d > threshold/sparseShare {
		return false
	}
	wide := float64(a.Width) * float64(b.Height) / (float64(a.Height) * float64(b.Width))
	if wide > maxShape || wide < 1/maxShape {
		return false
	}
	if correlation(&a.luma, &b.luma) < minLikeness {
		return false
	}
	if a.Grey() || b.Grey() { // one of them may be the other without its colours
		return true
	}
	tint := 0
	for i := range a.cb {
		tint += abs(int(a.cb[i])-int(b.cb[i])) + abs(int(a.cr[i])-int(b.cr[i]))
	}
	return tint <= maxTint*2*len(a.cb)
}

// Grey reports that a picture has no colours to speak of.
func (p *Print) Grey() bool {
	sum := 0
	for i := range p.cb {
		sum += abs(int(p.cb[i])-128) + abs(int(p.cr[i])-128)
	}
	return float64(sum) < greyBelow*float64(2*len(p.cb))
}

func abs(n int) int { return max(n, -n) }

func correlation(a, b *[64]uint8) float64 {
	var sa, sb, saa, sbb, sab float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		sa += x
		sb += y
		saa += x * x
		sbb += y * y
		sab += x * y
	}
	n := float64(len(a))
	va, vb := saa-sa*sa/n, sbb-sb*sb/n
	if va <= 0 || vb <= 0 {
		return 0
	}
	return (sab - sa*sb/n) / math.Sqrt(va*vb)
}
