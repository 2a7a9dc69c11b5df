// Package script holds no code but tests: they run the real proxy against the scripts in ../testdata/script and show that every key of the
// configuration has the effect it promises, seen from outside. What scripts can say stands above commands in script_test.go.
package script
