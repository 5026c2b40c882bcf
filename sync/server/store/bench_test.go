package store

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/pgtest"
)

// Benchmarks are on databases that write to disk as in production.

func benchmark(b *testing.B, f func(b *testing.B, s testStore, user User)) {
	b.Run("postgres", func(b *testing.B) {
		c, err := pgtest.Start(true)
		pgtest.Check(b, err)
		defer c.Close()
		ok(b, c.Exec("create database forg owner "+pgtest.Owner))
		url := c.URL(pgtest.Owner, "forg")
		ok(b, migrateAt(url))
		s := open(b, url)
		defer s.Close() // before the cluster
		f(b, s, s.newUser(b, "ann@example.org"))
	})
	b.Run("sqlite", func(b *testing.B) {
		s := onSQLite(b)
		f(b, s, s.newUser(b, "ann@example.org"))
	})
}

// BenchmarkPush pushes chunks of 1000 file records, one a push, from 1 device and from 8 devices of different users.
func BenchmarkPush(b *testing.B) {
	for _, devices := range []int{1, 8} {
		b.Run(fmt.Sprintf("devices=%d", devices), func(b *testing.B) {
			benchmark(b, func(b *testing.B, s testStore, u User) {
				ctx := context.WithoutCancel(b.Context())
				body := records(1, 1000)
				logs := make([]*testLog, devices)
				for i := range logs {
					u := s.newUser(b, fmt.Sprintf("user%d@example.org", i))
					logs[i] = newLog(u.ID, s.newDevice(b, u.ID).ID)
				}
				var n atomic.Int64
				per := (b.N+devices-1)/devices + 1
				for i := range logs {
					for range per {
						logs[i].add(newID(), body)
					}
				}
				together(devices, func(i int) { // connections and statements
					if _, err := s.Push(ctx, logs[i].user, logs[i].request(0, 1), 0); err != nil {
						b.Error(err)
					}
				})
				b.ResetTimer()
				together(devices, func(i int) {
					for k := 1; k < per; k++ {
						if _, err := s.Push(ctx, logs[i].user, logs[i].request(k, k+1), 0); err != nil {
							b.Error(err)
							return
						}
						n.Add(1000)
					}
				})
				b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "records/s")
			})
		})
	}
}

// BenchmarkCreateOperation adds operations with their jobs, 16 at a time.
func BenchmarkCreateOperation(b *testing.B) {
	benchmark(b, func(b *testing.B, s testStore, u User) {
		ctx := context.WithoutCancel(b.Context())
		const users = 16
		var locations [users]Location
		for i := range locations {
			u := s.newUser(b, fmt.Sprintf("user%d@example.org", i))
			locations[i] = must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "l", Root: fmt.Sprint("/srv/", i)}))(b)
		}
		per := (b.N + users - 1) / users
		create := func(i, n int) {
			for range n {
				id := newID()
				if _, _, err := s.CreateOperation(ctx, locations[i].UserID, NewOperation{ID: id, DeviceID: locations[i].ID, Kind: "organize",
					Job: jobFor(locations[i].UserID, id), Key: id.String()}); err != nil {
					b.Error(err)
					return
				}
			}
		}
		together(users, func(i int) { create(i, 2) }) // connections and statements
		b.ResetTimer()
		together(users, func(i int) { create(i, per) })
		b.ReportMetric(float64(per*users)/b.Elapsed().Seconds(), "operations/s")
	})
}

// BenchmarkList lists 20 of the 4000 operations of a user among 5. On PostgreSQL the same query is asked in turn as a
// superuser, whom row-level security does not concern and who needs no word on whose behalf it is.
func BenchmarkList(b *testing.B) {
	benchmark(b, func(b *testing.B, s testStore, u User) {
		ctx := b.Context()
		fill(b, s, u.ID, 4000)
		for i := range 4 {
			fill(b, s, s.newUser(b, fmt.Sprintf("user%d@example.org", i)).ID, 4000)
		}
		var took, plain []time.Duration
		list := func() {
			start := time.Now()
			ops, _, err := s.Operations(ctx, u.ID, OperationFilter{}, Page{Limit: 20})
			if took = append(took, time.Since(start)); err != nil || len(ops) != 20 {
				b.Fatal(len(ops), err)
			}
		}
		if !s.Postgres() {
			for b.Loop() {
				list()
			}
			b.ReportMetric(median(took), "µs-p50")
			return
		}
		conn := s.superuser(b)
		_, err := conn.Exec(ctx, "analyze")
		ok(b, err)
		q, args, err := OperationFilter{}.query(&pgDialect, u.ID, Page{Limit: 20})
		ok(b, err)
		for b.Loop() {
			list()
			start := time.Now()
			r, err := conn.Query(ctx, q, pgArgs(args)...)
			ok(b, err)
			n := 0
			ok(b, eachRow(r, func(r rows) error { n++; var o Operation; return r.scan(o.fields()...) }))
			if plain = append(plain, time.Since(start)); n != 21 { // one more than the page
				b.Fatal(n)
			}
		}
		b.ReportMetric(median(took), "µs-p50-rls")
		b.ReportMetric(median(plain), "µs-p50-plain")
	})
}

func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2].Nanoseconds()) / 1000
}

func fill(b *testing.B, s testStore, user uuid.UUID, operations int) {
	l := newLog(user, s.newDevice(b, user).ID)
	for range operations {
		l.add(newID(), &api.Started{Kind: "organize", Root: "/home/u/Downloads", Planned: 10})
	}
	for from := 0; from < operations; from += 500 {
		s.push(b, l, l.request(from, min(from+500, operations)))
	}
}

// BenchmarkPull pulls 20 000 small entries.
func BenchmarkPull(b *testing.B) {
	benchmark(b, func(b *testing.B, s testStore, u User) {
		l := newLog(u.ID, s.newDevice(b, u.ID).ID)
		const entries = 20000
		for range entries {
			l.add(uuid.Nil, &api.Void{})
		}
		for from := 0; from < entries; from += 1000 {
			s.push(b, l, l.request(from, from+1000))
		}
		for b.Loop() {
			n := 0
			_, _, err := s.Pull(b.Context(), u.ID, PullFrom{}, func(*api.PullEntry) error { n++; return nil })
			if err != nil || n != entries {
				b.Fatal(n, err)
			}
		}
		b.ReportMetric(float64(entries*b.N)/b.Elapsed().Seconds(), "entries/s")
	})
}

// BenchmarkRefresh rotates tokens of 8 sessions.
func BenchmarkRefresh(b *testing.B) {
	benchmark(b, func(b *testing.B, s testStore, u User) {
		ctx := context.WithoutCancel(b.Context())
		per := (b.N + 7) / 8
		for i := range 8 {
			must(s.StartSession(ctx, Session{UserID: u.ID, ExpiresAt: s.clock.Now().Add(day)}, token(s, fmt.Sprint(i, 0))))(b)
		}
		b.ResetTimer()
		start := time.Now()
		together(8, func(i int) {
			for n := range per {
				h := sum(fmt.Sprint(i, n))
				if v, _, _, err := s.Refresh(ctx, h[:], rule(token(s, fmt.Sprint(i, n+1)))); err != nil || v != Rotate {
					b.Error(v, err)
					return
				}
			}
		})
		b.ReportMetric(float64(per*8)/time.Since(start).Seconds(), "refreshes/s")
	})
}
