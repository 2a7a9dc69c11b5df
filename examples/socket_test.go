package examples

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/coder/websocket"
	"github.com/rogpeppe/go-internal/testscript"
)

// echoSocket sends every message back.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, p, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, p) != nil {
			return
		}
	}
}

func cmdSocket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args)%2 != 1 {
		ts.Fatalf("usage: socket URL SEND WANT ...")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, args[0], nil)
	ts.Check(err)
	defer c.CloseNow()
	for pair := args[1:]; len(pair) > 0; pair = pair[2:] {
		send, want := times(pair[0]), times(pair[1])
		ts.Check(c.Write(ctx, websocket.MessageText, []byte(send)))
		if want == "-" {
			continue
		}
		_, p, err := c.Read(ctx)
		got := string(p)
		if err != nil {
			got = "close:" + strconv.Itoa(int(websocket.CloseStatus(err)))
		}
		if got != want {
			ts.Fatalf("%.60q: %.60q (%v), want %.60q", send, got, err, want)
		}
	}
}

// times spells N*x out.
func times(text string) string {
	n, x, ok := strings.Cut(text, "*")
	count, err := strconv.Atoi(n)
	if !ok || err != nil {
		return text
	}
	return strings.Repeat(x, count)
}
