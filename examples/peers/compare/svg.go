package main

import (
	"bytes"
	"fmt"
	"html"
	"os"
	"strings"
)

// Sizes in the drawing, in pixels.
const (
	svgColumn = 470 // width of one of two columns
	svgGap    = 40  // between them
	svgLabel  = 100 // where the bars begin
	svgValues = 130 // for what stands behind the longest bar
	svgBar    = 15
	svgStep   = 20
	svgHead   = 46 // from the top of a scenario to its first bar
	svgTail   = 10 // below the last bar
	svgFoot   = 34 // of the drawing
	svgMargin = 16
)

// svgStyle is for light and dark pages.
const svgStyle = `
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.page { fill: #ffffff }
.title { font-weight: 600; font-size: 13px }
.note { fill: #59636e; font-size: 11px }
.bar { fill: #afb8c1 }
.floor { fill: #6e7781 }
.ours { fill: #0a7ea4 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 }
text { fill: #e6edf3 }
.note { fill: #9198a1 }
.bar { fill: #484f58 }
.floor { fill: #8b949e }
.ours { fill: #39a9d0 }
}
`

// svg draws the medians in two columns: bars for each scenario, the shortest,
// which is the best, first.
func (r *results) svg() []byte {
	var body bytes.Buffer
	var y [2]int // where the columns end
	for _, o := range r.Scenarios {
		column := 0
		if y[1] < y[0] {
			column = 1
		}
		y[column] += o.bars(&body, column*(svgColumn+svgGap), y[column])
	}
	width, height := 2*svgColumn+svgGap, max(y[0], y[1])+svgFoot
	var b bytes.Buffer
	pageWidth, pageHeight := width+2*svgMargin, height+2*svgMargin
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"%d %d %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
		-svgMargin, -svgMargin, pageWidth, pageHeight, pageWidth, pageHeight)
	fmt.Fprintf(&b, "<title>Processor time and memory of WebSocket servers: shorter is better</title>\n<style>%s</style>\n", svgStyle)
	fmt.Fprintf(&b, "<rect class=\"page\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", -svgMargin, -svgMargin, pageWidth, pageHeight)
	b.Write(body.Bytes())
	svgText(&b, "note", 0, height-10, fmt.Sprintf("Shorter is better. %s, %s, Linux %s; medians of %d rounds of %s.", r.CPU, r.Go, r.Kernel, r.Rounds, r.Duration))
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// bars draws one scenario, and returns its height.
func (o *outcome) bars(b *bytes.Buffer, x, y int) int {
	rows := o.sorted()
	if len(rows) == 0 {
		return 0
	}
	note := o.What
	if o.Base != "" {
		note += ", relative to " + o.Base
	}
	svgText(b, "title", x, y+18, o.Title)
	svgText(b, "note", x, y+34, note)
	longest := o.size(rows[len(rows)-1])
	for i, row := range rows {
		y := y + svgHead + i*svgStep
		class := "bar"
		switch {
		case strings.HasPrefix(row.Lib, "rfc6455"):
			class = "ours"
		case row.Lib == "rawtcp":
			class = "floor"
		}
		length := max(o.size(row)/longest*(svgColumn-svgLabel-svgValues), 1)
		svgText(b, "", x, y+svgBar-4, row.Lib)
		fmt.Fprintf(b, "<rect class=%q x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>\n", class, x+svgLabel, y, length, svgBar)
		value := o.format(row.Median.Value)
		if row.Ratio != nil {
			value = fmt.Sprintf("%.2f× · %s", row.Ratio.Median, value)
		}
		svgText(b, "", x+svgLabel+int(length)+8, y+svgBar-4, value)
	}
	return svgHead + len(rows)*svgStep + svgTail
}

func svgText(b *bytes.Buffer, class string, x, y int, s string) {
	if class != "" {
		class = fmt.Sprintf(" class=%q", class)
	}
	fmt.Fprintf(b, "<text%s x=\"%d\" y=\"%d\">%s</text>\n", class, x, y, html.EscapeString(s))
}

func (r *results) draw(path string) error {
	return os.WriteFile(path, r.svg(), 0o644)
}
