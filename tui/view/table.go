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
	widths := s.share(columns)
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

// share gives every column its width; flexible columns that would get too little are dropped, then fixed ones from the right.
func (s *screen) share(columns []column) []int {
	widths := make([]int, len(columns))
	room, weights := s.width-markerWidth, 0
	for i, c := range columns {
		widths[i] = c.width
		room -= c.width + 1
		if c.width == 0 {
			weights += max(c.weight, 1)
		}
	}
	for i, c := range columns {
		if c.width == 0 {
			widths[i] = max(room*max(c.weight, 1)/weights, 0)
			if widths[i] < minFlexible {
				widths[i] = 0
			}
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
