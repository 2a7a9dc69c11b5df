// Package transform holds the transformation functions of the rule language (t:lowercase, t:urlDecodeUni, …) byte for byte as the engine, Coraza, has them, and says of each
// what a text must hold for it to change anything. Its tests hold every function against the engine's own.
package transform

import (
	"strings"

	"golang.org/x/net/html"
)

// Function is one transformation.
type Function struct {
	Name    string
	apply   func(string) string
	changes func(*Traits) bool // whether it may change a text with these traits, beyond the case of ASCII letters
	// Blind says that the case of ASCII letters in the text makes no difference but to the case of those in the result.
	Blind bool
	folds bool // it also changes the case of ASCII letters
}

// Apply returns the text transformed.
func (f *Function) Apply(text string) string { return f.apply(text) }

// Changes tells whether the function may change a text with these traits. With fold, a change of nothing but the case of ASCII letters is none.
func (f *Function) Changes(t *Traits, fold bool) bool {
	return f.changes(t) || f.folds && !fold && t.has(&upperCase)
}

// Lookup returns the function of a name, in any case, or nil when there is none.
func Lookup(name string) *Function { return byName[strings.ToLower(name)] }

var byName = func() map[string]*Function {
	m := map[string]*Function{}
	for i := range functions {
		m[strings.ToLower(functions[i].Name)] = &functions[i]
	}
	m["normalisepath"], m["normalisepathwin"] = m["normalizepath"], m["normalizepathwin"]
	return m
}()

func always(*Traits) bool { return true }

func holding(s *Set) func(*Traits) bool { return func(t *Traits) bool { return t.has(s) } }

var functions = []Function{
	{Name: "lowercase", apply: strings.ToLower, changes: holding(&high), Blind: true, folds: true},
	{Name: "urlDecode", apply: URLDecode, changes: holding(set("%+")), Blind: true},
	{Name: "urlDecodeUni", apply: urlDecodeUni, changes: holding(set("%+")), Blind: true},
	{Name: "utf8toUnicode", apply: utf8ToUnicode, changes: holding(&high), Blind: true},
	{Name: "htmlEntityDecode", apply: html.UnescapeString, changes: holding(set("&"))},
	{Name: "jsDecode", apply: jsDecode, changes: holding(set(`\`))},
	{Name: "cssDecode", apply: cssDecode, changes: holding(set(`\`)), Blind: true},
	{Name: "escapeSeqDecode", apply: escapeSeqDecode, changes: holding(set(`\`))},
	{Name: "removeNulls", apply: removeNulls, changes: holding(set("\x00")), Blind: true},
	{Name: "replaceNulls", apply: replaceNulls, changes: holding(set("\x00")), Blind: true},
	{Name: "compressWhitespace", apply: compressWhitespace, changes: func(t *Traits) bool { return t.doubleSpace || t.has(&oddSpace) || t.has(&high) }, Blind: true},
	{Name: "removeWhitespace", apply: removeWhitespace, changes: func(t *Traits) bool { return t.has(&space) || t.has(&high) }, Blind: true},
	{Name: "replaceComments", apply: replaceComments, changes: func(t *Traits) bool { return t.comment }, Blind: true},
	{Name: "removeCommentsChar", apply: removeCommentsChar, changes: func(t *Traits) bool { return t.has(&commentChars) }, Blind: true},
	{Name: "normalizePath", apply: normalizePath, changes: func(t *Traits) bool { return t.dots }, Blind: true},
	{Name: "normalizePathWin", apply: normalizePathWin, changes: func(t *Traits) bool { return t.dots || t.winDots || t.has(&winPath) }, Blind: true},
	{Name: "cmdLine", apply: cmdLine, changes: func(t *Traits) bool { return t.doubleSpace || t.spaceSlash || t.has(&shellChars) }, Blind: true, folds: true},
	{Name: "trim", apply: trim, changes: holding(&space), Blind: true},
	{Name: "trimLeft", apply: trimLeft, changes: holding(&space), Blind: true},
	{Name: "trimRight", apply: trimRight, changes: holding(&space), Blind: true},
	{Name: "base64Decode", apply: base64Decode, changes: always},
	{Name: "hexEncode", apply: hexEncode, changes: always},
	{Name: "length", apply: length, changes: always, Blind: true},
	{Name: "sha1", apply: sha1Sum, changes: always},
}
