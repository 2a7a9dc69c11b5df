package config

import (
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// grpcCode is a status of gRPC that can be a failure worth repeating.
func grpcCode() *Type {
	return keyword("unavailable", "resource-exhausted", "aborted", "internal", "deadline-exceeded", "cancelled", "unknown", "data-loss")
}

// GRPCStatus is the number of a gRPC status; 0 for what is none of them.
func GRPCStatus(name string) int {
	switch name {
	case "cancelled":
		return 1
	case "unknown":
		return 2
	case "deadline-exceeded":
		return 4
	case "resource-exhausted":
		return 8
	case "aborted":
		return 10
	case "internal":
		return 13
	case "unavailable":
		return 14
	case "data-loss":
		return 15
	}
	return 0
}

// maxService bounds the name of a service.
const maxService = 200

// grpcService is the name of a service as the health protocol has it.
func grpcService() *Type {
	return text("service", func(s string) error {
		if len(s) > maxService || strings.ContainsAny(s, " \t") {
			return fmt.Errorf("%s cannot be the name of a service", kdl.Quote(s))
		}
		return noControl(s)
	})
}
