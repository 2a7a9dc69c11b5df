package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// maxFile bounds a file of targets in bytes.
const maxFile = 4 << 20

// file reads targets from a file: a JSON array of {"address", "weight", "zone"}, or lines of an address with weight=N and zone=NAME behind it.
type file struct {
	path  string
	every time.Duration
	stamp string
	last  []config.Target
}

func (f *file) find(context.Context) ([]config.Target, time.Duration, error) {
	stamp := fileStamp(f.path)
	if stamp != "" && stamp == f.stamp {
		return append([]config.Target(nil), f.last...), f.every, nil
	}
	text, err := readFile(f.path)
	if err != nil {
		return nil, 0, err
	}
	targets, err := parseTargets(text)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", f.path, err)
	}
	f.stamp, f.last = stamp, append([]config.Target(nil), targets...)
	return targets, f.every, nil
}

// fileStamp tells whether a file has changed, without reading it; "" = it is not there.
func fileStamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d %v", info.Size(), info.ModTime().UnixNano(), info.Sys())
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return text, err
}

func parseTargets(text []byte) ([]config.Target, error) {
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '[' {
		return parseJSON(trimmed)
	}
	var out []config.Target
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		t := config.Target{Address: words[0], Weight: 1}
		for _, word := range words[1:] {
			if err := setProperty(&t, word); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
		out = append(out, t)
	}
	return out, nil
}

func setProperty(t *config.Target, word string) error {
	name, value, _ := strings.Cut(word, "=")
	switch name {
	case "weight":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > maxWeight {
			return fmt.Errorf("%q is no weight: write a number from 0 to %d", value, maxWeight)
		}
		t.Weight = n
	case "zone":
		t.Zone = value
	default:
		return fmt.Errorf("%q is neither weight=N nor zone=NAME", word)
	}
	return nil
}

// maxWeight is that of the configuration.
const maxWeight = 10_000

func parseJSON(text []byte) ([]config.Target, error) {
	var list []struct {
		Address string `json:"address"`
		Weight  *int   `json:"weight"`
		Zone    string `json:"zone"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is something behind the list")
	}
	out := make([]config.Target, 0, len(list))
	for i, e := range list {
		t := config.Target{Address: e.Address, Weight: 1, Zone: e.Zone}
		if e.Weight != nil {
			if t.Weight = *e.Weight; t.Weight < 0 || t.Weight > maxWeight {
				return nil, fmt.Errorf("element %d: %d is no weight: write a number from 0 to %d", i, t.Weight, maxWeight)
			}
		}
		out = append(out, t)
	}
	return out, nil
}
