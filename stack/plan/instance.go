package plan

import (
	"strconv"
	"strings"
)

// InstanceName is the name of the service that is the n-th instance, from 1, of an agent that has several. No identifier has a slash.
func InstanceName(agent string, n int) string { return agent + "/" + strconv.Itoa(n) }

// AgentOf is the agent whose instance a service of this name is; the name itself when it is none.
func AgentOf(service string) string {
	agent, _, _ := strings.Cut(service, "/")
	return agent
}

// FileName is a service's name as part of a path.
func FileName(service string) string { return strings.ReplaceAll(service, "/", "_") }
