package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestDocs uses /docs as a person does: finds a route, logs in there, and asks for something with the token. The page's own
// policy allows nothing from elsewhere, and nothing that the browser complains of.
func TestDocs(t *testing.T) {
	t.Parallel()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is missing")
		}
		t.Skip("THE PAGE IS NOT TESTED: chromium is missing")
	}
	s := start(t, Config{})
	ana := s.signUp(t, "ana@example.org")

	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx); err != nil { // before there is a limit, which would be the browser's
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var complaints []string
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			if e.Entry.Level != "verbose" {
				complaints = append(complaints, e.Entry.Text+" "+e.Entry.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	evaluate := func(script string) string {
		t.Helper()
		v, err := chromedp.Run(ctx, chromedp.Evaluate[string](script))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(s.url+"/docs"), chromedp.WaitVisible(chromedp.CSS("#login"))); err != nil {
		t.Fatal(err)
	}
	// send presses the button of a route and returns what is shown then.
	send := func(route string) (answer string) {
		t.Helper()
		evaluate(`document.querySelector("#` + route + `").open = true; document.querySelector("#` + route + ` button").click(); ""`)
		eventually(t, "there is an answer of "+route, func() bool {
			answer = evaluate(`document.querySelector("#` + route + ` > div > pre").textContent`)
			return answer != "" && answer != "..."
		})
		return answer
	}
	evaluate(fmt.Sprintf(`document.querySelector("#login textarea").value = JSON.stringify({email: %q, password: %q}); ""`, ana.email, password))
	answer := send("login")
	_, rest, _ := strings.Cut(answer, `"access_token": "`)
	token, _, _ := strings.Cut(rest, `"`)
	if !strings.HasPrefix(answer, "200 OK") || token == "" {
		t.Fatalf("a login on the page: %s", answer)
	}
	evaluate(fmt.Sprintf(`document.querySelector("#token").value = %q; ""`, token))
	if answer := send("me"); !strings.HasPrefix(answer, "200 OK") || !strings.Contains(answer, ana.email) {
		t.Errorf("who I am, on the page: %s", answer)
	}
	shown := `String([...document.querySelectorAll("details")].filter(d => d.offsetParent).map(d => d.id))`
	if all := strings.Split(evaluate(shown), ","); len(all) < 25 || !slices.Contains(all, "pull") {
		t.Errorf("the page shows %q", all)
	}
	found := evaluate(`const f = document.querySelector("#filter"); f.value = "Roll"; f.dispatchEvent(new Event("input")); ` + shown)
	if !strings.Contains(found, "ollback") || strings.Contains(found, ",") {
		t.Errorf("looking for a rollback shows %q", found)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(complaints) > 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
}
