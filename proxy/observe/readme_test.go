package observe

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// The page is the reference: whatever is exported or logged is on it, and nothing else.
func TestReadmeNamesEveryMetric(t *testing.T) {
	t.Parallel()
	page := readPage(t)
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(sentinel_[a-z0-9_]+)` \\|").FindAllStringSubmatch(page, -1) {
		documented[m[1]] = true
	}
	descs := make(chan *prometheus.Desc, 1000)
	newCollector(NewMetrics("test", nil)).Describe(descs)
	close(descs)
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	exported := 0
	for d := range descs {
		n := name.FindStringSubmatch(d.String())[1]
		exported++
		if !documented[n] {
			t.Errorf("%s is not documented", n)
		}
		delete(documented, n)
	}
	for n := range documented {
		t.Errorf("%s is documented but not exported", n)
	}
	if exported == 0 {
		t.Error("nothing is exported")
	}
}

func TestReadmeNamesEveryLogField(t *testing.T) {
	t.Parallel()
	page := readPage(t)
	var clock Clock
	access := sampleRecord()
	access.Refusal, access.Agent, access.Decision = "x", "x", "x"
	access.TLSVersion, access.TLSCipher, access.ServerName, access.ClientCert = "x", "x", "x", "x"
	audit := &AuditRecord{
		Event: EventBlocked, RequestID: []byte("x"), Method: []byte("x"), Host: []byte("x"), Path: []byte("x"), ClientIP: netip.IPv6Loopback(),
		Route: "x", Phase: "x", Reason: "x", Agent: "x", RuleIDs: []string{"x"}, Tags: []string{"x"}, Action: "x", Status: 1, Metadata: []Pair{{"x", "x"}}, Generation: 1,
	}
	for _, line := range [][]byte{appendAccessJSON(nil, access, &clock, "i"), appendAuditJSON(nil, audit, &clock, "i")} {
		for key := range decodeLine(t, line) {
			if !strings.Contains(page, "`"+key+"`") {
				t.Errorf("field %s is not documented", key)
			}
		}
	}
}

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}
