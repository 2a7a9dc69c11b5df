package seclang

import (
	"fmt"
	"strconv"
	"strings"
)

var phases = map[string]int{"request": 2, "response": 4, "logging": 5}

// act puts the actions where they belong and tells whether another link follows.
func (l *Link) act(r *Rule, actions []Action) (chain bool, err error) {
	for _, a := range actions {
		switch a.Name {
		case "id":
			if r.ID, err = strconv.Atoi(a.Value); err != nil {
				return false, fmt.Errorf("id %q is no number", a.Value)
			}
		case "phase":
			n, known := phases[strings.ToLower(a.Value)]
			if !known {
				n, err = strconv.Atoi(a.Value)
			}
			if r.Phase = n; err != nil || n < 1 || n > 5 {
				return false, fmt.Errorf("there is no phase %q", a.Value)
			}
		case "tag":
			r.Tags = append(r.Tags, a.Value)
		case "msg":
			r.Msg, l.HasMsg = a.Value, true
		case "t":
			if strings.EqualFold(a.Value, "none") {
				l.Transforms = nil
			} else {
				l.Transforms = append(l.Transforms, a.Value)
			}
		case "chain":
			chain = true
		case "multimatch":
			l.MultiMatch = true
		case "capture":
			l.Capture = true
		case "pass", "deny", "allow", "drop", "redirect", "proxy":
			l.Disruptive = a.Name
		case "block":
			l.Disruptive = "pass" // see defaults
		case "setvar", "ctl", "skip", "skipafter", "initcol", "setenv", "exec", "expirevar":
			l.Actions = append(l.Actions, a)
		case "log", "nolog", "auditlog", "noauditlog", "logdata", "severity", "ver", "rev", "accuracy", "maturity", "status":
		default:
			return false, fmt.Errorf("action %q is not understood", a.Name)
		}
	}
	return chain, nil
}
