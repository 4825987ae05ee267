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
	svgWidth  = 860
	svgLabel  = 130 // where the bars begin
	svgBar    = 16
	svgStep   = 21
	svgHead   = 40  // from one scenario's last bar to the next one's first
	svgValues = 170 // for what stands behind the longest bar
)

// svgStyle is for light and dark pages.
const svgStyle = `
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.note { fill: #59636e }
.bar { fill: #afb8c1 }
.floor { fill: #6e7781 }
.ours { fill: #0a7ea4 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.note { fill: #9198a1 }
.bar { fill: #484f58 }
.floor { fill: #8b949e }
.ours { fill: #39a9d0 }
}
`

// svg draws the medians: a group of bars for each scenario, the shortest, which
// is the best, first.
func (r *results) svg() []byte {
	var body bytes.Buffer
	y := 0
	for _, o := range r.Scenarios {
		rows := o.sorted()
		if len(rows) == 0 {
			continue
		}
		y += svgHead
		text(&body, "title", 0, y-14, o.Title)
		longest := rows[len(rows)-1].Median.Value
		for _, row := range rows {
			class := "bar"
			switch {
			case strings.HasPrefix(row.Lib, "rfc6455"):
				class = "ours"
			case row.Lib == "rawtcp":
				class = "floor"
			}
			length := row.Median.Value / longest * (svgWidth - svgLabel - svgValues)
			text(&body, "", 0, y+svgBar-4, row.Lib)
			fmt.Fprintf(&body, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>\n", class, svgLabel, y, max(length, 1), svgBar)
			value := o.format(row.Median.Value)
			if row.Ratio != nil {
				value += fmt.Sprintf(" · %.2f×", row.Ratio.Median)
			}
			text(&body, "", svgLabel+int(length)+8, y+svgBar-4, value)
			y += svgStep
		}
		note := o.Unit
		if o.Base != "" {
			note += "; × is the ratio to " + o.Base
		}
		text(&body, "note", svgLabel, y+svgBar-4, note)
		y += svgStep
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n", svgWidth, y+30, svgWidth, y+30)
	fmt.Fprintf(&b, "<title>Processor time and memory of WebSocket servers: shorter is better</title>\n<style>%s</style>\n", svgStyle)
	b.Write(body.Bytes())
	text(&b, "note", 0, y+20, fmt.Sprintf("Shorter is better. %s, %s, Linux %s; medians of %d rounds of %s.", r.CPU, r.Go, r.Kernel, r.Rounds, r.Duration))
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func text(b *bytes.Buffer, class string, x, y int, s string) {
	if class != "" {
		class = fmt.Sprintf(" class=%q", class)
	}
	fmt.Fprintf(b, "<text%s x=\"%d\" y=\"%d\">%s</text>\n", class, x, y, html.EscapeString(s))
}

func (r *results) draw(path string) error {
	return os.WriteFile(path, r.svg(), 0o644)
}
