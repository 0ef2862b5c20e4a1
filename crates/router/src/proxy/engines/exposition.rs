//! Prometheus' text format, read line by line: of some 50 KB that an engine tells every second, ten lines
//! matter, so that nothing is built of the others. (The parsers on crates.io build all of it.)

use crate::proxy::engines::figure::Figure;

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MetricSample<'a> {
    /// Its name, without the prefix that was asked for.
    pub(crate) name: &'a str,
    /// What stands between the braces.
    labels: &'a str,
    /// Its value.
    pub(crate) value: Figure,
}

/// The samples whose names begin with `prefix`, in their order. What is no sample is left out.
pub(crate) fn samples<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = MetricSample<'a>> {
    text.lines().filter_map(move |line| sample(line.strip_prefix(prefix)?))
}

fn sample(line: &str) -> Option<MetricSample<'_>> {
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => {
            let end = end_of_labels(rest)?;
            (rest.get(..end)?, rest.get(end + 1..)?)
        }
        None => ("", rest),
    };
    // A time may follow.
    let value = Figure::parse(rest.split_ascii_whitespace().next()?);
    Some(MetricSample { name, labels, value })
}

/// Where the brace is that closes the labels: values may hold one.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

impl<'a> MetricSample<'a> {
    /// The value of a label as it is written, escapes included.
    pub(crate) fn label(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (key, after) = rest.split_once("=\"")?;
            let mut escaped = false;
            let end = after.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            })?;
            if key.trim_matches([',', ' ']) == name {
                return after.get(..end);
            }
            rest = after.get(end + 1..)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP e:a b\n# TYPE e:a gauge\ne:a{model=\"m\\\"}x\",engine=\"1\"} 3.0 1700000\nother 7\n\
                    e:plain 1e3\r\ne:empty{} NaN\n";
        let found: Vec<_> = samples(text, "e:").collect();
        assert_eq!(found.iter().map(|one| one.name).collect::<Vec<_>>(), ["a", "plain", "empty"]);
        assert_eq!((found[0].value, found[1].value), (Figure::Number(3.0), Figure::Number(1000.0)));
        assert!(matches!(found[2].value, Figure::Number(nan) if nan.is_nan()));
        assert_eq!((found[0].label("engine"), found[0].label("model")), (Some("1"), Some("m\\\"}x")));
        assert_eq!((found[0].label("gine"), found[2].label("engine")), (None, None));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        for line in ["", "e:", "e:a", "e:a{", "e:a{b=\"", "e:a{b=\"c\"}", "e:a{b=\"c\\\"} 1", "e:a ", "é"] {
            assert_eq!(samples(line, "e:").count(), 0, "{line}");
        }
        let odd = samples("e:a x", "e:").next().unwrap();
        assert_eq!(odd.value, Figure::Nonsense);
        let odd = MetricSample { name: "", labels: "é=\"\\", value: Figure::Absent };
        assert_eq!(odd.label("x"), None);
    }
}
