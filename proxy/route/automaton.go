package route

// automaton is an Aho–Corasick automaton over the literals that expressions must contain: one walk over a path finds all
// of them, however many there are. It is built by insert and then close.
type automaton struct {
	edges map[edge]int32 // the trie
	nodes []node
}

type edge struct {
	from int32
	c    byte
}

type node struct {
	fail    int32        // longest proper suffix that is a node too
	report  int32        // nearest node on the fail chain, this one included, with entries; 0 = none
	next    int32        // like report, but without this node
	entries []regexEntry // of the literal that ends here, in order
}

func (a *automaton) empty() bool { return len(a.nodes) == 0 }

func (a *automaton) insert(literal string, e regexEntry) {
	if a.nodes == nil {
		a.nodes = make([]node, 1)
		a.edges = map[edge]int32{}
	}
	at := int32(0)
	for i := 0; i < len(literal); i++ {
		to, found := a.edges[edge{at, literal[i]}]
		if !found {
			to = int32(len(a.nodes))
			a.nodes = append(a.nodes, node{})
			a.edges[edge{at, literal[i]}] = to
		}
		at = to
	}
	a.nodes[at].entries = append(a.nodes[at].entries, e)
}

// close computes the fail links level by level; nothing may be inserted afterwards.
func (a *automaton) close() {
	if a.empty() {
		return
	}
	children := make([][]edge, len(a.nodes))
	for e := range a.edges {
		children[e.from] = append(children[e.from], e)
	}
	for queue := []int32{0}; len(queue) > 0; queue = queue[1:] {
		from := queue[0]
		for _, e := range children[from] {
			to := a.edges[e]
			n := &a.nodes[to]
			if from != 0 {
				n.fail = a.step(a.nodes[from].fail, e.c)
			}
			n.next = a.nodes[n.fail].report
			n.report = n.next
			if len(n.entries) > 0 {
				n.report = to
			}
			queue = append(queue, to)
		}
	}
}

func (a *automaton) step(at int32, c byte) int32 {
	for {
		if to, found := a.edges[edge{at, c}]; found {
			return to
		}
		if at == 0 {
			return 0
		}
		at = a.nodes[at].fail
	}
}

// search tries the expressions of every literal that occurs in path.
func (a *automaton) search(s *search, path []byte) {
	if a.empty() {
		return
	}
	at := int32(0)
	for _, c := range path {
		at = a.step(at, c)
		for r := a.nodes[at].report; r != 0; r = a.nodes[r].next {
			s.regexes(a.nodes[r].entries, path)
		}
	}
}
