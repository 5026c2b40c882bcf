package server

import (
	"context"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
)

// newLogger writes JSON. Whatever looks like a secret, by its name or by its form, is left out, so that a careless line of
// code cannot leak one.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	if w == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redact}))
}

const redacted = "[redacted]"

var secretForms = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`forg_[a-z]{2,8}_[0-9A-Za-z]{8}_[0-9A-Za-z_]+|rt_[0-9A-Za-z_-]{20,}|eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_.-]+` +
		`|(?i:bearer)\s+[^\s"]+|\$(?:2[aby]|argon2id)\$[^\s"]+|://[^/\s:@"]+:[^/\s@"]+@`)
})

func redact(_ []string, a slog.Attr) slog.Attr {
	name := strings.ToLower(a.Key)
	for _, word := range []string{"password", "token", "secret", "authorization", "cookie", "api_key"} {
		if strings.Contains(name, word) {
			return slog.String(a.Key, redacted)
		}
	}
	text := ""
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		text = v.String()
	case slog.KindAny:
		err, ok := v.Any().(error)
		if !ok {
			return a
		}
		text = err.Error()
	default:
		return a
	}
	if clean := secretForms().ReplaceAllString(text, redacted); clean != text {
		return slog.String(a.Key, clean)
	}
	return a
}

type requestKey struct{}

// request is what is known of a request from its first line on, and what its log line will say.
type request struct {
	id      string
	address string // of the client, as far as proxies are believed
	local   bool   // from this machine, and through no proxy
	who     *identity
}

func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}
