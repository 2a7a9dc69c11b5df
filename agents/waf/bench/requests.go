package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sentinel-stack/sentinel/protocol"
)

// request is one kind of request that is measured.
type request struct {
	name, method, target, body string
	attack                     bool
	atLeast                    float64 // how many times cheaper the fast path has to make it
}

const agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"

var requests = []request{
	{name: "clean GET", method: "GET", target: "/shop/list?page=2&sort=price&q=blue+mountain+bike", atLeast: 8},
	{name: "clean 1 KiB JSON POST", method: "POST", target: "/api/v2/orders", body: order(), atLeast: 5},
	{name: "SQL injection, GET", method: "GET", target: "/shop/list?id=1%27%20OR%20%271%27%3D%271%27%20UNION%20SELECT%20password%20FROM%20users--%20", attack: true},
	{name: "XSS, JSON POST", method: "POST", target: "/api/v2/orders", body: `{"note":"<script>alert(document.cookie)</script>"}`, attack: true},
}

// order is a body of about 1 KiB.
func order() string {
	var items []string
	for i := range 9 {
		items = append(items, fmt.Sprintf(`{"sku":"A%d-9xYz","title":"blue mountain bike","price":12.5,"count":3,"note":"please deliver in the morning"}`, i))
	}
	return `{"customer":"Anna Meyer","email":"anna@example.com","items":[` + strings.Join(items, ",") + `]}`
}

// fields are those a browser sends.
var fields = [][2]string{{"user-agent", agent}, {"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, {"accept-encoding", "gzip, deflate, br"}, {"accept-language", "en-GB,en;q=0.9"},
	{"cookie", "sid=0123456789abcdef0123456789abcdef; theme=dark"}}

// head is the request as the agent gets it.
func (r *request) head() *protocol.RequestHeaders {
	h := &protocol.RequestHeaders{Method: r.method, URI: r.target, Headers: protocol.Headers{{Name: "host", Value: "shop.example"}}}
	h.Metadata = protocol.Metadata{Protocol: "HTTP/1.1", ClientIP: "198.51.100.7", CorrelationID: "c"}
	for _, f := range fields {
		h.Headers = append(h.Headers, protocol.Header{Name: f[0], Value: f[1]})
	}
	if r.body != "" {
		h.Headers = append(h.Headers, protocol.Header{Name: "content-type", Value: "application/json"}, protocol.Header{Name: "content-length", Value: fmt.Sprint(len(r.body))})
	}
	return h
}

// over returns the request for a server.
func (r *request) over(address string) *http.Request {
	out, err := http.NewRequest(r.method, "http://"+address+r.target, strings.NewReader(r.body))
	if err != nil {
		panic(err) // the requests are constants
	}
	out.Host = "shop.example"
	for _, f := range fields {
		out.Header.Set(f[0], f[1])
	}
	if r.body != "" {
		out.Header.Set("content-type", "application/json")
	}
	return out
}
