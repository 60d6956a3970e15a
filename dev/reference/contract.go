package reference

import "strings"

// contract is what the page shows of a document.
type contract struct {
	Title, Description string
	Groups             []group
	Objects            []object // that calls and events share
	Refusals, Closes   []row
}

// group is a tag of calls, or a direction of events.
type group struct {
	Name, Description string
	Entries           []entry
}

// entry is a call or an event.
type entry struct {
	ID, Method, Name     string
	Summary, Description string
	Parameters           []field
	Body                 *kind
	BodyNote             string
	Fields               []field // of an event's data
	Answers              []row
	Examples             []example
}

// field is a line of a table.
type field struct {
	Name     string
	Kind     kind
	Required bool
	Note     string
}

// kind is a type, with a link where it has a name.
type kind struct{ Text, Link string }

// object is a schema with a name.
type object struct {
	ID, Name, Note string
	Kind           kind // of what has no fields
	Fields         []field
}

// row is an answer, or a reason.
type row struct {
	Name, Note string
	Kind       kind
}

// example is one with its name.
type example struct{ Name, Text string }

// restContract reads openapi.yaml.
func restContract(doc node) contract {
	c := contract{
		Title: doc.get("info", "title").text(), Description: doc.get("info", "description").text(), Objects: objects(doc, "rest"),
	}
	for _, tag := range doc.get("tags").items() {
		g := group{Name: tag.get("name").text(), Description: tag.get("description").text()}
		for _, path := range doc.get("paths").members() {
			for _, operation := range path.members() {
				if words := operation.get("tags").words(); len(words) > 0 && words[0] == g.Name {
					g.Entries = append(g.Entries, call(path, operation))
				}
			}
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

func call(path, operation member) entry {
	e := entry{
		ID: operation.get("operationId").text(), Method: strings.ToUpper(operation.name), Name: path.name,
		Summary: operation.get("summary").text(), Description: operation.get("description").text(),
	}
	for _, list := range []node{path.get("parameters"), operation.get("parameters")} {
		for _, p := range list.items() {
			if ref := p.ref(); ref != "" {
				p = p.follow(ref)
			}
			e.Parameters = append(e.Parameters, field{
				Name: p.get("name").text(), Required: p.get("required").text() == "true",
				Kind: kind{Text: p.get("in").text()}, Note: p.get("description").text() + " " + p.get("schema", "description").text(),
			})
		}
	}
	if body := operation.get("requestBody"); body.at != nil {
		k, examples := content(body)
		e.Body, e.BodyNote, e.Examples = &k, body.get("description").text(), examples
	}
	for _, answer := range operation.get("responses").members() {
		at := answer.node
		if ref := at.ref(); ref != "" {
			at = at.follow(ref)
		}
		k, examples := content(at)
		e.Answers = append(e.Answers, row{Name: answer.name, Note: at.get("description").text(), Kind: k})
		if strings.HasPrefix(answer.name, "2") {
			e.Examples = append(e.Examples, examples...)
		}
	}
	return e
}

// content returns the type of a body and its examples.
func content(at node) (k kind, examples []example) {
	for _, media := range at.get("content").members() {
		for _, m := range media.members() {
			if m.name == "schema" {
				k = kindOf(m.node, "rest")
			}
		}
		for _, m := range media.get("examples").members() {
			examples = append(examples, example{m.name, m.get("value").json()})
		}
	}
	return k, examples
}

// eventContract reads asyncapi.yaml.
func eventContract(doc node) contract {
	c := contract{
		Title: doc.get("info", "title").text(), Description: doc.get("info", "description").text() + "\n\n" + doc.get("channels", "socket", "description").text(),
		Objects: objects(doc, "event"),
	}
	received := group{Name: "What a client sends"}
	sent := group{Name: "What a client gets"}
	is := make(map[string]bool)
	for _, operation := range doc.get("operations").members() {
		for _, m := range operation.get("messages").items() {
			if operation.get("action").text() == "receive" {
				is[m.ref()] = true
			}
		}
	}
	for _, m := range doc.get("channels", "socket", "messages").members() {
		e := event(m.name, doc.get("components", "messages", m.name))
		if is["#/channels/socket/messages/"+m.name] {
			received.Entries = append(received.Entries, e)
		} else {
			sent.Entries = append(sent.Entries, e)
		}
	}
	c.Groups = []group{received, sent}
	for _, r := range doc.get("channels", "socket", "x-refusals").items() {
		c.Refusals = append(c.Refusals, row{Name: r.get("status").text(), Note: r.get("why").text()})
	}
	for _, r := range doc.get("channels", "socket", "x-closes").items() {
		k := kind{Text: "do not connect again before something has changed"}
		if r.get("again").text() == "true" {
			k.Text = "connect again, after a while"
		}
		if r.get("reserved").text() == "true" {
			k.Text = "reserved"
		}
		c.Closes = append(c.Closes, row{Name: r.get("code").text() + " " + r.get("reason").text(), Note: r.get("why").text(), Kind: k})
	}
	return c
}

func event(id string, message node) entry {
	e := entry{ID: id, Name: message.get("title").text(), Summary: message.get("summary").text()}
	for _, m := range message.get("payload", "properties").members() {
		if m.name == "data" {
			e.Fields = fields(m.node, "event")
			if ref := m.ref(); ref != "" {
				e.Fields = fields(m.follow(ref), "event")
			}
		}
	}
	for _, x := range message.get("examples").items() {
		e.Examples = append(e.Examples, example{x.get("name").text(), x.get("payload").json()})
	}
	return e
}

// objects returns the schemas with names.
func objects(doc node, prefix string) (all []object) {
	for _, s := range doc.get("components", "schemas").members() {
		all = append(all, object{
			ID: prefix + "-" + s.name, Name: s.name, Note: s.get("description").text(),
			Kind: kindOf(s.node, prefix), Fields: fields(s.node, prefix),
		})
	}
	return all
}

func fields(schema node, prefix string) (all []field) {
	required := make(map[string]bool)
	for _, name := range schema.get("required").words() {
		required[name] = true
	}
	for _, m := range schema.get("properties").members() {
		note := m.get("description").text()
		if ref := m.ref(); ref != "" && note == "" && m.follow(ref).get("properties").at == nil {
			note = m.follow(ref).get("description").text()
		}
		all = append(all, field{Name: m.name, Kind: kindOf(m.node, prefix), Required: required[m.name], Note: note})
	}
	return all
}

// kindOf puts a schema in a few words.
func kindOf(schema node, prefix string) kind {
	if ref := schema.ref(); ref != "" {
		name := ref[strings.LastIndex(ref, "/")+1:]
		return kind{Text: name, Link: "#" + prefix + "-" + name}
	}
	var items node
	for _, m := range schema.members() {
		if m.name == "items" {
			items = m.node
		}
	}
	text := schema.get("type").text()
	if text == "" {
		text = strings.Join(schema.get("type").words(), " or ")
	}
	switch {
	case items.at != nil:
		k := kindOf(items, prefix)
		return kind{Text: "list of " + k.Text, Link: k.Link}
	case schema.get("const").at != nil:
		return kind{Text: schema.get("const").text()}
	case schema.get("enum").at != nil:
		return kind{Text: strings.Join(schema.get("enum").words(), ", ")}
	}
	for _, bound := range []struct{ name, words string }{
		{"minimum", ", from "}, {"maximum", ", to "}, {"maxLength", ", up to characters: "}, {"x-max-bytes", ", up to bytes: "}, {"default", ", unless you say "},
	} {
		if limit := schema.get(bound.name).text(); limit != "" {
			text += bound.words + limit
		}
	}
	return kind{Text: text}
}
