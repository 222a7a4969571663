package main

import (
	"fmt"
	"strconv"

	"github.com/anishathalye/porcupine"
)

// state is the value of a register. The zero value is a register without a value.
type state struct {
	present bool
	value   int64
}

func stateOf(value *int64) state {
	if value == nil {
		return state{}
	}
	return state{present: true, value: *value}
}

func (s state) String() string {
	if !s.present {
		return "none"
	}
	return strconv.FormatInt(s.value, 10)
}

// registers is the model of a register with compare-and-set for each key.
var registers = porcupine.Model{
	Partition: partitions,
	Init:      func() interface{} { return state{} },
	Step:      step,
	DescribeOperation: func(input, output interface{}) string {
		return describe(input.(operation))
	},
	DescribeState: func(s interface{}) string { return s.(state).String() },
}

// partitions returns the operations of each key.
func partitions(history []porcupine.Operation) [][]porcupine.Operation {
	byKey := make(map[string][]porcupine.Operation)
	var keys []string
	for _, op := range history {
		key := op.Input.(operation).Key
		if _, known := byKey[key]; !known {
			keys = append(keys, key)
		}
		byKey[key] = append(byKey[key], op)
	}
	var all [][]porcupine.Operation
	for _, key := range keys {
		all = append(all, byKey[key])
	}
	return all
}

// step returns whether the operation is possible in this state, and the state after it.
func step(before, input, _ interface{}) (bool, interface{}) {
	current, op := before.(state), input.(operation)
	switch op.Op {
	case "read":
		return current == stateOf(op.Output), current
	case "write":
		return true, stateOf(op.Value)
	case "reset":
		return true, state{}
	}
	// A compare-and-set.
	matches := current == stateOf(op.Old)
	if op.Result == "ok" && matches != op.Swapped {
		return false, current
	}
	if matches {
		return true, stateOf(op.Value)
	}
	return true, current
}

func describe(op operation) string {
	switch op.Op {
	case "read":
		return fmt.Sprintf("read -> %s", stateOf(op.Output))
	case "write":
		return fmt.Sprintf("write %s (%s)", stateOf(op.Value), op.Result)
	case "reset":
		return fmt.Sprintf("reset (%s)", op.Result)
	}
	return fmt.Sprintf("cas %s to %s -> %t (%s)", stateOf(op.Old), stateOf(op.Value), op.Swapped, op.Result)
}
