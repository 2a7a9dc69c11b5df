package logs

// SavedSpool is one file that a service writes to and a supervisor reads from.
type SavedSpool struct {
	Service string `json:"service"`
	Stream  string `json:"stream"`
	Path    string `json:"path"`
}
