// The checker reads a history of operations on registers, one JSON object per line, and decides whether it is
// linearizable. Each key is a register with compare-and-set, and is checked on its own.
//
// Exit status: 0 if the history is linearizable, 1 if it is not, 2 if it cannot be read, 3 if the time limit ends the
// check. If the history is not linearizable, the file named by the second argument receives a visualization (HTML).
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// The time limit of the check of one history.
const timeLimit = 5 * time.Minute

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: checker HISTORY VISUALIZATION")
		os.Exit(2)
	}
	file, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer file.Close()
	operations, err := readHistory(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(check(operations, os.Args[2]))
}

// check prints the verdict and returns the exit status.
func check(operations []porcupine.Operation, visualization string) int {
	switch porcupine.CheckOperationsTimeout(registers, operations, timeLimit) {
	case porcupine.Ok:
		fmt.Printf("linearizable: %d operations\n", len(operations))
		return 0
	case porcupine.Unknown:
		fmt.Printf("undecided after %s: %d operations\n", timeLimit, len(operations))
		return 3
	}
	fmt.Printf("not linearizable: %d operations\n", len(operations))
	for _, partition := range partitions(operations) {
		result, info := porcupine.CheckOperationsVerbose(registers, partition, timeLimit)
		if result != porcupine.Illegal {
			continue
		}
		fmt.Printf("key %s: %d operations are not linearizable\n", partition[0].Input.(operation).Key, len(partition))
		if err := porcupine.VisualizePath(registers, info, visualization); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		break
	}
	return 1
}
