//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"forg/sync/api"
)

// metric is the value of a metric without labels.
func (s *served) metric(name string) (float64, error) {
	res, err := client.Get(s.url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET /metrics: %s", res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("there is no metric %s", name))
}

// fanout has many watch one operation whose device tells of progress ten times a second. What a message takes is counted
// from before the device sends it until a watcher has it; every watcher is to have every one.
func (s *served) fanout(d time.Duration) error {
	watchers := 1000
	if s.b.quick {
		watchers = 100
	}
	ctx, cancel := context.WithTimeout(context.Background(), d+time.Minute)
	defer cancel()
	device, token := uuid.Must(uuid.NewV7()), s.keys[keysEach]
	if err := s.ask("POST", "/api/v1/sync/push", token, 200, api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: uuid.New()}, nil); err != nil {
		return err // a device is known from its first push
	}
	var op api.Operation
	start := api.OperationRequest{Kind: "organize", Target: api.Target{DeviceID: device, Root: "inbox"}}
	if err := s.ask("POST", "/api/v1/operations", token, 202, start, &op); err != nil {
		return err
	}
	var all api.CommandsResponse
	if err := s.ask("GET", "/api/v1/sync/commands?device_id="+device.String(), token, 200, nil, &all); err != nil {
		return err
	}
	if len(all.Commands) != 1 {
		return fmt.Errorf("the device is given %d commands, not one", len(all.Commands))
	}
	lease := all.Commands[0]
	var mu sync.Mutex
	sent := map[int64]time.Time{}
	var took []float64
	lost := 0
	var failed error
	var readers sync.WaitGroup
	for n := range watchers {
		c, _, err := websocket.Dial(ctx, strings.Replace(s.url, "http", "ws", 1)+"/ws/operations/"+op.ID.String(), &websocket.DialOptions{HTTPHeader: bearer(token)})
		if err != nil {
			return fmt.Errorf("WebSocket %d: %w", n+1, err)
		}
		defer c.CloseNow()
		readers.Go(func() {
			expect := int64(1)
			for {
				_, b, err := c.Read(ctx)
				at := time.Now()
				mu.Lock()
				var e api.Event
				if err == nil {
					err = json.Unmarshal(b, &e)
				}
				if err != nil {
					if failed == nil {
						failed = err
					}
					mu.Unlock()
					return
				}
				if n := e.Progress.FilesProcessed; n >= expect && !e.Status.Finished() {
					lost += int(n - expect)
					expect = n + 1
					took = append(took, ms(at.Sub(sent[n])))
				}
				mu.Unlock()
				if e.Status.Finished() {
					return
				}
			}
		})
	}
	began, cpu := time.Now(), s.cpu()
	messages := int64(d / (100 * time.Millisecond))
	say := func(n int64, state api.CommandState) error {
		p := api.Progress{FilesTotal: messages, FilesProcessed: n}
		return s.ask("POST", "/api/v1/sync/commands/"+lease.ID.String(), token, 200,
			api.CommandUpdate{Lease: lease.Lease, State: state, Progress: &p, Result: &api.CommandResult{Processed: n}}, nil)
	}
	for n := int64(1); n <= messages; n++ {
		time.Sleep(time.Until(began.Add(time.Duration(n) * 100 * time.Millisecond)))
		mu.Lock()
		sent[n] = time.Now()
		mu.Unlock()
		if err := say(n, api.CommandRunning); err != nil {
			return err
		}
	}
	wall := time.Since(began)
	time.Sleep(200 * time.Millisecond) // the last one is to be told by itself
	if err := say(messages, api.CommandSucceeded); err != nil {
		return err
	}
	readers.Wait()
	if failed != nil {
		return fmt.Errorf("a watcher was cut off: %w", failed)
	}
	p99 := s.latencies(fmt.Sprintf("10 messages a second to %d WebSockets", watchers), took, lost, wall, s.cpu()-cpu)
	s.goal(fmt.Sprintf("10 messages a second to %d WebSockets, p99", watchers), p99, 150, "ms")
	s.goal("of them lost", float64(lost), none, "")
	return nil
}
