//go:build race

package main

// raceEnabled says that the race detector is on: the program is built with it as
// well, then, and ends at the first race.
const raceEnabled = true
