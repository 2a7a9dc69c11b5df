package view

import "strings"

// column is one column of a table. A width of 0 makes it flexible: the flexible columns share what the others leave, by weight.
type column struct {
	title  string
	width  int
	weight int
	right  bool
}

// cell is the text of one column in one row, without escape sequences.
type cell struct {
	text  string
	style style
}

const (
	markerWidth = 1 // the sign of the selected row
	minFlexible = 4
)

// table draws a header and the rows around the cursor, rows lines in all.
func (s *screen) table(columns []column, count, cursor, rows int, row func(int) []cell) []string {
	if rows <= 0 {
		return nil
	}
	widths := s.share(columns, s.wants(columns, count, row))
	out := make([]string, 0, rows)
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", markerWidth))
	for i, c := range columns {
		if widths[i] > 0 {
			b.WriteString(" " + s.t.fit(c.title, widths[i], c.right))
		}
	}
	out = append(out, s.t.paint(dim, b.String()))
	if count == 0 {
		return append(out, s.t.paint(dim, "  "+s.emptyText()))
	}
	visible := rows - 1
	first := window(cursor, count, visible)
	for i := first; i < count && i < first+visible; i++ {
		out = append(out, s.row(columns, widths, row(i), i == cursor))
	}
	return out
}

func (s *screen) row(columns []column, widths []int, cells []cell, isSelected bool) string {
	var b strings.Builder
	if isSelected {
		b.WriteByte('>')
	} else {
		b.WriteByte(' ')
	}
	for i, c := range columns {
		if widths[i] <= 0 || i >= len(cells) {
			continue
		}
		text := s.t.fit(s.t.clean(cells[i].text), widths[i], c.right)
		b.WriteByte(' ')
		if isSelected {
			b.WriteString(text)
		} else {
			b.WriteString(s.t.paint(cells[i].style, text))
		}
	}
	if isSelected {
		return s.t.paint(selected, b.String())
	}
	return b.String()
}

// measuredRows bounds how many rows decide the width of the flexible columns.
const measuredRows = 300

// wants returns the width each flexible column would like: that of its widest text. All rows count, not only the visible ones, so
// that columns do not jump while one scrolls.
func (s *screen) wants(columns []column, count int, row func(int) []cell) []int {
	wants := make([]int, len(columns))
	for i, c := range columns {
		wants[i] = len(c.title)
	}
	for r := range min(count, measuredRows) {
		cs := row(r)
		for i, c := range columns {
			if c.width == 0 && i < len(cs) {
				wants[i] = max(wants[i], cells(s.t.clean(cs[i].text)))
			}
		}
	}
	return wants
}

// share gives every column its width. A flexible column gets what it wants where that is less than its part of the room, and the
// rest goes to the others; one that would get too little is dropped, and so are fixed ones that do not fit, from the right.
func (s *screen) share(columns []column, wants []int) []int {
	widths := make([]int, len(columns))
	room, weights := s.width-markerWidth, 0
	for i, c := range columns {
		widths[i] = c.width
		room -= c.width + 1
		if c.width == 0 {
			weights += max(c.weight, 1)
		}
	}
	for settled := false; !settled; {
		settled = true
		for i, c := range columns {
			w := max(c.weight, 1)
			if c.width == 0 && widths[i] == 0 && wants[i] <= room*w/weights {
				widths[i], settled = wants[i], false
				room, weights = room-wants[i], max(weights-w, 1)
			}
		}
	}
	for i, c := range columns {
		if c.width != 0 || widths[i] != 0 {
			continue
		}
		if part := room * max(c.weight, 1) / weights; part >= minFlexible {
			widths[i] = part
		}
	}
	used := markerWidth
	for i := range widths {
		if used+widths[i]+1 > s.width {
			widths[i] = 0
		}
		if widths[i] > 0 {
			used += widths[i] + 1
		}
	}
	return widths
}

// window returns the first row to draw so that the cursor is visible and, where there is room, in the middle.
func window(cursor, count, visible int) int {
	return max(min(cursor-visible/2, count-visible), 0)
}

func (s *screen) emptyText() string {
	filter, _ := s.m.Filter()
	switch {
	case s.m.Total(s.m.Pane()) > 0 && filter != "":
		return "nothing matches the filter; Esc clears it"
	case s.m.Total(s.m.Pane()) > 0 && s.m.FaultsOnly():
		return "no faults here; z shows everything"
	case !s.m.Connection().Ever:
		return "waiting for the first reading"
	default:
		return "none"
	}
}

// list draws one short line a row, for terminals without room for columns.
func (s *screen) list(count, cursor, rows int, row func(int) (st style, text string)) []string {
	if rows <= 0 {
		return nil
	}
	if count == 0 {
		return []string{s.t.paint(dim, s.t.fit(" "+s.emptyText(), s.width, false))}
	}
	out := make([]string, 0, rows)
	first := window(cursor, count, rows)
	for i := first; i < count && i < first+rows; i++ {
		st, text := row(i)
		mark := " "
		if i == cursor {
			mark, st = ">", selected
		}
		out = append(out, s.t.paint(st, s.t.fit(mark+s.t.clean(text), s.width, false)))
	}
	return out
}
