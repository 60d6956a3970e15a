package reference

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// node is a place in a document that knows the whole of it, and keeps the order in
// which things are written.
type node struct {
	doc, at *yaml.Node
}

func parse(text string) (node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return node{}, err
	}
	return node{doc.Content[0], doc.Content[0]}, nil
}

// get follows names, and the references on the way; what is not there is empty.
func (n node) get(names ...string) node {
	for _, name := range names {
		var next *yaml.Node
		for _, m := range n.members() {
			if m.name == name {
				next = m.at
			}
		}
		n = node{n.doc, next}
		if ref := n.ref(); ref != "" {
			n = n.follow(ref)
		}
	}
	return n
}

// ref returns the reference that n is, or "".
func (n node) ref() string {
	for _, m := range n.members() {
		if m.name == "$ref" {
			return m.at.Value
		}
	}
	return ""
}

func (n node) follow(ref string) node {
	to := node{n.doc, n.doc}
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		to = to.get(strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
	}
	return to
}

func (n node) text() string {
	if n.at == nil {
		return ""
	}
	return n.at.Value
}

// member is a named part of an object.
type member struct {
	name string
	node
}

func (n node) members() (all []member) {
	if n.at == nil || n.at.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.at.Content); i += 2 {
		all = append(all, member{n.at.Content[i].Value, node{n.doc, n.at.Content[i+1]}})
	}
	return all
}

// items are the elements of a list, as they are written.
func (n node) items() (all []node) {
	if n.at == nil || n.at.Kind != yaml.SequenceNode {
		return nil
	}
	for _, item := range n.at.Content {
		all = append(all, node{n.doc, item})
	}
	return all
}

// words are the elements of a list of words.
func (n node) words() (all []string) {
	for _, item := range n.items() {
		all = append(all, item.text())
	}
	return all
}

// json shows a value as a client would see it; objects as they are written.
func (n node) json() string {
	if n.at == nil {
		return ""
	}
	var out strings.Builder
	n.write(&out, "\n")
	return out.String()
}

func (n node) write(out *strings.Builder, indent string) {
	switch n.at.Kind {
	case yaml.MappingNode:
		out.WriteString("{")
		for i, m := range n.members() {
			if i > 0 {
				out.WriteString(",")
			}
			fmt.Fprintf(out, "%s  %s: ", indent, quoted(m.name))
			m.write(out, indent+"  ")
		}
		out.WriteString(indent + "}")
	case yaml.SequenceNode:
		out.WriteString("[")
		for i, item := range n.items() {
			if i > 0 {
				out.WriteString(", ")
			}
			item.write(out, indent)
		}
		out.WriteString("]")
	default:
		if n.at.Tag == "!!str" {
			out.WriteString(quoted(n.at.Value))
		} else {
			out.WriteString(n.at.Value)
		}
	}
}

// quoted returns a string of JSON, without the escapes that only HTML needs.
func quoted(text string) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string always can be
	return strings.TrimSuffix(out.String(), "\n")
}
