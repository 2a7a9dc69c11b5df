// Package country tells in which country an address is, by a database file in MaxMind's format, and follows the file when it is replaced.
package country

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/sentinel-stack/sentinel/agents/denylist/lists"
)

// maxBytes bounds the database: country databases have some 10 MB, city databases some 60 MB.
const maxBytes = 256 << 20

// Database is an open database. Lookup may be called from any number of goroutines, together with one that calls Poll. A nil Database knows no country.
type Database struct {
	file   *lists.File
	reader atomic.Pointer[maxminddb.Reader]
}

// DefaultPaths returns the places where the packages of the database's publishers put it, the most specific first.
func DefaultPaths() []string {
	return []string{"/var/lib/GeoIP/GeoLite2-Country.mmdb", "/usr/share/GeoIP/GeoLite2-Country.mmdb", "/var/lib/GeoIP/GeoIP2-Country.mmdb", "/usr/share/GeoIP/GeoIP2-Country.mmdb"}
}

// Find returns the first of DefaultPaths that exists, or "".
func Find() string {
	for _, path := range DefaultPaths() {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// Open reads the whole file into memory: a mapped file that is rewritten in place would end the program.
func Open(path string) (*Database, error) {
	d := &Database{file: lists.New(path, lists.Limits{FileBytes: maxBytes})}
	return d, d.load()
}

func (d *Database) load() error {
	var buf bytes.Buffer
	if err := d.file.ReadAll(&buf); err != nil {
		return err
	}
	reader, err := maxminddb.OpenBytes(buf.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %v", d.file.Path, err)
	}
	if err := probe(reader); err != nil {
		return fmt.Errorf("%s: %v", d.file.Path, err)
	}
	d.reader.Store(reader)
	return nil
}

// probe refuses a database that holds something else than countries.
func probe(reader *maxminddb.Reader) error {
	const enough = 1000 // networks; in a country database nearly every one has a country
	seen := 0
	for result := range reader.Networks() {
		if err := result.Err(); err != nil {
			return err
		}
		if code(result) != "" {
			return nil
		}
		if seen++; seen == enough {
			break
		}
	}
	return errors.New("no network in it has a country")
}

// Poll takes the file's new content if there is any.
func (d *Database) Poll(now time.Time) (reloaded bool, err error) {
	changed, err := d.file.Changed(now)
	if err != nil || !changed {
		return false, err
	}
	err = d.load()
	return err == nil, err
}

// Lookup returns the ISO 3166 code of the country of addr in upper case, or "" when it is not known.
func (d *Database) Lookup(addr netip.Addr) string {
	if d == nil {
		return ""
	}
	return code(d.reader.Load().Lookup(addr.Unmap().WithZone("")))
}

// code finds the country in a record: where the address is used, else where it is registered, else as databases with flat records have it.
func code(r maxminddb.Result) string {
	if !r.Found() {
		return ""
	}
	var iso string
	for _, path := range [...][]any{{"country", "iso_code"}, {"registered_country", "iso_code"}, {"country_code"}} {
		if err := r.DecodePath(&iso, path...); err == nil && iso != "" {
			return iso
		}
	}
	return ""
}
