package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/store"
)

// Bounds of WebSockets.
const (
	liveBuffer  = 16                    // messages that a reader may be behind before it is let go
	liveWrite   = 5 * time.Second       // for one message
	livePing    = 25 * time.Second      // between questions whether somebody is still there
	livePong    = 10 * time.Second      // for the answer
	liveFirst   = 5 * time.Second       // for a first message with the token
	liveEvery   = 50 * time.Millisecond // between two events of an operation at least
	liveLook    = 5 * time.Second       // between looks at the store when no word comes: words may get lost
	liveFiles   = 100                   // file records in one message
	closeDenied = websocket.StatusCode(4401)
	closeNone   = websocket.StatusCode(4404)
	closeScope  = websocket.StatusCode(4403)
)

// hub tells those who wait here of what changes in the store. The store's events are hints that come from this process and
// from others; what is told is always read from the store, once for all who wait for the same operation.
type hub struct {
	store   *store.Store
	metrics *metrics
	log     *slog.Logger
	look    time.Duration // between looks at the store when no word comes
	stop    func()
	ctx     context.Context
	end     context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex
	topics map[topicKey]*topic
	users  map[userKey]map[chan struct{}]bool
	open   int // WebSockets
}

type topicKey struct{ user, operation uuid.UUID }

type userKey struct {
	user uuid.UUID
	kind string
}

func newHub(st *store.Store, m *metrics, log *slog.Logger, look time.Duration) *hub {
	h := &hub{store: st, metrics: m, log: log, look: look, topics: map[topicKey]*topic{}, users: map[userKey]map[chan struct{}]bool{}}
	h.ctx, h.end = context.WithCancel(context.Background())
	h.stop = st.Subscribe(h.hear)
	m.gauge("forg_websockets", "WebSockets that are open.", func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(h.open)
	})
	return h
}

func (h *hub) close() {
	h.stop()
	h.end()
	h.wg.Wait()
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has been woken already
	}
}

func (h *hub) hear(e store.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[topicKey{e.User, e.ID}]; t != nil && e.Kind == store.EventOperation {
		wake(t.news)
	}
	for c := range h.users[userKey{e.User, e.Kind}] {
		wake(c)
	}
}

// onUser wakes c whenever something of a kind changes for a user, until stop is called.
func (h *hub) onUser(user uuid.UUID, kind string, c chan struct{}) (stop func()) {
	k := userKey{user, kind}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users[k] == nil {
		h.users[k] = map[chan struct{}]bool{}
	}
	h.users[k][c] = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.users[k], c)
		if len(h.users[k]) == 0 {
			delete(h.users, k)
		}
	}
}

// topic is an operation that somebody watches.
type topic struct {
	key  topicKey
	hub  *hub
	news chan struct{}
	quit chan struct{}

	mu      sync.Mutex
	readers map[*reader]bool
	seq     int64 // of the last event
	status  api.OperationStatus
}

// message is an event, encoded once for all.
type message struct {
	data  []byte
	seq   int64
	last  bool  // the operation has finished
	files int64 // of an event of files: the last record in it
}

// reader is a WebSocket that watches an operation.
type reader struct {
	messages chan message
	drop     context.CancelCauseFunc
}

var errSlow = errors.New("the client does not read")

// watch adds a reader. It is to be told of everything from now on; what was before, the caller reads.
func (h *hub) watch(user, op uuid.UUID, r *reader) (leave func()) {
	k := topicKey{user, op}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[k]
	if t == nil {
		t = &topic{key: k, hub: h, news: make(chan struct{}, 1), quit: make(chan struct{}), readers: map[*reader]bool{}}
		h.topics[k] = t
		h.wg.Go(t.run)
	}
	t.mu.Lock()
	t.readers[r] = true
	t.mu.Unlock()
	wake(t.news) // there may be more to tell than the caller has read
	h.open++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open--
		t.mu.Lock()
		delete(t.readers, r)
		empty := len(t.readers) == 0
		t.mu.Unlock()
		if empty && h.topics[k] == t {
			delete(h.topics, k)
			close(t.quit)
		}
	}
}

func (t *topic) run() {
	look := time.NewTicker(t.hub.look)
	defer look.Stop()
	for {
		select {
		case <-t.quit:
			return
		case <-t.hub.ctx.Done():
			return
		case <-t.news:
		case <-look.C:
		}
		o, err := t.hub.store.OperationByID(t.hub.ctx, t.key.user, t.key.operation)
		if err != nil {
			if t.hub.ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
				t.hub.log.Warn("read operation for its watchers", "error", err)
			}
		} else {
			t.tell(o)
		}
		select {
		case <-t.quit:
			return
		case <-time.After(liveEvery):
		}
	}
}

// eventOf is what is told of an operation: that its status changed, if it is not what was told last, else its progress.
func eventOf(o store.Operation, was api.OperationStatus) api.Event {
	e := api.Event{Seq: o.Version, OperationID: o.ID, Type: api.EventProgress, At: time.Now().UTC().Truncate(time.Millisecond), Status: o.Status, Error: o.Error,
		Progress: &api.Progress{FilesTotal: o.FilesTotal, FilesProcessed: o.FilesProcessed, FilesFailed: o.FilesFailed, BytesMoved: o.BytesMoved}}
	if o.Status != was {
		e.Type = api.EventStatus
	}
	return e
}

func encode(e api.Event) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // it holds nothing that JSON cannot
	}
	return b
}

func (t *topic) tell(o store.Operation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.Version <= t.seq {
		return
	}
	m := message{data: encode(eventOf(o, t.status)), seq: o.Version, last: o.Status.Finished()}
	t.seq, t.status = o.Version, o.Status
	t.send(m)
}

// send gives a message to all readers; one that is too far behind is let go, and waits for nobody.
func (t *topic) send(m message) {
	for r := range t.readers {
		select {
		case r.messages <- m:
		default:
			r.drop(errSlow)
		}
	}
}

// files tells those who watch an operation in this process of records as they come about. Others read them when it is over.
func (h *hub) files(user, op uuid.UUID, records []api.FileRecord) {
	h.mu.Lock()
	t := h.topics[topicKey{user, op}]
	h.mu.Unlock()
	if t == nil || len(records) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.send(filesMessage(op, t.seq, records))
}

func filesMessage(op uuid.UUID, seq int64, records []api.FileRecord) message {
	e := api.Event{Seq: seq, OperationID: op, Type: api.EventFiles, At: time.Now().UTC().Truncate(time.Millisecond), Files: records}
	return message{data: encode(e), files: records[len(records)-1].Seq}
}

func (s *server) liveRoutes() {
	op := huma.Operation{OperationID: "watchOperation", Method: "GET", Path: "/ws/operations/{id}", Summary: "Follow an operation over a WebSocket",
		Description: "Messages are events; their seq grows. Where no Authorization header can be given, the first message of the client is {\"token\": \"...\"}. " +
			"The server closes with 1000 when the operation has finished, 1001 when it stops (go on with ?after=), " +
			"1013 when the client does not read, 4401 when the credentials end.",
		Tags: []string{"Operations"}, Errors: []int{404, 422, 426},
		Parameters: []*huma.Param{pathID("The operation."), queryNumber("after", 1<<62, "seq of the last event that the client has: it goes on from there."),
			queryParam("files", "boolean", "false: no file records."), queryNumber("files_after", 1<<62, "seq of the last file record that the client has.")},
		Responses: s.answers(101, "application/json", "Events", api.Event{})}
	s.describePlain(&op, reads)
	s.mux.HandleFunc("GET "+op.Path, s.live)
}

func (s *server) live(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	bearer := r.Header.Get("Authorization")
	upgrade := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	op, err := uuid.Parse(r.PathValue("id"))
	badID := err != nil || len(r.PathValue("id")) != 36
	var after, filesAfter int64
	check := func() error {
		if badID {
			return invalid("path.id", "is no UUID")
		}
		var err error
		if after, err = queryInt(r, "after", 1<<62); err != nil {
			return err
		}
		if filesAfter, err = queryInt(r, "files_after", 1<<62); err != nil {
			return err
		}
		_, err = s.store.OperationByID(ctx, who(ctx).user, op)
		return err
	}
	if bearer != "" || !upgrade {
		err := s.admit(ctx, reads, bearer, w.Header())
		if err == nil {
			err = check()
		}
		if err == nil && !upgrade {
			err = newProblem(api.CodeProtocol, "this is for WebSockets")
			w.Header().Set("Upgrade", "websocket")
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
	}
	if !s.originAllowed(r) {
		s.fail(w, r, newProblem(api.CodeForbidden, "pages of this origin may not use the API"))
		return
	}
	s.conns.Add(1) // http.Server no longer waits for it
	defer s.conns.Done()
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the origin was checked above, with our answer
	if err != nil {
		return // Accept has answered
	}
	follows := false
	defer func() {
		if !follows {
			c.CloseNow()
		}
	}()
	c.SetReadLimit(8 << 10)
	if bearer == "" {
		if bearer, err = firstMessage(ctx, c); err != nil {
			c.Close(closeDenied, "the first message is to be {\"token\": ...}")
			return
		}
		if err = s.admit(ctx, reads, bearer, http.Header{}); err == nil {
			err = check()
		}
		if err != nil {
			p := s.problemOf(ctx, err)
			c.Close(closeCode(p.Status), p.Title)
			return
		}
	}
	f := &follower{server: s, conn: c, request: requestOf(ctx).id, user: who(ctx).user, operation: op, bearer: bearer,
		sent: after, filesSent: filesAfter, files: r.URL.Query().Get("files") != "false"}
	// It goes on in a goroutine of its own: that of the request has a deep stack and buffers, which thousands of idle
	// WebSockets would keep.
	if follows = f.begin(context.WithoutCancel(ctx)); follows {
		s.conns.Go(f.run)
	}
}

// firstMessage is the Authorization that a client without headers sends.
func firstMessage(ctx context.Context, c *websocket.Conn) (bearer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, liveFirst)
	defer cancel()
	_, b, err := c.Read(ctx)
	if err != nil {
		return "", err
	}
	var first struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(b, &first); err != nil {
		return "", err
	}
	return "Bearer " + first.Token, nil
}

// closeCode says to a WebSocket what a status says to a request.
func closeCode(status int) websocket.StatusCode {
	switch status {
	case http.StatusUnauthorized:
		return closeDenied
	case http.StatusForbidden:
		return closeScope
	case http.StatusNotFound:
		return closeNone
	case http.StatusUnprocessableEntity:
		return websocket.StatusPolicyViolation
	case http.StatusTooManyRequests:
		return websocket.StatusTryAgainLater
	}
	return websocket.StatusInternalError
}

// originAllowed keeps pages of others from using the API in a browser's name. Programs send no Origin.
func (s *server) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	_, host, _ := strings.Cut(origin, "://")
	return origin == "" || strings.EqualFold(host, r.Host) || slices.Contains(s.cfg.Origins, origin) || slices.Contains(s.cfg.Origins, "*")
}

// follower sends a WebSocket what becomes of an operation.
type follower struct {
	server          *server
	conn            *websocket.Conn
	request         string
	user, operation uuid.UUID
	bearer          string
	files           bool  // file records as well
	sent            int64 // seq of the last event that the client has
	filesSent       int64 // seq of the last file record that it has

	ctx      context.Context // ends with the connection
	drop     context.CancelCauseFunc
	leave    func()
	messages chan message
}

// begin tells where the operation stands, and reports whether there is more to come: then run is to be called.
func (f *follower) begin(ctx context.Context) bool {
	f.ctx, f.drop = context.WithCancelCause(f.conn.CloseRead(ctx)) // nothing more is to come from the client
	f.messages = make(chan message, liveBuffer)
	f.leave = f.server.hub.watch(f.user, f.operation, &reader{messages: f.messages, drop: f.drop})
	goesOn := false
	defer func() {
		if !goesOn {
			f.end()
		}
	}()
	o, err := f.server.store.OperationByID(f.ctx, f.user, f.operation)
	if err != nil {
		f.conn.Close(closeNone, "not found")
		return false
	}
	if o.Version > f.sent {
		if !f.send(encode(eventOf(o, ""))) {
			return false
		}
		f.sent = o.Version
	}
	if o.Status.Finished() {
		f.finish()
		return false
	}
	goesOn = true
	return true
}

func (f *follower) end() {
	if errors.Is(context.Cause(f.ctx), errSlow) {
		f.server.metrics.add("forg_websocket_dropped_total", "", 1)
		f.server.log.Info("a WebSocket was closed because its client does not read", "request", f.request)
	}
	f.leave()
	f.drop(nil)
	f.conn.CloseNow() // who does not read would not read a farewell either
}

// run sends until the operation has finished or the client is gone.
func (f *follower) run() {
	defer f.end()
	defer func() {
		if p := recover(); p != nil {
			f.server.panicked(f.request, p)
		}
	}()
	ping := time.NewTicker(livePing)
	defer ping.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.server.drained:
			f.conn.Close(websocket.StatusGoingAway, "the server stops; go on with ?after=")
			return
		case <-ping.C:
			if !f.ping() {
				return
			}
		case m := <-f.messages:
			if !f.pass(m) {
				return
			}
		}
	}
}

// ping reports whether the client is still there and may still watch.
func (f *follower) ping() bool {
	if _, err := f.server.authenticate(f.ctx, strings.TrimSpace(strings.TrimPrefix(f.bearer, "Bearer "))); err != nil {
		f.conn.Close(closeDenied, "the credentials have ended")
		return false
	}
	pong, cancel := context.WithTimeout(f.ctx, livePong)
	defer cancel()
	return f.conn.Ping(pong) == nil
}

// pass sends what the client does not have yet, and reports whether there is more to come.
func (f *follower) pass(m message) bool {
	has := m.seq <= f.sent
	if m.files > 0 {
		has = !f.files || m.files <= f.filesSent
	}
	if !has {
		if !f.send(m.data) {
			return false
		}
		f.sent, f.filesSent = max(f.sent, m.seq), max(f.filesSent, m.files)
	}
	if m.last {
		f.finish()
	}
	return !m.last
}

func (f *follower) send(b []byte) bool {
	write, cancel := context.WithTimeout(f.ctx, liveWrite)
	defer cancel()
	if err := f.conn.Write(write, websocket.MessageText, b); err != nil {
		if errors.Is(context.Cause(write), context.DeadlineExceeded) {
			f.drop(errSlow)
		}
		return false
	}
	f.server.metrics.add("forg_websocket_messages_total", "", 1)
	return true
}

// finish sends the file records that are missing, and says goodbye.
func (f *follower) finish() {
	for cursor := ""; f.files; {
		page, next, err := f.server.store.Files(f.ctx, f.user, f.operation, store.Page{Cursor: cursor, Limit: liveFiles})
		if err != nil {
			f.conn.Close(websocket.StatusInternalError, "")
			return
		}
		page = slices.DeleteFunc(page, func(r api.FileRecord) bool { return r.Seq <= f.filesSent })
		if len(page) > 0 && !f.send(filesMessage(f.operation, f.sent, page).data) {
			return
		}
		if cursor = next; next == "" {
			break
		}
	}
	f.conn.Close(websocket.StatusNormalClosure, "finished")
}
