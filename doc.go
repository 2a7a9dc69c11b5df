// Package sentinel is the root of the repository: it holds no code, only the tests of the repository's own rules (see repo_test.go).
package sentinel
