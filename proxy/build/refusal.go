package build

import (
	"errors"

	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/proxy/config"
)

// refusals gives an agent's refusal of its configuration a place in the file: the agent knows what is wrong, and only we know where that stands.
func refusals(loaded *config.Loaded, err error) error {
	all := []error{err}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		all = several.Unwrap()
	}
	var found config.Diagnostics
	for _, e := range all {
		var r *client.RefusedError
		if !errors.As(e, &r) {
			return err
		}
		found = append(found, loaded.Fault("agents."+r.Agent+".config", "agent-refused", r.Error())...)
	}
	return found
}
