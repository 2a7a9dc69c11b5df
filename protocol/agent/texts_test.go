package agent_test

import (
	"slices"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol/agent"
)

func TestTexts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		json    string
		want    []string
		wrong   string // with List
		numbers []string
		wrongly string // with ListOfAny
	}{
		{`{}`, nil, "", nil, ""},
		{`{"k": "a"}`, []string{"a"}, "", []string{"a"}, ""},
		{`{"k": ["a", ["b", "c"]]}`, []string{"a", "b", "c"}, "", []string{"a", "b", "c"}, ""},
		{`{"k": 942100}`, nil, "k: cannot use number 942100, want text", []string{"942100"}, ""},
		{`{"k": ["a", 7]}`, []string{"a"}, "k[1]: cannot use number 7, want text", []string{"a", "7"}, ""},
		{`{"k": []}`, nil, "k: wants at least one value", nil, "k: wants at least one value"},
		{`{"k": null}`, nil, "k: wants at least one value", nil, "k: wants at least one value"},
		{`{"k": [["a", true]]}`, []string{"a"}, "k[0][1]: cannot use boolean, want text", []string{"a"}, "k[0][1]: cannot use boolean, want text"},
		{`{"k": [[["a"]]]}`, nil, "k[0][0]: cannot use list, want text", nil, "k[0][0]: cannot use list, want text"},
		{`{"k": {"a": 1}}`, nil, "k: cannot use object, want text", nil, "k: cannot use object, want text"},
	} {
		var v struct {
			K agent.Texts `json:"k"`
		}
		if err := agent.DecodeConfig([]byte(c.json), &v); err != nil {
			t.Fatal(err)
		}
		check := func(name string, got []string, err error, want []string, wrong string) {
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != wrong || !slices.Equal(got, want) {
				t.Errorf("%s of %s: %q, %q; want %q, %q", name, c.json, got, text, want, wrong)
			}
		}
		got, err := v.K.List("k")
		check("List", got, err, c.want, c.wrong)
		got, err = v.K.ListOfAny("k")
		check("ListOfAny", got, err, c.numbers, c.wrongly)
	}
}
