package view

// keyTable is what "?" shows; the README lists the same keys.
var keyTable = [][2]string{
	{"1 … 6, tab", "turn to a pane: Routes Upstreams Agents Services Logs Events"},
	{"j k, g G, ^d ^u", "move: line, first/last, half a page (arrows, Home, End, PgUp, PgDn too)"},
	{"enter, esc", "open the selected row, go back"},
	{"/", "filter: text, !text (not), ~text (letters in this order); esc clears"},
	{"z", "faults only"},
	{"p", "pause the screen; the stack goes on"},
	{"l", "logs of the selected service or agent"},
	{"f", "follow the log, or stop following"},
	{"r s S", "restart, stop, start the selected service (asks first)"},
	{"R", "reload the configuration (asks first)"},
	{"q, ^c", "leave; the stack keeps running"},
}

func (s *screen) help(rows int) []string {
	out := []string{s.t.paint(title, " Keys")}
	for _, k := range keyTable {
		keys, what := s.t.ellipsis(k[0]), k[1]
		if s.class == tiny {
			out = append(out, s.t.fit(" "+keys+": "+what, s.width, false))
			continue
		}
		out = append(out, " "+s.t.paint(accent, s.t.fit(keys, 17, false))+" "+s.t.fit(what, s.width-19, false))
	}
	if s.m.ReadOnly() {
		out = append(out, s.t.paint(warn, " read-only: restart, stop, start and reload are refused"))
	}
	out = append(out, s.t.paint(dim, " any key closes this"))
	return out[:min(len(out), max(rows, 0))]
}

// ellipsis replaces the sign that ASCII lacks.
func (t *Theme) ellipsis(s string) string {
	if !t.ascii {
		return s
	}
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r == '…' {
			out = append(out, '-')
			continue
		}
		out = append(out, r)
	}
	return string(out)
}
