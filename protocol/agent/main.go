package agent

// Main runs the agent as a program and returns its exit code: 0 stopped as asked, 1 failure, 2 usage, 3 configuration refused.
func Main(a Agent) int { return 1 }
