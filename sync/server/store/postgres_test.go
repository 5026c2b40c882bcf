package store

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"forg/sync/api"
	"forg/sync/server/pgtest"
)

func onEmptyPostgres(t testing.TB) testStore {
	t.Helper()
	return open(t, pgtest.Need(t).Database(t, "template1"))
}

// superuser is how a superuser connects to the database of a store.
func (s testStore) superuser(t testing.TB) *pgx.Conn {
	t.Helper()
	conn := must(pgx.Connect(t.Context(), strings.Replace(s.url, "postgres://"+pgtest.Owner+"@", "postgres://postgres@", 1)))(t)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// asSuperuser says every row of every table of PostgreSQL, as text.
func (s testStore) asSuperuser(t testing.TB, say func(string)) {
	t.Helper()
	ctx := t.Context()
	conn := s.superuser(t)
	rows := must(conn.Query(ctx, "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"))(t)
	tables := must(pgx.CollectRows(rows, pgx.RowTo[string]))(t)
	for _, name := range tables {
		rows := must(conn.Query(ctx, fmt.Sprintf("select t::text from %s t order by 1", pgx.Identifier{name}.Sanitize())))(t)
		for _, row := range must(pgx.CollectRows(rows, pgx.RowTo[string]))(t) {
			say(name + " " + row + "\n")
		}
	}
}

// tamper changes the database behind everybody's back.
func (s testStore) tamper(t testing.TB, query string) {
	t.Helper()
	ctx := t.Context()
	if s.Postgres() {
		conn := s.superuser(t)
		for _, q := range []string{"set session_replication_role = replica", query} {
			if _, err := conn.Exec(ctx, q); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	db := s.db.(*lite).write
	for _, q := range []string{"drop trigger if exists audit_log_grows", "drop trigger if exists audit_log_stays", query} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRowLevelSecurity asks without the WHERE: what belongs to others is not there, cannot be changed and not be added.
func TestRowLevelSecurity(t *testing.T) {
	s := onPostgres(t)
	ctx := t.Context()
	users := []User{s.newUser(t, "ann@example.org"), s.newUser(t, "bob@example.org")}
	for _, u := range users {
		d := s.newDevice(t, u.ID)
		l := newLog(u.ID, d.ID).organize(newID(), 3)
		s.push(t, l, l.all())
		loc := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "inbox", Root: "/srv/" + u.Email}))(t)
		ok(t, s.SetRules(ctx, RuleSet{UserID: u.ID, LocationID: loc.ID, Name: "r", Source: "of " + u.Email}))
		_, _, err := s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: loc.ID, Kind: "organize", Key: "k"})
		ok(t, err)
		_, _, err = s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: d.ID, Kind: "organize"})
		ok(t, err)
		must(s.StartSession(ctx, Session{UserID: u.ID, ExpiresAt: s.clock.Now().Add(day)}, token(s, u.Email)))(t)
		h := sum(u.Email)
		must(s.CreateAPIKey(ctx, APIKey{UserID: u.ID, Prefix: u.Email, Hash: h[:]}))(t)
		ok(t, s.Audit(ctx, AuditEvent{UserID: u.ID, Action: "auth.login"}))
		ok(t, s.SetKeys(ctx, u.ID, keyUpdate(0, "k1")))
		ok(t, s.RequestKeys(ctx, u.ID, api.KeyRequest{DeviceID: d.ID, Recipient: "age1", Tag: h[:]}))
	}
	conn := s.superuser(t)
	found := must(conn.Query(ctx, `select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
		and relname not like 'river%' and relname not like 'goose%'`))(t)
	tables := must(pgx.CollectRows(found, pgx.RowTo[string]))(t)
	if len(tables) < 15 {
		t.Fatal(tables)
	}
	count := func(who scope, table string) (n int64) {
		t.Helper()
		ok(t, s.view(ctx, who, "select count(*) from "+table, nil, &n))
		var in int64
		ok(t, s.db.run(ctx, who, false, func(x tx) error { return one(ctx, x, "select count(*) from "+table, nil, &in) }))
		if in != n {
			t.Fatal(table, n, in)
		}
		return n
	}
	for _, table := range tables {
		all := count(scope{system: true}, table)
		a, b := count(scope{user: users[0].ID}, table), count(scope{user: users[1].ID}, table)
		if a == 0 || b == 0 || a+b != all {
			t.Errorf("%s: a user sees %d rows, the other %d, of %d", table, a, b, all)
		}
		// After the users' transactions on the same connections, without one, and for a user who does not exist.
		if n := count(nobody, table) + count(scope{user: newID()}, table); n != 0 {
			t.Errorf("%s: nobody sees %d rows", table, n)
		}
		var rls, force bool
		ok(t, conn.QueryRow(ctx, "select relrowsecurity, relforcerowsecurity from pg_class where oid = $1::regclass", table).Scan(&rls, &force))
		if !rls || !force {
			t.Errorf("%s: row-level security is not forced", table)
		}
	}
	mine, theirs := users[0].ID, users[1].ID
	before := s.dump(t)
	for _, q := range []string{
		"update users set full_name = 'x'", "update operations set root = 'x'", "update sync_log set body = null", "update sessions set why = 'x'",
		"update device_state set acked_seq = 0", "update devices set name = 'x'", "delete from sync_log", "delete from api_keys", "delete from users",
	} {
		stop := fmt.Errorf("rolled back")
		err := s.as(ctx, newID(), func(t tx) error {
			n, err := t.exec(ctx, q)
			if err == nil && n > 0 {
				return fmt.Errorf("%s: %d rows", q, n)
			}
			return stop
		})
		is(t, err, stop)
	}
	for _, q := range []string{
		"insert into heads (user_id, head) values ($1, 5) on conflict (user_id) do update set head = 9",
		"insert into devices (user_id, id, name, kind, platform, created_at) values ($1, $1, 'x', 'computer', '', now())",
		"update devices set user_id = $1",
		"insert into audit_heads (user_id, n, chain, base_chain) values ($1, 0, '', '')",
	} {
		err := s.as(ctx, mine, func(t tx) error { _, err := t.exec(ctx, q, theirs); return err })
		if err == nil || !strings.Contains(err.Error(), "42501") && !strings.Contains(err.Error(), "foreign key") && !strings.Contains(err.Error(), "row-level") {
			t.Errorf("%s: %v", q, err)
		}
		err = s.db.run(ctx, nobody, false, func(t tx) error { _, err := t.exec(ctx, q, theirs); return err })
		if err == nil && !strings.HasPrefix(q, "update") {
			t.Errorf("%s: let through for nobody", q)
		}
	}
	same(t, s.dump(t), before)

	// The role is what the tests need it to be, or they have shown nothing.
	for _, role := range []string{"forg_app", "forg_system", pgtest.Owner} {
		var super, bypass bool
		ok(t, conn.QueryRow(ctx, "select rolsuper, rolbypassrls from pg_roles where rolname = $1", role).Scan(&super, &bypass))
		if super || bypass {
			t.Errorf("%s passes by row-level security", role)
		}
	}
	var owned int64
	ok(t, conn.QueryRow(ctx, "select count(*) from pg_class where pg_get_userbyid(relowner) in ('forg_app', 'forg_system')").Scan(&owned))
	if owned > 0 {
		t.Error("the service owns", owned)
	}
	var role, user string
	ok(t, s.db.read(ctx, scope{user: mine}, "select current_user::text, current_setting('app.user_id')", nil, func(r rows) error { return r.scan(&role, &user) }))
	same(t, []string{role, user}, []string{"forg_app", mine.String()})
	// The owner is held to it as well, where a login can be a member of roles without having what they have.
	owner := must(pgx.Connect(ctx, s.url))(t)
	defer owner.Close(ctx)
	var n int64
	ok(t, owner.QueryRow(ctx, "select count(*) from users").Scan(&n))
	var version int
	ok(t, conn.QueryRow(ctx, "select current_setting('server_version_num')::int").Scan(&version))
	if version >= 160000 {
		same(t, n, int64(0))
	}
}

// TestOtherLogin: the service may connect as a login of its own that can do nothing but take on the two roles.
func TestOtherLogin(t *testing.T) {
	s := onPostgres(t)
	ctx := t.Context()
	login := "forg_web_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:8]
	c := pgtest.Need(t)
	ok(t, c.Exec("create role "+login+" login noinherit nosuperuser; grant forg_app, forg_system to "+login))
	t.Cleanup(func() { ok(t, c.Exec("drop role "+login)) })
	u := must(url.Parse(s.url))(t)
	u.User = url.User(login)
	web := must(Open(ctx, u.String(), Options{OwnerURL: s.url}))(t)
	defer web.Close()
	ok(t, web.Migrate(ctx, Latest))
	ok(t, web.Ready(ctx))
	w := testStore{web, s.clock, s.url}
	user := w.newUser(t, "ann@example.org")
	l := newLog(user.ID, w.newDevice(t, user.ID).ID).organize(newID(), 3)
	w.push(t, l, l.all())
	must(web.UserByEmail(ctx, "ann@example.org"))(t)
}
