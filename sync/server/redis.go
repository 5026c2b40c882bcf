package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// redisClient speaks as much of Redis's protocol (RESP 2) as rate limits need: EVAL, whose answer is a list of numbers. The
// usual client library would double the program: it calls methods by name, so the linker can leave out nothing of anything.
type redisClient struct {
	network, address string
	tls              *tls.Config
	user, password   string
	database         int
	idle             chan *redisConn
}

type redisConn struct {
	net.Conn
	r *bufio.Reader
}

// redisIdle is how many connections are kept.
const redisIdle = 16

// newRedisClient reads redis://[user:password@]host[:port][/database], rediss:// for TLS, or unix:///path/of/socket. It does
// not connect: a Redis that is away is none at the start either.
func newRedisClient(text string) (*redisClient, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("read the address of Redis: it is no URL") // err has it in it, with the password
	}
	c := &redisClient{network: "tcp", user: u.User.Username(), idle: make(chan *redisConn, redisIdle)}
	c.password, _ = u.User.Password()
	database := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "unix":
		c.network, c.address, database = "unix", u.Path, u.Query().Get("db")
	case "rediss":
		c.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		fallthrough
	case "redis":
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		c.address = net.JoinHostPort(u.Hostname(), port)
	default:
		return nil, fmt.Errorf("read the address of Redis: %q is neither redis, rediss nor unix", u.Scheme)
	}
	if database != "" {
		if c.database, err = strconv.Atoi(database); err != nil || c.database < 0 {
			return nil, fmt.Errorf("read the address of Redis: %q is no number of a database", database)
		}
	}
	return c, nil
}

func (c *redisClient) close() {
	for {
		select {
		case conn := <-c.idle:
			conn.Close()
		default:
			return
		}
	}
}

// eval runs a script and returns the numbers that it answers. ctx has a deadline.
func (c *redisClient) eval(ctx context.Context, script string, key string, args ...int64) ([]int64, error) {
	words := []string{"EVAL", script, "1", key}
	for _, a := range args {
		words = append(words, strconv.FormatInt(a, 10))
	}
	select {
	case conn := <-c.idle:
		if n, err := conn.ask(ctx, words); err == nil {
			c.keep(conn)
			return n, nil
		}
		conn.Close() // Redis may have been started anew since: a new connection tells
	default:
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	n, err := conn.ask(ctx, words)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.keep(conn)
	return n, nil
}

func (c *redisClient) keep(conn *redisConn) {
	select {
	case c.idle <- conn:
	default:
		conn.Close()
	}
}

func (c *redisClient) dial(ctx context.Context) (*redisConn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, c.network, c.address)
	if err != nil {
		return nil, err
	}
	if c.tls != nil {
		raw = tls.Client(raw, c.tls)
	}
	conn := &redisConn{raw, bufio.NewReader(raw)}
	var hello [][]string
	switch {
	case c.user != "" && c.password != "":
		hello = append(hello, []string{"AUTH", c.user, c.password})
	case c.password != "":
		hello = append(hello, []string{"AUTH", c.password})
	}
	if c.database != 0 {
		hello = append(hello, []string{"SELECT", strconv.Itoa(c.database)})
	}
	for _, words := range hello {
		if _, err := conn.ask(ctx, words); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// ask sends a command and reads its answer, which has no numbers if it is OK or nothing.
func (c *redisConn) ask(ctx context.Context, words []string) ([]int64, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(redisBudget)
	}
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	return c.answer(0)
}

var errRedis = errors.New("redis gave an answer that was not expected")

func (c *redisConn) answer(depth int) ([]int64, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || depth > 1 {
		return nil, errRedis
	}
	kind, text := line[0], strings.TrimSpace(string(line[1:]))
	if kind == '+' {
		return nil, nil
	}
	if kind == '-' {
		return nil, fmt.Errorf("redis: %s", text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return nil, errRedis
	case kind == ':':
		return []int64{n}, nil
	case n < 0 && (kind == '$' || kind == '*'):
		return nil, nil
	case kind != '*' || n > 16:
		return nil, errRedis
	}
	var all []int64
	for range n {
		one, err := c.answer(depth + 1)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}
