package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"forg/sync/api"
	"forg/sync/seal"
	"forg/sync/server/pgtest"
)

// planted is a log in which every body has words of its own wherever something of the user's stands.
func planted(t testing.TB, word string, files int) (op uuid.UUID, log []api.Entry, words []string) {
	op = uuid.Must(uuid.NewV7())
	plant := func(what string) string {
		w := fmt.Sprintf("%s-%s-%s", word, what, uuid.NewString()[:8])
		words = append(words, w)
		return w
	}
	root := "/" + plant("root")
	var records api.Files
	sum := sha256.Sum256([]byte(op.String()))
	hash := hex.EncodeToString(sum[:])
	words = append(words, hash)
	for i := range files {
		name := plant("name") + ".pdf"
		records = append(records, api.FileRecord{Seq: int64(i) + 1, SourcePath: root + "/" + name, DestinationPath: root + "/" + plant("folder") + "/" + name, Size: 9,
			Category: plant("category"), Action: "rename", Status: api.FilePlanned, Error: plant("error"), ContentHash: "blake3:" + hash})
	}
	for i, b := range []api.Body{
		&api.Started{Kind: "organize", Root: root, Command: "forg organize " + plant("command"), Planned: int64(files), Options: map[string]any{"rules": plant("option")}},
		records,
		&api.Outcomes{Outcomes: []api.Outcome{{Seq: 1, Status: api.FileFailed, Error: plant("error")}}},
		&api.Finished{Status: api.OpPartial, Processed: int64(files) - 1, Failed: 1, Bytes: 9, Error: plant("error")},
		&api.DeviceRenamed{Name: plant("device")},
		&api.RollbackResult{CommandID: uuid.New(), RollbackOf: op, State: api.CommandFailed, Error: plant("error")},
	} {
		e, err := api.NewEntry(int64(i)+1, uuid.Must(uuid.NewV7()), op, time.Now().UnixMicro(), b)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, e)
	}
	return op, log, words
}

// kept is everything that a server has of its users: all files of its data folder, all rows of PostgreSQL, what the bodies of
// the log say once decompressed, what it has logged, and its metrics.
func (s *service) kept(t *testing.T, users ...user) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, path := range []string{"/metrics", "/openapi.json"} {
		all.Write(s.do(t, "", "GET", path, nil).body)
	}
	st := s.operator(t)
	for _, u := range users {
		err := st.Export(t.Context(), uuid.MustParse(u.id), func(what string, v any) error {
			if e, ok := v.(api.PullEntry); ok {
				all.Write(mustRaw(t, &e.Entry))
				if b, err := e.Decode(); err == nil { // names lie in it in pieces
					if err := json.NewEncoder(&all).Encode(b); err != nil {
						return err
					}
				}
			}
			return json.NewEncoder(&all).Encode(v)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	all.WriteString(s.log.String())
	if s.cfg.DatabaseURL != "" {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, strings.Replace(s.cfg.DatabaseURL, "postgres://"+pgtest.Owner+"@", "postgres://postgres@", 1))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		text := func(query string) []string {
			rows, err := conn.Query(ctx, query)
			if err != nil {
				t.Fatal(err)
			}
			all, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		binary := regexp.MustCompile(`\\x([0-9a-f]+)`)
		for _, table := range text("select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace") {
			for _, row := range text("select t::text from " + pgx.Identifier{table}.Sanitize() + " t") {
				all.WriteString(row + "\n")
				for _, m := range binary.FindAllStringSubmatch(row, -1) {
					b, _ := hex.DecodeString(m[1])
					all.Write(b)
				}
			}
		}
	}
	err := filepath.WalkDir(s.cfg.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all.WriteString(path + "\n")
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}

// found are the words that are there, as they are, in hexadecimal digits, or as what the digits of a hash stand for.
func found(kept []byte, words []string) (all []string) {
	for _, w := range words {
		sum, err := hex.DecodeString(w)
		if bytes.Contains(kept, []byte(w)) || bytes.Contains(kept, []byte(hex.EncodeToString([]byte(w)))) || err == nil && bytes.Contains(kept, sum) {
			all = append(all, w)
		}
	}
	return all
}

// TestPrivacy plants words in everything that a history can say, and looks for them in everything that the server has. Readable
// they are all there, which shows that the search finds them; hashed and sealed there is none, and the server still shows how
// the operation stands.
func TestPrivacy(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, cfg Config) {
		cfg.LogLevel = slog.LevelDebug
		s := start(t, cfg)
		push := func(u user, device, epoch uuid.UUID, log []api.Entry) map[string]any {
			t.Helper()
			return s.want(t, 200, u.access, "POST", "/api/v1/sync/push", api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch,
				PrevChain: api.Genesis(device, epoch), Entries: log})
		}
		logIn := func(name string) (user, uuid.UUID) {
			u, device := s.signUp(t, name+"@example.org"), uuid.Must(uuid.NewV7())
			return s.logIn(t, u, map[string]any{"id": device, "name": "device " + device.String()[:8]}), device
		}
		shown := func(u user, op uuid.UUID, files int) map[string]any {
			t.Helper()
			got := s.want(t, 200, u.access, "GET", "/api/v1/operations/"+op.String(), nil)
			if got["kind"] != "organize" || got["status"] != "partial" || got["files_total"] != float64(files) || got["files_processed"] != float64(files)-1 || got["files_failed"] != 1.0 {
				t.Errorf("the server shows %v", got)
			}
			return got
		}

		open, openDevice := logIn("open")
		op, log, openWords := planted(t, "open", 2)
		push(open, openDevice, uuid.New(), log)
		shown(open, op, 2)

		hashed, hashedDevice := logIn("hashed")
		h := seal.NewHasher([32]byte{1, 2, 3})
		epoch := uuid.New()
		op, log, hashedWords := planted(t, "hashed", 50)
		for i := range log {
			var err error
			if log[i], err = h.Seal(hashedDevice, epoch, log[i]); err != nil {
				t.Fatal(err)
			}
		}
		push(hashed, hashedDevice, epoch, log)
		shown(hashed, op, 50)
		list := s.want(t, 200, hashed.access, "GET", "/api/v1/operations/"+op.String()+"/files", nil)["items"].([]any)
		if len(list) != 50 {
			t.Errorf("of the hashed files %d are shown", len(list))
		}

		sealed, sealedDevice := logIn("sealed")
		keys, err := seal.Create(uuid.MustParse(sealed.id), sealedDevice, "sealed-name-of-the-device")
		if err != nil {
			t.Fatal(err)
		}
		var state api.KeyState
		get := func(u user) {
			t.Helper()
			if err := json.Unmarshal(s.do(t, u.access, "GET", "/api/v1/sync/keys", nil).body, &state); err != nil {
				t.Fatal(err)
			}
		}
		put := func(k *seal.Keys, status int) {
			t.Helper()
			u, err := k.Update(&state)
			if err != nil {
				t.Fatal(err)
			}
			s.want(t, status, sealed.access, "PUT", "/api/v1/sync/keys", u)
		}
		get(sealed)
		put(keys, 200)
		put(keys, 409) // of the version before
		op, plain, sealedWords := planted(t, "sealed", 50)
		sealedWords = append(sealedWords, "sealed-name-of-the-device", keys.Recovery())
		// Readable by mistake, hashed or with a key that is none of the account's: nothing of it gets in, and none of its words.
		other, err := seal.Create(uuid.MustParse(sealed.id), sealedDevice, "x")
		if err != nil {
			t.Fatal(err)
		}
		epoch = uuid.New()
		for _, wrong := range []func(api.Entry) (api.Entry, error){
			func(e api.Entry) (api.Entry, error) { return e, nil },
			func(e api.Entry) (api.Entry, error) { return h.Seal(sealedDevice, epoch, e) },
			func(e api.Entry) (api.Entry, error) { return other.Seal(sealedDevice, epoch, e) },
		} {
			log := make([]api.Entry, len(plain))
			for i := range plain {
				if log[i], err = wrong(plain[i]); err != nil {
					t.Fatal(err)
				}
			}
			p := s.want(t, 422, sealed.access, "POST", "/api/v1/sync/push", api.PushRequest{Protocol: api.Protocol, DeviceID: sealedDevice, Epoch: epoch,
				PrevChain: api.Genesis(sealedDevice, epoch), Entries: log})
			if p["code"] != "not_sealed" || len(p["errors"].([]any)) != len(log) {
				t.Errorf("it is refused with %v", p)
			}
		}
		log = make([]api.Entry, len(plain))
		for i := range plain {
			if log[i], err = keys.Seal(sealedDevice, epoch, plain[i]); err != nil {
				t.Fatal(err)
			}
		}
		push(sealed, sealedDevice, epoch, log)
		if got := shown(sealed, op, 50); got["root"] != "" || got["error"] != "" || len(got["options"].(map[string]any)) != 0 {
			t.Errorf("the server shows %v", got)
		}
		if list := s.want(t, 200, sealed.access, "GET", "/api/v1/operations/"+op.String()+"/files", nil)["items"].([]any); len(list) != 0 {
			t.Errorf("of the sealed files %d are shown", len(list))
		}

		// Another device asks, is let in, and reads what the first one wrote.
		second := uuid.Must(uuid.NewV7())
		phone := s.logIn(t, sealed, map[string]any{"id": second, "name": "device two"})
		asks, err := seal.Ask(uuid.MustParse(sealed.id), second)
		if err != nil {
			t.Fatal(err)
		}
		sealedWords = append(sealedWords, asks.Code(), strings.ReplaceAll(asks.Code(), "-", ""))
		request, err := asks.Request()
		if err != nil {
			t.Fatal(err)
		}
		s.want(t, 204, phone.access, "PUT", "/api/v1/sync/keys/devices/"+second.String(), request)
		s.want(t, 404, phone.access, "PUT", "/api/v1/sync/keys/devices/"+sealedDevice.String(), request)
		get(sealed)
		if _, err := keys.Approve(&state, asks.Code()); err != nil {
			t.Fatal(err)
		}
		put(keys, 200)
		get(phone)
		if err := asks.Adopt(&state); err != nil {
			t.Fatal(err)
		}
		pulled := api.NewPullReader(bytes.NewReader(s.do(t, phone.access, "GET", "/api/v1/sync/pull", nil).body), 0, api.DefaultLimits())
		for i := range plain {
			e, err := pulled.Next()
			if err != nil {
				t.Fatal(err)
			}
			back, err := asks.Open(e.DeviceID, e.Epoch, e.Entry)
			if diff := cmp.Diff(plain[i], back); err != nil || diff != "" {
				t.Errorf("entry %d comes back otherwise: %v\n%s", i+1, err, diff)
			}
		}
		// Under its own name it logs in, before it knows of any key; renamed, it is forgotten.
		s.logIn(t, sealed, map[string]any{"id": second, "name": "sealed-host-name"})
		s.want(t, 200, phone.access, "PATCH", "/api/v1/devices/"+second.String(), map[string]any{"name": "device two"})

		kept := s.kept(t, open, hashed, sealed)
		for _, w := range openWords {
			if len(found(kept, []string{w})) == 0 {
				t.Errorf("the readable word %q was not found: the search does not see all", w)
			}
		}
		for _, w := range found(kept, append(hashedWords, sealedWords...)) {
			t.Errorf("the server has %q", w)
		}
		if s.cfg.DatabaseURL != "" && len(found(kept, []string{"sealed-host-name"})) != 0 {
			t.Error("the server has the name of the device still")
		}
		if len(kept) < 100_000 {
			t.Errorf("only %d bytes were searched", len(kept))
		}
	}
	t.Run("postgres", func(t *testing.T) { run(t, Config{DatabaseURL: pgtest.New(t, migrateForTest)}) })
	t.Run("sqlite", func(t *testing.T) { run(t, Config{}) })
}
