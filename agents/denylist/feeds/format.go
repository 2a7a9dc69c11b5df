// Package feeds brings lists that others publish to where the agent reads its lists: it fetches them, understands their format, and keeps the last good copy on disk.
package feeds

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Formats of feeds.
const (
	Plain = "plain" // an entry a line; '#' and ';' begin comments at the start of a line and after blanks
	CSV   = "csv"   // RFC 4180; Column says which
	JSON  = "json"  // one document: an array at Items, of texts or of objects with Field
	JSONL = "jsonl" // a document a line: texts or objects with Field
)

// Layout says where the entries are in a feed.
type Layout struct {
	Format string
	Column string // csv: a number from 1, or the name in the first row
	Comma  rune   // csv
	Field  string // json and jsonl: the member of each object, "" = the elements are texts
	Items  string // json: names of members on the way to the array, with dots between; "" = the document is the array
}

// maxEntry bounds one entry, in bytes.
const maxEntry = 4096

// parse calls add with each entry of a feed. An error of add ends it.
func (l Layout) parse(r io.Reader, add func(string) error) error {
	switch l.Format {
	case Plain:
		return parsePlain(r, add)
	case CSV:
		return l.parseCSV(r, add)
	case JSON:
		return l.parseJSON(r, add)
	case JSONL:
		return l.parseLines(r, add)
	}
	return fmt.Errorf("unknown format %q", l.Format)
}

func parsePlain(r io.Reader, add func(string) error) error {
	return lines(r, func(line []byte) error {
		for i, c := range line {
			if (c == '#' || c == ';') && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
				line = line[:i]
				break
			}
		}
		if entry := bytes.TrimSpace(line); len(entry) > 0 {
			return add(string(entry))
		}
		return nil
	})
}

// lines calls fn with each line. Errors name it.
func lines(r io.Reader, fn func([]byte) error) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 64<<10), 1<<20)
	n := 0
	for scanner.Scan() {
		line := scanner.Bytes()
		if n++; n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if err := fn(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

func (l Layout) parseCSV(r io.Reader, add func(string) error) error {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord, c.Comment = -1, true, '#'
	if l.Comma != 0 {
		c.Comma = l.Comma
	}
	index, err := strconv.Atoi(l.Column)
	named := err != nil
	for index--; ; {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			if named {
				return fmt.Errorf("there is no first row with a column %q", l.Column)
			}
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := c.FieldPos(0)
		if named {
			if index = column(row, l.Column); index < 0 {
				return fmt.Errorf("line %d: no column is called %q", line, l.Column)
			}
			named = false
			continue
		}
		if index >= len(row) {
			return fmt.Errorf("line %d: has %d columns, column %d is wanted", line, len(row), index+1)
		}
		if entry := strings.TrimSpace(row[index]); entry != "" {
			if err := add(entry); err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
		}
	}
}

func column(row []string, name string) int {
	for i, title := range row {
		if strings.EqualFold(strings.TrimSpace(strings.TrimPrefix(title, "\ufeff")), name) {
			return i
		}
	}
	return -1
}

func (l Layout) parseLines(r io.Reader, add func(string) error) error {
	return lines(r, func(line []byte) error {
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		var v any
		if err := json.Unmarshal(line, &v); err != nil {
			return err
		}
		entry, ok, err := l.entry(v)
		if err != nil || !ok {
			return err
		}
		return add(entry)
	})
}

// entry takes the entry out of one element. An object without the field is none: feeds end with objects about themselves.
func (l Layout) entry(v any) (text string, ok bool, err error) {
	if l.Field == "" {
		if text, ok = v.(string); !ok {
			return "", false, errors.New("an element is no text: write field to say which member of it is the entry")
		}
		return text, true, nil
	}
	object, ok := v.(map[string]any)
	if !ok {
		return "", false, fmt.Errorf("an element is no object with a member %q", l.Field)
	}
	member, ok := object[l.Field]
	if !ok {
		return "", false, nil
	}
	if text, ok = member.(string); !ok {
		return "", false, fmt.Errorf("member %q is no text", l.Field)
	}
	return text, true, nil
}

// parseJSON reads the document as it comes: an array of millions is never in memory as a whole.
func (l Layout) parseJSON(r io.Reader, add func(string) error) error {
	d := json.NewDecoder(r)
	if l.Items != "" {
		for _, name := range strings.Split(l.Items, ".") {
			if err := descend(d, name); err != nil {
				return err
			}
		}
	}
	if t, err := d.Token(); err != nil {
		return fmt.Errorf("cannot read JSON: %w", err)
	} else if t != json.Delim('[') {
		return fmt.Errorf("there is no array at %q", l.Items)
	}
	for n := 0; d.More(); n++ {
		var v any
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("element %d: %w", n, err)
		}
		entry, ok, err := l.entry(v)
		if err == nil && ok {
			err = add(entry)
		}
		if err != nil {
			return fmt.Errorf("element %d: %w", n, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("the array does not end: %w", err)
	}
	if l.Items == "" {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return errors.New("there is more after the end of the array")
		}
	}
	return nil
}

// descend moves to the value of a member of the object that comes next.
func descend(d *json.Decoder, name string) error {
	t, err := d.Token()
	if err != nil {
		return fmt.Errorf("cannot read JSON: %w", err)
	}
	if t != json.Delim('{') {
		return fmt.Errorf("there is no object with a member %q", name)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("cannot read JSON: %w", err)
		}
		if key == name {
			return nil
		}
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return fmt.Errorf("cannot read JSON: %w", err)
		}
	}
	return fmt.Errorf("there is no member %q", name)
}
