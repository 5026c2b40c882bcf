package server

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"forg/sync/server/auth"
)

// metrics are counters and histograms in the text form of Prometheus (its exposition format 0.0.4), which is a few lines of text.
// Libraries that write it work at the start of every forg, also of those that do not serve: client_golang 0.6 ms and 2.2 MB of
// program, VictoriaMetrics' 0.3 ms, without a word of help in its answers. Prometheus's own reader holds the form to what it
// should be, in the tests.
type metrics struct {
	mu       sync.RWMutex
	counters map[series]*atomic.Int64
	times    map[series]*histogram
	gauges   []gauge
}

type series struct{ name, labels string }

type gauge struct {
	name, help string
	read       func() float64
}

// buckets are upper bounds in seconds.
var buckets = [...]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

type histogram struct {
	count [len(buckets) + 1]atomic.Int64
	sum   atomic.Int64 // ns
}

var help = map[string]string{
	"forg_http_requests_total":      "Requests by method, route and status.",
	"forg_http_request_seconds":     "Time to answer, by route.",
	"forg_rate_limited_total":       "Requests and logins that were refused for coming too fast.",
	"forg_redis_fallback_total":     "Times that Redis did not answer and this process counted by itself.",
	"forg_password_seconds":         "Time to hash or check a password, without waiting.",
	"forg_password_wait_seconds":    "Time that passwords waited for their turn.",
	"forg_password_refused_total":   "Passwords that were turned away because too many waited.",
	"forg_websocket_messages_total": "Messages sent to WebSockets.",
	"forg_websocket_dropped_total":  "WebSockets that were closed because they did not read.",
	"forg_jobs_total":               "Jobs of workers, by result.",
	"forg_push_entries_total":       "Entries of logs that were pushed.",
	"forg_panics_total":             "Requests that ended in a panic.",
}

func newMetrics() *metrics {
	return &metrics{counters: map[series]*atomic.Int64{}, times: map[series]*histogram{}}
}

// add adds n to a counter; labels is what stands in the braces.
func (m *metrics) add(name, labels string, n int64) {
	at := series{name, labels}
	m.mu.RLock()
	c := m.counters[at]
	m.mu.RUnlock()
	if c == nil {
		m.mu.Lock()
		if c = m.counters[at]; c == nil {
			c = new(atomic.Int64)
			m.counters[at] = c
		}
		m.mu.Unlock()
	}
	c.Add(n)
}

func (m *metrics) observe(name, labels string, d time.Duration) {
	at := series{name, labels}
	m.mu.RLock()
	h := m.times[at]
	m.mu.RUnlock()
	if h == nil {
		m.mu.Lock()
		if h = m.times[at]; h == nil {
			h = new(histogram)
			m.times[at] = h
		}
		m.mu.Unlock()
	}
	i, _ := slices.BinarySearch(buckets[:], d.Seconds())
	h.count[i].Add(1)
	h.sum.Add(int64(d))
}

func (m *metrics) password(o auth.Observation) {
	m.observe("forg_password_wait_seconds", "", o.Waited)
	if o.Busy {
		m.add("forg_password_refused_total", "", 1)
	}
	if o.Took > 0 {
		m.observe("forg_password_seconds", "", o.Took)
	}
}

// gauge adds a value that is read when somebody asks.
func (m *metrics) gauge(name, help string, read func() float64) {
	m.gauges = append(m.gauges, gauge{name, help, read})
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func braces(parts ...string) string {
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (m *metrics) write(to io.Writer) error {
	w := bufio.NewWriter(to)
	order := func(a, b series) int { return strings.Compare(a.name+"\x00"+a.labels, b.name+"\x00"+b.labels) }
	m.mu.RLock()
	counters, times := maps.Clone(m.counters), maps.Clone(m.times)
	m.mu.RUnlock()
	last := ""
	head := func(name, kind, text string) {
		if name != last {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, text, name, kind)
		}
		last = name
	}
	for _, at := range slices.SortedFunc(maps.Keys(counters), order) {
		head(at.name, "counter", help[at.name])
		fmt.Fprintf(w, "%s%s %d\n", at.name, braces(at.labels), counters[at].Load())
	}
	for _, at := range slices.SortedFunc(maps.Keys(times), order) {
		head(at.name, "histogram", help[at.name])
		h, n := times[at], int64(0)
		for i := range h.count {
			n += h.count[i].Load()
			le := "+Inf"
			if i < len(buckets) {
				le = number(buckets[i])
			}
			fmt.Fprintf(w, "%s_bucket%s %d\n", at.name, braces(at.labels, `le="`+le+`"`), n)
		}
		fmt.Fprintf(w, "%s_sum%s %s\n%s_count%s %d\n", at.name, braces(at.labels), number(time.Duration(h.sum.Load()).Seconds()), at.name, braces(at.labels), n)
	}
	for _, g := range m.gauges {
		head(g.name, "gauge", g.help)
		fmt.Fprintf(w, "%s %s\n", g.name, number(g.read()))
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	for _, g := range []gauge{
		{"go_goroutines", "Goroutines that exist.", func() float64 { return float64(runtime.NumGoroutine()) }},
		{"go_memstats_heap_inuse_bytes", "Bytes of the heap in use.", func() float64 { return float64(mem.HeapInuse) }},
		{"go_memstats_sys_bytes", "Bytes taken from the system.", func() float64 { return float64(mem.Sys) }},
	} {
		head(g.name, "gauge", g.help)
		fmt.Fprintf(w, "%s %s\n", g.name, number(g.read()))
	}
	return w.Flush()
}
