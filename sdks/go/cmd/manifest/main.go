// Manifest writes the manifest of a policy into its module: what sglpolicy.Register is called with in the source.
//
//	go run sglpolicy/cmd/manifest main.go policy.wasm
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"

	"sglpolicy/internal/inputs"
)

const sectionName = "sgl.policy"

type manifest struct {
	name, description, version string
	inputs                     []string
	serial                     bool
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: manifest SOURCE.go MODULE.wasm"))
	}
	found, err := read(os.Args[1])
	if err != nil {
		fail(err)
	}
	module, err := os.ReadFile(os.Args[2])
	if err != nil {
		fail(err)
	}
	module, err = without(module)
	if err != nil {
		fail(fmt.Errorf("%s: %w", os.Args[2], err))
	}
	if err := os.WriteFile(os.Args[2], append(module, section(found.encode())...), 0o644); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "manifest:", err)
	os.Exit(1)
}

// read finds the call of Register.
func read(path string) (*manifest, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		return nil, err
	}
	var calls []*ast.CallExpr
	ast.Inspect(file, func(node ast.Node) bool {
		if call, is := node.(*ast.CallExpr); is {
			if name, is := call.Fun.(*ast.SelectorExpr); is && name.Sel.Name == "Register" && len(call.Args) == 2 {
				calls = append(calls, call)
			}
		}
		return true
	})
	if len(calls) != 1 {
		return nil, fmt.Errorf("%s: expected one call of sglpolicy.Register(Manifest{…}, policy), found %d", path, len(calls))
	}
	found, err := literal(calls[0].Args[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", files.Position(calls[0].Pos()), err)
	}
	return found, nil
}

func literal(expression ast.Expr) (*manifest, error) {
	composite, is := expression.(*ast.CompositeLit)
	if !is {
		return nil, fmt.Errorf("the manifest has to be written in the call: Register(sgl.Manifest{…}, policy)")
	}
	found := &manifest{}
	for _, element := range composite.Elts {
		pair, is := element.(*ast.KeyValueExpr)
		if !is {
			return nil, fmt.Errorf("the manifest needs the names of its fields: Name: …")
		}
		if err := found.set(pair.Key.(*ast.Ident).Name, pair.Value); err != nil {
			return nil, err
		}
	}
	if found.name == "" {
		return nil, fmt.Errorf("the manifest has no Name")
	}
	return found, inputs.Check(found.inputs)
}

func (m *manifest) set(field string, value ast.Expr) (err error) {
	switch field {
	case "Name":
		m.name, err = text(field, value)
	case "Description":
		m.description, err = text(field, value)
	case "Version":
		m.version, err = text(field, value)
	case "Serial":
		word, is := value.(*ast.Ident)
		if !is || (word.Name != "true" && word.Name != "false") {
			return fmt.Errorf("Serial has to be true or false")
		}
		m.serial = word.Name == "true"
	case "Inputs":
		list, is := value.(*ast.CompositeLit)
		if !is {
			return fmt.Errorf("Inputs have to be a literal []string{…}")
		}
		for _, element := range list.Elts {
			input, err := text(field, element)
			if err != nil {
				return err
			}
			m.inputs = append(m.inputs, input)
		}
	}
	return err
}

func text(field string, value ast.Expr) (string, error) {
	literal, is := value.(*ast.BasicLit)
	if !is || literal.Kind != token.STRING {
		return "", fmt.Errorf("%s has to be a literal text", field)
	}
	return strconv.Unquote(literal.Value)
}

func (m *manifest) encode() []byte {
	var out bytes.Buffer
	put := func(value string) {
		out.WriteByte(0xda)
		binary.Write(&out, binary.BigEndian, uint16(len(value)))
		out.WriteString(value)
	}
	concurrency := "parallel"
	if m.serial {
		concurrency = "serial"
	}
	out.WriteByte(0x87)
	put("abi")
	out.WriteByte(1)
	for _, pair := range [][2]string{{"name", m.name}, {"version", m.version}, {"description", m.description},
		{"wire", "columns"}, {"concurrency", concurrency}} {
		put(pair[0])
		put(pair[1])
	}
	put("inputs")
	out.WriteByte(0xdc)
	binary.Write(&out, binary.BigEndian, uint16(len(m.inputs)))
	for _, input := range m.inputs {
		put(input)
	}
	return out.Bytes()
}

// section is a custom section of Wasm.
func section(content []byte) []byte {
	body := append(binary.AppendUvarint(nil, uint64(len(sectionName))), sectionName...)
	body = append(body, content...)
	return append(binary.AppendUvarint([]byte{0}, uint64(len(body))), body...)
}

// without is the module without a manifest that it has from before.
func without(module []byte) ([]byte, error) {
	if len(module) < 8 || string(module[:4]) != "\x00asm" {
		return nil, fmt.Errorf("it is no WebAssembly module")
	}
	out, rest := module[:8:8], module[8:]
	for len(rest) > 0 {
		size, width := binary.Uvarint(rest[1:])
		if width <= 0 || uint64(len(rest)-1-width) < size {
			return nil, fmt.Errorf("it is cut short")
		}
		end := 1 + width + int(size)
		length, start := binary.Uvarint(rest[1+width : end])
		named := rest[0] == 0 && start > 0 && bytes.HasPrefix(rest[1+width+start:end], []byte(sectionName)) && int(length) == len(sectionName)
		if !named {
			out = append(out, rest[:end]...)
		}
		rest = rest[end:]
	}
	return out, nil
}
