package ruleset

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter"
)

func newSet(t testing.TB, config string) *Set {
	t.Helper()
	s, err := New([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if s.NoFastPath != nil {
		t.Fatalf("no fast path: %v", s.NoFastPath)
	}
	return s
}

// agree fails when the fast path takes a request for clean in which the engine finds something. It tells whether the request was taken for clean.
func (s *Set) agree(t testing.TB, r *sample) bool {
	t.Helper()
	if s.Skip(&r.head, r.body) != prefilter.Clean {
		return false
	}
	if rules, refused, err := s.engineFinds(t, r); len(rules) > 0 || refused || err != nil {
		t.Errorf("level %d: the engine finds %v (refused %v, error %v) in what the fast path takes for clean: %v", s.Config.ParanoiaLevel, rules, refused, err, r)
	}
	return true
}

// count is how many requests a test makes up: few in a plain run, as many as SENTINEL_FASTPATH says where there is time.
func count(few int) int {
	if n, err := strconv.Atoi(os.Getenv("SENTINEL_FASTPATH")); err == nil {
		return n
	}
	if testing.Short() {
		return few / 10
	}
	return few
}

func TestFastPathIsSoundOnTheSuite(t *testing.T) {
	all, err := attacks()
	if err != nil || len(all) < 3000 {
		t.Fatalf("%d requests, %v", len(all), err)
	}
	for level := 1; level <= 4; level++ {
		if testing.Short() && level > 1 {
			break
		}
		s := newSet(t, fmt.Sprintf(`{"paranoia-level":%d}`, level))
		clean := 0
		for i := range all {
			if s.agree(t, &all[i]) {
				clean++
			}
		}
		t.Logf("level %d: %d of %d requests are clean", level, clean, len(all))
		if level == 1 && clean == 0 {
			t.Error("the fast path never takes a request for clean")
		}
	}
}

func TestFastPathIsSoundOnMutations(t *testing.T) {
	all, err := attacks()
	if err != nil {
		t.Fatal(err)
	}
	for level := 1; level <= 4; level++ {
		s := newSet(t, fmt.Sprintf(`{"paranoia-level":%d}`, level))
		r := rand.New(rand.NewPCG(uint64(level), 11))
		clean := 0
		for range count(1500) {
			m := mutate(r, &all[r.IntN(len(all))], &all[r.IntN(len(all))])
			if s.agree(t, &m) {
				clean++
			}
		}
		t.Logf("level %d: %d are clean", level, clean)
	}
}

func TestFastPathIsSoundOnTraffic(t *testing.T) {
	s := newSet(t, `{}`)
	r := traffic{rand.New(rand.NewPCG(1, 7))}
	clean, missed := 0, map[int]int{}
	n := count(600)
	for i := range n {
		m := r.request()
		if s.agree(t, &m) {
			clean++
		} else if rules, refused, err := s.engineFinds(t, &m); i < 5000 && len(rules) == 0 && !refused && err == nil {
			missed[s.Skip(&m.head, m.body)]++
		}
	}
	t.Logf("%d of %d requests are clean; the engine finds nothing in others either, for which the fast path asked it because of %v", clean, n, missed)
	if clean < n/2 {
		t.Errorf("only %d of %d innocent requests are taken for clean", clean, n)
	}
}

func FuzzFastPath(f *testing.F) {
	s, err := New([]byte(`{}`))
	if err != nil || s.NoFastPath != nil {
		f.Fatal(err, s.NoFastPath)
	}
	f.Cleanup(s.Close)
	f.Add("GET", "/shop?q=blue+bike", "user-agent", "curl/8.5.0", "")
	f.Add("POST", "/?a[]=%2541", "content-type", "application/json", `{"a":[1,{"b":"\u003cscript"}]}`)
	f.Add("POST", "/a/../b?x=%u0027", "content-type", "application/x-www-form-urlencoded", "a=1&A=2&b=%27%20or%201")
	f.Fuzz(func(t *testing.T, method, target, name, value, body string) {
		m := sample{body: []byte(body)}
		m.head.Method, m.head.URI, m.head.Metadata.ClientIP, m.head.Metadata.CorrelationID = method, target, "198.51.100.7", "c"
		for _, h := range [][2]string{{"host", "shop.example"}, {"user-agent", "Mozilla/5.0"}, {"accept", "*/*"}, {"content-length", fmt.Sprint(len(body))}, {name, value}} {
			m.header(h[0], h[1])
		}
		s.agree(t, &m)
	})
}

// Many goroutines ask one filter, whose expressions are made meanwhile, and get the answers that one gets.
func TestFastPathManyAtOnce(t *testing.T) {
	s, again := newSet(t, `{}`), newSet(t, `{}`)
	r := traffic{rand.New(rand.NewPCG(2, 2))}
	all, err := attacks()
	if err != nil {
		t.Fatal(err)
	}
	requests := append([]sample{}, all[:300]...)
	for range 300 {
		requests = append(requests, r.request())
	}
	want := make([]int, len(requests))
	for i := range requests {
		want[i] = again.Skip(&requests[i].head, requests[i].body)
	}
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for n := range requests {
				i := (n + g*70) % len(requests)
				if got := s.Skip(&requests[i].head, requests[i].body); got != want[i] {
					t.Errorf("%d, alone %d: %v", got, want[i], &requests[i])
				}
			}
		})
	}
	group.Wait()
}
