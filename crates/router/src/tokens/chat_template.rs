//! A model's chat template: from messages to the text that the model is given.
//!
//! Templates come with models, from whoever made these. So one may take neither the processor nor the
//! memory: a render has an amount of fuel, which covers instructions and the data that they make, and
//! what it writes is bounded.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use crate::tokens::python_json::tojson;
use crate::tokens::template_clock::strftime_now;

/// Largest text that a template may make: as much as is kept of a prompt.
pub(crate) const MAX_RENDERED_BYTES: usize = 4 << 20;

/// What a render may take: 5 million instructions (about 0.2 s), or 64 bytes made for each of them.
const FUEL: u64 = 5_000_000;

/// Calls of macros within one another.
const MAX_DEPTH: usize = 100;

const NAME: &str = "chat";

/// A content that no template has, to see what becomes of it.
const PROBE: &str = "probe-of-content";

/// A chat template that was tried out.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    /// Texts of special tokens, by the names that templates have for them.
    special_tokens: Vec<(&'static str, Value)>,
    takes_parts: bool,
}

impl ChatTemplate {
    /// Reads a template and tries it out.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn new(text: &str, special_tokens: Vec<(&'static str, Value)>) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| told(&error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_DEPTH);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function("strftime_now", |form: String| strftime_now(&form));
        environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_template_owned(NAME, without_generation(text)).map_err(|error| told(&error))?;
        let mut template = Self { environment, special_tokens, takes_parts: false };
        template.probe(Value::from(PROBE))?;
        let part = Value::from_pairs([("type", "text"), ("text", PROBE)]);
        // A template that does not look into the list prints it, or fails.
        let parts = template.probe(Value::from(vec![part]));
        template.takes_parts = parts
            .is_ok_and(|text| text.contains(PROBE) && !text.contains("'text'") && !text.contains("\"text\""));
        Ok(template)
    }

    /// True if a message's content may be a list of parts.
    pub(crate) fn takes_parts(&self) -> bool {
        self.takes_parts
    }

    fn probe(&self, content: Value) -> Result<String, String> {
        let message = Value::from_pairs([("role", Value::from("user")), ("content", content)]);
        self.render(context! { messages => vec![message], add_generation_prompt => true })
    }

    /// Renders; `variables` are those of the request.
    ///
    /// # Errors
    ///
    /// What the template says, or which limit it met.
    pub(crate) fn render(&self, variables: Value) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|error| told(&error))?;
        let special_tokens = Value::from_pairs(self.special_tokens.iter().cloned());
        let mut text = BoundedText(Vec::new());
        let variables = context! { ..variables, ..special_tokens };
        match template.render_captured_to(variables, &mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::OutOfFuel => return Err("it takes too long".to_owned()),
            Err(error) if error.kind() == ErrorKind::WriteFailure => {
                return Err(format!("it writes more than {MAX_RENDERED_BYTES} bytes"));
            }
            Err(error) => return Err(told(&error)),
        }
        String::from_utf8(text.0).map_err(|error| error.to_string())
    }
}

/// What a template's error says, with its line.
fn told(error: &Error) -> String {
    error.to_string()
}

/// True if a value is a list, as the content of a message with parts is.
pub(crate) fn is_list(value: &Value) -> bool {
    value.kind() == ValueKind::Seq
}

/// Text that ends at [`MAX_RENDERED_BYTES`] with an error.
struct BoundedText(Vec<u8>);

impl io::Write for BoundedText {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.0.len() + piece.len() > MAX_RENDERED_BYTES {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.0.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The block `generation` marks what a model said, for training; rendering knows nothing of it. A
/// condition that is always true has the same effect on the space around it.
fn without_generation(text: &str) -> String {
    let mut rest = text;
    let mut made = String::with_capacity(text.len());
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        made.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let word = tag.trim_matches(['{', '%', '}', '-', '+', ' ', '\n', '\t', '\r']);
        match word {
            "generation" => made.push_str(&tag.replace(word, "if true")),
            "endgeneration" => made.push_str(&tag.replace(word, "endif")),
            _ => made.push_str(tag),
        }
        rest = after;
    }
    made.push_str(rest);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<ChatTemplate, String> {
        ChatTemplate::new(text, vec![("bos_token", Value::from("<s>"))])
    }

    fn rendered(text: &str) -> Result<String, String> {
        let message = Value::from_pairs([("role", "user"), ("content", "hi <&'\u{e9}> ")]);
        let tools: Value =
            serde_json::from_str(r#"[{"b": [1, 2.5, null, true, "<\u00e9>"], "a": {}}]"#).unwrap();
        let messages = context! { messages => vec![message], tools, add_generation_prompt => true };
        template(text)?.render(messages)
    }

    #[test]
    fn templates_are_read_as_the_libraries_of_models_read_them() {
        for (text, expected) in [
            (
                "{{ bos_token }}{% for m in messages %}\n  {% if true %}\n{{ m.role }}: {{ m.content.strip() }}\n{% endif %}\n{% endfor %}",
                "<s>user: hi <&'\u{e9}>\n",
            ),
            ("{{ messages[0]['content'] | trim }}{{ messages[-1].missing }}", "hi <&'\u{e9}>"),
            ("{{ tools | tojson if tools }}", r#"[{"b": [1, 2.5, null, true, "<é>"], "a": {}}]"#),
            ("{{ tools[0].a | tojson(indent=4) if tools }}{{ [1] | tojson(indent=4) }}", "{}[\n    1\n]"),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "1",
            ),
            ("{{ true }} {{ none }} {{ 'a' in 'abc' }}", "True None True"),
            ("{%- macro say(x) -%} <{{ x }}> {%- endmacro -%} {{ say('y') }}", "<y>"),
            (
                "{% for m in messages %}{%- generation -%} {{ m.role }} {%- endgeneration -%} {% endfor %}!",
                "user!",
            ),
            ("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}x{% endfor %}y", "y"),
            ("{{ strftime_now('%%') }}", "%"),
        ] {
            assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn hostile_templates_end_and_say_why() {
        let long = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let huge = "{% for a in range(9999) %}{{ 'x' * 1000 }}{% endfor %}";
        let double = "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
        let deep = "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}";
        let told = |text: &str| template(text).map(|_| ()).unwrap_err();
        assert_eq!(told(long), "it takes too long");
        assert_eq!(told(huge), format!("it writes more than {MAX_RENDERED_BYTES} bytes"));
        assert_eq!(told(double), "it takes too long");
        assert!(told(deep).contains("recursion"), "{}", told(deep));
        assert!(told("{{ raise_exception('only two') }}").contains("only two"));
        assert!(told("{% if %}").contains("syntax error"));
        assert!(told("{{ nobody() }}").contains("unknown function"));
        assert!(told("{% include 'x' %}").contains("not found"), "{}", told("{% include 'x' %}"));
    }

    #[test]
    fn templates_that_look_into_lists_are_told_from_those_that_print_them() {
        let plain = "{% for m in messages %}{{ m.content }}{% endfor %}";
        let both = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}\
                    {% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}";
        let strips = "{% for m in messages %}{{ m.content.strip() }}{% endfor %}";
        assert!(!template(plain).unwrap().takes_parts());
        assert!(template(both).unwrap().takes_parts());
        assert!(!template(strips).unwrap().takes_parts());
    }
}
