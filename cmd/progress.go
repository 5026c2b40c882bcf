package cmd

import (
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
)

// progress is the bar on standard error. It only ever shows on a terminal, or when it is asked for.
type progress struct {
	a    *app
	bar  *progressbar.ProgressBar
	what string
	last atomic.Int64 // when it was drawn, in ns
}

func (a *app) newProgress() *progress {
	if a.quiet || a.progress == "never" || a.progress == "auto" && !a.errTTY {
		return &progress{}
	}
	return &progress{a: a}
}

// due keeps drawing from costing more than moving.
func (p *progress) due() bool {
	if p.a == nil {
		return false
	}
	now, last := time.Now().UnixNano(), p.last.Load()
	return now-last > int64(80*time.Millisecond) && p.last.CompareAndSwap(last, now)
}

func (p *progress) begin(what string, total int64) {
	p.show(what, total, progressbar.OptionShowIts(), progressbar.OptionSetItsString("files"))
}

// show draws a bar of a total in the unit that more says.
func (p *progress) show(what string, total int64, more ...progressbar.Option) {
	if p.a == nil || p.what == what {
		return
	}
	p.done()
	p.what = what
	p.bar = progressbar.NewOptions64(total, append(more, progressbar.OptionSetWriter(p.a.screen()), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(total > 0), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(),
		progressbar.OptionSpinnerType(14), progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionUseANSICodes(true), progressbar.OptionSetElapsedTime(false))...)
}

func (p *progress) scan(files int64) {
	if p.due() {
		p.begin("Scanning", -1)
		p.bar.Set64(files)
	}
}

func (p *progress) plan(done, total int64) {
	if p.due() {
		p.begin("Looking into files", total)
		p.bar.Set64(done)
	}
}

// compare shows how much of the candidates was read, with the rate and the time that is left.
func (p *progress) compare(_, bytes, _, allBytes int64) {
	if p.due() {
		p.show("Comparing", allBytes, progressbar.OptionShowBytes(true))
		p.bar.Set64(min(bytes, allBytes))
	}
}

func (p *progress) pictures(done, total int64) {
	if p.due() {
		p.begin("Looking at pictures", total)
		p.bar.Set64(done)
	}
}

func (p *progress) thumbnails(done, total int64) {
	if p.due() {
		p.begin("Drawing", total)
		p.bar.Set64(done)
	}
}

func (p *progress) move(total int64) func(files, bytes int64) {
	return func(files, bytes int64) {
		if p.due() {
			p.begin("Moving", total)
			p.bar.Describe("Moving, " + humanize.Bytes(uint64(bytes)))
			p.bar.Set64(min(files, total))
		}
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		p.bar.Finish() // clears it, and stops what redraws it
		p.bar = nil
	}
	p.what = ""
}
