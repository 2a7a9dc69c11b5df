package upstream

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"os"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

const (
	minKey = 32      // bytes of a key file
	maxKey = 4 << 10 // more are not read
)

// stickyCookie names targets to clients. The value for a target is a keyed hash of the upstream and the address: a client can neither make one for a target it was not given nor learn an address
// from it, and it means the same target after a reload that changes the order of the targets.
type stickyCookie struct {
	name   string
	values [][]byte // by target
	set    [][]byte // the whole Set-Cookie field, by target
}

// stickyKey reads the key of a sticky upstream, nil when the configuration names no file.
func stickyKey(cfg *config.Upstream) ([]byte, error) {
	file := cfg.Balancing.Cookie.KeyFile
	if cfg.LoadBalancing != "sticky" || file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("cannot open key file of upstream %s: %v", cfg.ID, err)
	}
	defer f.Close()
	key, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, fmt.Errorf("cannot read key file of upstream %s: %v", cfg.ID, err)
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("cannot use key file of upstream %s: %s has %d bytes, want at least %d", cfg.ID, file, len(key), minKey)
	}
	return key, nil
}

// randomKey signs the cookies of upstreams without a key file.
func randomKey() []byte {
	key := make([]byte, minKey)
	_, _ = rand.Read(key) // never fails
	return key
}

func newStickyCookie(cfg *config.Upstream, key []byte) *stickyCookie {
	c := &cfg.Balancing.Cookie
	s := &stickyCookie{name: c.Name}
	for _, t := range cfg.Targets {
		mac := hmac.New(sha256.New, key)
		_, _ = io.WriteString(mac, cfg.ID+"\x00"+t.Address)
		value := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
		set := c.Name + "=" + value
		if c.TTL > 0 {
			set += fmt.Sprintf("; Max-Age=%d", int64(c.TTL.Seconds()))
		}
		set += "; Path=" + c.Path + "; HttpOnly"
		if c.Secure {
			set += "; Secure"
		}
		set += "; SameSite=" + map[string]string{"lax": "Lax", "strict": "Strict", "none": "None"}[c.SameSite]
		s.values, s.set = append(s.values, []byte(value)), append(s.set, []byte(set))
	}
	return s
}

// find is the target that a cookie names, -1 when it names none of ours.
func (s *stickyCookie) find(value []byte) int {
	if len(value) == 0 {
		return -1
	}
	found := -1
	for i, v := range s.values {
		if subtle.ConstantTimeCompare(v, value) == 1 {
			found = i
		}
	}
	return found
}

// Cookie is the Set-Cookie field with which the client shall come back to the target; nil when it has that cookie or the pool sets none.
func (p *Pool) Cookie(h *balance.Hint, t *Target) []byte {
	if p.placing.sticky == nil || h.Sticks(t.Index) {
		return nil
	}
	return p.placing.sticky.set[t.Index]
}
