package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/anishathalye/porcupine"
)

// operation is a line of the history.
type operation struct {
	// The thread of control. A client continues as another process after an operation whose outcome is unknown.
	Process int `json:"process"`
	// The register. Empty for an operation on all registers ("reset").
	Key string `json:"key"`
	// "read", "write", "cas" or "reset". A reset removes the values of all registers.
	Op string `json:"op"`
	// The value that is written.
	Value *int64 `json:"value"`
	// The value that a "cas" expects.
	Old *int64 `json:"old"`
	// The value that a "read" has returned; null if the register has none.
	Output *int64 `json:"output"`
	// Whether a "cas" has written its value.
	Swapped bool `json:"swapped"`
	// "ok", "fail" (the operation has had no effect and never will) or "unknown".
	Result string `json:"result"`
	// Nanoseconds of a monotonic clock that all clients share.
	Call   int64 `json:"call"`
	Return int64 `json:"return"`
}

// readHistory returns the operations that have had an effect or may have one. An operation with an unknown outcome
// returns after all others.
func readHistory(source io.Reader) ([]porcupine.Operation, error) {
	var lines []operation
	var last int64
	scanner := bufio.NewScanner(source)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line operation
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		if err := line.validate(); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		last = max(last, line.Call, line.Return)
		lines = append(lines, line)
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	return expand(lines, last+1), nil
}

func (line operation) validate() error {
	switch {
	case line.Result != "ok" && line.Result != "fail" && line.Result != "unknown":
		return fmt.Errorf("unknown result %q", line.Result)
	case line.Result == "ok" && line.Return < line.Call:
		return fmt.Errorf("the operation returns before it is called")
	case (line.Op == "write" || line.Op == "cas") && line.Value == nil, line.Op == "cas" && line.Old == nil:
		return fmt.Errorf("%q without its value", line.Op)
	case line.Op != "read" && line.Op != "write" && line.Op != "cas" && line.Op != "reset":
		return fmt.Errorf("unknown operation %q", line.Op)
	}
	return nil
}

// expand makes an operation of each line. A reset becomes an operation on each key.
func expand(lines []operation, end int64) []porcupine.Operation {
	keys := make(map[string]bool)
	for _, line := range lines {
		if line.Op != "reset" {
			keys[line.Key] = true
		}
	}
	var operations []porcupine.Operation
	for _, line := range lines {
		if line.Result == "fail" || line.Result == "unknown" && line.Op == "read" {
			continue
		}
		returned := line.Return
		if line.Result == "unknown" {
			returned = end
		}
		add := func(key string) {
			line.Key = key
			operations = append(operations, porcupine.Operation{
				ClientId: line.Process, Input: line, Call: line.Call, Output: line, Return: returned,
			})
		}
		if line.Op != "reset" {
			add(line.Key)
			continue
		}
		for key := range keys {
			add(key)
		}
	}
	return operations
}
